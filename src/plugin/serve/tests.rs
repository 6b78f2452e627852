//! A server as clients see it: over a Unix socket with the bytes of a Go client, health, reflection, and its end.

use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::cli::Network;
use crate::connection::testing::{FIRST_BLOCK, SECOND_BLOCK, bytes, frame};
use crate::testing::{Client, Received, SyncOptions};
use crate::{Failure, Message, OpenOptions, Selection, Session, SyncRequest, Table};

/// Opens any spec; its sync sends one table and then nothing, for ever.
struct Quiet;

impl Source for Quiet {
    type Session = Quiet;

    fn info(&self) -> Info {
        Info {
            name: "quiet".to_owned(),
            version: "0.0.0".to_owned(),
            revision: None,
            kind: "source",
        }
    }

    fn spec_schema(&self) -> Option<String> {
        None
    }

    async fn check(&self, _: &[u8]) -> Result<(), Failure> {
        Ok(())
    }

    async fn open(&self, _: &[u8], _: OpenOptions) -> Result<Quiet, Failure> {
        Ok(Quiet)
    }
}

impl Session for Quiet {
    async fn tables(&self, _: &Selection) -> Result<Vec<Table>, Failure> {
        Ok(Vec::new())
    }

    fn sync(
        self: std::sync::Arc<Self>,
        _: SyncRequest,
    ) -> impl Stream<Item = Result<Message, Failure>> + Send + 'static {
        use futures::StreamExt as _;
        let table = Message::Migrate(Table::new("t", Vec::new()));
        futures::stream::iter([Ok(table)]).chain(futures::stream::pending())
    }
}

type Running = tokio::task::JoinHandle<Result<(), ServeError>>;

async fn start(network: Network, address: &str) -> (String, oneshot::Sender<()>, Running) {
    let listener = Listener::bind(network, address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { stopped.await.unwrap() };
    (address, stop, tokio::spawn(run(Quiet, listener, shutdown)))
}

fn socket_path(name: &str) -> String {
    let name = format!("cq-plugin-{}-{name}.sock", std::process::id());
    std::env::temp_dir().join(name).to_str().unwrap().to_owned()
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work)
        .await
        .expect("takes too long")
}

/// Sends two requests as a Go client does and returns the answers' payloads, or the first frame that resets a stream.
async fn ask_like_go(mut io: impl AsyncRead + AsyncWrite + Unpin) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    const EMPTY_MESSAGE: [u8; 5] = [0; 5];
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    request.extend(frame(4, 0, 0, &[]));
    for (stream, block) in [(1, FIRST_BLOCK), (3, SECOND_BLOCK)] {
        request.extend(frame(1, 4, stream, &bytes(block)));
        request.extend(frame(0, 1, stream, &EMPTY_MESSAGE));
    }
    io.write_all(&request).await.unwrap();
    let mut answers = Vec::new();
    while answers.len() < 2 {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(len).unwrap()];
        io.read_exact(&mut payload).await.unwrap();
        match head[3] {
            0 if !payload.is_empty() => answers.push(payload),
            // RST_STREAM, GOAWAY
            3 | 7 => return Err(payload),
            _ => {}
        }
    }
    Ok(answers)
}

#[tokio::test]
async fn a_go_client_over_a_unix_socket_is_answered() {
    let (path, stop, running) = start(Network::Unix, &socket_path("go")).await;
    let answers = within(ask_like_go(UnixStream::connect(&path).await.unwrap())).await;
    let versions = vec![0, 0, 0, 0, 6, 0x0a, 4, 0, 1, 2, 3];
    assert_eq!(answers, Ok(vec![versions.clone(), versions]));

    let mut client = Client::connect_unix(&path).await.unwrap();
    assert_eq!(
        client.name().await.unwrap(),
        "quiet",
        "other clients as well"
    );
    stop.send(()).unwrap();
    within(running).await.unwrap().unwrap();
    assert!(!std::path::Path::new(&path).exists());
}

/// Shows that the test above tests something, and when the adapter is no longer needed.
#[tokio::test]
async fn without_the_adapter_the_same_bytes_are_a_protocol_error() {
    const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];
    let (address, stop, running) = start(Network::Tcp, "127.0.0.1:0").await;
    let answers = within(ask_like_go(TcpStream::connect(&address).await.unwrap())).await;
    assert_eq!(answers, Err(PROTOCOL_ERROR.to_vec()));
    stop.send(()).unwrap();
    within(running).await.unwrap().unwrap();
}

#[tokio::test]
async fn stopping_cuts_off_what_runs() {
    for unix in [false, true] {
        let (address, stop, running) = if unix {
            start(Network::Unix, &socket_path("stop")).await
        } else {
            start(Network::Tcp, "localhost:0").await
        };
        let mut client = if unix {
            Client::connect_unix(&address).await.unwrap()
        } else {
            Client::connect(&address).await.unwrap()
        };
        client.init(&serde_json::Value::Null, false).await.unwrap();
        let mut sync = client.sync(SyncOptions::default()).await.unwrap();
        assert!(matches!(
            sync.next().await.unwrap(),
            Some(Received::Migrate(_))
        ));
        stop.send(()).unwrap();
        within(running).await.unwrap().unwrap();
        within(sync.next()).await.unwrap_err();
        within(client.name()).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_taken_address_is_named() {
    let (address, _stop, _running) = start(Network::Tcp, "127.0.0.1:0").await;
    let args = ServeArgs {
        address: address.clone(),
        ..ServeArgs::default()
    };
    let error = serve(Quiet, &args).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
}

async fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn health_and_reflection() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::{v1, v1alpha};
    use v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol;
    use v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse;

    let (address, _stop, _running) = start(Network::Tcp, "127.0.0.1:0").await;
    let mut health = HealthClient::new(channel(&address).await);
    for service in ["", "cloudquery.plugin.v3.Plugin"] {
        let service = service.to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }

    let mut names = Vec::new();
    {
        use v1::server_reflection_request::MessageRequest::ListServices;
        use v1::server_reflection_response::MessageResponse::ListServicesResponse;
        let mut client =
            v1::server_reflection_client::ServerReflectionClient::new(channel(&address).await);
        let request = v1::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(ListServices(String::new())),
        };
        let answers = client
            .server_reflection_info(futures::stream::iter([request]))
            .await;
        let answer = answers
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .unwrap();
        if let Some(ListServicesResponse(list)) = answer.message_response {
            names.extend(list.service.into_iter().map(|s| s.name));
        }
    }
    for name in [
        "cloudquery.plugin.v3.Plugin",
        "cloudquery.discovery.v0.Discovery",
        "cloudquery.discovery.v1.Discovery",
        "grpc.health.v1.Health",
    ] {
        assert!(names.iter().any(|have| have == name), "{name} in {names:?}");
    }

    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&address).await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(FileContainingSymbol(
            "cloudquery.plugin.v3.Sync.Request".to_owned(),
        )),
    };
    let answers = client
        .server_reflection_info(futures::stream::iter([request]))
        .await;
    let answer = answers
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(
        answer.message_response,
        Some(FileDescriptorResponse(_))
    ));
}

#[tokio::test]
async fn an_unknown_service_is_unimplemented() {
    let (address, _stop, _running) = start(Network::Tcp, "127.0.0.1:0").await;
    let mut grpc = tonic::client::Grpc::new(channel(&address).await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let path =
        tonic::codegen::http::uri::PathAndQuery::from_static("/proto.Source/GetProtocolVersion");
    let status = grpc
        .unary(tonic::Request::new(()), path, codec)
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}
