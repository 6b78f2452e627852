//! One batch, the whole schema, the limit: read back with Arrow's own stream reader.

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, DictionaryArray, Int64Array, ListArray, StringArray, StructArray,
    UInt8Array,
};
use arrow::datatypes::{Field, Int32Type};
use arrow::ipc::reader::StreamReader;

use super::*;
use crate::{Column, Table, id_column};

fn table(columns: Vec<Column>) -> SchemaRef {
    Table::new("t", columns).schema()
}

fn plain(name: &str, data_type: DataType) -> Column {
    Column::new(Field::new(name, data_type, true))
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    let bare = Schema::new(schema.fields().clone());
    RecordBatch::try_new(Arc::new(bare), columns).unwrap()
}

fn read(bytes: &Bytes) -> (SchemaRef, Vec<RecordBatch>) {
    let mut cursor = Cursor::new(bytes);
    let reader = StreamReader::try_new(&mut cursor, None).unwrap();
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>().unwrap();
    assert_eq!(
        cursor.position(),
        bytes.len() as u64,
        "nothing after the end of the stream"
    );
    (schema, batches)
}

#[test]
fn an_insert_is_the_schema_and_one_batch() {
    let lists = ListArray::from_iter_primitive::<arrow::datatypes::Int64Type, _, _>([
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
    ]);
    let strings: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("")]));
    let json = crate::extension::Extension::Json.field("j", true);
    let nested = StructArray::from(vec![
        (
            Arc::new(Field::new("s", DataType::Utf8, true)),
            Arc::clone(&strings),
        ),
        (
            Arc::new(json),
            Arc::new(BinaryArray::from(vec![Some(&b"{}"[..]), None, None])) as ArrayRef,
        ),
    ]);
    let schema = table(vec![
        plain("n", DataType::Int64),
        plain("l", lists.data_type().clone()),
        plain("s", nested.data_type().clone()),
    ]);
    let numbers = Int64Array::from(vec![1, 2, 3]);
    let batch = batch(
        &schema,
        vec![Arc::new(numbers), Arc::new(lists), Arc::new(nested)],
    );
    let encoder = Encoder::new(Arc::clone(&schema)).unwrap();

    for (batch, rows) in [
        (batch.clone(), 3),
        (batch.slice(1, 2), 2),
        (batch.slice(0, 0), 0),
    ] {
        let insert = encoder.encode(&batch).unwrap();
        assert_eq!((insert.table(), insert.rows()), ("t", rows));
        assert_eq!(insert.len(), insert.record.len());
        let (got, batches) = read(&insert.record);
        assert_eq!(got, schema, "fields and metadata as in the migrate message");
        assert_eq!(batches.len(), 1, "also without rows");
        assert_eq!(batches[0].columns(), batch.columns());
    }
}

#[test]
fn the_same_bytes_as_the_stream_writer() {
    let schema = table(vec![plain("n", DataType::Int64)]);
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).unwrap();
    let mut writer = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let insert = Encoder::new(schema).unwrap().encode(&batch).unwrap();
    assert_eq!(insert.record, writer.into_inner().unwrap());
}

#[test]
fn a_schema_is_a_stream_without_batches() {
    let schema = table(vec![id_column()]);
    let (got, batches) = read(&encode_schema(&schema).unwrap());
    assert_eq!((got, batches.len()), (schema, 0));
}

#[test]
fn what_would_be_dropped_on_the_way_is_refused() {
    let schema = table(vec![plain("b", DataType::UInt8)]);
    let encoder = Encoder::new(Arc::clone(&schema)).unwrap();
    let rows = MAX_INSERT_BYTES / (ADDED_BYTES_PER_ROW + 1);
    let column: ArrayRef = Arc::new(UInt8Array::from(vec![0; rows + 1]));
    let whole = batch(&schema, vec![column]);
    // Header and padding take some of the limit as well.
    encoder.encode(&whole.slice(0, rows - 16)).unwrap();
    let error = encoder.encode(&whole).unwrap_err();
    assert!(
        matches!(error, WireError::TooLarge { bytes, limit: MAX_INSERT_BYTES } if bytes > MAX_INSERT_BYTES),
        "{error}"
    );
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let not_null = Column::new(Field::new("n", DataType::Int64, false));
    let encoder = Encoder::new(table(vec![not_null])).unwrap();
    let numbers = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let mismatch = |columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        match encoder.encode(&batch).unwrap_err() {
            WireError::Mismatch { table, column } => (table, column),
            other => panic!("{other}"),
        }
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let n = || ("t".to_owned(), "n".to_owned());
    assert_eq!(mismatch(vec![("n", text)]), n());
    assert_eq!(
        mismatch(vec![("n", numbers(vec![None]))]),
        n(),
        "a null in a column without"
    );
    let two = vec![("n", numbers(vec![Some(1)])), ("m", numbers(vec![None]))];
    assert_eq!(mismatch(two), ("t".to_owned(), "#2".to_owned()));
}

#[test]
fn what_has_no_wire_form() {
    let unnamed = Arc::new(Schema::new(Vec::<Field>::new()));
    assert!(matches!(Encoder::new(unnamed), Err(WireError::NoTableName)));

    let dictionary: DictionaryArray<Int32Type> = vec!["a"].into_iter().collect();
    let item = Arc::new(Field::new("item", dictionary.data_type().clone(), true));
    let error = Encoder::new(table(vec![plain("d", DataType::List(item))])).unwrap_err();
    assert_eq!(error.to_string(), "column d is dictionary-encoded");
}
