//! Records and schemas as Arrow IPC streams, the way CloudQuery reads them: a table is a stream without a batch, an
//! insert is a stream with exactly one (of none its CLI dies, of a second it never hears).

use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{
    DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, StreamWriter,
    write_message,
};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;

use crate::table::key;

/// The longest insert message, counting [`ADDED_BYTES_PER_ROW`]. The Go SDK drops what is longer than 100 MiB, the
/// CLI refuses 200 MiB; the rest of the 100 is for the schema that the CLI widens.
pub const MAX_INSERT_BYTES: usize = 96 * 1024 * 1024;

/// What the CLI adds to each row before it passes it on: the time of the sync (8 bytes), the source's name and, when
/// asked for, the id of the run (36), with their offsets and validity bits.
pub const ADDED_BYTES_PER_ROW: usize = 128;

/// The end of an IPC stream: continuation marker, length zero (Arrow columnar format, "IPC Streaming Format").
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Why something has no wire form, or a wire form no meaning.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// A schema that does not say which table it is.
    #[error("the schema names no table (metadata key {})", key::TABLE_NAME)]
    NoTableName,
    /// A metadata value that is not the JSON list it should be.
    #[error("cannot read the schema metadata {key}")]
    Metadata {
        /// The metadata key.
        key: &'static str,
        /// What the JSON parser says.
        source: serde_json::Error,
    },
    /// Dictionaries travel in messages of their own and no destination takes them: unpack them first.
    #[error("column {column} is dictionary-encoded")]
    Dictionary {
        /// The column's name.
        column: String,
    },
    /// A batch that does not fit the schema it should be sent with.
    #[error("the batch does not fit the schema of table {table} at column {column}")]
    Mismatch {
        /// The table's name.
        table: String,
        /// The first column that differs, by name, or by position when one side has no such column.
        column: String,
    },
    /// The message would be dropped or refused on its way; split the batch.
    #[error("the batch takes {bytes} bytes as a message, more than {limit}")]
    TooLarge {
        /// Length of the message, with what the CLI will add.
        bytes: usize,
        /// [`MAX_INSERT_BYTES`].
        limit: usize,
    },
    /// The number of record batches in an insert is not one.
    #[error("an insert must hold one record batch, this one has {0}")]
    Batches(usize),
    /// Arrow cannot write or read it.
    #[error("arrow ipc")]
    Arrow(#[from] ArrowError),
}

/// One record batch, encoded and within the size limit; made by [`Encoder::encode`].
#[derive(Debug, Clone)]
pub struct Insert {
    table: std::sync::Arc<str>,
    rows: usize,
    record: Bytes,
}

impl Insert {
    /// The table that the rows belong to.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Length of the message in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.record.len()
    }

    /// Never true: the schema alone has bytes. A batch without rows is seen by [`Insert::rows`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record.is_empty()
    }

    /// The rows, decoded again; for those who look at an insert instead of sending it.
    pub fn batch(&self) -> Result<RecordBatch, WireError> {
        read_batch(&self.record)
    }

    pub(crate) fn into_record(self) -> Bytes {
        self.record
    }
}

/// Turns the batches of one table into inserts. Encoding is CPU work: call it off the I/O threads. One encoder may be
/// used by many threads at once.
#[derive(Debug, Clone)]
pub struct Encoder {
    table: std::sync::Arc<str>,
    schema: SchemaRef,
    /// The schema message; the same for every batch.
    head: Bytes,
}

impl Encoder {
    /// For batches with this schema, which is that of the table's migrate message ([`crate::Table::schema`]).
    pub fn new(schema: SchemaRef) -> Result<Self, WireError> {
        let table = schema
            .metadata()
            .get(key::TABLE_NAME)
            .filter(|name| !name.is_empty());
        let table = table.ok_or(WireError::NoTableName)?.as_str().into();
        if let Some(field) = schema
            .fields()
            .iter()
            .find(|f| has_dictionary(f.data_type()))
        {
            let column = field.name().clone();
            return Err(WireError::Dictionary { column });
        }
        let options = IpcWriteOptions::default();
        let message = IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut DictionaryTracker::new(false),
            &options,
        );
        let mut head = Vec::new();
        write_message(&mut head, message, &options)?;
        let head = head.into();
        Ok(Self {
            table,
            schema,
            head,
        })
    }

    /// The schema that every insert carries.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Encodes one batch. Its columns must have the schema's types in the schema's order; its own schema metadata
    /// does not matter.
    pub fn encode(&self, batch: &RecordBatch) -> Result<Insert, WireError> {
        self.check(batch)?;
        let options = IpcWriteOptions::default();
        let (_, message) = IpcDataGenerator::default().encode(
            batch,
            &mut DictionaryTracker::new(false),
            &options,
            &mut IpcWriteContext::default(),
        )?;
        // The message's header is padded to 64 bytes at most; one growth of the vector would copy megabytes.
        let frame = message.ipc_message.len() + message.arrow_data.len() + 2 * 64;
        let mut record = Vec::with_capacity(self.head.len() + frame + END_OF_STREAM.len());
        record.extend_from_slice(&self.head);
        write_message(&mut record, message, &options)?;
        record.extend_from_slice(&END_OF_STREAM);

        let added = batch.num_rows().saturating_mul(ADDED_BYTES_PER_ROW);
        let bytes = record.len().saturating_add(added);
        if bytes > MAX_INSERT_BYTES {
            let limit = MAX_INSERT_BYTES;
            return Err(WireError::TooLarge { bytes, limit });
        }
        Ok(Insert {
            table: std::sync::Arc::clone(&self.table),
            rows: batch.num_rows(),
            record: record.into(),
        })
    }

    fn check(&self, batch: &RecordBatch) -> Result<(), WireError> {
        let mismatch = |column: String| WireError::Mismatch {
            table: self.table.to_string(),
            column,
        };
        for (field, column) in self.schema.fields().iter().zip(batch.columns()) {
            let nulls = !field.is_nullable() && column.null_count() > 0;
            if nulls || !field.data_type().equals_datatype(column.data_type()) {
                return Err(mismatch(field.name().clone()));
            }
        }
        let (want, have) = (self.schema.fields().len(), batch.num_columns());
        if want != have {
            return Err(mismatch(format!("#{}", want.min(have) + 1)));
        }
        Ok(())
    }
}

/// A schema alone, as a migrate message and the list of tables carry it.
pub(crate) fn encode_schema(schema: &Schema) -> Result<Bytes, WireError> {
    let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
    writer.finish()?;
    Ok(writer.into_inner()?.into())
}

/// The one batch of an insert message.
pub(crate) fn read_batch(record: &Bytes) -> Result<RecordBatch, WireError> {
    let batches = StreamReader::try_new(record.as_ref(), None)?.collect::<Result<Vec<_>, _>>()?;
    match <[RecordBatch; 1]>::try_from(batches) {
        Ok([batch]) => Ok(batch),
        Err(others) => Err(WireError::Batches(others.len())),
    }
}

fn has_dictionary(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(..) => true,
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::FixedSizeList(f, _)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::Map(f, _)
        | DataType::RunEndEncoded(_, f) => has_dictionary(f.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_dictionary(f.data_type())),
        DataType::Union(fields, _) => fields.iter().any(|(_, f)| has_dictionary(f.data_type())),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
