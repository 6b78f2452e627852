//! An object as the store names it: key, generation, size. Values only; no request is made here.

use std::fmt;
use std::sync::Arc;

/// One generation of one object: what a listing or a HEAD says about it.
///
/// Many are held at once (one per object of the bucket), so there is nothing in it that no one reads: with a key of 50
/// bytes it takes about 190 bytes, heap included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The key, exactly as the store has it.
    pub key: Arc<str>,
    /// Bytes.
    pub size: u64,
    /// The generation; empty if the store sends no `ETag`.
    pub etag: ETag,
    /// Unix time in milliseconds (the stores resolve seconds); 0 if the store sends none.
    pub last_modified: i64,
    /// In storage class `GLACIER` or `DEEP_ARCHIVE` without a restored copy: a read would answer `InvalidObjectState`.
    pub archived: bool,
}

/// The entity tag of an object's generation, without quotes and without the weak mark.
///
/// Stores disagree on the spelling (`"abc"`, `abc` from `NetApp`, `W/"abc"` behind some proxies), often between the listing and the
/// object itself, so it is normalised here and quoted again when it is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ETag(Box<str>);

impl ETag {
    /// Takes any spelling that a store sends.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        let raw = raw.trim();
        let raw = raw.strip_prefix("W/").unwrap_or(raw);
        let bare = raw
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'));
        Self(bare.unwrap_or(raw).into())
    }

    /// The bare tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True for an object of a store that sends no `ETag`: nothing can tell its generations apart but size and time.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of an `If-Match` header, or nothing to make a condition of.
    #[must_use]
    pub fn if_match(&self) -> Option<String> {
        (!self.is_empty()).then(|| format!("\"{}\"", self.0))
    }
}

impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_of_all_spellings_are_one() {
        let cases = [
            ("\"abc\"", "abc"),
            ("abc", "abc"),
            ("W/\"abc\"", "abc"),
            (" \"abc-2\" ", "abc-2"),
            ("\"\"", ""),
            ("", ""),
            ("\"", "\""),
        ];
        for (raw, bare) in cases {
            assert_eq!(ETag::new(raw).as_str(), bare, "{raw}");
        }
        assert_eq!(ETag::new("abc").if_match().as_deref(), Some("\"abc\""));
        assert_eq!(ETag::new("").if_match(), None);
    }

    #[test]
    fn an_object_stays_small() {
        assert!(size_of::<Object>() <= 64, "{}", size_of::<Object>());
    }
}
