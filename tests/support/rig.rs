//! A bucket, the plugin in this process, and a client that speaks the real protocol with it.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use cq_plugin::testing::{Client, Received, Status, SyncOptions, SyncStream};
use cq_source_s3::source::S3Source;
use serde_json::{Value, json};

use crate::fake_s3::{BUCKET, FakeS3};

/// Longest that any test waits for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Bucket and plugin.
pub(crate) struct Rig {
    pub(crate) s3: FakeS3,
    pub(crate) client: Client,
    /// The spec that `sync` sends; tests add options.
    pub(crate) spec: Value,
}

/// What a sync brought.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tables: BTreeMap<String, SchemaRef>,
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) errors: Vec<(String, String)>,
    pub(crate) end: Result<(), Status>,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        let s3 = FakeS3::start().await;
        let spec = spec(&s3.endpoint());
        Self {
            s3,
            client: Client::in_process(S3Source).await.unwrap(),
            spec,
        }
    }

    /// Sets an option of the spec.
    pub(crate) fn option(&mut self, name: &str, value: impl Into<Value>) {
        self.spec[name] = value.into();
    }

    pub(crate) async fn start(&mut self, options: SyncOptions) -> SyncStream {
        self.client.init(&self.spec, false).await.unwrap();
        self.client.sync(options).await.unwrap()
    }

    /// Init and a whole sync.
    pub(crate) async fn sync(&mut self) -> Outcome {
        self.sync_with(SyncOptions {
            with_error_messages: true,
            ..SyncOptions::default()
        })
        .await
    }

    pub(crate) async fn sync_with(&mut self, options: SyncOptions) -> Outcome {
        let stream = self.start(options).await;
        tokio::time::timeout(PATIENCE, Outcome::of(stream))
            .await
            .expect("the sync ends")
    }
}

/// A spec for the bucket behind `endpoint`.
pub(crate) fn spec(endpoint: &str) -> Value {
    json!({"bucket": BUCKET, "region": "us-east-1", "endpoint": endpoint, "path_style": true, "no_sign_request": true})
}

impl Outcome {
    async fn of(mut stream: SyncStream) -> Self {
        let mut outcome = Self {
            tables: BTreeMap::new(),
            batches: Vec::new(),
            errors: Vec::new(),
            end: Ok(()),
        };
        loop {
            match stream.next().await {
                Ok(Some(Received::Migrate(schema))) => {
                    let fresh = outcome.tables.insert(name(&schema), schema).is_none();
                    assert!(fresh, "a table is announced once");
                }
                Ok(Some(Received::Insert(batch))) => {
                    assert_eq!(
                        Some(&batch.schema()),
                        outcome.tables.get(&name(&batch.schema())),
                        "an insert has its table's schema"
                    );
                    outcome.batches.push(batch);
                }
                Ok(Some(Received::Error { table, error })) => outcome.errors.push((table, error)),
                Ok(Some(Received::Other(message))) => panic!("{message} is not sent"),
                Ok(None) => return outcome,
                Err(status) => {
                    outcome.end = Err(status);
                    return outcome;
                }
            }
        }
    }

    pub(crate) fn table_names(&self) -> Vec<&str> {
        self.tables.keys().map(String::as_str).collect()
    }

    pub(crate) fn batches_of<'a>(
        &'a self,
        table: &'a str,
    ) -> impl Iterator<Item = &'a RecordBatch> {
        self.batches
            .iter()
            .filter(move |batch| name(&batch.schema()) == table)
    }

    /// Values of a number column of a table, sorted.
    pub(crate) fn ints(&self, table: &str, column: &str) -> Vec<i64> {
        let columns = self
            .batches_of(table)
            .map(|batch| std::sync::Arc::clone(batch.column_by_name(column).unwrap()));
        let mut values: Vec<i64> = columns
            .flat_map(|array| array.as_primitive::<Int64Type>().values().to_vec())
            .collect();
        values.sort_unstable();
        values
    }

    /// The ids of a table's rows, in the order of arrival.
    pub(crate) fn ids(&self, table: &str) -> Vec<Vec<u8>> {
        let columns = self
            .batches_of(table)
            .map(|batch| std::sync::Arc::clone(batch.column(0)));
        columns
            .flat_map(|ids| {
                assert_eq!(ids.null_count(), 0, "_cq_id is always filled");
                ids.as_fixed_size_binary()
                    .iter()
                    .flatten()
                    .map(<[u8]>::to_vec)
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// The status text of a sync that failed.
    pub(crate) fn failure(&self) -> &str {
        self.end.as_ref().expect_err("the sync fails").message()
    }
}

pub(crate) fn name(schema: &SchemaRef) -> String {
    schema
        .metadata()
        .get("cq:table_name")
        .cloned()
        .expect("every schema names its table")
}
