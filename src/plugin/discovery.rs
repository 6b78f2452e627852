//! The handshake: which protocol versions this plugin speaks. It says what the Go SDK's plugins say.

use tonic::{Request, Response, Status};

use crate::call::Call;
use crate::pb::{discovery_v0 as v0, discovery_v1 as v1};

/// Both versions of the service; it has no state.
#[derive(Clone, Copy)]
pub(crate) struct Discovery;

#[tonic::async_trait]
impl v1::discovery_server::Discovery for Discovery {
    async fn get_versions(
        &self,
        _: Request<v1::get_versions::Request>,
    ) -> Result<Response<v1::get_versions::Response>, Status> {
        let versions = vec![0, 1, 2, 3];
        Call::of("cloudquery.discovery.v1.Discovery", "GetVersions")
            .answer(Ok(v1::get_versions::Response { versions }))
    }
}

#[tonic::async_trait]
impl v0::discovery_server::Discovery for Discovery {
    async fn get_versions(
        &self,
        _: Request<v0::get_versions::Request>,
    ) -> Result<Response<v0::get_versions::Response>, Status> {
        let versions = ["v0", "v1", "v2", "v3"].map(str::to_owned).into();
        Call::of("cloudquery.discovery.v0.Discovery", "GetVersions")
            .answer(Ok(v0::get_versions::Response { versions }))
    }
}
