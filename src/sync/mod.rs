//! The sync: discover the tables, announce them, read their objects, account for every one.
//!
//! This is where the store and the formats meet. Everything is pulled: the stream does work only while the client
//! takes messages, and dropping it stops all of it.

mod cpu;
mod discover;
mod memory;
mod read;
mod report;
mod tails;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cq_plugin::{Encoder, Failure, FailureKind, Message, SyncRequest};
use futures::{Stream, StreamExt, stream};

use crate::budget::Budget;
use crate::error::ObjectFailure;
use crate::identity;
use crate::s3::Bucket;
use crate::spec::Settings;

use cpu::Cpu;
pub use discover::{Discovery, FoundTable};
use memory::Plan;
use read::{Event, Task};
use report::Report;
use tails::Tails;

/// Everything a session shares between its calls.
#[derive(Debug)]
pub struct Engine {
    bucket: Bucket,
    settings: Settings,
    plan: Plan,
    footers: Budget,
    input: Budget,
    cpu: Cpu,
    tails: Tails,
    schemas: discover::SchemaCache,
    progress: Progress,
}

/// Counters that a progress display reads.
#[derive(Debug, Default)]
pub struct Progress {
    /// Keys listed.
    pub listed: AtomicU64,
    /// Objects whose columns must be known.
    pub wanted: AtomicU64,
    /// Objects whose columns are known.
    pub known: AtomicU64,
}

impl Progress {
    fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Engine {
    /// An engine over an open bucket.
    #[must_use]
    pub fn new(bucket: Bucket, settings: Settings) -> Self {
        let plan = Plan::new(settings.max_memory, cpu::cores());
        Self {
            footers: Budget::new(plan.footers),
            input: Budget::new(plan.input),
            cpu: Cpu::new(plan.slots),
            tails: Tails::new(plan.tails),
            schemas: discover::SchemaCache::default(),
            progress: Progress::default(),
            bucket,
            settings,
            plan,
        }
    }

    /// The counters of this engine.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &str {
        self.bucket.name()
    }

    /// All messages of one sync: every table, then the rows of every object, then the end, which is an error if an
    /// object failed that the settings do not tolerate. At most `readers` objects are read at once; 1 gives the rows in
    /// the order of objects.
    pub fn sync(
        self: Arc<Self>,
        request: SyncRequest,
        readers: NonZeroUsize,
    ) -> impl Stream<Item = Result<Message, Failure>> + Send + 'static {
        async_stream::try_stream! {
            let found = self.discover(&request.selection, self.settings.max_errors).await?;
            let mut report = Report::new(self.settings.max_errors, &found);
            for found in &found.tables {
                yield Message::Migrate(found.table.clone());
            }
            for failure in found.failures {
                report.failed(&failure)?;
                yield failed(failure);
            }
            let tasks = tasks(found.tables, |key| request.shard.is_none_or(|shard| identity::in_shard(self.bucket.name(), key, shard.num, shard.total)))?;
            report.planned(tasks.len());
            let reading = stream::iter(tasks).map(|task| read::object(Arc::clone(&self), task));
            let mut reading = std::pin::pin!(reading.flatten_unordered(readers.get()));
            while let Some(event) = reading.next().await {
                match event {
                    Event::Insert(insert) => {
                        report.sent(&insert);
                        yield Message::Insert(insert);
                    }
                    Event::Finished { table } => report.finished(&table),
                    Event::Fatal(error) => Err(report::fatal(error))?,
                    Event::Failed(failure) => {
                        report.failed(&failure)?;
                        yield failed(failure);
                    }
                }
            }
            report.close(&self.bucket)?;
        }
    }
}

fn failed(failure: ObjectFailure) -> Message {
    Message::Failed {
        table: failure.table.to_string(),
        error: failure.line,
    }
}

/// One task an object, tables taking turns, so that one with many objects does not starve the others.
fn tasks(tables: Vec<FoundTable>, wanted: impl Fn(&str) -> bool) -> Result<Vec<Task>, Failure> {
    let mut queues = Vec::with_capacity(tables.len());
    for found in tables {
        let table: Arc<str> = found.table.name.as_str().into();
        let encoder = Encoder::new(found.table.schema())
            .map_err(|e| Failure::new(FailureKind::Internal, e))?;
        let encoder = Arc::new(encoder);
        let objects = found
            .objects
            .into_iter()
            .filter(|object| wanted(&object.key));
        queues.push(objects.map(move |object| Task {
            table: Arc::clone(&table),
            encoder: Arc::clone(&encoder),
            object,
        }));
    }
    let mut tasks = Vec::new();
    while !queues.is_empty() {
        queues.retain_mut(|queue| queue.next().map(|task| tasks.push(task)).is_some());
    }
    Ok(tasks)
}
