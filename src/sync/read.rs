//! Reading one object: footer, row groups, rows, messages. The driver of the format's state machine.
//!
//! A reader holds at most one share of the input budget, and a slot of CPU work only until the client has taken its
//! result, so that readers never wait for each other in a circle.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use cq_plugin::{Encoder, Insert, MAX_INSERT_BYTES};
use futures::{Stream, StreamExt};

use super::Engine;
use super::discover::GENERATIONS;
use crate::batch::{Cut, Shaper, cut};
use crate::error::{ObjectError, ObjectFailure};
use crate::format::parquet::{Footer, FooterStep, Limits, Rows, Step, tail};
use crate::identity::RowIds;
use crate::s3::{ErrorKind, Object};
use crate::schema;

/// A parsed footer takes about as much again as its bytes.
const FOOTER_COPIES: u64 = 2;
/// What an insert takes beside its columns: the schema and the padding of buffers. The encoder has the last word.
const MESSAGE_OVERHEAD: u64 = 8 << 20;

/// One object to read.
pub(super) struct Task {
    pub(super) table: Arc<str>,
    pub(super) encoder: Arc<Encoder>,
    pub(super) object: Object,
}

/// What comes of reading an object: any number of inserts, then one of the other two.
pub(super) enum Event {
    Insert(Insert),
    Finished { table: Arc<str> },
    Failed(ObjectFailure),
}

/// An object's footer, and the end of the file that came with it.
pub(super) struct Opened {
    pub(super) footer: Footer,
    pub(super) tail: Bytes,
}

/// Reads an object. One that is replaced before any row of it was sent is read in its new generation; later than that
/// it fails: two generations are never mixed.
pub(super) fn object(engine: Arc<Engine>, task: Task) -> impl Stream<Item = Event> + Send {
    let stream = async_stream::stream! {
        let mut generation = task.object.clone();
        let mut sent = false;
        for attempt in 1..=GENERATIONS {
            let mut rows = std::pin::pin!(rows(&engine, &task, generation.clone()));
            let error = loop {
                match rows.next().await {
                    Some(Ok(insert)) => {
                        sent = true;
                        yield Event::Insert(insert);
                    }
                    Some(Err(error)) => break error,
                    None => {
                        yield Event::Finished { table: Arc::clone(&task.table) };
                        return;
                    }
                }
            };
            let changed = matches!(&error, ObjectError::Store(e) if e.kind == ErrorKind::Changed);
            let error = if changed && !sent && attempt < GENERATIONS {
                match engine.bucket.head(&task.object.key).await {
                    Ok(newest) => {
                        generation = newest;
                        continue;
                    }
                    Err(error) => error.into(),
                }
            } else {
                error
            };
            yield Event::Failed(ObjectFailure { table: Arc::clone(&task.table), key: Arc::clone(&task.object.key), half_read: sent, error });
            return;
        }
    };
    Box::pin(stream)
}

/// The rows of one generation as messages.
fn rows<'a>(
    engine: &'a Arc<Engine>,
    task: &'a Task,
    object: Object,
) -> impl Stream<Item = Result<Insert, ObjectError>> + Send + 'a {
    async_stream::try_stream! {
        let Opened { footer, tail } = engine.open(&object).await?;
        schema::admits(task.encoder.schema(), &footer.fields()?)?;
        let mut work = engine.work(task, footer);
        let mut share = None;
        loop {
            let slot = engine.cpu.slot().await;
            let (returned, inserts, next) = engine.cpu.run(move || work.advance()).await?;
            work = returned;
            for insert in inserts {
                yield insert;
            }
            drop(slot);
            match next {
                Next::More => {}
                Next::Done => break,
                Next::Need { ranges, memory } => {
                    drop(share.take());
                    share = engine.input.take(memory).await;
                    let buffers = engine.fetch(&object, &tail, &ranges).await?;
                    work.fed = Some((ranges, buffers));
                }
            }
        }
    }
}

impl Engine {
    /// Reads and parses an object's footer.
    pub(super) async fn open(&self, object: &Object) -> Result<Opened, ObjectError> {
        let mut range = tail(object.size);
        let mut share = self
            .input
            .take((range.end - range.start) * FOOTER_COPIES)
            .await;
        let mut bytes = match self.tails.take(object) {
            Some(kept) => kept,
            None => self.bucket.read(object, range.clone()).await?,
        };
        range.start = range.end - bytes.len() as u64;
        let (size, max_memory) = (object.size, self.settings.max_memory);
        loop {
            let tail = bytes.clone();
            match self
                .cpu
                .run(move || Ok(Footer::parse(size, &tail, max_memory)?))
                .await?
            {
                FooterStep::Done(footer) => {
                    return Ok(Opened {
                        footer: *footer,
                        tail: bytes,
                    });
                }
                FooterStep::Need(whole) => {
                    drop(share.take());
                    share = self
                        .input
                        .take((whole.end - whole.start) * FOOTER_COPIES)
                        .await;
                    let front = self.bucket.read(object, whole.start..range.start).await?;
                    let mut joined = BytesMut::with_capacity(front.len() + bytes.len());
                    joined.extend_from_slice(&front);
                    joined.extend_from_slice(&bytes);
                    bytes = joined.freeze();
                    range = whole;
                }
            }
        }
    }

    fn work(&self, task: &Task, footer: Footer) -> Work {
        let batch_rows = usize::try_from(self.settings.rows_per_record.get()).unwrap_or(usize::MAX);
        Work {
            rows: Rows::new(
                footer,
                Limits {
                    batch_rows,
                    batch_bytes: self.plan.batch,
                    memory: self.plan.input,
                },
            ),
            shaper: Shaper::new(
                Arc::clone(task.encoder.schema()),
                RowIds::new(self.bucket.name(), &task.object.key),
            ),
            encoder: Arc::clone(&task.encoder),
            cut: Cut {
                rows: batch_rows,
                target: self.plan.batch,
                limit: MAX_INSERT_BYTES as u64 - MESSAGE_OVERHEAD,
            },
            fed: None,
        }
    }

    /// Ranges of an object, from the tail at hand where it holds them all.
    async fn fetch(
        &self,
        object: &Object,
        tail: &Bytes,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, ObjectError> {
        let start = object.size - tail.len() as u64;
        let slice = |range: &Range<u64>| {
            let from = usize::try_from(range.start.checked_sub(start)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(start)?).ok()?;
            (from <= to && to <= tail.len()).then(|| tail.slice(from..to))
        };
        match ranges.iter().map(slice).collect() {
            Some(slices) => Ok(slices),
            None => Ok(self.bucket.read_ranges(object, ranges).await?),
        }
    }
}

/// The CPU half of a reader: moves between the I/O side and the CPU threads.
struct Work {
    rows: Rows,
    shaper: Shaper,
    encoder: Arc<Encoder>,
    cut: Cut,
    fed: Option<(Vec<Range<u64>>, Vec<Bytes>)>,
}

/// What a piece of CPU work ended with.
enum Next {
    More,
    Need {
        ranges: Vec<Range<u64>>,
        memory: u64,
    },
    Done,
}

impl Work {
    /// Decodes and encodes until there is about one part's worth of messages, or bytes are needed.
    fn advance(mut self) -> Result<(Self, Vec<Insert>, Next), ObjectError> {
        if let Some((ranges, buffers)) = self.fed.take() {
            self.rows.feed(&ranges, &buffers)?;
        }
        let mut inserts = Vec::new();
        let mut bytes = 0;
        while bytes < self.cut.target {
            match self.rows.step()? {
                Step::Batch {
                    batch,
                    mut first_row,
                } => {
                    for part in cut(&batch, first_row, self.cut)? {
                        let insert = self.encoder.encode(&self.shaper.shape(&part, first_row)?)?;
                        first_row += part.num_rows() as u64;
                        bytes += insert.len() as u64;
                        inserts.push(insert);
                    }
                }
                Step::Need { ranges, memory } => {
                    return Ok((self, inserts, Next::Need { ranges, memory }));
                }
                Step::Done => return Ok((self, inserts, Next::Done)),
            }
        }
        Ok((self, inserts, Next::More))
    }
}
