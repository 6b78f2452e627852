//! Parquet files for tests and the quickstart.

#![expect(clippy::expect_used, reason = "a test without its file has failed")]

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

/// A Parquet file of these columns, all nullable.
pub(crate) fn parquet(columns: Vec<(&str, ArrayRef)>) -> Bytes {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    write(
        &RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length"),
        WriterProperties::default(),
    )
}

/// A Parquet file of one batch.
pub(crate) fn write(batch: &RecordBatch, properties: WriterProperties) -> Bytes {
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties))
        .expect("types that Parquet has");
    writer.write(batch).expect("writing to memory");
    writer.close().expect("writing to memory");
    file.into()
}

/// A column of numbers.
pub(crate) fn ints(values: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values))
}

/// A column of text.
pub(crate) fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}
