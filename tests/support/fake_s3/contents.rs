//! What the fake server's objects hold, and how a body of them flows or breaks.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::{self, Stream};

use super::{Fault, Shared};

/// Bytes of a body handed to the connection at once.
const CHUNK: u64 = 64 << 10;

/// The byte at `offset` of every object made by [`FakeS3::put_ramp`].
pub(crate) fn ramp(offset: u64) -> u8 {
    offset
        .to_le_bytes()
        .iter()
        .fold(0, |sum: u8, byte| sum.wrapping_mul(31).wrapping_add(*byte))
}

#[derive(Clone, Debug)]
pub(super) enum Contents {
    Stored(Bytes),
    Ramp(u64),
}

impl Contents {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Stored(bytes) => bytes.len() as u64,
            Self::Ramp(length) => *length,
        }
    }

    fn slice(&self, range: Range<u64>) -> Bytes {
        match self {
            Self::Stored(bytes) => bytes
                .slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()),
            Self::Ramp(_) => range.map(ramp).collect(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) contents: Contents,
    pub(super) etag: String,
    pub(super) last_modified: SystemTime,
    pub(super) storage_class: Option<String>,
}

impl Stored {
    pub(super) fn new(contents: Contents) -> Self {
        let hash = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            match &contents {
                Contents::Stored(bytes) => (salt, bytes).hash(&mut hasher),
                Contents::Ramp(length) => (salt, length).hash(&mut hasher),
            }
            hasher.finish()
        };
        let etag = format!("{:016x}{:016x}", hash(0), hash(1));
        Self {
            contents,
            etag,
            last_modified: SystemTime::now(),
            storage_class: None,
        }
    }
}

/// A body under way, counted.
struct Body {
    shared: Arc<Shared>,
    contents: Contents,
    range: Range<u64>,
    sent: u64,
    fault: Option<Fault>,
    counted: bool,
}

impl Body {
    /// Not only when dropped: a client that has the last byte may ask again before the server gets to dropping this.
    fn done(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.shared.state.lock().unwrap().bodies -= 1;
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.done();
    }
}

pub(super) fn body(
    shared: Arc<Shared>,
    contents: Contents,
    range: Range<u64>,
    fault: Option<Fault>,
) -> impl Stream<Item = std::io::Result<Bytes>> + Send + Sync {
    let mut state = shared.state.lock().unwrap();
    state.bodies += 1;
    state.most_bodies = state.most_bodies.max(state.bodies);
    drop(state);
    let body = Body {
        shared,
        contents,
        range,
        sent: 0,
        fault,
        counted: true,
    };
    stream::try_unfold(body, |mut body| async move {
        let mut end = body.range.end.min(body.range.start + CHUNK);
        match body.fault {
            Some(Fault::Truncate { after }) if body.sent == after => {
                // Without a pause the connection would close before it flushed what came before, the head included.
                tokio::task::yield_now().await;
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            Some(Fault::Stall { after }) if body.sent == after => {
                let mut released = body.shared.released.subscribe();
                released
                    .wait_for(|released| *released)
                    .await
                    .map_err(std::io::Error::other)?;
                body.fault = None;
            }
            Some(Fault::Truncate { after } | Fault::Stall { after }) => {
                end = end.min(body.range.start + after - body.sent);
            }
            _ => {}
        }
        if body.range.is_empty() {
            return Ok(None);
        }
        let chunk = body.contents.slice(body.range.start..end);
        body.sent += end - body.range.start;
        body.range.start = end;
        if body.range.is_empty() {
            body.done();
        }
        Ok(Some((chunk, body)))
    })
}
