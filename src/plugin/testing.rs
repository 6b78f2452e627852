//! A typed client of a plugin, for tests and examples: in the same process, over TCP or over a Unix socket. It checks
//! what it reads the way the CloudQuery CLI ought to.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;
pub use tonic::{Code, Status};
use tonic::{Streaming, transport};

use crate::connection::{Connection, Guard, Io, stop};
use crate::pb::discovery_v1;
use crate::pb::discovery_v1::discovery_client::DiscoveryClient;
use crate::pb::plugin as pb;
use crate::pb::plugin::plugin_client::PluginClient;
use crate::service::MAX_MESSAGE_BYTES;
use crate::wire::{WireError, read_batch};
use crate::{Backend, Shard, Source};

/// What an in-memory connection holds before the writer waits.
const DUPLEX_BYTES: usize = 64 * 1024;

/// A client of one plugin. Clones share the connection; an in-process plugin ends with the last of them.
#[derive(Clone)]
pub struct Client {
    plugin: PluginClient<transport::Channel>,
    discovery: DiscoveryClient<transport::Channel>,
    _server: Option<Arc<Guard>>,
}

/// What to ask a sync for; the default is every table.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent flags of the protocol"
)]
#[derive(Debug, Clone)]
pub struct SyncOptions {
    /// Patterns of tables to read.
    pub tables: Vec<String>,
    /// Patterns of tables to leave out.
    pub skip_tables: Vec<String>,
    /// Children must be named themselves.
    pub skip_dependent_tables: bool,
    /// Ask for computed ids.
    pub deterministic_cq_id: bool,
    /// Which part of the rows.
    pub shard: Option<Shard>,
    /// Where the source may keep state.
    pub backend: Option<Backend>,
    /// Take [`Received::Error`].
    pub with_error_messages: bool,
    /// Take checkpoints.
    pub supports_checkpoints: bool,
}

impl Default for SyncOptions {
    fn default() -> Self {
        Self {
            tables: vec!["*".to_owned()],
            skip_tables: Vec::new(),
            skip_dependent_tables: false,
            deterministic_cq_id: false,
            shard: None,
            backend: None,
            with_error_messages: false,
            supports_checkpoints: false,
        }
    }
}

/// A message of a sync, decoded.
#[derive(Debug, Clone, PartialEq)]
pub enum Received {
    /// A table.
    Migrate(SchemaRef),
    /// Rows; the batch's schema has the metadata.
    Insert(RecordBatch),
    /// A part of a table failed.
    Error {
        /// The table's name.
        table: String,
        /// What happened.
        error: String,
    },
    /// A message that sources of this crate do not send, by its name.
    Other(&'static str),
}

/// A running sync. Dropping it is what a client does that goes away.
pub struct SyncStream(Streaming<pb::sync::Response>);

impl Client {
    /// A plugin in this process, behind an in-memory connection. Needs a Tokio runtime.
    pub async fn in_process<S: Source>(source: S) -> Result<Self, Status> {
        let (guard, stop) = stop();
        let (connect, accept) = mpsc::channel(1);
        let connections =
            futures::stream::unfold((accept, stop), |(mut accept, stop)| async move {
                let io: DuplexStream = accept.recv().await?;
                let connection = Connection::new(Box::new(io), stop.clone());
                Some((Ok(connection), (accept, stop)))
            });
        // Ends when the channel that holds `connect` is gone.
        let server = crate::serve::serve_connections(source, connections);
        tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(error = %error, "the in-process server failed");
            }
        });
        let dial = move || {
            let connect = connect.clone();
            async move {
                let (near, far) = tokio::io::duplex(DUPLEX_BYTES);
                let gone = |_| io::ErrorKind::ConnectionRefused;
                connect.send(far).await.map_err(gone)?;
                Ok(near)
            }
            .boxed()
        };
        Self::dial(dial, Some(Arc::new(guard))).await
    }

    /// A plugin that listens on TCP, `host:port`.
    pub async fn connect(address: &str) -> Result<Self, Status> {
        let address = address.to_owned();
        Self::dial(move || TcpStream::connect(address.clone()).boxed(), None).await
    }

    /// A plugin that listens on a Unix socket.
    pub async fn connect_unix(path: impl Into<PathBuf>) -> Result<Self, Status> {
        let path = path.into();
        Self::dial(move || UnixStream::connect(path.clone()).boxed(), None).await
    }

    async fn dial<T: Io>(
        dial: impl Fn() -> BoxFuture<'static, io::Result<T>> + Send + Sync + 'static,
        server: Option<Arc<Guard>>,
    ) -> Result<Self, Status> {
        let connector = tower::service_fn(move |_| {
            let connecting = dial();
            async move { connecting.await.map(TokioIo::new) }
        });
        let unavailable = |error: transport::Error| Status::unavailable(error.to_string());
        // The address is for the request's `:authority` only.
        let channel = transport::Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(unavailable)?;
        let plugin = PluginClient::new(channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let discovery = DiscoveryClient::new(channel);
        Ok(Self {
            plugin,
            discovery,
            _server: server,
        })
    }

    /// The protocol versions that the plugin speaks.
    pub async fn versions(&mut self) -> Result<Vec<i32>, Status> {
        let request = discovery_v1::get_versions::Request {};
        Ok(self
            .discovery
            .get_versions(request)
            .await?
            .into_inner()
            .versions)
    }

    /// The plugin's name.
    pub async fn name(&mut self) -> Result<String, Status> {
        Ok(self
            .plugin
            .get_name(pb::get_name::Request {})
            .await?
            .into_inner()
            .name)
    }

    /// The plugin's version.
    pub async fn version(&mut self) -> Result<String, Status> {
        Ok(self
            .plugin
            .get_version(pb::get_version::Request {})
            .await?
            .into_inner()
            .version)
    }

    /// The JSON Schema of the spec.
    pub async fn spec_schema(&mut self) -> Result<Option<String>, Status> {
        let request = pb::get_spec_schema::Request {};
        Ok(self
            .plugin
            .get_spec_schema(request)
            .await?
            .into_inner()
            .json_schema)
    }

    /// Gives the plugin a spec.
    pub async fn init(
        &mut self,
        spec: &serde_json::Value,
        no_connection: bool,
    ) -> Result<(), Status> {
        let request = pb::init::Request {
            spec: spec.to_string().into(),
            no_connection,
            invocation_id: "00000000-0000-4000-8000-000000000000".to_owned(),
        };
        self.plugin.init(request).await.map(drop)
    }

    /// The schemas of the tables that match.
    pub async fn tables(
        &mut self,
        tables: &[&str],
        skip_tables: &[&str],
    ) -> Result<Vec<SchemaRef>, Status> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let request = pb::get_tables::Request {
            tables: owned(tables),
            skip_tables: owned(skip_tables),
            skip_dependent_tables: false,
        };
        let tables = self.plugin.get_tables(request).await?.into_inner().tables;
        tables.iter().map(read_schema).collect()
    }

    /// Starts a sync.
    pub async fn sync(&mut self, options: SyncOptions) -> Result<SyncStream, Status> {
        let number = |n: u32| i32::try_from(n).map_err(|_| Status::invalid_argument("shard"));
        let shard = match options.shard {
            Some(Shard { num, total }) => {
                let (num, total) = (number(num)?, number(total)?);
                Some(pb::sync::request::Shard { num, total })
            }
            None => None,
        };
        let request = pb::sync::Request {
            tables: options.tables,
            skip_tables: options.skip_tables,
            skip_dependent_tables: options.skip_dependent_tables,
            deterministic_cq_id: options.deterministic_cq_id,
            backend: options.backend.map(|backend| pb::sync::BackendOptions {
                table_name: backend.table_name,
                connection: backend.connection,
            }),
            shard,
            with_error_messages: options.with_error_messages,
            supports_checkpoints: options.supports_checkpoints,
        };
        Ok(SyncStream(self.plugin.sync(request).await?.into_inner()))
    }

    /// Success, failure code and failure description.
    pub async fn test_connection(
        &mut self,
        spec: &serde_json::Value,
    ) -> Result<(bool, String, String), Status> {
        let spec = spec.to_string().into();
        let request = pb::test_connection::Request { spec };
        let answer = self.plugin.test_connection(request).await?.into_inner();
        Ok((
            answer.success,
            answer.failure_code,
            answer.failure_description,
        ))
    }

    /// Ends the session.
    pub async fn close(&mut self) -> Result<(), Status> {
        self.plugin.close(pb::close::Request {}).await.map(drop)
    }

    #[cfg(test)]
    pub(crate) fn plugin(&mut self) -> &mut PluginClient<transport::Channel> {
        &mut self.plugin
    }
}

impl SyncStream {
    /// The next message; `None` after a clean end.
    pub async fn next(&mut self) -> Result<Option<Received>, Status> {
        use pb::sync::response::Message as Wire;
        let Some(response) = self.0.message().await? else {
            return Ok(None);
        };
        Ok(Some(match response.message {
            Some(Wire::MigrateTable(message)) => Received::Migrate(read_schema(&message.table)?),
            Some(Wire::Insert(message)) => {
                Received::Insert(read_batch(&message.record).map_err(|e| unreadable(&e))?)
            }
            Some(Wire::Error(message)) => Received::Error {
                table: message.table_name,
                error: message.error,
            },
            Some(Wire::DeleteRecord(_)) => Received::Other("delete_record"),
            Some(Wire::Checkpoint(_)) => Received::Other("checkpoint"),
            None => Received::Other("nothing"),
        }))
    }

    /// All messages up to a clean end.
    pub async fn collect(mut self) -> Result<Vec<Received>, Status> {
        let mut all = Vec::new();
        while let Some(received) = self.next().await? {
            all.push(received);
        }
        Ok(all)
    }
}

fn read_schema(bytes: &Bytes) -> Result<SchemaRef, Status> {
    let mut reader =
        StreamReader::try_new(bytes.as_ref(), None).map_err(|e| unreadable(&e.into()))?;
    match reader.next() {
        None => Ok(reader.schema()),
        Some(_) => Err(Status::data_loss("a table comes with record batches")),
    }
}

fn unreadable(error: &WireError) -> Status {
    Status::data_loss(error.to_string())
}
