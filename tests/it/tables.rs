//! Discovery: which tables a bucket makes, and what finding them costs. Semantics 1 to 5.

use serde_json::json;

use crate::fake_s3::Op;
use crate::files::{ints, parquet, texts};
use crate::rig::{Rig, name};

fn numbers(count: i64) -> bytes::Bytes {
    parquet(vec![("n", ints(0..count))])
}

/// 1. "The directory part of the key [...] is the table name; a root file gives its stem."
#[tokio::test]
async fn directories_are_tables() {
    let mut rig = Rig::new().await;
    for key in [
        "data/2024/01/a.parquet",
        "data/2024/01/b.parquet",
        "a-b/x.parquet",
        "Orders.parquet",
        "odd key+%/ü.parquet",
    ] {
        rig.s3.put(key, numbers(3));
    }
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert_eq!(
        outcome.table_names(),
        ["Orders", "a_b", "data_2024_01", "odd_key"]
    );
    assert_eq!(outcome.ints("data_2024_01", "n"), [0, 0, 1, 1, 2, 2]);
}

/// 2. "Two prefixes that map to one table name are an error that names both, unless the user maps them explicitly."
#[tokio::test]
async fn a_collision_is_an_error_until_it_is_mapped() {
    let mut rig = Rig::new().await;
    rig.s3.put("a-b/1.parquet", numbers(1));
    rig.s3.put("a_b/2.parquet", numbers(2));
    let outcome = rig.sync().await;
    assert!(
        outcome.failure().contains("\"a-b\"") && outcome.failure().contains("\"a_b\""),
        "{}",
        outcome.failure()
    );
    assert!(outcome.batches.is_empty());

    rig.option(
        "tables",
        json!([{"name": "joined", "prefixes": ["a-b/", "a_b/"]}]),
    );
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert_eq!(outcome.ints("joined", "n"), [0, 0, 1]);
}

/// 2. "A key whose name would be empty is reported, never dropped in silence."
#[tokio::test]
async fn a_key_without_a_table_name_is_reported() {
    let mut rig = Rig::new().await;
    rig.s3.put("日本/x.parquet", numbers(1));
    rig.s3.put("ok/x.parquet", numbers(1));
    let outcome = rig.sync().await;
    assert!(
        outcome.failure().contains("日本/x.parquet") && outcome.failure().contains("`tables`"),
        "{}",
        outcome.failure()
    );
    assert_eq!(outcome.ints("ok", "n"), [0]);
}

/// 3. "Directory markers, zero-byte objects and hidden paths [...] are skipped with a counted reason"
#[tokio::test]
async fn what_is_not_data_is_skipped() {
    let mut rig = Rig::new().await;
    for (key, bytes) in [
        ("t/", ""),
        ("t/_SUCCESS", ""),
        ("t/empty.parquet", ""),
        ("t/notes.txt", "x"),
    ] {
        rig.s3.put(key, bytes);
    }
    for key in ["t/x.parquet", "t/_delta_log/x.parquet", ".hidden/x.parquet"] {
        rig.s3.put(key, numbers(1));
    }
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert_eq!(outcome.table_names(), ["t"]);

    rig.option("skip_hidden_files", false);
    let outcome = rig.sync().await;
    assert_eq!(outcome.table_names(), ["hidden", "t", "t_delta_log"]);
}

/// 4. "An empty bucket or prefix is a successful sync of nothing, with a warning." Also defect 17 of the Go plugin.
#[tokio::test]
async fn availability_17_an_empty_bucket_is_a_successful_sync() {
    let mut rig = Rig::new().await;
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert!(outcome.tables.is_empty());
    assert!(rig.client.tables(&["*"], &[]).await.unwrap().is_empty());

    rig.s3.put("t/x.parquet", numbers(1));
    rig.option("path_prefix", "elsewhere/");
    rig.sync().await.end.unwrap();
}

/// 5. "Learning a schema never downloads an object: for Parquet, one suffix range per new object, in parallel, cached by
/// ETag between `GetTables` and Sync of one process."
#[tokio::test]
async fn schemas_cost_one_range_an_object_once() {
    let mut rig = Rig::new().await;
    let big = parquet(vec![(
        "s",
        texts((0..40_000).map(|i| format!("{:x}", i * 7_919_i64 % 1_000_003))),
    )]);
    assert!(big.len() > 200_000);
    for i in 0..5 {
        rig.s3.put(&format!("t/{i}.parquet"), big.clone());
    }
    rig.client.init(&rig.spec, false).await.unwrap();
    let tables = rig.client.tables(&["*"], &[]).await.unwrap();
    assert_eq!(tables.iter().map(name).collect::<Vec<_>>(), ["t"]);
    let gets: Vec<_> = rig
        .s3
        .log()
        .into_iter()
        .filter(|request| request.op != Op::List)
        .collect();
    assert_eq!(gets.len(), 5);
    let size = big.len() as u64;
    for request in &gets {
        assert_eq!(
            request.range,
            Some(size - 65_536..size),
            "a suffix of 64 KiB"
        );
    }
    rig.s3.clear_log();
    rig.client.tables(&["*"], &[]).await.unwrap();
    assert!(
        rig.s3.log().iter().all(|request| request.op == Op::List),
        "the second time only the listing"
    );
}

/// 5. "Tables that the request filters out cost no object read at all."
#[tokio::test]
async fn tables_filtered_out_cost_nothing() {
    let mut rig = Rig::new().await;
    for table in ["a", "b", "c"] {
        rig.s3.put(&format!("{table}/x.parquet"), numbers(3));
    }
    rig.client.init(&rig.spec, false).await.unwrap();
    let tables = rig.client.tables(&["*"], &["a", "b"]).await.unwrap();
    assert_eq!(tables.iter().map(name).collect::<Vec<_>>(), ["c"]);
    let keys: Vec<_> = rig
        .s3
        .log()
        .into_iter()
        .filter_map(|request| request.key)
        .collect();
    assert_eq!(keys, ["c/x.parquet"]);
    let status = rig.client.tables(&["nothing"], &[]).await.unwrap_err();
    assert!(
        status
            .message()
            .contains("tables include a pattern nothing with no matches"),
        "{status:?}"
    );
}

/// A small object costs one request in all: discovery's range is kept for reading.
#[tokio::test]
async fn a_small_object_costs_one_get() {
    let mut rig = Rig::new().await;
    for i in 0..20 {
        rig.s3.put(&format!("t/{i}.parquet"), numbers(10));
    }
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert_eq!(outcome.ints("t", "n").len(), 200);
    assert_eq!(
        rig.s3
            .log()
            .iter()
            .filter(|request| request.op == Op::Get)
            .count(),
        20
    );
}

/// "Defect 24": `no_connection` does not keep tables from being found, since they are in the bucket.
#[tokio::test]
async fn availability_24_tables_are_found_with_no_connection() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/x.parquet", numbers(1));
    rig.client.init(&rig.spec, true).await.unwrap();
    assert_eq!(rig.client.tables(&["*"], &[]).await.unwrap().len(), 1);
}
