//! Listing: `ListObjectsV2` page by page, with keys decoded so that every legal key survives. It keeps nothing but the
//! page at hand.

use std::borrow::Cow;
use std::sync::Arc;

use aws_sdk_s3::operation::list_objects_v2::ListObjectsV2Output;
use aws_sdk_s3::types::{EncodingType, OptionalObjectAttributes};
use futures::stream::{Stream, try_unfold};

use super::bucket::{Bucket, is_archive};
use super::error::{Error, ErrorKind, Operation};
use super::object::{ETag, Object};
use super::stats::Counters;

/// Keys a page; no store gives more.
const PAGE: i32 = 1000;

/// One page of a listing.
#[derive(Debug, Default)]
pub struct Page {
    /// In the store's order: by the bytes of the key, except in directory buckets.
    pub objects: Vec<Object>,
    /// Keys that decode to no text, as listed. They cannot be addressed, so they are reported instead of dropped.
    pub undecodable: Vec<String>,
}

/// Where a listing is.
#[derive(Debug, Default)]
struct Cursor {
    /// Of the next page; none for the first.
    token: Option<String>,
    pages: u64,
    /// A token seen earlier, replaced whenever the number of pages is a power of two (Brent's rule): however long a cycle a broken
    /// store runs in, the anchor comes to lie in it and is met again. AWS never repeats a token.
    anchor: Option<String>,
}

impl Cursor {
    /// Goes to the page of `next`, unless that leads in a circle.
    fn advance(mut self, next: String) -> Option<Self> {
        if self.anchor.as_ref() == Some(&next) {
            return None;
        }
        self.pages += 1;
        if self.pages.is_power_of_two() {
            self.anchor = Some(next.clone());
        }
        Some(Self {
            token: Some(next),
            ..self
        })
    }
}

impl Bucket {
    /// All objects whose key begins with `prefix`, one request a page, made when the page is asked for. Ends after the first error.
    pub fn list(
        &self,
        prefix: &str,
    ) -> impl Stream<Item = Result<Page, Error>> + Send + 'static + use<> {
        let (bucket, prefix): (_, Arc<str>) = (self.clone(), prefix.into());
        try_unfold(Some(Cursor::default()), move |cursor| {
            let (bucket, prefix) = (bucket.clone(), Arc::clone(&prefix));
            async move {
                let Some(cursor) = cursor else {
                    return Ok(None);
                };
                let answer = bucket.page(&prefix, cursor.token.as_deref(), PAGE).await?;
                let bad =
                    |what| Error::new(Operation::List, bucket.name(), ErrorKind::BadResponse(what));
                let cursor = match (
                    answer.is_truncated() == Some(true),
                    answer.next_continuation_token(),
                ) {
                    (true, None) => {
                        return Err(bad("a listing that goes on has no continuation token"));
                    }
                    (true, Some(next)) => {
                        let next = cursor.advance(next.to_owned());
                        Some(next.ok_or_else(|| bad("a listing repeats its continuation token"))?)
                    }
                    (false, _) => None,
                };
                Ok(Some((page(&answer), cursor)))
            }
        })
    }

    /// One `ListObjectsV2` request.
    pub(super) async fn page(
        &self,
        prefix: &str,
        token: Option<&str>,
        keys: i32,
    ) -> Result<ListObjectsV2Output, Error> {
        let _permit = self.permit(Operation::List).await?;
        Counters::add(&self.counters().lists, 1);
        self.client()
            .list_objects_v2()
            .bucket(self.name())
            .max_keys(keys)
            // XML cannot hold control characters; without this one such key makes the page unreadable.
            .encoding_type(EncodingType::Url)
            // Tells restored copies from archived objects; stores that do not know it ignore it.
            .optional_object_attributes(OptionalObjectAttributes::RestoreStatus)
            .set_prefix((!prefix.is_empty()).then(|| prefix.to_owned()))
            .set_continuation_token(token.map(str::to_owned))
            .send()
            .await
            .map_err(|e| self.failed(Operation::List, e))
    }
}

fn page(answer: &ListObjectsV2Output) -> Page {
    // A store that does not know the parameter does not echo it, and lists keys as they are.
    let encoded = answer.encoding_type() == Some(&EncodingType::Url);
    let mut page = Page {
        objects: Vec::with_capacity(answer.contents().len()),
        ..Page::default()
    };
    for listed in answer.contents() {
        let raw = listed.key().unwrap_or_default();
        let Some(key) = (if encoded {
            decode(raw)
        } else {
            Some(raw.into())
        })
        .filter(|key| !key.is_empty()) else {
            page.undecodable.push(raw.to_owned());
            continue;
        };
        let restored = listed.restore_status().is_some_and(|status| {
            status.is_restore_in_progress() == Some(false) && status.restore_expiry_date().is_some()
        });
        page.objects.push(Object {
            key: key.into(),
            size: listed
                .size()
                .and_then(|size| u64::try_from(size).ok())
                .unwrap_or(0),
            etag: ETag::new(listed.e_tag().unwrap_or_default()),
            last_modified: listed
                .last_modified()
                .and_then(|at| at.to_millis().ok())
                .unwrap_or(0),
            archived: is_archive(listed.storage_class()) && !restored,
        });
    }
    page
}

/// Undoes `encoding-type=url`: form encoding, where a space is `+` (AWS, `MinIO`) or `%20` (LocalStack) and a plus is always
/// `%2B`. `None` if the bytes are no UTF-8.
fn decode(listed: &str) -> Option<Cow<'_, str>> {
    if !listed.contains('+') {
        return percent_encoding::percent_decode_str(listed)
            .decode_utf8()
            .ok();
    }
    let spaced = listed.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .ok()
        .map(|key| Cow::Owned(key.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_decode_as_the_stores_encode_them() {
        let cases = [
            ("plain/key.csv", Some("plain/key.csv")),
            ("a+b", Some("a b")),
            ("a%20b", Some("a b")),
            ("a%2Bb", Some("a+b")),
            ("100%25", Some("100%")),
            ("%25zz", Some("%zz")),
            ("a%00%01%0Ab", Some("a\0\u{1}\nb")),
            ("//a/../.", Some("//a/../.")),
            ("%E2%82%AC+%F0%9F%98%80", Some("€ 😀")),
            ("%FF", None),
            ("a+%FF", None),
        ];
        for (listed, key) in cases {
            assert_eq!(decode(listed).as_deref(), key, "{listed}");
        }
    }

    #[test]
    fn a_cycle_of_tokens_of_any_length_ends() {
        for length in [1_u32, 2, 3, 7, 100] {
            let mut cursor = Some(Cursor::default());
            let mut pages = 0_u32;
            // Ten tokens that lead into the cycle, then round and round.
            while let Some(at) = cursor {
                let token = if pages < 10 {
                    format!("lead{pages}")
                } else {
                    format!("round{}", (pages - 10) % length)
                };
                cursor = at.advance(token);
                pages += 1;
                assert!(pages < 1000, "cycle of {length} not found");
            }
        }
    }

    #[test]
    fn different_tokens_go_on() {
        let end = (0..5000).try_fold(Cursor::default(), |cursor, n| cursor.advance(n.to_string()));
        assert_eq!(end.map(|cursor| cursor.pages), Some(5000));
    }
}
