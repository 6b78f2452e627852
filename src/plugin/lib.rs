//! The CloudQuery plugin protocol, version 3, for sources.
//!
//! A plugin implements [`Source`] (what exists before a spec) and [`Session`] (what a spec gives) and hands the source
//! to [`serve()`]. Everything that is protocol stays in here: the gRPC services, the table filter, the schema
//! metadata, the size limit of messages, the command line that the CloudQuery CLI uses and the log lines that it
//! parses. The data path is one pull: a client reads, the service polls the session's stream, which hands over
//! [`Message`]s whose records are already encoded ([`Encoder`]).
//!
//! Nothing here knows what a plugin reads from. The feature `testing` adds a typed client.

mod authority;
mod call;
pub mod cli;
mod connection;
mod discovery;
mod error;
pub mod extension;
mod listener;
pub mod log;
mod pb;
mod router;
mod selection;
mod serve;
mod service;
mod source;
mod stream;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod wire;

pub use error::{Failure, FailureKind, chain};
pub use listener::Listener;
pub use selection::{Selection, SelectionError};
pub use serve::{ServeError, run, serve};
pub use source::{Backend, Info, Message, OpenOptions, Session, Shard, Source, SyncRequest};
pub use table::{CQ_ID, CQ_PARENT_ID, Column, Table, id_column, parent_id_column};
pub use wire::{ADDED_BYTES_PER_ROW, Encoder, Insert, MAX_INSERT_BYTES, WireError};

/// The contract in `proto/` as a serialized `google.protobuf.FileDescriptorSet`, imports included.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));
