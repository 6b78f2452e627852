//! What every call has in common: one log line when it is over, and that a panic in it is an answer, not an end.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt as _;
use tonic::{Code, Response, Status};

/// A call in progress; ends with exactly one log line, also when nobody waits for it any more.
pub(crate) struct Call {
    service: &'static str,
    method: &'static str,
    started: Instant,
    logged: bool,
}

impl Call {
    /// A call of the plugin service.
    pub(crate) fn start(method: &'static str) -> Self {
        Self::of("cloudquery.plugin.v3.Plugin", method)
    }

    pub(crate) fn of(service: &'static str, method: &'static str) -> Self {
        Self {
            service,
            method,
            started: Instant::now(),
            logged: false,
        }
    }

    /// Ends the call with this answer.
    pub(crate) fn answer<T>(self, result: Result<T, Status>) -> Result<Response<T>, Status> {
        self.end(result.as_ref().err());
        result.map(Response::new)
    }

    /// Ends the call; `None` is success.
    pub(crate) fn end(mut self, failure: Option<&Status>) {
        self.log(
            failure.map_or(Code::Ok, Status::code),
            failure.map(Status::message),
        );
    }

    /// The CLI shows the number of error lines to its user, so a failure gets this line and no other, and a call that
    /// was given up is none.
    fn log(&mut self, code: Code, error: Option<&str>) {
        self.logged = true;
        let time = self.started.elapsed().as_secs_f64() * 1000.0;
        macro_rules! finished {
            ($level:ident) => {
                tracing::$level!(
                    grpc.service = self.service,
                    grpc.method = self.method,
                    grpc.code = ?code,
                    grpc.time_ms = time,
                    error,
                    "finished call"
                )
            };
        }
        match code {
            Code::Ok | Code::Cancelled => finished!(info),
            _ => finished!(error),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.logged {
            self.log(Code::Cancelled, None);
        }
    }
}

/// Runs the plugin author's code; a panic becomes an `Internal` status. The panic hook has printed where it was.
pub(crate) async fn contain<T>(work: impl Future<Output = T>) -> Result<T, Status> {
    // The state that a panic may leave half changed belongs to the call or to the session, which is answered for by
    // its author: none of ours is touched while theirs runs.
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|payload| panicked(payload.as_ref()))
}

/// The status of a call that panicked.
pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Status {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    Status::internal(format!("the plugin panicked, which is a bug: {text}"))
}
