//! What a plugin author implements, `Source` and `Session`, and the values that go in and out. No wire types.

use std::future::Future;
use std::sync::Arc;

use futures::Stream;

use crate::{Failure, Insert, Selection, Table};

/// What a plugin says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Such as `cq-source-s3`.
    pub name: String,
    /// Without a leading `v`, such as `0.1.0`.
    pub version: String,
    /// The commit it was built from, when known.
    pub revision: Option<String>,
    /// `source`.
    pub kind: &'static str,
}

/// A plugin before anybody gave it a spec.
pub trait Source: Send + Sync + 'static {
    /// What an accepted spec gives.
    type Session: Session;

    /// Who this is.
    fn info(&self) -> Info;

    /// The JSON Schema text of the spec; the caller validates with it. `None` when there is none.
    fn spec_schema(&self) -> Option<String>;

    /// Tries a spec and what it points to, and keeps nothing (`TestConnection`). `spec` is JSON and may be `null`.
    fn check(&self, spec: &[u8]) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Accepts a spec (`Init`). `spec` is JSON and may be `null`.
    fn open(
        &self,
        spec: &[u8],
        options: OpenOptions,
    ) -> impl Future<Output = Result<Self::Session, Failure>> + Send;
}

/// How a session is opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// The caller will ask for tables, not for rows.
    pub no_connection: bool,
    /// UUID of the caller's run; may be empty.
    pub invocation_id: String,
}

/// A plugin that was given a spec. It lives until the next one replaces it, and longer while a call still uses it.
pub trait Session: Send + Sync + 'static {
    /// The selected tables, each after its parent.
    fn tables(
        &self,
        selection: &Selection,
    ) -> impl Future<Output = Result<Vec<Table>, Failure>> + Send;

    /// The rows. Nothing happens before the stream is polled, and dropping it stops all work: a client that went
    /// away is noticed in no other way. A table's `Migrate` comes before its first `Insert`, a parent's before its
    /// children's. The first `Err` is the end and fails the sync.
    ///
    /// The stream is polled on the threads that serve the connection: decode and encode elsewhere.
    fn sync(
        self: Arc<Self>,
        request: SyncRequest,
    ) -> impl Stream<Item = Result<Message, Failure>> + Send + 'static;
}

/// What a sync is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncRequest {
    /// Which tables.
    pub selection: Selection,
    /// `_cq_id` must be computed from the row, not drawn.
    pub deterministic_cq_id: bool,
    /// Which part of the rows; all when absent.
    pub shard: Option<Shard>,
    /// Where state may be kept.
    pub backend: Option<Backend>,
    /// Whether the caller takes [`Message::Failed`]; the service drops those it does not take.
    pub with_error_messages: bool,
    /// Whether the caller stores state rows that the source sends along.
    pub supports_checkpoints: bool,
}

/// Part `num` of `total`: 1 <= `num` <= `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Counted from one.
    pub num: u32,
    /// How many parts there are.
    pub total: u32,
}

/// A destination plugin that keeps state; neither part is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Table of the state rows.
    pub table_name: String,
    /// `unix:///path` or `host:port`.
    pub connection: String,
}

/// What a sync produces.
#[derive(Debug, Clone)]
pub enum Message {
    /// This table exists and looks like this.
    Migrate(Table),
    /// Rows.
    Insert(Insert),
    /// A part of a table failed and the sync goes on. The session logs it; here it is only put on the wire.
    Failed {
        /// The table's name.
        table: String,
        /// The rendered error.
        error: String,
    },
}
