//! The plugin at work in one command: an S3 server in this process with a sample bucket, the plugin served on port 7777,
//! a sync through real gRPC, and the rows that came out.
//!
//! `cargo run --release --example quickstart` does all of it and ends; with `-- --serve` it stays up and prints the
//! CloudQuery config that syncs from it.
#![expect(clippy::print_stdout, reason = "an example speaks to whoever runs it")]

#[path = "../../tests/support/fake_s3/mod.rs"]
#[expect(
    dead_code,
    unused_imports,
    reason = "made for tests, of which this uses a part"
)]
mod fake_s3;
#[path = "../../tests/support/files.rs"]
mod files;
mod sample;

use std::collections::BTreeMap;
use std::io::ErrorKind;

use anyhow::{Context, bail, ensure};
use arrow::array::RecordBatch;
use arrow::util::pretty::pretty_format_batches;
use cq_plugin::Listener;
use cq_plugin::cli::Network;
use cq_plugin::testing::{Client, Received, SyncOptions};
use cq_source_s3::source::S3Source;
use serde_json::json;

/// Rows of each table to print.
const SHOWN: usize = 3;
const PORT: u16 = 7777;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stay = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--serve" => true,
        other => bail!("unknown arguments {other:?}: there is `--serve`, to stay up"),
    };
    let s3 = fake_s3::FakeS3::start().await;
    let expected = sample::fill(&s3);
    println!(
        "S3 server on {} with bucket {:?}:",
        s3.endpoint(),
        fake_s3::BUCKET
    );
    for (table, rows) in &expected {
        println!("  {table}: {rows} rows");
    }

    let listener = listen().await?;
    let address = listener.local_addr()?;
    println!("\nPlugin on {address}. Syncing over gRPC ...\n");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let plugin = tokio::spawn(cq_plugin::run(S3Source, listener, async {
        // Whether told to stop or left alone, it is the end.
        let _ = stopped.await;
    }));
    let received = sync(&address, &s3.endpoint()).await?;
    for (table, batches) in &received {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        println!("{table}: {rows} rows, the first of them:");
        let first: Vec<_> = batches
            .iter()
            .take(1)
            .map(|batch| batch.slice(0, SHOWN.min(batch.num_rows())))
            .collect();
        println!("{}\n", pretty_format_batches(&first)?);
        ensure!(
            expected.get(table.as_str()) == Some(&rows),
            "{table} should have {:?} rows",
            expected.get(table.as_str())
        );
    }
    ensure!(
        received.len() == expected.len(),
        "there should be {} tables",
        expected.len()
    );
    println!("All {} tables hold what the bucket holds.", received.len());

    if stay {
        println!(
            "\nThe plugin stays up; Ctrl-C ends it. Save this as config.yml and run `cloudquery sync config.yml`:\n"
        );
        println!("{}", config(&address, &s3.endpoint()));
        tokio::signal::ctrl_c().await?;
    }
    // The plugin may have ended by itself, which the next line tells.
    let _ = stop.send(());
    plugin.await??;
    Ok(())
}

/// Port 7777, or a free one if it is taken.
async fn listen() -> anyhow::Result<Listener> {
    match Listener::bind(Network::Tcp, &format!("localhost:{PORT}")).await {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            println!("\nPort {PORT} is taken, so another one is used.");
            Ok(Listener::bind(Network::Tcp, "127.0.0.1:0").await?)
        }
        outcome => outcome.context("cannot listen"),
    }
}

/// What `cloudquery sync` does: Init, Sync, and the rows by table.
async fn sync(address: &str, endpoint: &str) -> anyhow::Result<BTreeMap<String, Vec<RecordBatch>>> {
    let spec = json!({"bucket": fake_s3::BUCKET, "region": "us-east-1", "endpoint": endpoint, "path_style": true, "no_sign_request": true});
    let mut client = Client::connect(address).await?;
    client.init(&spec, false).await?;
    let mut stream = client.sync(SyncOptions::default()).await?;
    let mut tables: BTreeMap<String, Vec<RecordBatch>> = BTreeMap::new();
    while let Some(message) = stream.next().await? {
        match message {
            Received::Migrate(schema) => {
                drop(tables.insert(name(schema.metadata().get("cq:table_name"))?, Vec::new()));
            }
            Received::Insert(batch) => tables
                .entry(name(batch.schema().metadata().get("cq:table_name"))?)
                .or_default()
                .push(batch),
            other => bail!("unexpected message {other:?}"),
        }
    }
    Ok(tables)
}

fn name(metadata: Option<&String>) -> anyhow::Result<String> {
    metadata.cloned().context("a schema without a table name")
}

fn config(address: &str, endpoint: &str) -> String {
    format!(
        "kind: source
spec:
  name: s3
  registry: grpc
  path: {address}
  tables: [\"*\"]
  destinations: [sqlite]
  spec:
    bucket: {bucket}
    region: us-east-1
    endpoint: {endpoint}
    use_path_style: true
    no_sign_request: true
---
kind: destination
spec:
  name: sqlite
  path: cloudquery/sqlite
  registry: cloudquery
  version: v2.12.0
  spec:
    connection_string: ./quickstart.db
",
        bucket = fake_s3::BUCKET
    )
}
