//! Serving: the gRPC services of a plugin on one listener, until somebody says stop.

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use crate::cli::ServeArgs;
use crate::connection::{Connection, stop};
use crate::listener::Listener;
use crate::router::Router;
use crate::{Info, Source};

/// How much a client may send ahead on one stream. Requests are small; the way back, on which records go, has the
/// window that the client grants.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// The same for all streams of a connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// A client whose machine vanished never says goodbye, and its sync would hold the plugin for ever.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long such a client may stay silent when asked.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a plugin cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, forbidden or not one.
    #[error("cannot listen on {address}")]
    Bind {
        /// As it was given.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// The process cannot be told about signals.
    #[error("cannot wait for signals")]
    Signals(#[source] io::Error),
    /// The descriptors that are compiled in are broken.
    #[error("cannot offer reflection")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The HTTP/2 server gave up.
    #[error("the server failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves `source` as `args` say, until SIGINT or SIGTERM. Binds before it does anything else. Then stops at once:
/// running calls are cut off, and the process should exit with 0 without waiting for their threads.
pub async fn serve<S: Source>(source: S, args: &ServeArgs) -> Result<(), ServeError> {
    let listener = Listener::bind(args.network, &args.address)
        .await
        .map_err(|source| {
            let address = args.address.clone();
            ServeError::Bind { address, source }
        })?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;

    let address = listener
        .local_addr()
        .unwrap_or_else(|_| args.address.clone());
    let Info {
        name,
        version,
        revision,
        kind,
    } = source.info();
    tracing::info!(
        address,
        plugin = format!("{kind}/{name}@{version}"),
        version,
        revision,
        "Plugin server listening"
    );
    if let Some(endpoint) = &args.otel_endpoint {
        tracing::info!(
            endpoint,
            "metrics export is not part of this version, the endpoint gets nothing"
        );
    }

    let stopped = async {
        let name = tokio::select! {
            _ = interrupt.recv() => "interrupt",
            _ = terminate.recv() => "terminated",
        };
        tracing::info!(
            address,
            signal = name,
            "Got stop signal. Plugin server shutting down"
        );
    };
    run(source, listener, stopped).await
}

/// Serves `source` on `listener` until `shutdown` resolves, then closes all connections and returns without waiting
/// for the work on them to end.
pub async fn run<S: Source>(
    source: S,
    listener: Listener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    // Dropped at the end, whatever the end is.
    let (_guard, stop) = stop();
    let connections = listener.connections(stop);
    tokio::select! {
        served = serve_connections(source, connections) => served,
        () = shutdown => Ok(()),
    }
}

/// Serves whoever comes, until nobody can come any more.
pub(crate) async fn serve_connections<S: Source>(
    source: S,
    connections: impl futures::Stream<Item = io::Result<Connection>>,
) -> Result<(), ServeError> {
    let router = Router::new(source).await?;
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .serve_with_incoming(router, connections)
        .await?;
    Ok(())
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;
