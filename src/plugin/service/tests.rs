//! The service with a toy source, over an in-memory connection: what each call answers, and that one slot, one session and
//! one process survive whatever a session does.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, Field};
use arrow::record_batch::RecordBatch;
use futures::Stream;
use serde_json::json;
use tokio::sync::Notify;

use super::*;
use crate::testing::{Client, Received, SyncOptions};
use crate::{Column, Encoder, Info, Message, Table};

/// What the sessions did, seen from outside.
#[derive(Default)]
struct Seen {
    pulled: AtomicUsize,
    syncs_dropped: AtomicUsize,
    dropped: Notify,
    opened: Mutex<Vec<OpenOptions>>,
    request: Mutex<Option<SyncRequest>>,
}

#[derive(Clone, Default)]
struct Toy(Arc<Seen>);

/// The spec's `mode` says how the session misbehaves.
struct ToySession {
    mode: String,
    seen: Arc<Seen>,
}

fn toy_table(name: &str, parent: Option<&str>) -> Table {
    let column = Column::new(Field::new("n", DataType::Int64, true));
    Table {
        parent: parent.map(str::to_owned),
        ..Table::new(name, vec![crate::id_column(), column])
    }
}

fn rows(table: &Table) -> Message {
    let table = Table::new(table.name.clone(), table.columns[1..].to_vec());
    let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_new(table.schema(), vec![column]).unwrap();
    Message::Insert(
        Encoder::new(table.schema())
            .unwrap()
            .encode(&batch)
            .unwrap(),
    )
}

impl Source for Toy {
    type Session = ToySession;

    fn info(&self) -> Info {
        Info {
            name: "toy".to_owned(),
            version: "1.2.3".to_owned(),
            revision: None,
            kind: "source",
        }
    }

    fn spec_schema(&self) -> Option<String> {
        Some("{}".to_owned())
    }

    async fn check(&self, spec: &[u8]) -> Result<(), Failure> {
        match spec {
            b"null" => Err(Failure::new(FailureKind::InvalidSpec, "mode is required")),
            b"1" => panic!("check panics"),
            _ => Ok(()),
        }
    }

    async fn open(&self, spec: &[u8], options: OpenOptions) -> Result<ToySession, Failure> {
        let spec: serde_json::Value = serde_json::from_slice(spec)
            .map_err(|error| Failure::new(FailureKind::InvalidSpec, error))?;
        let Some(mode) = spec["mode"].as_str() else {
            return Err(Failure::new(FailureKind::InvalidSpec, "mode is required"));
        };
        assert_ne!(mode, "panic at open", "open panics");
        self.0.opened.lock().unwrap().push(options);
        let (mode, seen) = (mode.to_owned(), Arc::clone(&self.0));
        Ok(ToySession { mode, seen })
    }
}

struct OnDrop(Arc<Seen>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.0.syncs_dropped.fetch_add(1, Ordering::SeqCst);
        self.0.dropped.notify_one();
    }
}

impl Session for ToySession {
    async fn tables(&self, selection: &Selection) -> Result<Vec<Table>, Failure> {
        assert_ne!(self.mode, "panic at tables", "tables panics");
        let all = vec![
            toy_table("a", None),
            toy_table("a_child", Some("a")),
            toy_table("b", None),
        ];
        selection
            .apply(all, |t| &t.name, |t| t.parent.as_deref())
            .map_err(|error| Failure::new(FailureKind::InvalidSpec, error))
    }

    fn sync(
        self: Arc<Self>,
        request: SyncRequest,
    ) -> impl Stream<Item = Result<Message, Failure>> + Send + 'static {
        assert_ne!(self.mode, "panic at sync", "sync panics");
        *self.seen.request.lock().unwrap() = Some(request);
        let guard = OnDrop(Arc::clone(&self.seen));
        futures::stream::unfold((0, self, guard), |(step, session, guard)| async move {
            session.seen.pulled.fetch_add(1, Ordering::SeqCst);
            let table = toy_table("a", None);
            let item = match (step, session.mode.as_str()) {
                (0, _) => Ok(Message::Migrate(table)),
                (1, "panic at poll") => panic!("poll panics"),
                (1, "fail") => Err(Failure::new(FailureKind::Denied, "no")),
                (1, "hang") => futures::future::pending().await,
                (1, "partly") => Ok(Message::Failed {
                    table: "a".to_owned(),
                    error: "half of it".to_owned(),
                }),
                (_, "endless") | (1, _) => Ok(rows(&table)),
                _ => return None,
            };
            Some((item, (step + 1, session, guard)))
        })
    }
}

async fn toy(mode: &str) -> (Client, Arc<Seen>) {
    let source = Toy::default();
    let seen = Arc::clone(&source.0);
    let mut client = Client::in_process(source).await.unwrap();
    client.init(&json!({ "mode": mode }), false).await.unwrap();
    (client, seen)
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(10);
    tokio::time::timeout(limit, work)
        .await
        .expect("takes too long")
}

fn said<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn names(schemas: &[arrow::datatypes::SchemaRef]) -> Vec<&str> {
    schemas
        .iter()
        .map(|s| s.metadata()["cq:table_name"].as_str())
        .collect()
}

#[tokio::test]
async fn who_it_is() {
    let mut client = Client::in_process(Toy::default()).await.unwrap();
    assert_eq!(client.versions().await.unwrap(), [0, 1, 2, 3]);
    assert_eq!(client.name().await.unwrap(), "toy");
    assert_eq!(client.version().await.unwrap(), "1.2.3");
    assert_eq!(client.spec_schema().await.unwrap().as_deref(), Some("{}"));
}

#[tokio::test]
async fn before_init_and_after_close() {
    let mut client = Client::in_process(Toy::default()).await.unwrap();
    client.close().await.unwrap();
    for round in 0..2 {
        assert_eq!(
            said(client.tables(&["*"], &[]).await),
            (
                Code::FailedPrecondition,
                "failed to get tables: plugin not initialized".to_owned()
            ),
            "{round}"
        );
        let sync = client.sync(SyncOptions::default()).await.map(drop);
        let text = "failed to sync records: plugin not initialized. call Init() first";
        assert_eq!(
            said(sync),
            (Code::FailedPrecondition, text.to_owned()),
            "{round}"
        );
        client.init(&json!({"mode": ""}), true).await.unwrap();
        client.tables(&["*"], &[]).await.unwrap();
        client.close().await.unwrap();
    }
}

#[tokio::test]
async fn init_again_replaces_and_a_refused_spec_leaves_nothing() {
    let (mut client, seen) = toy("").await;
    client.init(&json!({"mode": "partly"}), true).await.unwrap();
    let options = seen.opened.lock().unwrap().clone();
    assert_eq!(
        (options[0].no_connection, options[1].no_connection),
        (false, true)
    );
    assert_eq!(options[1].invocation_id.len(), 36);
    assert_eq!(
        client
            .sync(SyncOptions::default())
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
            .len(),
        1
    );

    let refused = client.init(&serde_json::Value::Null, false).await;
    let text = "failed to init plugin: mode is required";
    assert_eq!(said(refused), (Code::InvalidArgument, text.to_owned()));
    assert_eq!(
        said(client.tables(&["*"], &[]).await).0,
        Code::FailedPrecondition
    );
}

#[tokio::test]
async fn tables_are_filtered_and_flat() {
    let (mut client, _) = toy("").await;
    assert_eq!(
        names(&client.tables(&["*"], &[]).await.unwrap()),
        ["a", "a_child", "b"]
    );
    assert_eq!(
        names(&client.tables(&["a*"], &["a_child"]).await.unwrap()),
        ["a"]
    );
    let text = "failed to get tables: tables include a pattern x with no matches";
    assert_eq!(
        said(client.tables(&["x"], &[]).await),
        (Code::InvalidArgument, text.to_owned())
    );
}

#[tokio::test]
async fn a_sync() {
    let (mut client, seen) = toy("").await;
    let options = SyncOptions {
        skip_tables: vec!["b".to_owned()],
        skip_dependent_tables: true,
        deterministic_cq_id: true,
        shard: Some(Shard { num: 2, total: 3 }),
        backend: Some(Backend {
            table_name: "state".to_owned(),
            connection: "localhost:1".to_owned(),
        }),
        supports_checkpoints: true,
        ..SyncOptions::default()
    };
    let received = client.sync(options).await.unwrap().collect().await.unwrap();
    let [Received::Migrate(schema), Received::Insert(batch)] = received.as_slice() else {
        panic!("{received:?}");
    };
    assert_eq!(*schema, toy_table("a", None).schema());
    assert_eq!(batch.num_rows(), 3);
    assert_eq!(batch.schema().metadata()["cq:table_name"], "a");
    let want = SyncRequest {
        selection: Selection::new(vec!["*".to_owned()], vec!["b".to_owned()], true),
        deterministic_cq_id: true,
        shard: Some(Shard { num: 2, total: 3 }),
        backend: Some(Backend {
            table_name: "state".to_owned(),
            connection: "localhost:1".to_owned(),
        }),
        with_error_messages: false,
        supports_checkpoints: true,
    };
    assert_eq!(seen.request.lock().unwrap().take(), Some(want));
}

#[tokio::test]
async fn wrong_requests() {
    let (mut client, _) = toy("").await;
    let shard = |num, total| SyncOptions {
        shard: Some(Shard { num, total }),
        ..SyncOptions::default()
    };
    let backend = |table_name: &str, connection: &str| SyncOptions {
        backend: Some(Backend {
            table_name: table_name.to_owned(),
            connection: connection.to_owned(),
        }),
        ..SyncOptions::default()
    };
    for options in [
        shard(0, 1),
        shard(2, 1),
        shard(0, 0),
        backend("t", ""),
        backend("", "c"),
    ] {
        let sync = client.sync(options.clone()).await.map(drop);
        assert_eq!(said(sync).0, Code::InvalidArgument, "{options:?}");
    }
    let sync = client.sync(backend("", "")).await.unwrap().collect().await;
    assert_eq!(sync.unwrap().len(), 2, "both empty is no backend");
    let text = "failed to sync records: backend_options must contain both connection and table_name: \
                connection is \"\", table_name is \"t\"";
    assert_eq!(said(client.sync(backend("t", "")).await.map(drop)).1, text);
}

#[tokio::test]
async fn an_error_ends_the_stream_with_its_status() {
    let (mut client, _) = toy("fail").await;
    let mut sync = client.sync(SyncOptions::default()).await.unwrap();
    assert!(matches!(
        sync.next().await.unwrap(),
        Some(Received::Migrate(_))
    ));
    let text = "failed to sync records: no".to_owned();
    assert_eq!(said(sync.next().await), (Code::PermissionDenied, text));
    client
        .init(&json!({"mode": ""}), false)
        .await
        .expect("the slot is free");
}

#[tokio::test]
async fn failed_parts_are_told_only_to_who_asks() {
    let (mut client, _) = toy("partly").await;
    for with_error_messages in [false, true] {
        let options = SyncOptions {
            with_error_messages,
            ..SyncOptions::default()
        };
        let received = client.sync(options).await.unwrap().collect().await.unwrap();
        let error = Received::Error {
            table: "a".to_owned(),
            error: "half of it".to_owned(),
        };
        assert_eq!(received.contains(&error), with_error_messages);
        assert_eq!(received.len(), 1 + usize::from(with_error_messages));
    }
}

#[tokio::test]
async fn one_at_a_time() {
    let (mut client, seen) = toy("hang").await;
    let mut sync = client.sync(SyncOptions::default()).await.unwrap();
    sync.next().await.unwrap();
    let busy = |what: &str| (Code::Aborted, format!("{what}: plugin already in use"));
    let init = client.init(&json!({"mode": ""}), false).await;
    assert_eq!(said(init), busy("failed to init plugin"));
    let second = client.sync(SyncOptions::default()).await.map(drop);
    assert_eq!(said(second), busy("failed to sync records"));
    assert_eq!(said(client.close().await), busy("failed to close plugin"));
    client
        .tables(&["*"], &[])
        .await
        .expect("tables need no slot");

    drop(sync);
    within(seen.dropped.notified()).await;
    assert_eq!(seen.syncs_dropped.load(Ordering::SeqCst), 1);
    within(async { while client.close().await.is_err() {} }).await;
}

#[tokio::test]
async fn a_client_that_goes_away_stops_the_work() {
    for drop_the_connection in [false, true] {
        let source = Toy::default();
        let seen = Arc::clone(&source.0);
        let listener = crate::Listener::bind(crate::cli::Network::Tcp, "localhost:0")
            .await
            .unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(crate::run(source, listener, futures::future::pending()));

        let mut client = Client::connect(&address).await.unwrap();
        client
            .init(&json!({"mode": "endless"}), false)
            .await
            .unwrap();
        let mut sync = client.sync(SyncOptions::default()).await.unwrap();
        for _ in 0..10 {
            sync.next().await.unwrap().unwrap();
        }
        let mut other = Client::connect(&address).await.unwrap();
        if drop_the_connection {
            drop(client);
        }
        drop(sync);
        let gone = seen.dropped.notified();
        tokio::time::timeout(Duration::from_secs(1), gone)
            .await
            .expect("within a second");
        let pulled = seen.pulled.load(Ordering::SeqCst);
        within(async { while other.init(&json!({"mode": ""}), false).await.is_err() {} }).await;
        assert_eq!(
            seen.pulled.load(Ordering::SeqCst),
            pulled,
            "nothing is pulled any more"
        );
        server.abort();
    }
}

#[tokio::test]
async fn a_slow_reader_is_not_run_ahead_of() {
    let (mut client, seen) = toy("endless").await;
    let mut sync = client.sync(SyncOptions::default()).await.unwrap();
    sync.next().await.unwrap();
    // Pulling stops where the buffers are full: the count stays the same for a while.
    let quiet = async {
        loop {
            let before = seen.pulled.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(200)).await;
            if seen.pulled.load(Ordering::SeqCst) == before {
                return before;
            }
        }
    };
    assert!(within(quiet).await > 1);
}

#[tokio::test]
async fn panics_are_contained() {
    let mut client = Client::in_process(Toy::default()).await.unwrap();
    for mode in [
        "panic at open",
        "panic at tables",
        "panic at sync",
        "panic at poll",
    ] {
        let init = client.init(&json!({ "mode": mode }), false).await;
        let result = match mode {
            "panic at open" => init,
            "panic at tables" => client.tables(&["*"], &[]).await.map(drop),
            _ => {
                let sync = client.sync(SyncOptions::default()).await.unwrap();
                sync.collect().await.map(drop)
            }
        };
        let (code, text) = said(result);
        assert_eq!(code, Code::Internal, "{mode}");
        assert!(text.contains("panics"), "{text}");
    }
    client
        .init(&json!({"mode": ""}), false)
        .await
        .expect("neither dead nor busy");
    client
        .sync(SyncOptions::default())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(
        said(client.test_connection(&json!(1)).await).0,
        Code::Internal
    );
}

#[tokio::test]
async fn test_connection_answers_without_init() {
    let mut client = Client::in_process(Toy::default()).await.unwrap();
    let ok = client.test_connection(&json!({"mode": ""})).await.unwrap();
    assert_eq!(ok, (true, String::new(), String::new()));
    let bad = client
        .test_connection(&serde_json::Value::Null)
        .await
        .unwrap();
    assert_eq!(
        bad,
        (
            false,
            "INVALID_SPEC".to_owned(),
            "mode is required".to_owned()
        )
    );
}

#[tokio::test]
async fn calls_of_other_kinds_of_plugins_are_unimplemented() {
    let (mut client, _) = toy("").await;
    let plugin = client.plugin();
    let none = || futures::stream::empty::<pb::write::Request>();
    let codes = [
        plugin.read(pb::read::Request::default()).await.map(drop),
        plugin.write(none()).await.map(drop),
        plugin.write_stream(none()).await.map(drop),
        plugin.transform(futures::stream::empty()).await.map(drop),
        plugin
            .transform_schema(pb::transform_schema::Request::default())
            .await
            .map(drop),
        plugin
            .assess_tables(pb::assess_tables::Request::default())
            .await
            .map(drop),
    ]
    .map(|result| result.unwrap_err().code());
    assert_eq!(codes, [Code::Unimplemented; 6]);
}

#[test]
fn every_kind_has_codes() {
    use FailureKind as K;
    for (kind, code, text) in [
        (K::InvalidSpec, Code::InvalidArgument, "INVALID_SPEC"),
        (K::Denied, Code::PermissionDenied, "UNAUTHORIZED"),
        (K::Unauthenticated, Code::Unauthenticated, "UNAUTHORIZED"),
        (K::NotFound, Code::NotFound, "NOT_FOUND"),
        (K::Unavailable, Code::Unavailable, "UNREACHABLE"),
        (K::Data, Code::DataLoss, "INVALID_DATA"),
        (K::Internal, Code::Internal, "INTERNAL"),
        (K::Cancelled, Code::Cancelled, "CANCELLED"),
        (K::Busy, Code::Aborted, "BUSY"),
    ] {
        assert_eq!(status("x", &Failure::new(kind, "y")).code(), code);
        assert_eq!(failure_code(kind), text);
    }
}

/// The CLI counts error lines: one for a failure, none for what went well or was given up.
#[tokio::test]
async fn every_call_is_one_log_line() {
    #[derive(Clone, Default)]
    struct Counts(Arc<Mutex<Vec<(tracing::Level, String)>>>);

    struct Code(String);

    impl tracing::field::Visit for Code {
        fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
            if matches!(field.name(), "grpc.method" | "grpc.code") {
                let _ = std::fmt::Write::write_fmt(&mut self.0, format_args!("{value:?} "));
            }
        }
    }

    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Counts {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            let mut code = Code(String::new());
            event.record(&mut code);
            if event.metadata().target().starts_with("cq_plugin") {
                self.0
                    .lock()
                    .unwrap()
                    .push((*event.metadata().level(), code.0));
            }
        }
    }

    use tracing_subscriber::layer::SubscriberExt as _;
    let counts = Counts::default();
    let subscriber = tracing_subscriber::registry().with(counts.clone());
    // The test's runtime has one thread, so this covers the server too.
    let _default = tracing::subscriber::set_default(subscriber);

    let (mut client, seen) = toy("fail").await;
    client
        .sync(SyncOptions::default())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap_err();
    client.init(&json!({"mode": "hang"}), false).await.unwrap();
    let mut sync = client.sync(SyncOptions::default()).await.unwrap();
    sync.next().await.unwrap();
    drop(sync);
    within(async {
        while seen.syncs_dropped.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tokio::task::yield_now().await;
    let lines = counts.0.lock().unwrap().clone();
    let info = |text: &str| (tracing::Level::INFO, text.to_owned());
    assert_eq!(
        lines,
        [
            info("\"Init\" Ok "),
            (
                tracing::Level::ERROR,
                "\"Sync\" PermissionDenied ".to_owned()
            ),
            info("\"Init\" Ok "),
            info("\"Sync\" Cancelled "),
        ]
    );
}
