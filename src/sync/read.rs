//! Reading one object: footer, row groups, rows, messages. The driver of the format's state machine.
//!
//! A reader holds a share for its footer until its end, at most one share of the input budget, and a slot of CPU work only
//! until the client has taken its result. It takes them in this order, so that readers never wait in a circle.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::{Bytes, BytesMut};
use cq_plugin::{Encoder, Insert, MAX_INSERT_BYTES, WireError};
use futures::{Stream, StreamExt};

use super::Engine;
use super::discover::GENERATIONS;
use crate::batch::{BatchError, Cut, Shaper, cut};
use crate::budget::Share;
use crate::error::{ObjectError, ObjectFailure, Scope};
use crate::format::parquet::{Footer, FooterStep, Limits, Rows, Step, tail};
use crate::identity::RowIds;
use crate::s3::{ErrorKind, Object};
use crate::schema;

/// What a footer takes of memory, as a multiple of its bytes: those, and the structures parsed from them.
const FOOTER_COPIES: u64 = 6;
/// What an insert takes beside its columns: the schema and the padding of buffers. The encoder has the last word.
const MESSAGE_OVERHEAD: u64 = 8 << 20;

/// One object to read.
pub(super) struct Task {
    pub(super) table: Arc<str>,
    pub(super) encoder: Arc<Encoder>,
    pub(super) object: Object,
}

/// What comes of reading an object: any number of inserts, then one of the others.
pub(super) enum Event {
    Insert(Insert),
    Finished {
        table: Arc<str>,
    },
    Failed(ObjectFailure),
    /// An error that every other object would meet too.
    Fatal(ObjectError),
}

/// An object's footer, and the end of the file that came with it.
pub(super) struct Opened {
    pub(super) footer: Footer,
    pub(super) tail: Bytes,
    /// Held as long as the footer is.
    pub(super) share: Option<Share>,
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
            if engine.ends_the_sync(&error).await {
                yield Event::Fatal(error);
            } else {
                let failure = ObjectFailure::new(engine.bucket(), &task.table, &task.object.key, &error);
                yield Event::Failed(if sent { failure.half_read() } else { failure });
            }
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
        let Opened { footer, tail, share: _open } = engine.open(&object).await?;
        let prepare = engine.work(task, footer);
        let mut work = engine.cpu.run(prepare).await?;
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
    /// Whether an object's error is one of the whole store, which then fails a listing as well.
    pub(super) async fn ends_the_sync(&self, error: &ObjectError) -> bool {
        error.scope() == Scope::Store && self.bucket.probe(&self.settings.prefix).await.is_err()
    }

    /// Reads and parses an object's footer.
    pub(super) async fn open(&self, object: &Object) -> Result<Opened, ObjectError> {
        let mut range = tail(object.size);
        let mut share = self
            .footers
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
                        share,
                    });
                }
                FooterStep::Need(whole) => {
                    drop(share.take());
                    share = self
                        .footers
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

    /// What makes the CPU half of a reader; itself CPU work.
    fn work(
        &self,
        task: &Task,
        footer: Footer,
    ) -> impl FnOnce() -> Result<Work, ObjectError> + Send + 'static {
        let encoder = Arc::clone(&task.encoder);
        let ids = RowIds::new(self.bucket.name(), &task.object.key);
        let batch_rows = usize::try_from(self.settings.rows_per_record.get()).unwrap_or(usize::MAX);
        let plan = self.plan;
        move || {
            let fields = footer.fields()?;
            schema::admits(encoder.schema(), &fields)?;
            Ok(Work {
                shaper: Shaper::new(Arc::clone(encoder.schema()), &fields, ids),
                rows: Rows::new(
                    footer,
                    Limits {
                        batch_rows,
                        batch_bytes: plan.batch,
                        memory: plan.input,
                    },
                ),
                encoder,
                cut: Cut {
                    rows: batch_rows,
                    target: plan.batch,
                    limit: MAX_INSERT_BYTES as u64 - MESSAGE_OVERHEAD,
                },
                fed: None,
                parts: VecDeque::new(),
            })
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
    /// Parts of the batch at hand that are not encoded yet, with the numbers of their first rows.
    parts: VecDeque<(RecordBatch, u64)>,
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
        let mut inserts: Vec<Insert> = Vec::new();
        let enough = |inserts: &[Insert]| {
            let bytes: usize = inserts.iter().map(Insert::len).sum();
            bytes as u64 >= self.cut.target
        };
        while !enough(&inserts) {
            if let Some((part, first_row)) = self.parts.pop_front() {
                self.encode(&part, first_row, &mut inserts)?;
                continue;
            }
            match self.rows.step()? {
                Step::Batch {
                    batch,
                    mut first_row,
                } => {
                    for part in cut(&batch, first_row, self.cut)? {
                        let rows = part.num_rows() as u64;
                        self.parts.push_back((part, first_row));
                        first_row += rows;
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

    /// One message, or several where the table's columns make more of the rows than was measured.
    fn encode(
        &self,
        part: &RecordBatch,
        first_row: u64,
        inserts: &mut Vec<Insert>,
    ) -> Result<(), ObjectError> {
        match self.encoder.encode(&self.shaper.shape(part, first_row)?) {
            Ok(insert) => inserts.push(insert),
            Err(WireError::TooLarge { .. }) if part.num_rows() > 1 => {
                let middle = part.num_rows() / 2;
                self.encode(&part.slice(0, middle), first_row, inserts)?;
                let rest = part.slice(middle, part.num_rows() - middle);
                self.encode(&rest, first_row + middle as u64, inserts)?;
            }
            Err(WireError::TooLarge { bytes, limit }) => Err(BatchError::RowTooLarge {
                row: first_row,
                bytes: bytes as u64,
                limit: limit as u64,
            })?,
            Err(error) => Err(error)?,
        }
        Ok(())
    }
}
