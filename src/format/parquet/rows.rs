//! The rows of a file: a state machine over its row groups that asks for column chunks and gives record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{CastOptions, cast_with_options};
use bytes::Bytes;
use parquet::DecodeResult;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::arrow::push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder};
use parquet::file::metadata::{ColumnChunkMetaData, RowGroupMetaData};

use super::Footer;
use super::guard::{self, library};
use crate::format::FormatError;

/// Two levels of 16 bits stand beside each value of a repeated column.
const LEVEL_BYTES: u64 = 4;

/// What to do next.
#[derive(Debug)]
pub enum Step {
    /// Fetch these ranges, holding `memory` bytes of the budget until the next `Need` or `Done`, and [`Rows::feed`] them.
    Need {
        /// Byte ranges of the file, one a column.
        ranges: Vec<Range<u64>>,
        /// Bytes of memory that reading this row group takes in all.
        memory: u64,
    },
    /// Some rows, in order.
    Batch {
        /// The rows, text and binary as views.
        batch: RecordBatch,
        /// Number of the first of them in the file, from 0.
        first_row: u64,
    },
    /// No more rows.
    Done,
}

/// Bounds of one reader.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most rows of a batch.
    pub batch_rows: usize,
    /// Bytes that the fixed-width columns of a batch may take: keeps batches of wide tables small.
    pub batch_bytes: u64,
    /// Bytes of memory that one row group may take.
    pub memory: u64,
}

/// Reads a file's rows. Call [`Rows::step`] until [`Step::Done`].
#[derive(Debug)]
pub struct Rows {
    footer: Footer,
    mask: ProjectionMask,
    limits: Limits,
    next_group: usize,
    group: Option<Group>,
    row: u64,
}

/// The row group being read.
#[derive(Debug)]
struct Group {
    index: usize,
    decoder: ParquetPushDecoder,
    /// The same rows of the columns with INT96 timestamps, in microseconds.
    wide: Option<ParquetPushDecoder>,
    rows_left: u64,
}

impl Group {
    fn name(&self) -> String {
        format!("row group {}", self.index)
    }
}

impl Rows {
    /// Rows of the file that `footer` opens.
    #[must_use]
    pub fn new(footer: Footer, limits: Limits) -> Self {
        let roots = footer.file.columns.iter().map(|column| column.root);
        let mask = ProjectionMask::roots(footer.file.reader.parquet_schema(), roots);
        Self {
            footer,
            mask,
            limits,
            next_group: 0,
            group: None,
            row: 0,
        }
    }

    /// Takes the next step; CPU work of at most one batch.
    pub fn step(&mut self) -> Result<Step, FormatError> {
        loop {
            let Some(mut group) = self.group.take() else {
                return self.start_group();
            };
            match library(&group.name(), || group.decoder.try_decode())? {
                DecodeResult::Data(batch) => {
                    if let Some(wide) = &mut group.wide {
                        check_range(&batch, wide)?;
                    }
                    let rows = batch.num_rows() as u64;
                    group.rows_left = group
                        .rows_left
                        .checked_sub(rows)
                        .ok_or_else(|| miscounted(group.index))?;
                    self.group = Some(group);
                    let first_row = self.row;
                    self.row += rows;
                    if rows > 0 {
                        return Ok(Step::Batch { batch, first_row });
                    }
                }
                DecodeResult::Finished if group.rows_left == 0 => {}
                DecodeResult::Finished => return Err(miscounted(group.index)),
                DecodeResult::NeedsData(_) => {
                    return Err(FormatError::malformed(format!(
                        "row group {} has data outside its columns",
                        group.index
                    )));
                }
            }
        }
    }

    /// Hands over the bytes of the ranges that the last step asked for, one buffer a range.
    pub fn feed(&mut self, ranges: &[Range<u64>], buffers: &[Bytes]) -> Result<(), FormatError> {
        let Some(group) = &mut self.group else {
            return Err(FormatError::malformed("bytes without a request"));
        };
        let fits =
            |(range, buffer): (&Range<u64>, &Bytes)| range.end - range.start == buffer.len() as u64;
        if ranges.len() != buffers.len() || !ranges.iter().zip(buffers).all(fits) {
            return Err(FormatError::malformed("fewer bytes than asked for"));
        }
        let meta = self.footer.file.reader.metadata().row_group(group.index);
        let mut resident = 0;
        for (chunk, buffer) in projected(meta, &self.mask).zip(buffers) {
            resident += buffer.len() as u64 + guard::check_pages(chunk, buffer)?;
        }
        if resident > self.limits.memory {
            return Err(too_large(group.index, resident, self.limits.memory));
        }
        let name = group.name();
        for decoder in [Some(&mut group.decoder), group.wide.as_mut()]
            .into_iter()
            .flatten()
        {
            library(&name, || {
                decoder.push_ranges(ranges.to_vec(), buffers.to_vec())
            })?;
        }
        Ok(())
    }

    /// Opens the next row group that has rows, or ends.
    fn start_group(&mut self) -> Result<Step, FormatError> {
        let metadata = Arc::clone(self.footer.file.reader.metadata());
        while let Some(meta) = metadata.row_groups().get(self.next_group) {
            let index = self.next_group;
            self.next_group += 1;
            let rows_left = positive(meta.num_rows());
            if rows_left == 0 {
                continue;
            }
            let memory = self.memory(index, meta)?;
            let batch_rows = self.batch_rows(meta);
            let decoder = |reader: &ArrowReaderMetadata, mask| {
                let builder = ParquetPushDecoderBuilder::new_with_metadata(reader.clone())
                    .with_row_groups(vec![index])
                    .with_projection(mask)
                    .with_batch_size(batch_rows);
                library("the schema", || builder.build())
            };
            let file = &self.footer.file;
            let wide = file.wide.as_ref().map(|wide| {
                let roots = wide.roots.iter().copied();
                decoder(
                    &wide.reader,
                    ProjectionMask::roots(wide.reader.parquet_schema(), roots),
                )
            });
            let mut group = Group {
                index,
                decoder: decoder(&file.reader, self.mask.clone())?,
                wide: wide.transpose()?,
                rows_left,
            };
            return match library(&group.name(), || group.decoder.try_decode())? {
                DecodeResult::NeedsData(ranges) => {
                    self.group = Some(group);
                    Ok(Step::Need { ranges, memory })
                }
                DecodeResult::Data(_) | DecodeResult::Finished => Err(FormatError::unsupported(
                    "it has no column beside those that CloudQuery owns",
                )),
            };
        }
        Ok(Step::Done)
    }

    /// Rows a batch: fewer than asked for when rows are wide or hold large values.
    fn batch_rows(&self, group: &RowGroupMetaData) -> usize {
        // Views keep the pages of their text in memory: a batch of large values holds as many bytes of them.
        let unpacked = self.sum(group, |chunk| positive(chunk.uncompressed_size()));
        let row = self
            .sum(group, width)
            .max(unpacked / positive(group.num_rows()).max(1));
        let fitting = usize::try_from(self.limits.batch_bytes / row.max(1)).unwrap_or(usize::MAX);
        self.limits.batch_rows.min(fitting).max(1)
    }

    /// Memory that a row group takes, or the reason why it does not fit the budget at all.
    fn memory(&self, index: usize, group: &RowGroupMetaData) -> Result<u64, FormatError> {
        let sum = |of| self.sum(group, of);
        let packed = sum(|chunk| positive(chunk.compressed_size()));
        let unpacked = sum(|chunk| positive(chunk.uncompressed_size()));
        // Rows of repeated columns are not bounded by a batch: one row may hold all values of the group.
        let repeated = sum(|chunk| match chunk.column_descr().max_rep_level() {
            0 => 0,
            _ => positive(chunk.num_values()).saturating_mul(LEVEL_BYTES + width(chunk)),
        });
        let least = packed.saturating_add(repeated).max(sum(width));
        if least > self.limits.memory {
            return Err(too_large(index, least, self.limits.memory));
        }
        Ok(least.saturating_add(unpacked).min(self.limits.memory))
    }

    /// Sum over the columns that are read; what a footer claims may be beyond all bounds.
    fn sum(&self, group: &RowGroupMetaData, of: fn(&ColumnChunkMetaData) -> u64) -> u64 {
        let parts = projected(group, &self.mask).map(of);
        parts.fold(0, u64::saturating_add)
    }
}

/// Refuses a batch with a timestamp that nanoseconds cannot hold, which is seen in the next batch of `wide`.
fn check_range(batch: &RecordBatch, wide: &mut ParquetPushDecoder) -> Result<(), FormatError> {
    let DecodeResult::Data(wide) = library("an INT96 column", || wide.try_decode())? else {
        return Err(FormatError::malformed(
            "its INT96 columns have other rows than the rest",
        ));
    };
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    for (column, field) in wide.columns().iter().zip(wide.schema().fields()) {
        let Some(narrow) = batch.column_by_name(field.name()) else {
            continue;
        };
        cast_with_options(column, narrow.data_type(), &strict).map_err(|_| {
            FormatError::unsupported(format!(
                "column {:?} has an INT96 timestamp outside the years 1677 to 2262, which nanoseconds cannot hold",
                field.name()
            ))
        })?;
    }
    Ok(())
}

fn too_large(group: usize, needed: u64, allowed: u64) -> FormatError {
    FormatError::too_large(format!(
        "row group {group} takes {needed} bytes of memory to read, more than the {allowed} that max_memory leaves for one"
    ))
}

fn miscounted(group: usize) -> FormatError {
    FormatError::malformed(format!(
        "row group {group} does not hold as many rows as the footer says"
    ))
}

fn positive(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn projected<'a>(
    group: &'a RowGroupMetaData,
    mask: &'a ProjectionMask,
) -> impl Iterator<Item = &'a ColumnChunkMetaData> {
    group
        .columns()
        .iter()
        .enumerate()
        .filter(|(leaf, _)| mask.leaf_included(*leaf))
        .map(|(_, chunk)| chunk)
}

/// Bytes of a decoded value; a view of text or binary takes 16.
fn width(chunk: &ColumnChunkMetaData) -> u64 {
    use parquet::basic::Type;
    match chunk.column_type() {
        Type::BOOLEAN => 1,
        Type::INT32 | Type::FLOAT => 4,
        Type::INT64 | Type::DOUBLE | Type::INT96 => 8,
        Type::BYTE_ARRAY => 16,
        Type::FIXED_LEN_BYTE_ARRAY => positive(i64::from(chunk.column_descr().type_length())),
    }
}
