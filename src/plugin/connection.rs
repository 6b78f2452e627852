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
