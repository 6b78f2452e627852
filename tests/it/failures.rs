//! What fails and what goes on. Semantics 12 to 14, and the availability defects (15 to 26) of the Go plugin by number;
//! 16 is in `rows`, 17 and 24 in `tables`, 25 in `boundaries`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::array::{ArrayRef, Int64Array, ListArray};
use arrow::datatypes::{DataType, Field};
use cq_plugin::testing::{Client, Code, Received, SyncOptions};
use cq_source_s3::source::S3Source;
use serde_json::json;

use crate::fake_s3::{FakeS3, Fault, Op};
use crate::files::{ints, parquet, texts};
use crate::rig::{PATIENCE, Rig, spec};

fn numbers(values: std::ops::Range<i64>) -> bytes::Bytes {
    parquet(vec![("n", ints(values))])
}

/// A bucket with two good objects and every kind of bad one.
fn spoil(s3: &FakeS3) -> Vec<&'static str> {
    s3.put("t/good1.parquet", numbers(0..3));
    s3.put("t/good2.parquet", numbers(3..6));
    let whole = numbers(0..1000);
    s3.put("t/truncated.parquet", whole.slice(..whole.len() - 10));
    s3.put("t/text.parquet", "id,name\n1,one\n");
    s3.put_with(
        "t/glacier.parquet",
        numbers(6..9),
        SystemTime::UNIX_EPOCH,
        Some("GLACIER"),
    );
    s3.put("t/forbidden.parquet", numbers(6..9));
    s3.fail(
        Op::Get,
        "t/forbidden.parquet",
        1..,
        Fault::Error {
            code: "AccessDenied",
            status: 403,
        },
    );
    s3.put("t/gone.parquet", numbers(6..9));
    s3.fail(
        Op::Get,
        "t/gone.parquet",
        1..,
        Fault::Error {
            code: "NoSuchKey",
            status: 404,
        },
    );
    s3.put("t/encrypted.parquet", "PAR1....\u{4}\0\0\0PARE");
    vec![
        "truncated",
        "text",
        "glacier",
        "forbidden",
        "gone",
        "encrypted",
    ]
}

/// 12. "A failing object fails its object: the rest of the sync goes on; at the end the sync reports every failed object and
/// ends with a non-OK status". Also defects 15 (one bad object failed everything) and 23.
#[tokio::test]
async fn availability_15_and_23_bad_objects_fail_alone_and_by_name() {
    let mut rig = Rig::new().await;
    let bad = spoil(&rig.s3);
    let outcome = rig.sync().await;
    assert_eq!(outcome.ints("t", "n"), [0, 1, 2, 3, 4, 5]);
    let text = outcome.failure();
    assert!(text.contains("6 of 8 objects failed"), "{text}");
    for name in &bad {
        assert!(
            text.contains(&format!("t/{name}.parquet")),
            "{name}: {text}"
        );
    }
    for reason in [
        "access denied",
        "archive",
        "encrypted",
        "not a Parquet file",
    ] {
        assert!(
            text.to_lowercase().contains(&reason.to_lowercase()),
            "{reason}: {text}"
        );
    }
    let mut reported: Vec<_> = outcome
        .errors
        .iter()
        .map(|(table, _)| table.as_str())
        .collect();
    reported.dedup();
    assert_eq!(
        (outcome.errors.len(), reported),
        (6, vec!["t"]),
        "one error message an object, under its table"
    );
    let cold = Some("t/glacier.parquet".to_owned());
    let asked = rig
        .s3
        .log()
        .into_iter()
        .any(|request| request.op == Op::Get && request.key == cold);
    assert!(
        !asked,
        "the listing says that it is archived: no request is spent on it"
    );
    let silent = rig.sync_with(SyncOptions::default()).await;
    assert!(
        silent.errors.is_empty() && silent.end.is_err(),
        "no error message for a client that did not ask"
    );
}

/// 12. "with `on_error: skip` up to `max_errors` objects are reported and tolerated."
#[tokio::test]
async fn skipped_objects_are_tolerated_up_to_a_number() {
    let mut rig = Rig::new().await;
    spoil(&rig.s3);
    rig.option("on_error", "skip");
    rig.option("max_errors", 6);
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert_eq!(outcome.ints("t", "n").len(), 6);
    assert_eq!(outcome.errors.len(), 6);
    rig.option("max_errors", 5);
    assert!(
        rig.sync()
            .await
            .failure()
            .contains("more than max_errors (5)"),
        "one more than tolerated"
    );
}

/// 12. "A half-read object is always a failure."
#[tokio::test]
async fn a_half_read_object_is_never_tolerated() {
    let mut rig = Rig::new().await;
    let text =
        texts((0..40_000).map(|i: u64| format!("{:x}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15))));
    let batch = arrow::array::RecordBatch::try_from_iter([("s", text)]).unwrap();
    let properties = parquet::file::properties::WriterProperties::builder()
        .set_max_row_group_row_count(Some(5_000))
        .build();
    rig.s3
        .put("t/x.parquet", crate::files::write(&batch, properties));
    rig.s3.fail(
        Op::Get,
        "t/x.parquet",
        4..,
        Fault::Error {
            code: "AccessDenied",
            status: 403,
        },
    );
    rig.option("on_error", "skip");
    rig.option("max_errors", 100);
    let outcome = rig.sync().await;
    assert!(!outcome.batches.is_empty());
    assert!(
        outcome.failure().contains("some of its rows were sent"),
        "{}",
        outcome.failure()
    );
}

/// 13. "If the client goes away, all work stops within a second and the plugin is ready for the next Init." Also defects 18
/// (the plugin stayed locked) and 19 (workers went on and panicked).
#[tokio::test]
async fn availability_18_and_19_a_client_that_goes_away_stops_everything() {
    let mut rig = Rig::new().await;
    for i in 0..200 {
        rig.s3.put(
            &format!("t/{i:03}.parquet"),
            parquet(vec![
                ("n", ints(0..20_000)),
                (
                    "s",
                    texts(
                        (0..20_000).map(|k: u64| {
                            format!("{i}{:x}", k.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                        }),
                    ),
                ),
            ]),
        );
    }
    rig.option("concurrency", 4);
    let mut stream = rig.start(SyncOptions::default()).await;
    while !matches!(stream.next().await.unwrap(), Some(Received::Insert(_))) {}
    drop(stream);
    // Ready for the next Init and the next sync at once...
    let ready = tokio::time::timeout(Duration::from_secs(1), async {
        while rig.client.init(&rig.spec, false).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    ready.await.expect("within a second");
    // ...and nothing goes on behind it: what is asked for now is the listing of the next call alone.
    rig.s3.clear_log();
    rig.client.tables(&["t"], &[]).await.unwrap();
    let stray = rig
        .s3
        .log()
        .into_iter()
        .filter(|request| {
            request.op == Op::Get
                && request
                    .range
                    .as_ref()
                    .is_some_and(|r| r.end - r.start > 70_000)
        })
        .count();
    assert_eq!(stray, 0, "no data is read for a client that is gone");
}

/// "streamed lazily: if the client stops reading, we stop fetching"
#[tokio::test]
async fn a_client_that_does_not_read_stops_the_fetching() {
    let mut rig = Rig::new().await;
    for i in 0..100 {
        let text = texts(
            (0..50_000).map(|k: u64| format!("{i}{:x}", k.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        );
        rig.s3
            .put(&format!("t/{i:03}.parquet"), parquet(vec![("s", text)]));
    }
    rig.option("concurrency", 2);
    let mut stream = rig.start(SyncOptions::default()).await;
    while !matches!(stream.next().await.unwrap(), Some(Received::Insert(_))) {}
    // Wait until the requests no longer grow, then see how few they are.
    let mut before = 0;
    let settled = tokio::time::timeout(PATIENCE, async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = rig.s3.log().len();
            if now == before {
                return now;
            }
            before = now;
        }
    });
    let requests = settled.await.expect("the fetching stops");
    assert!(
        requests < 150,
        "{requests} requests: 100 footers, and data of a few objects only"
    );
    let mut inserts = 1;
    while let Some(received) = stream.next().await.unwrap() {
        inserts += usize::from(matches!(received, Received::Insert(_)));
    }
    assert_eq!(inserts, 100 * 100, "and goes on when the client does");
}

/// 14. "No panic on any input, whatever the bucket holds", and "an error under the memory budget".
#[tokio::test]
async fn hostile_files_are_errors() {
    let mut rig = Rig::new().await;
    rig.s3.put("ok/x.parquet", numbers(0..3));
    let values = Int64Array::from(vec![None; 60_000_000]);
    let item = Arc::new(Field::new("item", DataType::Int64, true));
    let list = ListArray::new(
        item,
        arrow::buffer::OffsetBuffer::from_lengths([60_000_000]),
        Arc::new(values),
        None,
    );
    let bomb = parquet(vec![("l", Arc::new(list) as ArrayRef)]);
    assert!(
        bomb.len() < 100_000,
        "{} bytes for 60 million values",
        bomb.len()
    );
    rig.s3.put("bomb/x.parquet", bomb);
    rig.s3
        .put("sizes/x.parquet", &b"PAR1\xff\xff\xff\x7fPAR1"[..]);
    rig.s3.put("tiny/x.parquet", "PAR1");
    let mut noise = b"PAR1".to_vec();
    noise.extend((0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    noise.extend(1000_u32.to_le_bytes());
    noise.extend(b"PAR1");
    rig.s3.put("noise/x.parquet", noise);
    let outcome = rig.sync().await;
    assert_eq!(outcome.ints("ok", "n"), [0, 1, 2]);
    assert!(
        outcome.failure().contains("4 of 5 objects failed")
            && outcome.failure().contains("max_memory"),
        "{}",
        outcome.failure()
    );
    assert!(
        !outcome.failure().contains("panic"),
        "{}",
        outcome.failure()
    );
}

/// Defect 20: a failure of the store is not taken for a malformed file. Its kind decides, and it is never "skipped".
#[tokio::test]
async fn availability_20_a_store_error_is_not_a_malformed_file() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/x.parquet", numbers(0..3));
    rig.s3.fail(
        Op::Get,
        "t/x.parquet",
        1..,
        Fault::Error {
            code: "InternalError",
            status: 500,
        },
    );
    let outcome = rig.sync().await;
    assert!(
        !outcome.failure().contains("not a Parquet file")
            && outcome.failure().contains("InternalError"),
        "{}",
        outcome.failure()
    );
}

/// An error that looks like the whole store's but is one object's: the store is asked, and the sync goes on.
#[tokio::test]
async fn an_error_that_only_looks_like_the_stores_fails_one_object() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/a.parquet", numbers(0..3));
    rig.s3.put("t/b.parquet", numbers(3..6));
    let refused = Fault::Error {
        code: "ExpiredToken",
        status: 403,
    };
    rig.s3.fail(Op::Get, "t/a.parquet", 1.., refused);
    let outcome = rig.sync().await;
    assert!(
        outcome.failure().contains("1 of 2 objects failed"),
        "{}",
        outcome.failure()
    );
    assert_eq!(outcome.ints("t", "n"), [3, 4, 5]);
}

/// An error that every object would meet ends the sync at once, as what it is.
#[tokio::test]
async fn an_error_of_the_whole_store_ends_the_sync() {
    let s3 = FakeS3::start_with_credentials("known", "secret").await;
    s3.put("t/x.parquet", numbers(0..3));
    let mut client = Client::in_process(S3Source).await.unwrap();
    let mut spec = spec(&s3.endpoint());
    spec["bucket"] = json!("nowhere");
    client.init(&spec, false).await.unwrap();
    let status = client.tables(&["*"], &[]).await.unwrap_err();
    assert_ne!(status.code(), Code::Ok);
    assert!(status.message().contains("nowhere"), "{status:?}");
}

/// Defect 22: a key with a control character, and every other legal key, is listed and read.
#[tokio::test]
async fn availability_22_odd_keys_are_read() {
    let mut rig = Rig::new().await;
    let keys = [
        "a/\u{1}x.parquet",
        "a/ + %2F?#&=.parquet",
        "a/'\"\\<>.parquet",
        "a/\u{1F600}é.parquet",
        "a/..x..parquet",
        "a/=1;2,3:4@5!$*().parquet",
    ];
    for (i, key) in (0..).zip(keys) {
        rig.s3.put(key, numbers(i..i + 1));
    }
    rig.s3.put("b//x.parquet", numbers(0..1));
    rig.s3.put("/c/x.parquet", numbers(0..1));
    rig.s3.put("d/./../x.parquet", numbers(0..1));
    rig.option("skip_hidden_files", false);
    let outcome = rig.sync().await;
    outcome.end.as_ref().unwrap();
    assert_eq!(outcome.ints("a", "n"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(outcome.table_names(), ["a", "b", "c", "d"]);
}

/// Defects 24 and 26: `TestConnection` exists and says what is wrong; so does Init for a spec.
#[tokio::test]
async fn availability_24_and_26_the_connection_test_says_what_is_wrong() {
    let mut rig = Rig::new().await;
    rig.s3.put("t/x.parquet", numbers(0..3));
    let (success, _, _) = rig.client.test_connection(&rig.spec).await.unwrap();
    assert!(success);
    let lists = rig
        .s3
        .log()
        .into_iter()
        .filter(|request| request.op == Op::List)
        .count();
    assert_eq!(
        (lists, rig.s3.log().len()),
        (1, 1),
        "one key is listed, nothing else"
    );

    rig.s3.fail(
        Op::List,
        None,
        1..,
        Fault::Error {
            code: "AccessDenied",
            status: 403,
        },
    );
    let mut cases = vec![(rig.spec.clone(), "UNAUTHORIZED", "s3:ListBucket")];
    let mut other = |name: &str, value: serde_json::Value, code, part| {
        let mut spec = rig.spec.clone();
        spec[name] = value;
        cases.push((spec, code, part));
    };
    other("bucket", json!("nowhere"), "NOT_FOUND", "nowhere");
    other(
        "endpoint",
        json!("http://127.0.0.1:1"),
        "UNREACHABLE",
        "check endpoint",
    );
    other(
        "bukcet",
        json!("x"),
        "INVALID_SPEC",
        "did you mean `bucket`",
    );
    other("rows_per_record", json!(0), "INVALID_SPEC", "at least 1");
    for (spec, code, part) in cases {
        let (success, failure, text) = rig.client.test_connection(&spec).await.unwrap();
        assert!(!success);
        assert!(text.contains(part), "{part}: {failure} {text}");
        assert_eq!(failure, code, "{text}");
    }
    let mut spec = rig.spec.clone();
    spec["pathprefix"] = json!("x");
    let status = rig.client.init(&spec, false).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("did you mean `path_prefix`"),
        "{status:?}"
    );
}

/// Defect 26: a bucket of another region is named with the region it is in.
#[tokio::test]
async fn availability_26_a_wrong_region_is_named() {
    let mut rig = Rig::new().await;
    rig.s3.region("eu-west-1");
    rig.s3.fail(
        Op::List,
        None,
        1..,
        Fault::Error {
            code: "PermanentRedirect",
            status: 301,
        },
    );
    let (success, _, text) = rig.client.test_connection(&rig.spec).await.unwrap();
    assert!(
        !success && text.contains("is in region \"eu-west-1\""),
        "{text}"
    );
}
