//! A running sync: the session's stream on its way to the wire. Owns the slot and the log line of the call, so that both
//! are right however it ends: cleanly, with an error, with a panic, or because the client went away.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;
use tracing::Span;

use crate::call::{Call, panicked};
use crate::pb::plugin::sync;
use crate::service::status;
use crate::wire::encode_schema;
use crate::{Failure, FailureKind, Message};

type Messages = Pin<Box<dyn Stream<Item = Result<Message, Failure>> + Send>>;

pub(crate) struct SyncStream {
    /// `None` once it ended.
    running: Option<Running>,
    with_errors: bool,
}

/// Fields are dropped in this order: the work stops before the slot is free.
struct Running {
    messages: Messages,
    _slot: OwnedSemaphorePermit,
    call: Call,
    span: Span,
}

impl SyncStream {
    pub(crate) fn new(
        messages: Messages,
        call: Call,
        slot: OwnedSemaphorePermit,
        span: Span,
        with_errors: bool,
    ) -> Self {
        let running = Running {
            messages,
            _slot: slot,
            call,
            span,
        };
        Self {
            running: Some(running),
            with_errors,
        }
    }

    /// The stream's last word. Only a stream that ended by itself ends without a status: the caller deletes
    /// what it did not see in a sync that succeeded.
    fn end(&mut self, failure: Option<Status>) -> Option<Result<sync::Response, Status>> {
        if let Some(running) = self.running.take() {
            let Running {
                messages,
                _slot,
                call,
                span,
            } = running;
            span.in_scope(|| {
                drop(messages);
                call.end(failure.as_ref());
            });
        }
        failure.map(Err)
    }
}

impl Stream for SyncStream {
    type Item = Result<sync::Response, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        const WHAT: &str = "failed to sync records";
        loop {
            let Some(running) = &mut self.running else {
                return Poll::Ready(None);
            };
            let Running { messages, span, .. } = running;
            // A stream that panicked is never polled again.
            let polled = catch_unwind(AssertUnwindSafe(|| {
                span.in_scope(|| messages.as_mut().poll_next(cx))
            }));
            let item = match polled {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(None)) => return Poll::Ready(self.end(None)),
                Ok(Poll::Ready(Some(Ok(message)))) => wire(message, self.with_errors),
                Ok(Poll::Ready(Some(Err(failure)))) => Err(failure),
                Err(payload) => return Poll::Ready(self.end(Some(panicked(payload.as_ref())))),
            };
            match item {
                Ok(Some(message)) => {
                    let message = Some(message);
                    return Poll::Ready(Some(Ok(sync::Response { message })));
                }
                Ok(None) => {}
                Err(failure) => {
                    let failure = status(WHAT, &failure);
                    return Poll::Ready(self.end(Some(failure)));
                }
            }
        }
    }
}

impl Drop for SyncStream {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let span = running.span.clone();
            span.in_scope(|| drop(running));
        }
    }
}

/// `None` for what this caller would not understand: older CLIs abort on an error message.
fn wire(message: Message, with_errors: bool) -> Result<Option<sync::response::Message>, Failure> {
    use sync::response::Message as Wire;
    Ok(match message {
        Message::Migrate(table) => {
            let table = encode_schema(&table.schema())
                .map_err(|error| Failure::new(FailureKind::Internal, error))?;
            Some(Wire::MigrateTable(sync::MessageMigrateTable { table }))
        }
        Message::Insert(insert) => {
            let record = insert.into_record();
            Some(Wire::Insert(sync::MessageInsert { record }))
        }
        Message::Failed { table, error } if with_errors => {
            let table_name = table;
            Some(Wire::Error(sync::MessageError { table_name, error }))
        }
        Message::Failed { .. } => None,
    })
}
