//! How many bytes rows take in their final types, and where to cut a batch so that every part stays within a limit.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;

use super::BatchError;

/// Bytes that a value of variable length takes beside its own (a 32-bit offset).
const OFFSET_BYTES: u64 = 4;
/// What CloudQuery's own columns add to a row: the id and the empty parent id.
const ID_BYTES: u64 = 32;

/// Limits of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// Most rows.
    pub rows: usize,
    /// Bytes to stay under as long as more than one row is left to cut.
    pub target: u64,
    /// Bytes that a single row may take.
    pub limit: u64,
}

/// Cuts a batch into parts of at most `cut.rows` rows and `cut.target` bytes, in order, without loss.
/// A row larger than the target is a part of its own; one larger than the limit is an error.
pub fn cut(batch: &RecordBatch, first_row: u64, cut: Cut) -> Result<Vec<RecordBatch>, BatchError> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < batch.num_rows() {
        let rows = cut.rows.max(1).min(batch.num_rows() - start);
        halve(
            &batch.slice(start, rows),
            first_row + start as u64,
            cut,
            &mut parts,
        )?;
        start += rows;
    }
    Ok(parts)
}

fn halve(
    batch: &RecordBatch,
    first_row: u64,
    cut: Cut,
    parts: &mut Vec<RecordBatch>,
) -> Result<(), BatchError> {
    let rows = batch.num_rows();
    let bytes = ID_BYTES * rows as u64 + batch.columns().iter().map(bytes).sum::<u64>();
    if bytes <= cut.target || (rows == 1 && bytes <= cut.limit) {
        parts.push(batch.clone());
        return Ok(());
    }
    if rows == 1 {
        return Err(BatchError::RowTooLarge {
            row: first_row,
            bytes,
            limit: cut.limit,
        });
    }
    let middle = rows / 2;
    halve(&batch.slice(0, middle), first_row, cut, parts)?;
    halve(
        &batch.slice(middle, rows - middle),
        first_row + middle as u64,
        cut,
        parts,
    )
}

/// Bytes of an array's values when no longer views, without padding.
fn bytes(array: &ArrayRef) -> u64 {
    let rows = array.len() as u64;
    let validity = rows.div_ceil(8);
    validity
        + match array.data_type() {
            DataType::Utf8View => {
                rows * OFFSET_BYTES + array.as_string_view().lengths().map(u64::from).sum::<u64>()
            }
            DataType::BinaryView => {
                rows * OFFSET_BYTES + array.as_binary_view().lengths().map(u64::from).sum::<u64>()
            }
            DataType::Struct(_) => array.as_struct().columns().iter().map(bytes).sum(),
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                let (first, last) = bounds(list.offsets());
                rows * OFFSET_BYTES + bytes(&list.values().slice(first, last - first))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let (first, last) = bounds(map.offsets());
                rows * OFFSET_BYTES
                    + map
                        .entries()
                        .columns()
                        .iter()
                        .map(|column| bytes(&column.slice(first, last - first)))
                        .sum::<u64>()
            }
            DataType::FixedSizeBinary(width) => {
                rows * (OFFSET_BYTES + u64::try_from(*width).unwrap_or(0))
            }
            // Becomes text of up to this many digits.
            DataType::Decimal256(..) => rows * 80,
            DataType::Null => rows * OFFSET_BYTES,
            plain => rows * plain.primitive_width().unwrap_or(1) as u64,
        }
}

/// First and last position in the values that offsets speak of.
pub(super) fn bounds(offsets: &OffsetBuffer<i32>) -> (usize, usize) {
    let at = |offset: i32| usize::try_from(offset).unwrap_or(0);
    (at(offsets.first()), at(offsets.last()))
}
