//! `Connection`: any byte stream to a client, TCP, Unix or memory, with an end that the server can order. The HTTP/2 server
//! runs each connection in a task of its own; closing it from below is how those tasks are stopped at once.

use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::channel::oneshot;
use futures::future::{FutureExt as _, Shared};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a connection reads from and writes to.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for T {}

/// Resolves once the [`Guard`] that came with it is dropped.
#[derive(Clone)]
pub(crate) struct Stop(Shared<oneshot::Receiver<()>>);

/// Keeps connections open while it lives.
pub(crate) struct Guard(
    #[expect(dead_code, reason = "only its drop means something")] oneshot::Sender<()>,
);

pub(crate) fn stop() -> (Guard, Stop) {
    let (sender, receiver) = oneshot::channel();
    (Guard(sender), Stop(receiver.shared()))
}

pub(crate) struct Connection {
    io: Box<dyn Io>,
    stop: Stop,
}

impl Connection {
    pub(crate) fn new(io: Box<dyn Io>, stop: Stop) -> Self {
        Self { io, stop }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if Pin::new(&mut self.stop.0).poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! What a Go client sends over a Unix socket, for the tests of the adapter and of the server.

    /// Headers of `discovery.v1` `GetVersions` as grpc-go 1.73 sends them: Huffman coded, with incremental
    /// indexing, `:authority` being `%2Ftmp%2Fcq-CVMkLhbszpwbsjoi.sock`.
    pub(crate) const FIRST_BLOCK: &str = "838644a260941ed93b5a5b3d2f219043f72d9e97ee15ef99043f72d9e98c454f12d8831ea47f\
         41995458534d6a8b093b2d7b8e8eb9e78d1eebf11a3a1ccba0e4eb5f8b1d75d0620d263d4c4d65647a8a9acac8b4c7602bbacae0\
         4082497f864d833505b11f408e9acac8b0c842d6958b510f21aa9b8d4543aebf5f5ed0993ea6f66aff";

    /// The same headers again on the same connection: all from the tables.
    pub(crate) const SECOND_BLOCK: &str = "8386c3c2c1c0bfbe";

    pub(crate) fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2)
            .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    }

    /// An HTTP/2 frame.
    pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }
}
