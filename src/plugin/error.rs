//! `Failure`: why a session could not do what it was asked. What a kind means on the wire is decided in `service`.

use std::error::Error;
use std::fmt;

/// What sort of thing went wrong, from the caller's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The spec or the request is wrong; trying again changes nothing.
    InvalidSpec,
    /// The credentials are known but may not do this.
    Denied,
    /// There are no credentials, or nobody accepts them.
    Unauthenticated,
    /// What was asked for does not exist.
    NotFound,
    /// A service could not be reached or did not answer in time; trying again may help.
    Unavailable,
    /// The data itself is broken or does not fit its table.
    Data,
    /// A mistake of the plugin.
    Internal,
    /// Somebody asked to stop.
    Cancelled,
    /// The one session is taken.
    Busy,
}

/// An error at the border to the protocol: a kind for programs and a cause for people.
///
/// `Display` prints the cause and everything below it, joined by `: `. Because of that `source` answers `None`:
/// a reporter that walks the chain would print it twice. [`Failure::cause`] gives the typed error.
pub struct Failure {
    kind: FailureKind,
    cause: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// Wraps a typed error, or a text where there is none.
    pub fn new(kind: FailureKind, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind,
            cause: cause.into(),
        }
    }

    /// What sort of failure this is.
    #[must_use]
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The error as it was given to [`Failure::new`].
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        self.cause.as_ref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(self.cause.as_ref()))
    }
}

/// An error and its causes in one line, each once: some libraries print their source themselves.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut last = text.clone();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !last.ends_with(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        last = cause;
        next = error.source();
    }
    text
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("kind", &self.kind)
            .field("cause", &self.cause)
            .finish()
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    fn chain(texts: &[&'static str]) -> Layer {
        Layer {
            text: texts[0],
            source: (texts.len() > 1).then(|| Box::new(chain(&texts[1..]))),
        }
    }

    #[test]
    fn the_chain_is_printed_once() {
        for (texts, want) in [
            (&["one"][..], "one"),
            (&["one", "two", "three"], "one: two: three"),
            (&["one: two", "two", "three"], "one: two: three"),
        ] {
            let failure = Failure::new(FailureKind::Data, chain(texts));
            assert_eq!(failure.to_string(), want);
            assert!(failure.source().is_none());
            assert!(failure.cause().downcast_ref::<Layer>().is_some());
        }
        assert_eq!(
            Failure::new(FailureKind::Busy, "taken").to_string(),
            "taken"
        );
    }
}
