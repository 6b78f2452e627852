//! Reading byte ranges of one generation of an object: conditional, complete, resumed where a body broke.
//!
//! Who repeats what: until the head of an answer is there, the SDK does (connections, 5xx, throttling; `client.rs`), and what it gave up
//! on is final. Once a body flows the SDK is out of it; a body that ends early, breaks or stalls is resumed here, a bounded
//! number of times, from the first byte that is missing.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use bytes::{Bytes, BytesMut};
use futures::future::try_join_all;
use tokio::time::{sleep, timeout};

use super::bucket::Bucket;
use super::error::{Error, ErrorKind, Operation};
use super::object::{ETag, Object};
use super::ranges::{MAX_GAP, MAX_PART, coalesce, slice, split};
use super::stats::Counters;

/// How often a part's body is begun. A connection that breaks is common in a long sync; five in a row for 16 MiB are an outage.
const BODY_ATTEMPTS: u32 = 5;

/// The longest silence within a body. Shorter than the SDK's own limit of 20 s, so that the error is this one, with a kind.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Doubles for each further attempt at a body, up to the cap; a random half of it is waited.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Why an attempt at a part ended.
enum Broken {
    /// Before the body: final, the SDK has tried enough or there is nothing to try.
    Request(Error),
    /// In the body: worth resuming.
    Body(Error),
}

impl Bucket {
    /// Exactly the bytes `range` of the generation `object`, or an error; nothing for an empty range, without a request.
    ///
    /// The answer is one buffer, which is allocated at once: the caller bounds `range`. Long ranges are read in parts side by side.
    /// A range beyond the object's end is [`ErrorKind::Truncated`] and an archived object is [`ErrorKind::Archived`], both
    /// without a request.
    pub async fn read(&self, object: &Object, range: Range<u64>) -> Result<Bytes, Error> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let want = range.end - range.start;
        let error = |kind| self.get_error(object, &range, kind);
        if object.archived {
            return Err(error(ErrorKind::Archived));
        }
        if range.end > object.size {
            let got = object.size.saturating_sub(range.start);
            return Err(error(ErrorKind::Truncated { want, got }));
        }
        let too_long = |_| {
            error(ErrorKind::InvalidConfig(
                "a range that long does not fit this machine's memory",
            ))
        };
        // One allocation, cut into the parts' places: joining them again copies nothing.
        let mut rest = BytesMut::with_capacity(usize::try_from(want).map_err(too_long)?);
        let mut parts = Vec::new();
        for part in split(&range, MAX_PART) {
            let length = usize::try_from(part.end - part.start).map_err(too_long)?;
            let behind = rest.split_off(length);
            parts.push(self.read_part(object, part, std::mem::replace(&mut rest, behind)));
        }
        let mut whole = BytesMut::new();
        for part in try_join_all(parts).await? {
            whole.unsplit(part);
        }
        Ok(whole.freeze())
    }

    /// The bytes of all `ranges`, in their order. Ranges that lie close share a request, and a buffer, which keeps the bytes
    /// between them alive: up to [`MAX_GAP`] each, and together no more than the ranges have themselves.
    pub async fn read_ranges(
        &self,
        object: &Object,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Error> {
        let wanted: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let gap = MAX_GAP.min(wanted / (ranges.len() as u64).max(1));
        let requests = coalesce(ranges, gap).into_iter().map(async |range| {
            let bytes = self.read(object, range.clone()).await?;
            Ok::<_, Error>((range, bytes))
        });
        let fetched = try_join_all(requests).await?;
        // Every range lies in one that was fetched in full, so the error is for show.
        let missing = |range| self.get_error(object, range, ErrorKind::Other);
        ranges
            .iter()
            .map(|range| slice(&fetched, range).ok_or_else(|| missing(range)))
            .collect()
    }

    /// Fills `buffer` with `part`, resuming as often as allowed.
    async fn read_part(
        &self,
        object: &Object,
        part: Range<u64>,
        mut buffer: BytesMut,
    ) -> Result<BytesMut, Error> {
        let mut attempt = 1;
        loop {
            let error = match self.read_once(object, &part, &mut buffer).await {
                Ok(()) => return Ok(buffer),
                Err(Broken::Request(error)) => return Err(error),
                Err(Broken::Body(error)) if attempt == BODY_ATTEMPTS => return Err(error),
                Err(Broken::Body(error)) => error,
            };
            tracing::debug!(key = %object.key.escape_debug(), attempt, error = %error, "body broke, resuming");
            Counters::add(&self.counters().resumed, 1);
            sleep(pause(attempt)).await;
            attempt += 1;
        }
    }

    /// One request for what `buffer` lacks of `part`. What arrived stays in the buffer, also on an error: the condition makes sure that
    /// the next request continues the same generation.
    async fn read_once(
        &self,
        object: &Object,
        part: &Range<u64>,
        buffer: &mut BytesMut,
    ) -> Result<(), Broken> {
        let want = part.end - part.start;
        let range = part.start + bytes_in(buffer)..part.end;
        let error = |kind| self.get_error(object, part, kind);

        let _permit = self.permit(Operation::Get).await.map_err(Broken::Request)?;
        Counters::add(&self.counters().gets, 1);
        let if_match = object.etag.if_match();
        // The next best condition for a store without ETags; its clock ticks in seconds.
        let unmodified = (if_match.is_none() && object.last_modified > 0)
            .then(|| DateTime::from_millis(object.last_modified));
        let answer = self
            .client()
            .get_object()
            .bucket(self.name())
            .key(&*object.key)
            .range(format!("bytes={}-{}", range.start, range.end - 1))
            .set_if_match(if_match)
            .set_if_unmodified_since(unmodified)
            .send()
            .await
            .map_err(|e| {
                self.failed(Operation::Get, e)
                    .at(&object.key)
                    .within(&range)
            })
            .map_err(Broken::Request)?;
        check(&answer, object, &range).map_err(|kind| Broken::Request(error(kind)))?;

        let mut body = answer.body;
        loop {
            let missing = want - bytes_in(buffer);
            match timeout(STALL_TIMEOUT, body.next()).await {
                Err(_) => return Err(Broken::Body(error(ErrorKind::Timeout))),
                Ok(None) if missing == 0 => return Ok(()),
                Ok(None) => {
                    let got = want - missing;
                    return Err(Broken::Body(error(ErrorKind::Truncated { want, got })));
                }
                Ok(Some(Err(source))) if missing == 0 => {
                    // All there and still wrong: a checksum. Which bytes are bad is unknown, so none is kept.
                    buffer.clear();
                    let kind = ErrorKind::BadResponse("its body does not match its checksum");
                    return Err(Broken::Body(error(kind).because(source)));
                }
                Ok(Some(Err(source))) => {
                    let got = want - missing;
                    return Err(Broken::Body(
                        error(ErrorKind::Truncated { want, got }).because(source),
                    ));
                }
                Ok(Some(Ok(chunk))) if bytes_in(&chunk) > missing => {
                    return Err(Broken::Request(error(ErrorKind::BadResponse(
                        "its body is longer than the range",
                    ))));
                }
                Ok(Some(Ok(chunk))) => {
                    Counters::add(&self.counters().bytes_read, bytes_in(&chunk));
                    buffer.extend_from_slice(&chunk);
                }
            }
        }
    }

    fn get_error(&self, object: &Object, range: &Range<u64>, kind: ErrorKind) -> Error {
        Error::new(Operation::Get, self.name(), kind)
            .at(&object.key)
            .within(range)
    }
}

/// Whether the head of an answer belongs to what was asked for. Guards against stores that ignore `If-Match` or `Range`.
fn check(answer: &GetObjectOutput, object: &Object, range: &Range<u64>) -> Result<(), ErrorKind> {
    let etag = ETag::new(answer.e_tag().unwrap_or_default());
    if !etag.is_empty() && !object.etag.is_empty() && etag != object.etag {
        return Err(ErrorKind::Changed);
    }
    match answer.content_range() {
        None if *range == (0..object.size) => Ok(()),
        None => Err(ErrorKind::BadResponse("it ignores the Range header")),
        Some(text) => match content_range(text) {
            Some((_, Some(size))) if size != object.size => Err(ErrorKind::Changed),
            Some((answered, _)) if answered == *range => Ok(()),
            _ => Err(ErrorKind::BadResponse(
                "its Content-Range is not the one asked for",
            )),
        },
    }
}

/// Reads `bytes 0-4/10`, where the size may be `*`; see RFC 9110, 14.4.
fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let range = first.parse().ok()?..last.parse::<u64>().ok()?.checked_add(1)?;
    let size = if size == "*" {
        None
    } else {
        Some(size.parse().ok()?)
    };
    Some((range, size))
}

/// How long to wait after the `attempt`th attempt. The jitter keeps parts that broke together from coming back together;
/// it need not be good, so the seed of the standard hasher will do.
fn pause(attempt: u32) -> Duration {
    let longest = FIRST_PAUSE
        .saturating_mul(1 << (attempt - 1).min(16))
        .min(LONGEST_PAUSE);
    let dice = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or(u32::MAX);
    longest / 2 + (longest / 2).mul_f64(f64::from(dice) / f64::from(u32::MAX))
}

/// A length in memory always fits.
fn bytes_in(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        let cases = [
            ("bytes 0-4/10", Some((0..5, Some(10)))),
            ("bytes 7-7/*", Some((7..8, None))),
            ("bytes */10", None),
            ("bytes 0-18446744073709551615/10", None),
            ("items 0-4/10", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(content_range(text), want, "{text}");
        }
    }

    #[test]
    fn pauses_grow_to_the_cap_and_vary() {
        for attempt in 1..100 {
            let longest = FIRST_PAUSE
                .saturating_mul(1 << (attempt - 1).min(16))
                .min(LONGEST_PAUSE);
            let pause = pause(attempt);
            assert!(
                longest / 2 <= pause && pause <= longest,
                "{attempt}: {pause:?}"
            );
        }
        let first = pause(10);
        assert!((0..20).any(|_| pause(10) != first));
    }
}
