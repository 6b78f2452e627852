//! Reading: which rows arrive, in which shape, from which requests. Semantics 6 to 11.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, Float32Array, Int32Array, Int64Array,
    LargeStringArray, StringArray,
};
use arrow::datatypes::{DataType, Field, Float32Type, Int8Type, Int32Type};
use cq_plugin::extension::Extension;
use cq_plugin::testing::SyncOptions;
use cq_plugin::{MAX_INSERT_BYTES, Shard};
use parquet::file::properties::WriterProperties;

use crate::fake_s3::{Fault, Op};
use crate::files::{ints, parquet, texts, write};
use crate::rig::Rig;

/// A file too large to be kept from discovery, in several row groups.
fn large(first: i64, rows: i64) -> bytes::Bytes {
    let filler = texts((first..first + rows).map(|i| {
        format!(
            "{:x}",
            i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64.cast_signed())
        )
    }));
    let batch =
        arrow::array::RecordBatch::try_from_iter([("n", ints(first..first + rows)), ("s", filler)])
            .unwrap();
    write(
        &batch,
        WriterProperties::builder()
            .set_max_row_group_row_count(Some(5_000))
            .build(),
    )
}

/// 6. "Every read carries If-Match; a changed object restarts from its new generation or fails, it never mixes two."
#[tokio::test]
async fn an_object_replaced_before_its_first_row_is_read_anew() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/x.parquet", large(0, 20_000));
    // The first GET is the footer for discovery; the second begins the reading.
    rig.s3.fail(
        Op::Get,
        "t/x.parquet",
        2..=2,
        Fault::Replace(large(100_000, 20_000)),
    );
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert!(outcome.ints("t", "n").into_iter().eq(100_000..120_000));
}

/// 6. The same when the object changes between the listing and the footer.
#[tokio::test]
async fn an_object_replaced_before_discovery_is_read_anew() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/x.parquet", large(0, 100));
    rig.s3.fail(
        Op::Get,
        "t/x.parquet",
        1..=1,
        Fault::Replace(large(500, 100)),
    );
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert!(outcome.ints("t", "n").into_iter().eq(500..600));
}

/// 6. An object replaced after rows of it were sent fails; the rows that were sent are all of one generation.
#[tokio::test]
async fn an_object_replaced_later_fails() {
    let mut rig = Rig::new().await;
    rig.option("max_memory", "32MiB");
    rig.s3.put("t/x.parquet", large(0, 40_000));
    rig.s3.fail(
        Op::Get,
        "t/x.parquet",
        4..=4,
        Fault::Replace(large(100_000, 40_000)),
    );
    let outcome = rig.sync().await;
    assert!(
        outcome.failure().contains("t/x.parquet")
            && outcome.failure().contains("some of its rows were sent"),
        "{}",
        outcome.failure()
    );
    let seen = outcome.ints("t", "n");
    assert!(
        !seen.is_empty() && seen.iter().all(|n| *n < 40_000),
        "never two generations"
    );
}

/// 7. "A body shorter than asked for is an error, retried". Also defect 21 of the Go plugin.
#[tokio::test]
async fn availability_21_a_broken_body_is_fetched_again() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/x.parquet", large(0, 20_000));
    rig.s3.fail(
        Op::Get,
        "t/x.parquet",
        1..=3,
        Fault::Truncate { after: 1_000 },
    );
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert!(outcome.ints("t", "n").into_iter().eq(0..20_000));
}

/// 8. "Every insert message holds exactly one record batch" of at most `rows_per_record` rows.
#[tokio::test]
async fn batches_hold_rows_per_record_rows() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/x.parquet", large(0, 1_201));
    let sizes = |outcome: &crate::rig::Outcome| {
        outcome
            .batches
            .iter()
            .map(arrow::array::RecordBatch::num_rows)
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(&rig.sync().await), [500, 500, 201]);
    rig.option("rows_per_record", 1000);
    assert_eq!(sizes(&rig.sync().await), [1000, 201]);
}

/// 8. "an oversized batch is split, an oversized single row is an error that names object and row". The wide values
/// repeat through a dictionary, so the file is small and only its rows are large.
#[tokio::test]
async fn wide_rows_are_split_and_a_row_too_wide_is_named() {
    let mut rig = Rig::new().await;
    let megabyte = "x".repeat(1 << 20);
    let wide = StringArray::from_iter_values(std::iter::repeat_n(megabyte.as_str(), 100));
    rig.s3
        .put("wide/x.parquet", parquet(vec![("s", Arc::new(wide))]));
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    let rows: Vec<_> = outcome
        .batches
        .iter()
        .map(arrow::array::RecordBatch::num_rows)
        .collect();
    assert_eq!(rows.iter().sum::<usize>(), 100);
    assert!(
        rows.iter().all(|rows| *rows <= 8),
        "parts of at most 8 MiB: {rows:?}"
    );
    assert_eq!(outcome.ids("wide").len(), 100);

    let huge = "y".repeat(MAX_INSERT_BYTES);
    rig.s3.put(
        "huge/x.parquet",
        parquet(vec![("s", texts(["small", &huge]))]),
    );
    rig.option("max_memory", "1GiB");
    let outcome = rig.sync().await;
    assert!(
        outcome.failure().contains("huge/x.parquet") && outcome.failure().contains("row 1 "),
        "{}",
        outcome.failure()
    );
}

/// 9. "`_cq_id` is always filled: a UUID determined by bucket, key and row number; `_cq_parent_id` is null. Replaying an
/// object yields the same ids. A `_cq_*` column found in a file never shadows ours."
#[tokio::test]
async fn ids_are_filled_unique_and_repeat() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/a.parquet", large(0, 12_000));
    rig.s3.put(
        "t/b.parquet",
        parquet(vec![
            ("_cq_id", texts(["mine"])),
            ("_cq_sync_time", texts(["then"])),
            ("n", ints([7])),
        ]),
    );
    let first = rig.sync().await;
    first.end.as_ref().unwrap();
    let mut ids = first.ids("t");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 12_001);
    let columns: Vec<_> = first.tables["t"]
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    assert_eq!(columns, ["_cq_id", "_cq_parent_id", "n", "s"]);
    let id = first.tables["t"].field(0);
    assert_eq!(Extension::of(id), Some(Extension::Uuid));
    assert!(
        !id.is_nullable()
            && id.metadata()["cq:extension:primary_key"] == "true"
            && id.metadata()["cq:extension:unique"] == "true"
    );
    assert!(
        first
            .batches
            .iter()
            .all(|batch| batch.column(1).null_count() == batch.num_rows())
    );

    rig.option("rows_per_record", 77);
    let mut again = rig.sync().await.ids("t");
    again.sort();
    assert_eq!(again, ids, "whatever the batches");
}

/// 10. "dictionaries, run-ends and views are unpacked"
#[tokio::test]
async fn types_are_unpacked() {
    let mut rig = Rig::new().await;
    let words: DictionaryArray<Int8Type> = ["a", "b", "a"].into_iter().collect();
    let halves = arrow::compute::cast(
        &Float32Array::from(vec![1.5, 2.0, -0.25]),
        &DataType::Float16,
    )
    .unwrap();
    let large = LargeStringArray::from(vec![Some("x"), None, Some("z")]);
    rig.s3.put(
        "t/x.parquet",
        parquet(vec![
            ("dictionary", Arc::new(words)),
            ("half", halves),
            ("large", Arc::new(large)),
        ]),
    );
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    let types: Vec<_> = outcome.tables["t"]
        .fields()
        .iter()
        .skip(2)
        .map(|field| field.data_type().clone())
        .collect();
    assert_eq!(types, [DataType::Utf8, DataType::Float32, DataType::Utf8]);
    let batch = &outcome.batches[0];
    assert_eq!(
        batch
            .column(2)
            .as_string::<i32>()
            .iter()
            .flatten()
            .collect::<Vec<_>>(),
        ["a", "b", "a"]
    );
    assert_eq!(
        batch.column(3).as_primitive::<Float32Type>().values(),
        &[1.5, 2.0, -0.25]
    );
    assert_eq!(
        batch
            .column(4)
            .as_string::<i32>()
            .iter()
            .collect::<Vec<_>>(),
        [Some("x"), None, Some("z")]
    );
}

/// 11. "lossless widening and missing nullable columns": files that differ so make one table.
#[tokio::test]
async fn files_that_differ_without_loss_make_one_table() {
    let mut rig = Rig::new().await;
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
    rig.s3.put(
        "t/a.parquet",
        parquet(vec![("n", narrow), ("old", texts(["x", "y"]))]),
    );
    rig.s3.put(
        "t/b.parquet",
        parquet(vec![("new", texts(["z"])), ("n", ints([1 << 40]))]),
    );
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert_eq!(outcome.ints("t", "n"), [1, 2, 1 << 40]);
    let nulls = |column: &str| {
        outcome
            .batches
            .iter()
            .map(|batch| batch.column_by_name(column).unwrap().null_count())
            .sum::<usize>()
    };
    assert_eq!((nulls("old"), nulls("new")), (1, 2));
}

/// 11. "A file that disagrees with its table's schema [...] is that object's failure, never that of another table." Also
/// defect 16 of the Go plugin, which compared nullability and metadata as well and failed all tables.
#[tokio::test]
async fn availability_16_a_drifted_file_fails_alone() {
    let mut rig = Rig::new().await;
    let at = |second: u64| {
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + second)
    };
    let required = Field::new("n", DataType::Int64, false)
        .with_metadata([("PARQUET:field_id".to_owned(), "7".to_owned())]);
    let schema = Arc::new(arrow::datatypes::Schema::new(vec![required]));
    let batch =
        arrow::array::RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1]))])
            .unwrap();
    rig.s3.put_with(
        "t/1.parquet",
        write(&batch, WriterProperties::default()),
        at(1),
        None,
    );
    rig.s3
        .put_with("t/2.parquet", parquet(vec![("n", ints([2]))]), at(2), None);
    rig.s3.put_with(
        "t/0-drifted.parquet",
        parquet(vec![("n", texts(["three"]))]),
        at(3),
        None,
    );
    rig.s3.put("u/x.parquet", parquet(vec![("n", ints([4]))]));
    let outcome = rig.sync().await;
    assert_eq!(
        outcome.ints("t", "n"),
        [1, 2],
        "the older files decide, not the order of keys"
    );
    assert_eq!(outcome.ints("u", "n"), [4]);
    let text = outcome.failure();
    assert!(
        text.contains("1 of 4 objects")
            && text.contains("t/0-drifted.parquet")
            && text.contains("\"n\""),
        "{text}"
    );
    assert!(
        outcome.tables["t"].field(2).is_nullable(),
        "nullable as soon as one file says so"
    );
}

/// Every part of the nested values arrives, over row groups and batches.
#[tokio::test]
async fn nested_columns_arrive_whole() {
    let mut rig = Rig::new().await;
    let lists = arrow::array::ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..3_000).map(|i| (i % 7 != 0).then(|| (0..i % 5).map(Some).collect::<Vec<_>>())),
    );
    rig.s3.put(
        "t/x.parquet",
        parquet(vec![("n", ints(0..3_000)), ("l", Arc::new(lists.clone()))]),
    );
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    let mut row = 0;
    for batch in &outcome.batches {
        let column = batch.column_by_name("l").unwrap().as_list::<i32>();
        for i in 0..batch.num_rows() {
            assert_eq!(column.is_null(i), lists.is_null(row));
            if !column.is_null(i) {
                assert_eq!(&column.value(i), &lists.value(row), "row {row}");
            }
            row += 1;
        }
    }
    assert_eq!(row, 3_000);
}

/// "Shards partition the objects by a stable hash: together everything, each object once" (semantics 18, for full syncs);
/// every shard announces every table.
#[tokio::test]
async fn shards_partition_the_objects() {
    let mut rig = Rig::new().await;
    for i in 0..40 {
        rig.s3.put(
            &format!("t{}/{i}.parquet", i % 2),
            parquet(vec![("n", ints([i]))]),
        );
    }
    let mut all = Vec::new();
    for num in 1..=3 {
        let options = SyncOptions {
            shard: Some(Shard { num, total: 3 }),
            ..SyncOptions::default()
        };
        let outcome = rig.sync_with(options).await;
        outcome.end.as_ref().unwrap();
        assert_eq!(outcome.table_names(), ["t0", "t1"]);
        let own = [outcome.ints("t0", "n"), outcome.ints("t1", "n")].concat();
        assert!(own.len() < 40 && !own.is_empty());
        all.extend(own);
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..40));
}
