//! Counters of what a bucket cost: requests by operation, bytes, retries. No logging, no decisions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// What a [`super::Bucket`] and its clones did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Pages listed, including probes.
    pub lists: u64,
    /// Ranges requested, including those that resume a broken body.
    pub gets: u64,
    /// Objects asked for by HEAD, and the one `HeadBucket` that finds the region.
    pub heads: u64,
    /// Bytes of object bodies received, also of those that broke.
    pub bytes_read: u64,
    /// Requests that were made again: by the SDK before an answer, or here after a broken body.
    pub retries: u64,
}

/// The live side of [`Stats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) lists: AtomicU64,
    pub(super) gets: AtomicU64,
    pub(super) heads: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    /// Bodies resumed after a break; each is one more of `gets`.
    pub(super) resumed: AtomicU64,
    /// Requests put on the wire, so `sent - (lists + gets + heads)` are the SDK's own retries.
    sent: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (lists, gets, heads) = (get(&self.lists), get(&self.gets), get(&self.heads));
        // A call that has not reached the wire yet is counted but not sent; hence saturating.
        let by_sdk = get(&self.sent).saturating_sub(lists + gets + heads);
        Stats {
            lists,
            gets,
            heads,
            bytes_read: get(&self.bytes_read),
            retries: by_sdk + get(&self.resumed),
        }
    }
}

/// Counts every attempt that the SDK makes.
#[derive(Debug)]
pub(super) struct CountSent(pub(super) Arc<Counters>);

impl Intercept for CountSent {
    fn name(&self) -> &'static str {
        "CountSent"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        Counters::add(&self.0.sent, 1);
        Ok(())
    }
}
