//! `PlainAuthority`: makes the HTTP/2 requests acceptable that Go clients send over a Unix socket.
//!
//! They put the percent-encoded path of the socket into `:authority` (`%2Ftmp%2Fcq.sock`). The Rust HTTP/2 stack
//! takes `%` in a host for malformed and resets every stream (hyperium/h2 #487, still open). This adapter sits on
//! the socket and replaces the value; it looks at HEADERS frames only. What the blocks mean is in `hpack`.

mod hpack;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

/// The client's first bytes, before any frame (RFC 9113 section 3.4).
const PREFACE_LEN: u64 = 24;
/// Length, type, flags, stream (RFC 9113 section 4.1).
const HEAD_LEN: usize = 9;
/// The longest payload that a server which did not ask for more must take (RFC 9113 section 4.2).
const MAX_FRAME_LEN: usize = 16 * 1024;
/// The most that is held back for one header block. gRPC requests have a few hundred bytes of headers.
const MAX_BLOCK_LEN: usize = 64 * 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x01;
const END_HEADERS: u8 = 0x04;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;

/// A byte stream whose reading side has every non-empty `:authority` replaced by `x`.
pub(crate) struct PlainAuthority<T> {
    io: Take<T>,
    state: State,
    /// A frame head or a payload that is not complete yet, and how much of it there is.
    part: Vec<u8>,
    have: usize,
    block: Option<Block>,
    /// What the reader gets before anything else.
    out: io::Cursor<Vec<u8>>,
}

#[derive(Clone, Copy)]
enum State {
    /// So many bytes go through as they are.
    Copy(u64),
    Head,
    Payload(Head),
}

#[derive(Clone, Copy)]
struct Head {
    len: usize,
    kind: u8,
    flags: u8,
    stream: [u8; 4],
}

/// A header block of which frames are still to come.
struct Block {
    end_stream: u8,
    stream: [u8; 4],
    bytes: Vec<u8>,
}

impl<T: AsyncRead> PlainAuthority<T> {
    pub(crate) fn new(io: T) -> Self {
        Self {
            io: io.take(0),
            state: State::Copy(PREFACE_LEN),
            part: Vec::new(),
            have: 0,
            block: None,
            out: io::Cursor::default(),
        }
    }
}

impl<T: AsyncRead + Unpin> PlainAuthority<T> {
    /// Completes `part` to `want` bytes. False at the end of the stream, if that is before the first byte.
    fn poll_part(&mut self, cx: &mut Context<'_>, want: usize) -> Poll<io::Result<bool>> {
        self.part.resize(want, 0);
        while let Some(rest @ [_, ..]) = self.part.get_mut(self.have..) {
            let mut buf = ReadBuf::new(rest);
            ready!(Pin::new(self.io.get_mut()).poll_read(cx, &mut buf))?;
            match buf.filled().len() {
                0 if self.have == 0 => return Poll::Ready(Ok(false)),
                0 => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                read => self.have += read,
            }
        }
        self.have = 0;
        Poll::Ready(Ok(true))
    }

    fn head(&mut self) -> io::Result<()> {
        let &[l0, l1, l2, kind, flags, ref stream @ ..] = self.part.as_slice() else {
            return Err(invalid("frame head"));
        };
        let stream: [u8; 4] = stream.try_into().map_err(|_| invalid("frame head"))?;
        let len = usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2);
        let head = Head {
            len,
            kind,
            flags,
            stream,
        };
        let before = match &self.block {
            None if kind != HEADERS => {
                self.out = io::Cursor::new(std::mem::take(&mut self.part));
                self.state = State::Copy(u64::from(u32::from_be_bytes([0, l0, l1, l2])));
                return Ok(());
            }
            None => 0,
            // Nothing else may come before the block's end (RFC 9113 section 6.10).
            Some(block) if kind != CONTINUATION || stream != block.stream => {
                return Err(invalid("header block interrupted"));
            }
            Some(block) => block.bytes.len(),
        };
        if len > MAX_FRAME_LEN || before + len > MAX_BLOCK_LEN {
            return Err(invalid("header block too long"));
        }
        self.state = State::Payload(head);
        Ok(())
    }

    fn payload(&mut self, head: Head) -> io::Result<()> {
        let block = self.block.get_or_insert_with(|| Block {
            end_stream: head.flags & END_STREAM,
            stream: head.stream,
            bytes: Vec::new(),
        });
        let fragment = if head.kind == HEADERS {
            fragment(&self.part, head.flags).ok_or_else(|| invalid("padding"))?
        } else {
            &self.part
        };
        block.bytes.extend_from_slice(fragment);
        // Empty CONTINUATION frames cost nothing here: none of them is passed on.
        if head.flags & END_HEADERS != 0
            && let Some(block) = self.block.take()
        {
            self.out = io::Cursor::new(block.frames()?);
        }
        self.state = State::Head;
        Ok(())
    }
}

/// The payload of a HEADERS frame without padding and priority, which mean nothing to the reader.
fn fragment(payload: &[u8], flags: u8) -> Option<&[u8]> {
    let (mut rest, mut padding) = (payload, 0);
    if flags & PADDED != 0 {
        let (&len, after) = rest.split_first()?;
        (rest, padding) = (after, usize::from(len));
    }
    if flags & PRIORITY != 0 {
        rest = rest.get(5..)?;
    }
    rest.get(..rest.len().checked_sub(padding)?)
}

impl Block {
    /// The rewritten block as HEADERS and as many CONTINUATION frames as it takes.
    fn frames(self) -> io::Result<Vec<u8>> {
        let bytes = hpack::rewrite(&self.bytes).ok_or_else(|| invalid("header block"))?;
        let mut frames = Vec::with_capacity(bytes.len() + 2 * HEAD_LEN);
        let (mut kind, mut flags, mut rest) = (HEADERS, self.end_stream, bytes.as_slice());
        loop {
            let (now, later) = rest.split_at(rest.len().min(MAX_FRAME_LEN));
            if later.is_empty() {
                flags |= END_HEADERS;
            }
            let len = u32::try_from(now.len()).map_err(io::Error::other)?;
            frames.extend(len.to_be_bytes().into_iter().skip(1));
            frames.extend([kind, flags]);
            frames.extend(self.stream);
            frames.extend(now);
            if later.is_empty() {
                return Ok(frames);
            }
            (kind, flags, rest) = (CONTINUATION, 0, later);
        }
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("malformed HTTP/2: {what}"),
    )
}

impl<T: AsyncRead + Unpin> AsyncRead for PlainAuthority<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            let filled = buf.filled().len();
            ready!(Pin::new(&mut this.out).poll_read(cx, buf))?;
            if buf.filled().len() > filled {
                return Poll::Ready(Ok(()));
            }
            match this.state {
                State::Copy(0) => this.state = State::Head,
                State::Copy(left) => {
                    this.io.set_limit(left);
                    ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
                    this.state = State::Copy(this.io.limit());
                    return Poll::Ready(Ok(()));
                }
                State::Head => {
                    if !ready!(this.poll_part(cx, HEAD_LEN))? {
                        return Poll::Ready(Ok(()));
                    }
                    this.head()?;
                }
                State::Payload(head) => {
                    if !ready!(this.poll_part(cx, head.len))? {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                    this.payload(head)?;
                }
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PlainAuthority<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.io.get_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.io.get_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.get_ref().is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
