//! The account of a sync: what was sent, which objects failed, and whether that is tolerated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cq_plugin::{Failure, FailureKind, Insert};
use tokio::time::Instant;

use super::Discovery;
use crate::error::{ObjectError, ObjectFailure, store_failure};
use crate::s3::Bucket;

/// Bytes of failed objects' lines in the final error, which travels in an HTTP/2 header; all of them are in the log.
const NAMED_BYTES: usize = 2048;
/// Time between two log lines of a long sync.
const INTERVAL: Duration = Duration::from_secs(10);

/// Counts and failures of one sync.
#[derive(Debug)]
pub(super) struct Report {
    max_errors: Option<u32>,
    tables: BTreeMap<Arc<str>, Count>,
    objects: usize,
    finished: usize,
    failed: u32,
    /// A failure that `on_error: skip` does not tolerate.
    half_read: bool,
    named: Vec<String>,
    started: Instant,
    said: Instant,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    objects: u64,
    rows: u64,
    bytes: u64,
}

/// The end of a sync in which objects failed.
#[derive(Debug, thiserror::Error)]
enum ObjectsFailed {
    #[error("{failed} of {of} objects failed, and nothing is deleted as stale: {named}")]
    AtTheEnd {
        failed: u32,
        of: usize,
        named: String,
    },
    #[error("gave up after {failed} failed objects, more than max_errors ({most}): {named}")]
    TooMany {
        failed: u32,
        most: u32,
        named: String,
    },
}

impl Report {
    pub(super) fn new(max_errors: Option<u32>, found: &Discovery) -> Self {
        let tables = found
            .tables
            .iter()
            .map(|found| (found.table.name.as_str().into(), Count::default()));
        let now = Instant::now();
        Self {
            max_errors,
            tables: tables.collect(),
            objects: found.failures.len(),
            finished: 0,
            failed: 0,
            half_read: false,
            named: Vec::new(),
            started: now,
            said: now,
        }
    }

    pub(super) fn planned(&mut self, objects: usize) {
        self.objects += objects;
    }

    pub(super) fn sent(&mut self, insert: &Insert) {
        if let Some(count) = self.tables.get_mut(insert.table()) {
            count.rows += insert.rows() as u64;
            count.bytes += insert.len() as u64;
        }
        if self.said.elapsed() >= INTERVAL {
            self.said = Instant::now();
            let rows: u64 = self.tables.values().map(|count| count.rows).sum();
            tracing::info!(
                objects = self.finished,
                of = self.objects,
                rows,
                seconds = self.started.elapsed().as_secs(),
                "sync goes on"
            );
        }
    }

    pub(super) fn finished(&mut self, table: &str) {
        self.finished += 1;
        if let Some(count) = self.tables.get_mut(table) {
            count.objects += 1;
        }
    }

    /// Records a failed object; an error once there are more than the settings tolerate.
    pub(super) fn failed(&mut self, failure: &ObjectFailure) -> Result<(), Failure> {
        let line = &failure.line;
        self.failed += 1;
        self.half_read |= failure.half_read;
        let skip = self.max_errors.is_some() && !failure.half_read;
        if skip {
            tracing::warn!(table = &*failure.table, "object skipped: {line}");
        } else {
            tracing::error!(table = &*failure.table, "object failed: {line}");
        }
        if self.named.iter().map(String::len).sum::<usize>() < NAMED_BYTES {
            self.named.push(line.clone());
        }
        match self.max_errors {
            Some(most) if self.failed > most => Err(self.verdict()),
            _ => Ok(()),
        }
    }

    /// Logs the totals and says whether the sync succeeded.
    pub(super) fn close(self, bucket: &Bucket) -> Result<(), Failure> {
        for (table, count) in &self.tables {
            tracing::info!(
                table = &**table,
                objects = count.objects,
                rows = count.rows,
                bytes = count.bytes,
                "table read"
            );
        }
        let stats = bucket.stats();
        let milliseconds = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            objects = self.finished,
            failed = self.failed,
            milliseconds,
            lists = stats.lists,
            gets = stats.gets,
            bytes_read = stats.bytes_read,
            retries = stats.retries,
            "sync done"
        );
        let tolerated = self.max_errors.is_some() && !self.half_read;
        if self.failed == 0 || tolerated {
            Ok(())
        } else {
            Err(self.verdict())
        }
    }

    fn verdict(&self) -> Failure {
        let mut named = self.named.join("; ");
        if self.failed as usize > self.named.len() {
            named.push_str("; and others, all in the log");
        }
        let failed = self.failed;
        Failure::new(
            FailureKind::Data,
            match self.max_errors {
                Some(most) if failed > most => ObjectsFailed::TooMany {
                    failed,
                    most,
                    named,
                },
                _ => ObjectsFailed::AtTheEnd {
                    failed,
                    of: self.objects,
                    named,
                },
            },
        )
    }
}

/// An object's error that ends the sync because every other object would meet it too.
pub(super) fn fatal(error: ObjectError) -> Failure {
    match error {
        ObjectError::Store(error) => store_failure(error),
        other => Failure::new(FailureKind::Internal, other),
    }
}
