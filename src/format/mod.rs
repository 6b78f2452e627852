//! File formats as state machines: they say which bytes they need and turn bytes into rows, and never do I/O.
//!
//! [`parquet`] is the one format so far.

pub mod parquet;

use std::fmt;

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub struct FormatError {
    /// What sort of wrong.
    pub kind: FormatErrorKind,
    text: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The sorts of [`FormatError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormatErrorKind {
    /// The bytes contradict the format or themselves.
    Malformed,
    /// A legal file with something that is not read.
    Unsupported,
    /// Reading it would take more memory than allowed.
    TooLarge,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FormatError {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self {
            kind: FormatErrorKind::Malformed,
            text: text.into(),
            source: None,
        }
    }

    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self {
            kind: FormatErrorKind::Unsupported,
            text: text.into(),
            source: None,
        }
    }

    pub(crate) fn too_large(text: impl Into<String>) -> Self {
        Self {
            kind: FormatErrorKind::TooLarge,
            text: text.into(),
            source: None,
        }
    }

    /// A library's complaint about bytes, below our words for what was being read.
    pub(crate) fn from_library(
        what: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        Self {
            kind: FormatErrorKind::Malformed,
            text: format!("{what} cannot be read"),
            source: Some(Box::new(source)),
        }
    }
}
