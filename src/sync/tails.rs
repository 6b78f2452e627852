//! Tails of files that discovery fetched, kept until the file is read: a small file then costs one request in all.
//!
//! Bounded in bytes. What does not fit is fetched again; nothing is ever evicted for something newer, because the
//! files are read in the order in which they were discovered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::s3::Object;

/// The kept tails, by key.
#[derive(Debug)]
pub(super) struct Tails {
    limit: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: u64,
    tails: HashMap<Arc<str>, (Object, Bytes)>,
}

impl Tails {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit,
            kept: Mutex::default(),
        }
    }

    /// Keeps a tail if there is room.
    pub(super) fn put(&self, object: &Object, tail: &Bytes) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let len = tail.len() as u64;
        if kept.bytes + len <= self.limit && !kept.tails.contains_key(&object.key) {
            kept.bytes += len;
            kept.tails
                .insert(Arc::clone(&object.key), (object.clone(), tail.clone()));
        }
    }

    /// Takes a tail out; one of another generation is dropped.
    pub(super) fn take(&self, object: &Object) -> Option<Bytes> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, tail) = kept.tails.remove(&object.key)?;
        kept.bytes -= tail.len() as u64;
        (generation == *object).then_some(tail)
    }
}
