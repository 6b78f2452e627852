//! Which gRPC service a request is for: the plugin, the two handshakes, health and reflection. (tonic has a router, which
//! brings a web framework along.)

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::server::NamedService;
use tower::ServiceExt as _;
use tower::util::BoxCloneService;

use crate::discovery::Discovery;
use crate::pb::discovery_v0::discovery_server::DiscoveryServer as DiscoveryV0;
use crate::pb::discovery_v1::discovery_server::DiscoveryServer as DiscoveryV1;
use crate::pb::plugin::plugin_server::PluginServer;
use crate::serve::ServeError;
use crate::service::{MAX_MESSAGE_BYTES, Plugin};
use crate::{FILE_DESCRIPTOR_SET, Source};

type Service = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

#[derive(Clone)]
pub(crate) struct Router(Vec<(&'static str, Service)>);

impl Router {
    pub(crate) async fn new<S: Source>(source: S) -> Result<Self, ServeError> {
        let plugin = PluginServer::new(Plugin::new(source))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (reporter, health) = tonic_health::server::health_reporter();
        reporter.set_serving::<PluginServer<Plugin<S>>>().await;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        Ok(Self(vec![
            named(plugin),
            named(DiscoveryV1::new(Discovery)),
            named(DiscoveryV0::new(Discovery)),
            named(health),
            named(reflection().build_v1()?),
            // What older versions of grpcurl ask for.
            named(reflection().build_v1alpha()?),
        ]))
    }
}

fn named<T>(service: T) -> (&'static str, Service)
where
    T: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + 'static,
    T::Future: Send,
{
    (T::NAME, BoxCloneService::new(service))
}

impl tower::Service<Request<Body>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    /// The path is `/<service>/<method>`.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let name = request.uri().path().split('/').nth(1).unwrap_or_default();
        match self.0.iter().find(|(have, _)| *have == name) {
            Some((_, service)) => Box::pin(service.clone().oneshot(request)),
            None => Box::pin(async { Ok(Status::unimplemented("no such service").into_http()) }),
        }
    }
}
