//! The S3 half against the fake server: what a listing and a read promise when stores, networks and other writers misbehave.
//! The SDK takes credentials and regions from the environment, so the few tests of those run in a process of their own.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests"
)]

use std::num::NonZeroUsize;
use std::ops::Range;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cq_source_s3::s3::{
    AssumeRole, Bucket, Config, Credentials, Error, ErrorKind, Object, Operation,
};
use futures::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::fake_s3::{BUCKET, FakeS3, Fault, Op, Request, ramp};

const SLOW_DOWN: Fault = Fault::Error {
    code: "SlowDown",
    status: 503,
};

fn config(endpoint: Option<String>) -> Config {
    Config {
        bucket: BUCKET.to_owned(),
        region: Some("eu-north-1".to_owned()),
        endpoint,
        path_style: true,
        no_sign_request: true,
        credentials: Credentials::default(),
        max_requests: NonZeroUsize::new(4).unwrap(),
    }
}

async fn open(store: &FakeS3) -> Bucket {
    Bucket::open(&config(Some(store.endpoint()))).await.unwrap()
}

async fn list(bucket: &Bucket, prefix: &str) -> Result<Vec<Object>, Error> {
    let pages: Vec<_> = bucket.list(prefix).try_collect().await?;
    assert!(pages.iter().all(|page| page.undecodable.is_empty()));
    Ok(pages.into_iter().flat_map(|page| page.objects).collect())
}

async fn only(bucket: &Bucket) -> Object {
    list(bucket, "").await.unwrap().remove(0)
}

/// A store with one object, and the object as listed.
async fn one(contents: &'static [u8]) -> (FakeS3, Bucket, Object) {
    let store = FakeS3::start().await;
    store.put("dir/key", contents);
    let bucket = open(&store).await;
    let object = only(&bucket).await;
    store.clear_log();
    (store, bucket, object)
}

/// As [`one`], for an object of [`ramp`] bytes.
async fn long(length: u64) -> (FakeS3, Bucket, Object) {
    let store = FakeS3::start().await;
    store.put_ramp("long", length);
    let bucket = open(&store).await;
    let object = only(&bucket).await;
    store.clear_log();
    (store, bucket, object)
}

fn is_ramp(bytes: &[u8], range: Range<u64>) -> bool {
    bytes.len() as u64 == range.end - range.start && bytes.iter().copied().eq(range.map(ramp))
}

fn ranges(store: &FakeS3) -> Vec<Range<u64>> {
    store
        .log()
        .into_iter()
        .filter_map(|request| request.range)
        .collect()
}

// Listing

#[tokio::test]
async fn a_listing_of_many_pages_gives_every_key_once_and_in_order() {
    let store = FakeS3::start().await;
    let keys: Vec<String> = (0..2501).map(|n| format!("in/{n:05}")).collect();
    for key in &keys {
        store.put(key, key.clone());
    }
    store.put("out", "");
    let bucket = open(&store).await;

    let objects = list(&bucket, "in/").await.unwrap();

    assert!(objects.iter().map(|object| &*object.key).eq(keys.iter()));
    assert!(
        objects
            .iter()
            .all(|object| object.size == 8 && !object.etag.is_empty() && !object.archived)
    );
    assert_eq!(bucket.stats().lists, 3);
    assert_eq!(store.log().len(), 3);
}

#[tokio::test]
async fn pages_are_asked_for_one_by_one() {
    let store = FakeS3::start().await;
    store.page_size(1);
    for key in ["a", "b", "c"] {
        store.put(key, key);
    }
    let mut pages = Box::pin(open(&store).await.list(""));
    for asked in 1..=3 {
        assert_eq!(pages.next().await.unwrap().unwrap().objects.len(), 1);
        assert_eq!(store.log().len(), asked);
    }
    assert!(pages.next().await.is_none());
}

#[tokio::test]
async fn an_empty_prefix_lists_one_empty_page() {
    let store = FakeS3::start().await;
    let bucket = open(&store).await;
    assert_eq!(list(&bucket, "nothing/").await.unwrap(), []);
    bucket.probe("nothing/").await.unwrap();
    assert_eq!(store.log().len(), 2);
}

#[tokio::test]
async fn a_listing_says_size_time_and_archive_class() {
    let store = FakeS3::start().await;
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (key, class) in [
        ("a", None),
        ("b", Some("GLACIER")),
        ("c", Some("DEEP_ARCHIVE")),
        ("d", Some("GLACIER_IR")),
    ] {
        store.put_with(key, "1234", at, class);
    }
    let bucket = open(&store).await;
    let objects = list(&bucket, "").await.unwrap();
    assert!(
        objects
            .iter()
            .all(|object| object.last_modified == 1_700_000_000_000 && object.size == 4)
    );
    assert_eq!(
        objects
            .iter()
            .map(|object| object.archived)
            .collect::<Vec<_>>(),
        [false, true, true, false]
    );
    for object in objects {
        assert_eq!(bucket.head(&object.key).await.unwrap(), object);
    }
}

#[tokio::test]
async fn a_page_that_fails_ends_the_listing() {
    let store = FakeS3::start().await;
    store.page_size(1);
    store.put("a", "a");
    store.put("b", "b");
    store.fail(
        Op::List,
        None,
        2..=2,
        Fault::Error {
            code: "AccessDenied",
            status: 403,
        },
    );
    let pages: Vec<_> = open(&store).await.list("").collect().await;
    assert_eq!(pages.len(), 2);
    assert!(pages[0].is_ok());
    let error = pages[1].as_ref().unwrap_err();
    assert_eq!(
        (error.op, &error.kind),
        (Operation::List, &ErrorKind::Denied)
    );
    assert_eq!(
        error.to_string(),
        "access denied to s3://bucket: the credentials need s3:ListBucket on it (request id FAKE-REQUEST)"
    );
}

#[tokio::test]
async fn a_token_that_leads_to_itself_is_an_error() {
    let store = FakeS3::start().await;
    store.page_size(1);
    store.put("a", "a");
    store.put("b", "b");
    store.fail(Op::List, None, 2.., Fault::SameToken);
    let error = list(&open(&store).await, "").await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::BadResponse(_)), "{error}");
    assert!(store.log().len() < 5);
}

#[tokio::test]
async fn a_store_that_ignores_encoding_type_lists_keys_as_they_are() {
    let store = FakeS3::start().await;
    store.ignore_encoding_type();
    store.put("a+b%20c", "x");
    assert_eq!(&*only(&open(&store).await).await.key, "a+b%20c");
}

// Keys

/// Keys that are legal in S3 and trouble somewhere on the way: in XML, in URLs, in path arithmetic, in signatures.
const ODD_KEYS: [&str; 20] = [
    "/leading",
    "//two",
    "a//b",
    "trailing/",
    ".",
    "..",
    "./a",
    "../a",
    "a/../b",
    "a/./b",
    "plus+space and%20",
    "100%",
    "%2F",
    "q?x=1&y=2#z",
    "line\nfeed\ttab\u{1}\u{7f}",
    "quote\"'<>&;",
    "back\\slash|^`{}[]~",
    "emoji 😀 ümlaut e\u{301}",
    "colon:semi;at@dollar$,=!*()",
    "\u{feff}bom",
];

async fn every_odd_key_is_listed_and_read(bucket: &Bucket) {
    let objects = list(bucket, "").await.unwrap();
    let mut want = ODD_KEYS.to_vec();
    want.sort_unstable();
    assert_eq!(
        objects
            .iter()
            .map(|object| &*object.key)
            .collect::<Vec<_>>(),
        want
    );
    for object in objects {
        let bytes = bucket.read(&object, 0..object.size).await.unwrap();
        assert_eq!(bytes, object.key.as_bytes(), "{:?}", object.key);
        assert_eq!(bucket.head(&object.key).await.unwrap().etag, object.etag);
    }
}

#[tokio::test]
async fn every_odd_key_survives() {
    let store = FakeS3::start().await;
    store.page_size(3);
    for key in ODD_KEYS {
        store.put(key, key);
    }
    every_odd_key_is_listed_and_read(&open(&store).await).await;
}

#[tokio::test]
async fn a_prefix_may_be_odd_too() {
    let store = FakeS3::start().await;
    for key in ODD_KEYS {
        store.put(key, key);
    }
    let bucket = open(&store).await;
    for prefix in ODD_KEYS {
        let objects = list(&bucket, prefix).await.unwrap();
        assert!(
            objects.iter().any(|object| &*object.key == prefix),
            "{prefix:?}"
        );
    }
}

// Reading

#[tokio::test]
async fn a_read_gives_exactly_the_range() {
    let (store, bucket, object) = one(b"0123456789").await;
    assert_eq!(bucket.read(&object, 2..5).await.unwrap(), "234");
    assert_eq!(bucket.read(&object, 0..10).await.unwrap(), "0123456789");
    assert_eq!(bucket.read(&object, 7..7).await.unwrap(), "");
    let get = |range| Request {
        op: Op::Get,
        key: Some("dir/key".to_owned()),
        range: Some(range),
    };
    assert_eq!(store.log(), [get(2..5), get(0..10)]);
    let stats = bucket.stats();
    assert_eq!((stats.gets, stats.bytes_read, stats.retries), (2, 13, 0));
}

#[tokio::test]
async fn a_range_beyond_the_end_is_an_error_without_a_request() {
    let (store, bucket, object) = one(b"0123456789").await;
    let error = bucket.read(&object, 8..12).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Truncated { want: 4, got: 2 });
    let error = bucket.read(&object, 100..u64::MAX).await.unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::Truncated { got: 0, .. }),
        "{error}"
    );
    assert_eq!(store.log(), []);
}

#[tokio::test]
async fn a_long_range_is_read_in_parts_and_stitched() {
    let (store, bucket, object) = long(25_000_000).await;
    let bytes = bucket.read(&object, 11..20_000_011).await.unwrap();
    assert!(is_ramp(&bytes, 11..20_000_011));
    let mut parts = ranges(&store);
    parts.sort_unstable_by_key(|part| part.start);
    assert_eq!(parts, [11..10_000_011, 10_000_011..20_000_011]);
}

#[tokio::test]
async fn near_ranges_share_a_request_and_a_buffer() {
    let (store, bucket, object) = long(10 << 20).await;
    let asked = [5 << 20..(5 << 20) + 10, 100..200, 7..7, 0..50, 150..300];
    let got = bucket.read_ranges(&object, &asked).await.unwrap();
    for (range, bytes) in asked.iter().zip(&got) {
        assert!(is_ramp(bytes, range.clone()), "{range:?}");
    }
    assert_eq!(
        got[1].as_ptr(),
        got[3].as_ptr().wrapping_add(100),
        "slices of one buffer"
    );
    let mut requests = ranges(&store);
    requests.sort_unstable_by_key(|range| range.start);
    assert_eq!(requests, [0..300, 5 << 20..(5 << 20) + 10]);
}

#[tokio::test]
async fn no_more_requests_than_allowed_are_in_flight_until_their_bodies_end() {
    let (store, bucket, object) = long(1_000_000).await;
    store.fail(Op::Get, None, .., Fault::Stall { after: 70_000 });
    let all = futures::future::try_join_all((0..12).map(|n| bucket.read(&object, n..n + 300_000)));
    let release = async {
        store.until(|log| log.len() >= 4).await;
        store.release();
    };
    let (all, ()) = tokio::join!(all, release);
    for (n, bytes) in (0..).zip(all.unwrap()) {
        assert!(is_ramp(&bytes, n..n + 300_000));
    }
    assert_eq!(store.most_bodies(), 4);
}

// Bodies that break

#[tokio::test]
async fn a_body_that_breaks_is_resumed_where_it_broke() {
    let (store, bucket, object) = long(1_000_000).await;
    store.fail(Op::Get, None, 1..=1, Fault::Truncate { after: 0 });
    store.fail(Op::Get, None, 2..=2, Fault::Truncate { after: 400_000 });
    let bytes = bucket.read(&object, 10..900_010).await.unwrap();
    assert!(is_ramp(&bytes, 10..900_010));
    assert_eq!(ranges(&store), [10..900_010, 10..900_010, 400_010..900_010]);
    assert_eq!(bucket.stats().retries, 2);
}

#[tokio::test]
async fn a_body_that_always_breaks_is_an_error_after_a_few_attempts() {
    let (store, bucket, object) = one(b"0123456789").await;
    store.fail(Op::Get, None, .., Fault::Truncate { after: 0 });
    let error = bucket.read(&object, 0..10).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Truncated { want: 10, got: 0 });
    assert_eq!(
        (error.key.as_deref(), error.range.as_deref().cloned()),
        (Some("dir/key"), Some(0..10))
    );
    assert!(std::error::Error::source(&error).is_some());
    assert_eq!(store.log().len(), 5);
}

#[tokio::test]
async fn a_broken_body_of_a_replaced_object_is_never_mixed() {
    let (store, bucket, object) = one(b"0123456789").await;
    store.fail(Op::Get, None, 1..=1, Fault::Truncate { after: 4 });
    store.fail(
        Op::Get,
        None,
        2..=2,
        Fault::Replace(Bytes::from_static(b"abcdefghij")),
    );
    assert_eq!(
        bucket.read(&object, 0..10).await.unwrap_err().kind,
        ErrorKind::Changed
    );
}

#[tokio::test]
async fn a_stalled_body_is_given_up_and_resumed() {
    let (store, bucket, object) = one(b"0123456789").await;
    store.fail(Op::Get, None, 1..=1, Fault::Stall { after: 4 });
    let reading = tokio::spawn({
        let bucket = bucket.clone();
        async move { bucket.read(&object, 0..10).await }
    });
    while bucket.stats().bytes_read < 4 {
        tokio::task::yield_now().await;
    }
    // The silence, without waiting for it. Only for as long as it takes to pass: a clock that stands still jumps to the next timer
    // whenever the test waits for a socket.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(16)).await;
    tokio::time::resume();
    assert_eq!(reading.await.unwrap().unwrap(), "0123456789");
    assert_eq!(ranges(&store), [0..10, 4..10]);
}

// Errors

#[tokio::test]
async fn throttling_is_retried_by_the_sdk() {
    let (store, bucket, object) = one(b"0123456789").await;
    store.fail(Op::Get, None, 1..=2, SLOW_DOWN);
    store.fail(Op::List, None, 1..=1, SLOW_DOWN);
    assert_eq!(bucket.read(&object, 0..10).await.unwrap(), "0123456789");
    assert_eq!(list(&bucket, "").await.unwrap().len(), 1);
    assert_eq!((store.log().len(), bucket.stats().retries), (5, 3));
}

#[tokio::test]
async fn throttling_without_end_is_an_error_after_a_few_attempts() {
    let (store, bucket, object) = one(b"0123456789").await;
    store.fail(Op::Get, None, .., SLOW_DOWN);
    assert_eq!(
        bucket.read(&object, 0..10).await.unwrap_err().kind,
        ErrorKind::Throttled
    );
    assert_eq!(store.log().len(), 5);
}

#[tokio::test]
async fn a_replaced_object_is_changed_and_not_retried() {
    let (store, bucket, object) = one(b"0123456789").await;
    store.put("dir/key", "abcdefghij");
    assert_eq!(
        bucket.read(&object, 0..5).await.unwrap_err().kind,
        ErrorKind::Changed
    );
    assert_eq!(store.log().len(), 1);
    let newest = bucket.head("dir/key").await.unwrap();
    assert_eq!(bucket.read(&newest, 0..5).await.unwrap(), "abcde");
}

#[tokio::test]
async fn each_refusal_of_a_read_has_its_kind() {
    let cases = [
        ("InvalidRange", 416, ErrorKind::Changed),
        ("NoSuchKey", 404, ErrorKind::NoSuchKey),
        ("AccessDenied", 403, ErrorKind::Denied),
        ("InvalidObjectState", 403, ErrorKind::Archived),
        ("ExpiredToken", 400, ErrorKind::BadCredentials),
        (
            "PermanentRedirect",
            301,
            ErrorKind::WrongRegion {
                actual: Some("ap-south-1".to_owned()),
            },
        ),
        (
            "AuthorizationHeaderMalformed",
            400,
            ErrorKind::WrongRegion {
                actual: Some("ap-south-1".to_owned()),
            },
        ),
    ];
    let (store, bucket, object) = one(b"0123456789").await;
    store.region("ap-south-1");
    for (code, status, kind) in cases {
        // Once: none of these is retried.
        store.fail(Op::Get, None, 1..=1, Fault::Error { code, status });
        let error = bucket.read(&object, 0..5).await.unwrap_err();
        assert_eq!(error.kind, kind, "{code}");
        assert_eq!(error.request_id.as_deref(), Some("FAKE-REQUEST"));
    }
}

#[tokio::test]
async fn what_is_gone_or_archived_or_elsewhere_is_told_apart() {
    let (store, bucket, object) = one(b"0123456789").await;
    store.delete("dir/key");
    assert_eq!(
        bucket.read(&object, 0..5).await.unwrap_err().kind,
        ErrorKind::NoSuchKey
    );
    assert_eq!(
        bucket.head("dir/key").await.unwrap_err().kind,
        ErrorKind::NoSuchKey
    );
    assert_eq!(
        bucket.head("").await.unwrap_err().kind,
        ErrorKind::NoSuchKey
    );

    store.put_with("cold", "x", SystemTime::now(), Some("GLACIER"));
    let cold = only(&bucket).await;
    assert_eq!(
        bucket.read(&cold, 0..1).await.unwrap_err().kind,
        ErrorKind::Archived
    );

    let other = Config {
        bucket: "other".to_owned(),
        ..config(Some(store.endpoint()))
    };
    let other = Bucket::open(&other).await.unwrap();
    assert_eq!(
        other.probe("").await.unwrap_err().kind,
        ErrorKind::NoSuchBucket
    );
    assert_eq!(
        list(&other, "").await.unwrap_err().kind,
        ErrorKind::NoSuchBucket
    );
}

#[tokio::test]
async fn a_store_that_is_not_there_is_unreachable() {
    // A port that was free a moment ago, and refuses now.
    let endpoint = FakeS3::start_on(0).await.endpoint();
    let bucket = Bucket::open(&config(Some(endpoint))).await.unwrap();
    let error = bucket.probe("").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error:?}");
}

#[tokio::test]
async fn impossible_options_are_found_before_any_request() {
    let endpoint = Bucket::open(&config(Some("minio:9000".to_owned())))
        .await
        .unwrap_err();
    assert!(
        matches!(endpoint.kind, ErrorKind::InvalidConfig(_)),
        "{endpoint}"
    );
    // An access point has no path-style address; with one, AWS itself would be asked.
    let aws = Config {
        bucket: "arn:aws:s3:eu-north-1:123456789012:accesspoint/a".to_owned(),
        ..config(None)
    };
    let error = Bucket::open(&aws)
        .await
        .unwrap()
        .probe("")
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind, ErrorKind::InvalidConfig(_)),
        "{error:?}"
    );
}

// Credentials and regions: the SDK takes them from the environment, which is the process's.

/// Runs the named test again in a process with this environment and no other AWS settings. True in the parent, when that is done.
async fn in_own_process(test: &str, environment: &[(&str, &str)]) -> bool {
    const MARK: &str = "S3_TEST_IN_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return false;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .args(["--exact", test, "--nocapture"])
        .env(MARK, "1")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .envs(environment.iter().copied());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIDTEST"),
    ("AWS_SECRET_ACCESS_KEY", "right"),
];

fn signed(endpoint: Option<String>) -> Config {
    Config {
        no_sign_request: false,
        ..config(endpoint)
    }
}

#[tokio::test]
async fn every_odd_key_is_signed_as_it_is_sent() {
    if in_own_process("s3::every_odd_key_is_signed_as_it_is_sent", &KEYS).await {
        return;
    }
    let store = FakeS3::start_with_credentials("AKIDTEST", "right").await;
    for key in ODD_KEYS {
        store.put(key, key);
    }
    let bucket = Bucket::open(&signed(Some(store.endpoint()))).await.unwrap();
    every_odd_key_is_listed_and_read(&bucket).await;

    let anonymous = Bucket::open(&config(Some(store.endpoint()))).await.unwrap();
    assert_eq!(
        anonymous.probe("").await.unwrap_err().kind,
        ErrorKind::Denied
    );
}

#[tokio::test]
async fn wrong_credentials_are_told_from_denied_access() {
    if in_own_process("s3::wrong_credentials_are_told_from_denied_access", &KEYS).await {
        return;
    }
    let store = FakeS3::start_with_credentials("AKIDTEST", "left").await;
    let bucket = Bucket::open(&signed(Some(store.endpoint()))).await.unwrap();
    let error = bucket.probe("").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadCredentials, "{error:?}");
}

#[tokio::test]
async fn missing_credentials_are_named_with_the_ways_to_give_them() {
    if in_own_process(
        "s3::missing_credentials_are_named_with_the_ways_to_give_them",
        &[],
    )
    .await
    {
        return;
    }
    let store = FakeS3::start().await;
    let bucket = Bucket::open(&signed(Some(store.endpoint()))).await.unwrap();
    let error = bucket.probe("").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoCredentials, "{error:?}");
    assert!(error.to_string().contains("local_profile"));
    assert_eq!(store.log(), []);
}

#[tokio::test]
async fn the_region_is_the_buckets_own_unless_given() {
    const PORT: &str = "S3_TEST_PORT";
    if std::env::var_os(PORT).is_none() {
        let store = FakeS3::start().await;
        store.region("ap-south-1");
        // What AWS answers to a request for another region; the header is there all the same.
        store.fail(
            Op::HeadBucket,
            None,
            ..,
            Fault::Error {
                code: "PermanentRedirect",
                status: 301,
            },
        );
        let environment = [
            (PORT, "set"),
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL_S3", &store.endpoint()),
            KEYS[0],
            KEYS[1],
        ];
        assert!(
            in_own_process(
                "s3::the_region_is_the_buckets_own_unless_given",
                &environment
            )
            .await
        );
        let ops: Vec<_> = store.log().iter().map(|request| request.op).collect();
        assert_eq!(
            ops,
            [Op::HeadBucket, Op::List, Op::List],
            "one request for the region, none when it is given"
        );
        return;
    }
    let found = Bucket::open(&Config {
        region: None,
        ..signed(None)
    })
    .await
    .unwrap();
    assert_eq!(found.region(), "ap-south-1");
    found.probe("").await.unwrap();
    let given = Bucket::open(&signed(None)).await.unwrap();
    assert_eq!(given.region(), "eu-north-1");
    given.probe("").await.unwrap();
}

/// Answers every request as STS answers `AssumeRole`, and keeps the request's form.
async fn serve_sts(listener: TcpListener, forms: Arc<Mutex<Vec<String>>>) {
    const ANSWER: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
        <SecretAccessKey>of the role</SecretAccessKey><SessionToken>token</SessionToken>\
        <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>";
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = String::new();
        while !request.contains("Version=") {
            let mut chunk = [0; 4096];
            let length = stream.read(&mut chunk).await.unwrap();
            assert_ne!(length, 0, "a whole request");
            request += std::str::from_utf8(&chunk[..length]).unwrap();
        }
        forms
            .lock()
            .unwrap()
            .push(request.split("\r\n\r\n").last().unwrap().to_owned());
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            ANSWER.len()
        );
        stream.write_all((head + ANSWER).as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_role_is_assumed_only_when_one_is_given() {
    const STORE: &str = "S3_TEST_STORE";
    let Some(endpoint) = std::env::var_os(STORE) else {
        let store = FakeS3::start_with_credentials("ASIAROLE", "of the role").await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let sts = format!("http://{}", listener.local_addr().unwrap());
        let forms = Arc::default();
        let serving = tokio::spawn(serve_sts(listener, Arc::clone(&forms)));
        let environment = [
            (STORE, &*store.endpoint()),
            ("AWS_ENDPOINT_URL_STS", &sts),
            KEYS[0],
            KEYS[1],
        ];
        assert!(in_own_process("s3::a_role_is_assumed_only_when_one_is_given", &environment).await);
        serving.abort();
        let forms = forms.lock().unwrap();
        assert_eq!(forms.len(), 1, "{forms:?}");
        for part in [
            "Action=AssumeRole",
            "%3Arole%2Freader",
            "ExternalId=secret",
            "RoleSessionName=sync",
        ] {
            assert!(forms[0].contains(part), "{part} in {}", forms[0]);
        }
        return;
    };
    let own = signed(Some(endpoint.into_string().unwrap()));
    let error = Bucket::open(&own)
        .await
        .unwrap()
        .probe("")
        .await
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::BadCredentials);
    let role = AssumeRole {
        role_arn: "arn:aws:iam::123456789012:role/reader".to_owned(),
        external_id: Some("secret".to_owned()),
        session_name: Some("sync".to_owned()),
    };
    let credentials = Credentials {
        profile: None,
        role: Some(role),
    };
    let bucket = Bucket::open(&Config { credentials, ..own }).await.unwrap();
    bucket.probe("").await.unwrap();
    bucket.probe("").await.unwrap();
}
