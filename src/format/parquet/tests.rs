use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampNanosecondType};
use bytes::Bytes;
use cq_plugin::extension::Extension;
use parquet::arrow::ArrowWriter;
use parquet::basic::{
    BrotliLevel, Compression, GzipLevel, LogicalType, Repetition, Type as Physical, ZstdLevel,
};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use proptest::prelude::*;

use super::*;
use crate::format::FormatErrorKind;

const MEMORY: u64 = 64 << 20;

fn limits(batch_rows: usize) -> Limits {
    Limits {
        batch_rows,
        batch_bytes: 1 << 20,
        memory: MEMORY,
    }
}

fn write(batches: &[RecordBatch], properties: WriterProperties) -> Bytes {
    let mut file = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut file, batches[0].schema(), Some(properties)).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    writer.close().unwrap();
    file.into()
}

fn numbers(count: i64) -> RecordBatch {
    let n: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    let s: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..count).map(|i| format!("row {i}")),
    ));
    RecordBatch::try_from_iter([("n", n), ("s", s)]).unwrap()
}

fn open(file: &Bytes) -> Result<Footer, FormatError> {
    let size = file.len() as u64;
    match Footer::parse(size, file, MEMORY)? {
        FooterStep::Done(footer) => Ok(*footer),
        FooterStep::Need(range) => panic!("the whole file is there, yet it needs {range:?}"),
    }
}

fn slice(file: &Bytes, range: &Range<u64>) -> Bytes {
    file.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
}

/// The ranges of each request.
type Plan = Vec<Vec<Range<u64>>>;

/// Reads a whole file the way a sync does; returns the batches and the I/O plan.
fn read(file: &Bytes, batch_rows: usize) -> Result<(Vec<RecordBatch>, Plan), FormatError> {
    let mut rows = Rows::new(open(file)?, limits(batch_rows));
    let (mut batches, mut plan, mut next_row) = (Vec::new(), Vec::new(), 0);
    loop {
        match rows.step()? {
            Step::Need { ranges, memory } => {
                assert!(memory <= MEMORY);
                let buffers: Vec<_> = ranges.iter().map(|range| slice(file, range)).collect();
                rows.feed(&ranges, &buffers)?;
                plan.push(ranges);
            }
            Step::Batch { batch, first_row } => {
                assert_eq!(first_row, next_row);
                next_row += batch.num_rows() as u64;
                batches.push(batch);
            }
            Step::Done => return Ok((batches, plan)),
        }
    }
}

#[test]
fn a_footer_is_found_from_the_tail_or_asks_for_more() {
    let file = write(&[numbers(1000)], WriterProperties::default());
    let size = file.len() as u64;
    let footer_len = u64::from(u32::from_le_bytes(
        file[file.len() - 8..file.len() - 4].try_into().unwrap(),
    ));
    let tail = |len: u64| slice(&file, &(size - len..size));
    let FooterStep::Need(range) = Footer::parse(size, &tail(100), MEMORY).unwrap() else {
        panic!("100 bytes do not do")
    };
    assert_eq!(range, size - footer_len - 8..size);
    let FooterStep::Done(footer) = Footer::parse(size, &tail(footer_len + 8), MEMORY).unwrap()
    else {
        panic!("that is all of it")
    };
    let names: Vec<_> = footer
        .fields()
        .unwrap()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    assert_eq!(names, ["n", "s"]);
}

#[test]
fn the_first_tail_is_a_thousandth_within_bounds() {
    for (size, len) in [
        (0, 0),
        (10, 10),
        (100_000, 65_536),
        (100 << 20, 104_857),
        (10 << 30, 524_288),
    ] {
        let range = tail(size);
        assert_eq!((range.end - range.start, range.end), (len, size));
    }
}

#[test]
fn rows_come_group_by_group_one_range_a_column() {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(400))
        .build();
    let (batches, plan) = read(&write(&[numbers(1000)], properties), 150).unwrap();
    assert_eq!(
        batches
            .iter()
            .map(RecordBatch::num_rows)
            .collect::<Vec<_>>(),
        [150, 150, 100, 150, 150, 100, 150, 50]
    );
    assert_eq!(plan.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
    let ns: Vec<_> = batches
        .iter()
        .flat_map(|b| b.column(0).as_primitive::<Int64Type>().values().to_vec())
        .collect();
    assert!(ns.into_iter().eq(0..1000));
    assert_eq!(
        batches[3].column(1).as_string_view().value(0),
        "row 400",
        "text is decoded as views"
    );
}

#[test]
fn a_file_without_rows_is_read_without_a_request() {
    let empty = numbers(0);
    let (batches, plan) = read(&write(&[empty], WriterProperties::default()), 10).unwrap();
    assert!(batches.is_empty() && plan.is_empty());
}

/// "A `_cq_*` column found in a file never shadows ours." (semantics 9)
#[test]
fn cloudquerys_columns_in_a_file_are_neither_shown_nor_fetched() {
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let ns: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("_cq_id", ids), ("n", ns)]).unwrap();
    let file = write(&[batch], WriterProperties::default());
    let footer = open(&file).unwrap();
    assert_eq!(footer.reserved().collect::<Vec<_>>(), ["_cq_id"]);
    assert_eq!(footer.fields().unwrap().len(), 1);
    let (batches, plan) = read(&file, 10).unwrap();
    assert_eq!(batches[0].num_columns(), 1);
    assert_eq!(plan[0].len(), 1);
}

/// "int96 is UTC nanoseconds", UUID and JSON are recognised (semantics 10)
#[test]
fn parquets_own_types_are_recognised() {
    let leaf = |name: &'static str, physical| {
        Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL)
    };
    let uuid = leaf("u", Physical::FIXED_LEN_BYTE_ARRAY)
        .with_length(16)
        .with_logical_type(Some(LogicalType::Uuid));
    let json = leaf("j", Physical::BYTE_ARRAY).with_logical_type(Some(LogicalType::Json));
    let columns =
        [leaf("t", Physical::INT96), uuid, json].map(|column| Arc::new(column.build().unwrap()));
    let schema = Type::group_type_builder("root")
        .with_fields(columns.to_vec())
        .build()
        .unwrap();
    let mut file = Vec::new();
    SerializedFileWriter::new(&mut file, Arc::new(schema), Arc::default())
        .unwrap()
        .close()
        .unwrap();
    let fields = open(&file.into()).unwrap().fields().unwrap();
    assert_eq!(
        *fields[0].data_type(),
        DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()))
    );
    assert_eq!(Extension::of(&fields[1]), Some(Extension::Uuid));
    assert_eq!(Extension::of(&fields[2]), Some(Extension::Json));
}

/// INT96 values beyond what nanoseconds hold are an error: the library would let them wrap to another century.
#[test]
fn int96_timestamps_out_of_range_are_refused() {
    use parquet::data_type::{Int96, Int96Type};
    let file = |days: &[u32]| -> Bytes {
        let column = Type::primitive_type_builder("t", Physical::INT96)
            .with_repetition(Repetition::REQUIRED)
            .build()
            .unwrap();
        let schema = Type::group_type_builder("root")
            .with_fields(vec![Arc::new(column)])
            .build()
            .unwrap();
        let mut file = Vec::new();
        let mut writer =
            SerializedFileWriter::new(&mut file, Arc::new(schema), Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<_> = days
            .iter()
            .map(|day| {
                let mut value = Int96::new();
                value.set_data(1, 0, *day);
                value
            })
            .collect();
        column
            .typed::<Int96Type>()
            .write_batch(&values, None, None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        file.into()
    };
    // Julian days: 2440588 is 1970-01-01, 5373484 is 9999-12-31.
    let (batches, _) = read(&file(&[2_440_588, 2_440_589]), 1).unwrap();
    let times: Vec<_> = batches
        .iter()
        .flat_map(|b| {
            b.column(0)
                .as_primitive::<TimestampNanosecondType>()
                .values()
                .to_vec()
        })
        .collect();
    assert_eq!(times, [1, 86_400_000_000_001]);
    let text = read(&file(&[2_440_588, 5_373_484]), 1)
        .unwrap_err()
        .to_string();
    assert!(text.contains("\"t\"") && text.contains("INT96"), "{text}");
}

#[test]
fn what_is_not_parquet_says_so() {
    for (bytes, part) in [
        (&b""[..], "not a Parquet file"),
        (b"hello", "not a Parquet file"),
        (b"id,name\n1,one\n2,two\n", "not a Parquet file"),
        (b"PAR1\xff\xff\xff\x7fPAR1", "more than the file has"),
        (b"PAR1....\x04\0\0\0PARE", "encrypted"),
        (b"PAR1\0\0\0\0\0\0\0\x04\0\0\0PAR1", "footer"),
    ] {
        let text = open(&Bytes::from_static(bytes)).unwrap_err().to_string();
        assert!(text.contains(part), "{bytes:?}: {text}");
    }
    let huge = Footer::parse(10 << 30, b"\0\0\0\x40PAR1", MEMORY).unwrap_err();
    assert_eq!(huge.kind, FormatErrorKind::TooLarge);
}

#[test]
fn a_truncated_file_is_an_error() {
    let file = write(&[numbers(1000)], WriterProperties::default());
    for keep in [file.len() - 1, file.len() / 2, 12, 4] {
        assert!(read(&file.slice(..keep), 100).is_err(), "{keep} bytes");
    }
    // A hole in the middle: the footer is whole, the data is not.
    let mut holed = file[..100].to_vec();
    holed.extend(&file[300..]);
    assert!(read(&holed.into(), 100).is_err());
}

/// "It never mixes": bytes of another length than asked for are refused.
#[test]
fn short_buffers_are_refused() {
    let file = write(&[numbers(10)], WriterProperties::default());
    let mut rows = Rows::new(open(&file).unwrap(), limits(10));
    let Step::Need { ranges, .. } = rows.step().unwrap() else {
        panic!("it needs its columns")
    };
    let short: Vec<_> = ranges
        .iter()
        .map(|range| slice(&file, &(range.start..range.end - 1)))
        .collect();
    assert!(rows.feed(&ranges, &short).is_err());
}

#[test]
fn two_columns_of_one_name_are_refused() {
    let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let schema = arrow::datatypes::Schema::new(vec![
        arrow::datatypes::Field::new(
            "a",
            DataType::Int32,
            false
        );
        2
    ]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![Arc::clone(&column), column]).unwrap();
    let text = open(&write(&[batch], WriterProperties::default()))
        .unwrap_err()
        .to_string();
    assert!(text.contains("two columns named \"a\""), "{text}");
}

#[test]
fn two_members_of_one_name_are_refused() {
    let member = || arrow::datatypes::Field::new("m", DataType::Int32, false);
    let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let members = arrow::datatypes::Fields::from(vec![member(), member()]);
    let twice = arrow::array::StructArray::new(members, vec![Arc::clone(&column), column], None);
    let batch = RecordBatch::try_from_iter([("s", Arc::new(twice) as ArrayRef)]).unwrap();
    let text = open(&write(&[batch], WriterProperties::default()))
        .unwrap_err()
        .to_string();
    assert!(text.contains("two columns named \"m\""), "{text}");
}

/// "A hostile file (absurd metadata sizes, deep nesting, decompression bombs): an error under the memory budget".
mod hostile {
    use super::*;

    fn nested(depth: usize) -> Bytes {
        let mut inner = Arc::new(
            Type::primitive_type_builder("x", Physical::INT32)
                .with_repetition(Repetition::OPTIONAL)
                .build()
                .unwrap(),
        );
        for _ in 0..depth {
            inner = Arc::new(
                Type::group_type_builder("g")
                    .with_repetition(Repetition::OPTIONAL)
                    .with_fields(vec![inner])
                    .build()
                    .unwrap(),
            );
        }
        let root = Type::group_type_builder("root")
            .with_fields(vec![inner])
            .build()
            .unwrap();
        let mut file = Vec::new();
        SerializedFileWriter::new(&mut file, Arc::new(root), Arc::default())
            .unwrap()
            .close()
            .unwrap();
        file.into()
    }

    #[test]
    fn deep_schemas_are_refused() {
        assert!(open(&nested(20)).is_ok());
        let error = open(&nested(200)).unwrap_err();
        assert_eq!(error.kind, FormatErrorKind::Unsupported);
        assert!(error.to_string().contains("nested deeper"), "{error}");
    }

    /// A page of zeros that unpacks to a hundred times what its header declares: the header's size is patched down.
    #[test]
    fn a_page_that_unpacks_to_more_than_declared_is_refused() {
        let zeros: ArrayRef = Arc::new(Int64Array::from(vec![0; 1_000_000]));
        let batch = RecordBatch::try_from_iter([("z", zeros)]).unwrap();
        for codec in [
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
        ] {
            let properties = WriterProperties::builder()
                .set_compression(codec)
                .set_dictionary_enabled(false)
                .set_statistics_enabled(EnabledStatistics::None)
                .set_data_page_row_count_limit(usize::MAX)
                .set_data_page_size_limit(usize::MAX)
                .build();
            let file = write(std::slice::from_ref(&batch), properties);
            read(&file, 500).unwrap();
            // 8,000,000 as a zigzag varint is 80 c8 d0 07; 80,000 padded to the same length is 80 e2 89 00.
            let mut lying = file.to_vec();
            let mut found = 0;
            for at in 0..64 {
                if lying[at..at + 4] == [0x80, 0xc8, 0xd0, 0x07] {
                    lying[at..at + 4].copy_from_slice(&[0x80, 0xe2, 0x89, 0x00]);
                    found += 1;
                }
            }
            assert_eq!(found, 1, "the page header holds the size");
            let text = read(&lying.into(), 500).unwrap_err().to_string();
            assert!(
                text.contains("more than its header declares"),
                "{codec:?}: {text}"
            );
        }
    }

    /// One row whose list has more values than memory, in a few bytes.
    #[test]
    fn a_row_that_expands_beyond_the_budget_is_refused() {
        let values = Int64Array::from(vec![None; 8_000_000]);
        let item = Arc::new(arrow::datatypes::Field::new("item", DataType::Int64, true));
        let list = ListArray::new(
            item,
            arrow::buffer::OffsetBuffer::from_lengths([8_000_000]),
            Arc::new(values),
            None,
        );
        let list: ArrayRef = Arc::new(list);
        let file = write(
            &[RecordBatch::try_from_iter([("l", list)]).unwrap()],
            WriterProperties::default(),
        );
        assert!(file.len() < 10_000, "{} bytes", file.len());
        let error = read(&file, 500).unwrap_err();
        assert_eq!(error.kind, FormatErrorKind::TooLarge);
        assert!(error.to_string().contains("max_memory"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        /// "No panic on any input, whatever the bucket holds" (semantics 14)
        #[test]
        fn damaged_files_are_errors_or_rows_never_panics(
            codec in prop::sample::select(vec![Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())]),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            in_footer in any::<bool>(),
        ) {
            let item = Arc::new(arrow::datatypes::Field::new("item", DataType::Int64, true));
            let list: ArrayRef = Arc::new(ListArray::new(item, arrow::buffer::OffsetBuffer::from_lengths([3; 50]), Arc::new(Int64Array::from_iter_values(0..150)), None));
            let rows = numbers(50);
            let batch = RecordBatch::try_from_iter([("n", Arc::clone(rows.column(0))), ("s", Arc::clone(rows.column(1))), ("l", list)]).unwrap();
            let mut file = write(&[batch], WriterProperties::builder().set_compression(codec).build()).to_vec();
            let footer = u32::from_le_bytes(file[file.len() - 8..file.len() - 4].try_into().unwrap()) as usize + 8;
            let (from, len) = if in_footer { (file.len() - footer, footer) } else { (0, file.len() - footer) };
            for (at, byte) in damage {
                file[from + at.index(len)] = byte;
            }
            let _ = read(&file.into(), 7);
        }
    }
}
