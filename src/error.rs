//! What went wrong with an object, how far that reaches, and what the user is told.

use std::sync::Arc;

use cq_plugin::{Failure, FailureKind, WireError, chain};

use crate::batch::BatchError;
use crate::format::FormatError;
use crate::s3::{self, ErrorKind};
use crate::schema::Conflict;
use crate::types::Unmappable;

/// Why an object's rows could not be delivered.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store did not give its bytes.
    #[error(transparent)]
    Store(#[from] s3::Error),
    /// The file is broken or beyond what is read.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A column has a type that no destination takes.
    #[error(transparent)]
    Column(#[from] Unmappable),
    /// The file disagrees with its table.
    #[error(transparent)]
    Schema(#[from] Conflict),
    /// A row does not fit the table or a message.
    #[error(transparent)]
    Rows(#[from] BatchError),
    /// The rows have no wire form.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The path of the key holds no character that a table name may have.
    #[error("its path gives no table name: name one in `tables`, with {0:?} among its prefixes")]
    Unnamed(String),
    /// The key, as listed, is not text.
    #[error("its key is not valid UTF-8 in the listing")]
    Undecodable,
    /// A defect of this plugin, contained.
    #[error("reading it hit a defect of this plugin (a panic): please report it with the file")]
    Panicked,
}

/// How far an error reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This object only: the others go on.
    Object,
    /// Perhaps the whole store, which tells when it is asked for something else.
    Store,
}

impl ObjectError {
    /// The one decision what an error stops.
    #[must_use]
    pub fn scope(&self) -> Scope {
        let Self::Store(error) = self else {
            return Scope::Object;
        };
        match error.kind {
            ErrorKind::NoSuchBucket
            | ErrorKind::NoCredentials
            | ErrorKind::BadCredentials
            | ErrorKind::WrongRegion { .. }
            | ErrorKind::Unreachable
            | ErrorKind::InvalidConfig(_) => Scope::Store,
            _ => Scope::Object,
        }
    }
}

/// A failed object: what is said of it. There may be millions, so the error itself, with the answer of the store in it,
/// is not kept.
#[derive(Debug)]
pub struct ObjectFailure {
    /// Its table, empty if it has none.
    pub table: Arc<str>,
    /// Key and reason in one line.
    pub line: String,
    /// Whether rows of it were sent already: such a failure is never tolerated.
    pub half_read: bool,
}

impl ObjectFailure {
    /// The failure of the object `key` of `bucket`, before any of its rows was sent.
    #[must_use]
    pub fn new(bucket: &str, table: &str, key: &str, error: &ObjectError) -> Self {
        let reason = chain(error);
        let line = match error {
            // Errors of the store name the object themselves.
            ObjectError::Store(error) if error.key.is_some() => reason,
            _ => format!("s3://{bucket}/{}: {reason}", key.escape_debug()),
        };
        Self {
            table: table.into(),
            line,
            half_read: false,
        }
    }

    /// The same after some of its rows were sent.
    #[must_use]
    pub fn half_read(self) -> Self {
        Self {
            line: format!("{} (after some of its rows were sent)", self.line),
            half_read: true,
            ..self
        }
    }
}

/// A store error that ends the call, by what the user can do about it.
#[must_use]
pub fn store_failure(error: s3::Error) -> Failure {
    let kind = match error.kind {
        ErrorKind::NoSuchBucket | ErrorKind::NoSuchKey => FailureKind::NotFound,
        ErrorKind::Denied | ErrorKind::Archived => FailureKind::Denied,
        ErrorKind::NoCredentials | ErrorKind::BadCredentials => FailureKind::Unauthenticated,
        ErrorKind::WrongRegion { .. } | ErrorKind::InvalidConfig(_) => FailureKind::InvalidSpec,
        ErrorKind::Throttled
        | ErrorKind::Timeout
        | ErrorKind::Unreachable
        | ErrorKind::Truncated { .. } => FailureKind::Unavailable,
        ErrorKind::Changed | ErrorKind::BadResponse(_) | ErrorKind::Other => FailureKind::Internal,
    };
    Failure::new(kind, error)
}
