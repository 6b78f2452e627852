//! The program itself, as people and the CloudQuery CLI start it. Semantics 21 and 22.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cq_plugin::testing::{Client, Received, SyncOptions};
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use crate::fake_s3::FakeS3;
use crate::files::{ints, parquet, texts, write};
use crate::rig::{PATIENCE, spec};

/// Set for the copy of this test binary that plays the bare server.
const BARE: &str = "CQ_TEST_BARE_SERVER";

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cq-source-s3"));
    command
        .env("AWS_ACCESS_KEY_ID", "AKIDTEST")
        .env("AWS_SECRET_ACCESS_KEY", "a-secret-that-no-output-holds");
    command
}

/// A running server and its log.
struct Server {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, lines) = std::sync::mpsc::sync_channel(10_000);
        std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, lines }
    }

    /// Waits for the line that names the address.
    fn address(&self) -> String {
        loop {
            let line: Value =
                serde_json::from_str(&self.lines.recv_timeout(PATIENCE).expect("a first line"))
                    .expect("a JSON line");
            if line["message"] == "Plugin server listening" {
                return line["address"].as_str().unwrap().to_owned();
            }
        }
    }

    fn signal(&mut self, name: &str) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", self.child.id())])
            .status()
            .unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        (status.code(), asked.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(extra: &[&str]) -> Server {
    let mut command = program();
    command.args(["serve", "--log-format", "json"]).args(extra);
    Server::start(command)
}

fn scratch(name: &str) -> PathBuf {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    // Left over from an earlier run, or not there.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// 21. "`registry: local` (unix socket), `registry: grpc`", with the flags that the CLI passes; 22. "Logs on stdout are the
/// flat JSON lines that the CLI parses, each under 4 KiB; never a credential in any output."
#[tokio::test]
async fn a_sync_over_a_socket_with_the_clis_flags_logs_what_the_cli_reads() {
    let s3 = FakeS3::start().await;
    s3.put("t/x.parquet", parquet(vec![("n", ints(0..10))]));
    s3.put(&format!("t/{}.parquet", "long".repeat(200)), "not Parquet");
    let socket = scratch("socket").join("cq.sock");
    let socket = socket.to_str().unwrap();
    let mut server = serve(&[
        "--log-level",
        "debug",
        "--network",
        "unix",
        "--address",
        socket,
        "--no-sentry",
        "--license",
        "x",
        "--otel-endpoint",
        "localhost:1",
        "--otel-endpoint-insecure",
    ]);
    assert_eq!(server.address(), socket);
    let mut client = Client::connect_unix(socket).await.unwrap();
    assert!(client.versions().await.unwrap().contains(&3));
    let mut spec = spec(&s3.endpoint());
    spec["no_sign_request"] = false.into();
    client.init(&spec, false).await.unwrap();
    let error = client
        .sync(SyncOptions::default())
        .await
        .unwrap()
        .collect()
        .await
        .unwrap_err();
    assert!(error.message().contains("not a Parquet file"));
    let (code, took) = server.signal("INT");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(1), "{took:?}");
    let lines: Vec<_> = server.lines.iter().collect();
    assert!(lines.len() > 3, "{lines:?}");
    for line in &lines {
        assert!(line.len() < 4096, "{} bytes", line.len());
        let parsed: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let level = parsed["level"].as_str().unwrap();
        assert!(
            ["trace", "debug", "info", "warn", "error"].contains(&level),
            "{line}"
        );
        assert!(
            parsed.get("time").is_none() && parsed["message"].is_string(),
            "{line}"
        );
        assert!(
            parsed
                .as_object()
                .unwrap()
                .values()
                .all(|value| !value.is_object()),
            "{line}"
        );
        assert!(!line.contains("a-secret-that-no-output-holds"), "{line}");
    }
}

/// 21. "SIGINT and SIGTERM end the process with 0 at once", also with a client in the middle of a sync.
#[tokio::test]
async fn a_signal_ends_it_with_0_at_once() {
    let s3 = FakeS3::start().await;
    for i in 0..50 {
        s3.put(
            &format!("t/{i}.parquet"),
            parquet(vec![("s", texts((0..20_000).map(|k| format!("{i} {k}"))))]),
        );
    }
    for signal in ["TERM", "INT"] {
        let mut server = serve(&["--address", "127.0.0.1:0"]);
        let mut client = Client::connect(&server.address()).await.unwrap();
        client.init(&spec(&s3.endpoint()), false).await.unwrap();
        let mut stream = client.sync(SyncOptions::default()).await.unwrap();
        stream.next().await.unwrap();
        let (code, took) = server.signal(signal);
        assert_eq!(code, Some(0), "{signal}");
        assert!(took < Duration::from_secs(1), "{signal}: {took:?}");
    }
}

/// Every flag can be set by the environment; the flag wins.
#[test]
fn flags_come_from_the_environment_too() {
    let mut command = program();
    command
        .env("CQ_SOURCE_S3_LOG_FORMAT", "json")
        .env("CQ_SOURCE_S3_ADDRESS", "127.0.0.1:1")
        .args(["serve", "--address", "127.0.0.1:0"]);
    command.env("CQ_SOURCE_S3_REVISION", "0123abc");
    // Set to nothing is not set, and what another program's RUST_LOG says must not keep this one from starting.
    command
        .env("CQ_SOURCE_S3_NO_SENTRY", "")
        .env("CQ_SOURCE_S3_LOG_LEVEL", "")
        .env("RUST_LOG", "x=verbose");
    let server = Server::start(command);
    let line = || -> Value {
        serde_json::from_str(&server.lines.recv_timeout(PATIENCE).unwrap()).unwrap()
    };
    let warning = line();
    assert!(
        warning["message"]
            .as_str()
            .unwrap()
            .starts_with("RUST_LOG is ignored"),
        "{warning}"
    );
    let first = line();
    assert_ne!(first["address"], "127.0.0.1:1");
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(first["revision"], "0123abc");
}

fn run(args: &[&str]) -> Output {
    program().args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn version_help_and_wrong_flags() {
    let version = program()
        .arg("--version")
        .env("CQ_SOURCE_S3_REVISION", "0123abc")
        .output()
        .unwrap();
    assert_eq!(
        text(&version.stdout),
        format!(
            "cq-source-s3 version {} (revision 0123abc)\n",
            env!("CARGO_PKG_VERSION")
        )
    );
    let nothing = run(&[]);
    assert!(
        nothing.status.success()
            && text(&nothing.stdout).contains("serve")
            && nothing.stderr.is_empty()
    );
    let help = run(&["serve", "--help"]);
    assert!(
        text(&help.stdout).contains("CQ_SOURCE_S3_LOG_LEVEL")
            && text(&help.stdout).contains("localhost:7777")
    );
    let wrong = run(&["serve", "--adress", "x"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong.stderr).contains("--address"),
        "{}",
        text(&wrong.stderr)
    );
}

/// `tables` and `preview`, from a CloudQuery config and from a bare spec; exit codes.
#[tokio::test(flavor = "multi_thread")]
async fn people_see_tables_and_rows() {
    let s3 = FakeS3::start().await;
    s3.put(
        "shop/orders/1.parquet",
        parquet(vec![
            ("id", ints(0..30)),
            ("item", texts((0..30).map(|i| format!("item {i}")))),
        ]),
    );
    s3.put(
        "shop/orders/2.parquet",
        parquet(vec![
            ("id", ints(30..40)),
            ("item", texts((30..40).map(|i| format!("item {i}")))),
        ]),
    );
    let folder = scratch("people");
    let file = |name: &str, content: String| {
        std::fs::write(folder.join(name), content).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    let bare = file("bare.json", spec(&s3.endpoint()).to_string());
    let endpoint = s3.endpoint();
    let config = file(
        "config.yml",
        format!(
            "kind: source\nspec:\n  name: s3\n  registry: grpc\n  path: localhost:7777\n  tables: ['*']\n  destinations: [pg]\n  spec:\n    bucket: bucket\n    region: us-east-1\n    endpoint: {endpoint}\n    path_style: true\n---\nkind: destination\nspec:\n  name: pg\n"
        ),
    );
    for spec in [&bare, &config] {
        let tables = run(&["tables", "--spec", spec]);
        let out = text(&tables.stdout);
        assert!(tables.status.success(), "{}", text(&tables.stderr));
        assert!(
            out.contains("shop_orders (2 objects")
                && out.contains("Int64")
                && out.contains("uuid not null"),
            "{out}"
        );
    }
    let json: Value =
        serde_json::from_slice(&run(&["tables", "--spec", &bare, "--format", "json"]).stdout)
            .unwrap();
    assert_eq!(json[0]["name"], "shop_orders");
    assert_eq!(json[0]["objects"], 2);
    assert_eq!(json[0]["columns"][2]["name"], "id");

    let preview = run(&[
        "preview",
        "--spec",
        &bare,
        "--table",
        "shop_orders",
        "--limit",
        "3",
    ]);
    let out = text(&preview.stdout);
    assert!(
        preview.status.success()
            && out.contains("item 0")
            && out.contains("item 2")
            && !out.contains("item 3 "),
        "{out}"
    );

    let missing = run(&["preview", "--spec", &bare, "--table", "orders"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(
        text(&missing.stderr).contains("pattern orders with no matches"),
        "{}",
        text(&missing.stderr)
    );
    let misspelt = run(&[
        "tables",
        "--spec",
        &file("misspelt.yml", "bucket: b\nregoin: x\n".to_owned()),
    ]);
    assert_eq!(misspelt.status.code(), Some(2));
    assert!(
        text(&misspelt.stderr).contains("did you mean `region`"),
        "{}",
        text(&misspelt.stderr)
    );
    let unreadable = run(&["tables", "--spec", "/nonexistent.yml"]);
    assert_eq!(unreadable.status.code(), Some(2));
    s3.put("shop/broken/1.parquet", "nonsense");
    let broken = run(&["tables", "--spec", &bare]);
    assert_eq!(broken.status.code(), Some(1));
    assert!(
        text(&broken.stdout).contains("shop_orders")
            && text(&broken.stderr).contains("shop/broken/1.parquet")
    );
}

/// Peak memory of a process so far, in bytes (`VmHWM`, proc(5)).
fn peak_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kibibytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes << 10
}

/// "bounded by the byte budget": memory does not grow with the data, and a decompression bomb does not grow it either.
#[tokio::test]
async fn memory_stays_within_the_budget_and_a_fixed_part() {
    /// What the program takes beside `max_memory`: code, threads, connections, and what glibc's allocator keeps of freed
    /// blocks in each thread's arena, which is the larger part (with one arena the peak is 50 MiB lower).
    const FIXED: u64 = 160 << 20;
    let s3 = FakeS3::start().await;
    let mut noise = 0_u64;
    let mut next = || {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        noise.cast_signed()
    };
    let columns: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| (name, ints((0..400_000).map(|_| next()))))
        .into();
    let batch = arrow::array::RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(100_000))
        .build();
    let file = write(&batch, properties);
    assert!(file.len() > 12 << 20, "{} bytes", file.len());
    for i in 0..40 {
        s3.put(&format!("t/{i}.parquet"), file.clone());
    }
    let zeros =
        arrow::array::RecordBatch::try_from_iter([("z", ints(std::iter::repeat_n(0, 20_000_000)))])
            .unwrap();
    let bomb = WriterProperties::builder()
        .set_dictionary_enabled(false)
        .set_compression(parquet::basic::Compression::ZSTD(
            parquet::basic::ZstdLevel::default(),
        ))
        .set_max_row_group_row_count(None)
        .set_data_page_size_limit(usize::MAX)
        .set_data_page_row_count_limit(usize::MAX)
        .build();
    let bomb = write(&zeros, bomb);
    assert!(
        bomb.len() < 200_000,
        "{} bytes stand for 160 MB in one page",
        bomb.len()
    );
    s3.put("bomb/x.parquet", bomb);
    // Rows that a dictionary repeats: kilobytes in the file, half a gigabyte of messages.
    let long = "x".repeat(500_000);
    s3.put(
        "wide/x.parquet",
        parquet(vec![("s", texts(std::iter::repeat_n(&long, 1000)))]),
    );

    let server = serve(&["--address", "127.0.0.1:0"]);
    let mut client = Client::connect(&server.address()).await.unwrap();
    let mut spec = spec(&s3.endpoint());
    spec["max_memory"] = "32MiB".into();
    spec["rows_per_record"] = 10_000.into();
    client.init(&spec, false).await.unwrap();
    let mut stream = client.sync(SyncOptions::default()).await.unwrap();
    let mut rows = 0;
    let end = loop {
        match stream.next().await {
            Ok(Some(Received::Insert(batch))) => rows += batch.num_rows(),
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(status) => break Some(status),
        }
    };
    assert_eq!(rows, 40 * 400_000 + 1000, "{end:?}");
    let end = end.expect("the bomb fails");
    assert!(
        end.message().contains("bomb/x.parquet") && end.message().contains("max_memory"),
        "{end:?}"
    );
    let peak = peak_memory(server.child.id());
    assert!(
        peak < (32 << 20) + FIXED,
        "{} MiB for {} MiB of objects",
        peak >> 20,
        (40 * file.len()) >> 20
    );
}

/// Plays the bare server of the next test when asked to; by itself it shows that asking works.
#[tokio::test]
async fn bare_server() {
    let Ok(address) = std::env::var(BARE) else {
        assert!(std::env::args().count() > 0);
        return;
    };
    let (_, health) = tonic_health::server::health_reporter();
    tonic::transport::Server::builder()
        .add_service(health)
        .serve(address.parse().unwrap())
        .await
        .unwrap();
}

/// 21. "Listening within 50 ms of start": against a tonic server with nothing but a health service, alternately.
#[test]
fn it_listens_as_fast_as_a_bare_server() {
    const ROUNDS: usize = 7;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let time = |mut command: Command| {
        let started = Instant::now();
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while TcpStream::connect(&address).is_err() {
            assert!(started.elapsed() < PATIENCE, "it never listens");
            std::thread::sleep(Duration::from_micros(200));
        }
        let took = started.elapsed();
        child.kill().unwrap();
        child.wait().unwrap();
        took
    };
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut command = program();
        command.args(["serve", "--address", &address]);
        ours.push(time(command));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "program::bare_server"])
            .env(BARE, &address);
        bare.push(time(command));
    }
    ours.sort();
    bare.sort();
    let ratio = ours[ROUNDS / 2].as_secs_f64() / bare[ROUNDS / 2].as_secs_f64();
    assert!(ratio < 2.0, "{ratio:.2}: ours {ours:?}, bare {bare:?}");
    assert!(ours[0] < Duration::from_millis(50), "{ours:?}");
}
