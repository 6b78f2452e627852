//! The gRPC service over a `Source`: wire messages in, wire messages out, and what a failure means on the wire.
//!
//! Holds the one session. What a running sync is, `stream` says; how calls are logged and panics contained, `call`.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::codegen::BoxStream;
use tonic::{Code, Request, Response, Status};
use tracing::{Instrument as _, Span};

use crate::call::{Call, contain};
use crate::pb::plugin as pb;
use crate::stream::SyncStream;
use crate::wire::encode_schema;
use crate::{
    Backend, Failure, FailureKind, OpenOptions, Selection, Session, Shard, Source, SyncRequest,
};

/// Both sides of every CloudQuery program use this limit for one message.
pub(crate) const MAX_MESSAGE_BYTES: usize = 200 * 1024 * 1024;

const IN_USE: &str = "plugin already in use";
const NO_INIT: &str = "plugin not initialized";

/// The state behind the service: the source, and what the last `Init` opened.
pub(crate) struct Plugin<S: Source> {
    source: S,
    /// One permit: `Init`, `Sync` and `Close` exclude each other and never wait.
    slot: Arc<Semaphore>,
    session: RwLock<Option<Open<S::Session>>>,
}

struct Open<T> {
    session: Arc<T>,
    span: Span,
}

impl<T> Clone for Open<T> {
    fn clone(&self) -> Self {
        Self {
            session: Arc::clone(&self.session),
            span: self.span.clone(),
        }
    }
}

impl<S: Source> Plugin<S> {
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            slot: Arc::new(Semaphore::new(1)),
            session: RwLock::new(None),
        }
    }

    fn take_slot(&self, what: &str) -> Result<OwnedSemaphorePermit, Status> {
        Arc::clone(&self.slot)
            .try_acquire_owned()
            .map_err(|_| status(what, &Failure::new(FailureKind::Busy, IN_USE)))
    }

    fn open_session(&self) -> Option<Open<S::Session>> {
        self.session
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The old session is dropped after the lock: its destructor is not ours.
    fn replace_session(&self, new: Option<Open<S::Session>>) {
        let mut session = self.session.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *session, new);
        drop(session);
        drop(old);
    }

    async fn init(&self, request: pb::init::Request) -> Result<pb::init::Response, Status> {
        const WHAT: &str = "failed to init plugin";
        let _slot = self.take_slot(WHAT)?;
        // Nothing may run with the old spec once a new one was sent, also when the new one is refused.
        self.replace_session(None);
        // Of the highest level, so that warnings and errors carry the id whatever `--log-level` is.
        let span = tracing::error_span!("plugin", invocation_id = %request.invocation_id);
        let options = OpenOptions {
            no_connection: request.no_connection,
            invocation_id: request.invocation_id,
        };
        let open = async { self.source.open(&request.spec, options).await };
        let session = contain(open.instrument(span.clone()))
            .await?
            .map_err(|failure| status(WHAT, &failure))?;
        let session = Arc::new(session);
        self.replace_session(Some(Open { session, span }));
        Ok(pb::init::Response {
            supports_flush: false,
        })
    }

    async fn tables(
        &self,
        request: pb::get_tables::Request,
    ) -> Result<pb::get_tables::Response, Status> {
        const WHAT: &str = "failed to get tables";
        let Some(Open { session, span }) = self.open_session() else {
            return Err(not_initialized(WHAT, NO_INIT));
        };
        let selection = Selection::new(
            request.tables,
            request.skip_tables,
            request.skip_dependent_tables,
        );
        let tables = contain(async { session.tables(&selection).await }.instrument(span))
            .await?
            .map_err(|failure| status(WHAT, &failure))?;
        let tables: Result<Vec<Bytes>, _> = tables
            .iter()
            .map(|table| encode_schema(&table.schema()))
            .collect();
        match tables {
            Ok(tables) => Ok(pb::get_tables::Response { tables }),
            Err(error) => Err(status(WHAT, &Failure::new(FailureKind::Internal, error))),
        }
    }

    fn start_sync(
        &self,
        call: Call,
        request: pb::sync::Request,
    ) -> Result<SyncStream, (Call, Status)> {
        const WHAT: &str = "failed to sync records";
        let prepared = self.take_slot(WHAT).and_then(|slot| {
            let open = self.open_session().ok_or_else(|| {
                not_initialized(WHAT, "plugin not initialized. call Init() first")
            })?;
            let request = sync_request(request).map_err(|failure| status(WHAT, &failure))?;
            Ok((slot, open, request))
        });
        match prepared {
            Ok((slot, Open { session, span }, request)) => {
                let with_errors = request.with_error_messages;
                // The session's code runs from the first poll on, where panics are contained.
                let start = futures::stream::once(async move { session.sync(request) });
                let stream = futures::StreamExt::flatten(start);
                Ok(SyncStream::new(
                    Box::pin(stream),
                    call,
                    slot,
                    span,
                    with_errors,
                ))
            }
            Err(status) => Err((call, status)),
        }
    }

    async fn check(
        &self,
        request: pb::test_connection::Request,
    ) -> Result<pb::test_connection::Response, Status> {
        let checked = contain(async { self.source.check(&request.spec).await }).await?;
        Ok(match checked {
            Ok(()) => pb::test_connection::Response {
                success: true,
                ..Default::default()
            },
            Err(failure) => pb::test_connection::Response {
                success: false,
                failure_code: failure_code(failure.kind()).to_owned(),
                failure_description: failure.to_string(),
            },
        })
    }
}

fn sync_request(request: pb::sync::Request) -> Result<SyncRequest, Failure> {
    let invalid = |text: String| Failure::new(FailureKind::InvalidSpec, text);
    let shard =
        request.shard.map(
            |shard| match (u32::try_from(shard.num), u32::try_from(shard.total)) {
                (Ok(num), Ok(total)) if 1 <= num && num <= total => Ok(Shard { num, total }),
                _ => Err(invalid(format!(
                    "shard {}/{} is none: the first number runs from 1 to the second",
                    shard.num, shard.total
                ))),
            },
        );
    let backend = match request.backend {
        Some(b) if b.table_name.is_empty() != b.connection.is_empty() => {
            return Err(invalid(format!(
                "backend_options must contain both connection and table_name: \
                 connection is {:?}, table_name is {:?}",
                b.connection, b.table_name
            )));
        }
        Some(b) if !b.connection.is_empty() => Some(Backend {
            table_name: b.table_name,
            connection: b.connection,
        }),
        _ => None,
    };
    Ok(SyncRequest {
        selection: Selection::new(
            request.tables,
            request.skip_tables,
            request.skip_dependent_tables,
        ),
        deterministic_cq_id: request.deterministic_cq_id,
        shard: shard.transpose()?,
        backend,
        with_error_messages: request.with_error_messages,
        supports_checkpoints: request.supports_checkpoints,
    })
}

#[tonic::async_trait]
impl<S: Source> pb::plugin_server::Plugin for Plugin<S> {
    async fn get_name(
        &self,
        _: Request<pb::get_name::Request>,
    ) -> Result<Response<pb::get_name::Response>, Status> {
        let name = self.source.info().name;
        Call::start("GetName").answer(Ok(pb::get_name::Response { name }))
    }

    async fn get_version(
        &self,
        _: Request<pb::get_version::Request>,
    ) -> Result<Response<pb::get_version::Response>, Status> {
        let version = self.source.info().version;
        Call::start("GetVersion").answer(Ok(pb::get_version::Response { version }))
    }

    async fn get_spec_schema(
        &self,
        _: Request<pb::get_spec_schema::Request>,
    ) -> Result<Response<pb::get_spec_schema::Response>, Status> {
        let json_schema = self.source.spec_schema();
        Call::start("GetSpecSchema").answer(Ok(pb::get_spec_schema::Response { json_schema }))
    }

    async fn init(
        &self,
        request: Request<pb::init::Request>,
    ) -> Result<Response<pb::init::Response>, Status> {
        let call = Call::start("Init");
        call.answer(self.init(request.into_inner()).await)
    }

    async fn get_tables(
        &self,
        request: Request<pb::get_tables::Request>,
    ) -> Result<Response<pb::get_tables::Response>, Status> {
        let call = Call::start("GetTables");
        call.answer(self.tables(request.into_inner()).await)
    }

    async fn sync(
        &self,
        request: Request<pb::sync::Request>,
    ) -> Result<Response<BoxStream<pb::sync::Response>>, Status> {
        match self.start_sync(Call::start("Sync"), request.into_inner()) {
            Ok(stream) => Ok(Response::new(Box::pin(stream))),
            Err((call, status)) => call.answer(Err(status)),
        }
    }

    async fn test_connection(
        &self,
        request: Request<pb::test_connection::Request>,
    ) -> Result<Response<pb::test_connection::Response>, Status> {
        let call = Call::start("TestConnection");
        call.answer(self.check(request.into_inner()).await)
    }

    async fn close(
        &self,
        _: Request<pb::close::Request>,
    ) -> Result<Response<pb::close::Response>, Status> {
        let call = Call::start("Close");
        call.answer(self.take_slot("failed to close plugin").map(|_slot| {
            self.replace_session(None);
            pb::close::Response {}
        }))
    }
}

fn not_initialized(what: &str, text: &str) -> Status {
    Status::failed_precondition(format!("{what}: {text}"))
}

/// The status of a call that failed. The only place that gives a kind a gRPC code.
pub(crate) fn status(what: &str, failure: &Failure) -> Status {
    let code = match failure.kind() {
        FailureKind::InvalidSpec => Code::InvalidArgument,
        FailureKind::Denied => Code::PermissionDenied,
        FailureKind::Unauthenticated => Code::Unauthenticated,
        FailureKind::NotFound => Code::NotFound,
        FailureKind::Unavailable => Code::Unavailable,
        FailureKind::Data => Code::DataLoss,
        FailureKind::Internal => Code::Internal,
        FailureKind::Cancelled => Code::Cancelled,
        FailureKind::Busy => Code::Aborted,
    };
    Status::new(code, format!("{what}: {failure}"))
}

/// The code that `cloudquery test-connection` prints. The only place that gives a kind such a code.
fn failure_code(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::InvalidSpec => "INVALID_SPEC",
        FailureKind::Denied | FailureKind::Unauthenticated => "UNAUTHORIZED",
        FailureKind::NotFound => "NOT_FOUND",
        FailureKind::Unavailable => "UNREACHABLE",
        FailureKind::Data => "INVALID_DATA",
        FailureKind::Internal => "INTERNAL",
        FailureKind::Cancelled => "CANCELLED",
        FailureKind::Busy => "BUSY",
    }
}

#[cfg(test)]
#[cfg(feature = "testing")]
mod tests;
