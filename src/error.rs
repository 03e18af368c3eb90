//! The one public error: its kind says what the caller should do next, its text says what happened.
//!
//! Layers may keep small enums of their own (`csv::CsvError`) where a caller branches; across
//! layers this type travels. Adding a kind needs an ADR, because every adapter maps each of them
//! (errno, NFS status, exit code).

use std::borrow::Cow;
use std::fmt;

/// A source error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// Result of everything that crosses a layer.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The thing does not exist: look elsewhere.
    NotFound,
    /// The thing exists already: pick another name.
    AlreadyExists,
    /// The caller has no right to do this: ask for it.
    Denied,
    /// The place cannot be written: write elsewhere.
    ReadOnly,
    /// The argument or text is wrong: fix it (the message says where).
    Invalid,
    /// Somebody else changed the same rows: re-read and redo.
    Conflict,
    /// Somebody else holds the table: wait and try again.
    Busy,
    /// A back end does not answer: wait, it is retried.
    Unavailable,
    /// Local staging space or the storage is full: free some.
    Full,
    /// One value or file is larger than a limit: make it smaller or raise the limit.
    TooLarge,
    /// Not possible here by design: do something else.
    Unsupported,
    /// Stored data contradicts itself: call the operator.
    Corrupt,
    /// The outcome of a commit could not be determined yet: look again before repeating it.
    Unknown,
    /// A defect of Mountable: report it.
    Internal,
}

/// An error with its kind, message, context pairs and cause.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    source: Option<BoxError>,
}

impl Error {
    /// Makes an error; `message` is lower case, present tense, without a final stop.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), context: Vec::new(), source: None }))
    }

    /// `ErrorKind::NotFound`.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// `ErrorKind::Invalid`.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// `ErrorKind::Corrupt`.
    pub fn corrupt(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// `ErrorKind::Internal`.
    pub fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// `ErrorKind::Unavailable`.
    pub fn unavailable(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// `ErrorKind::Unsupported`.
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Adds one key-value pair of context (table, version, path, ...).
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Sets the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller should do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What happened, without context and causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The cause as a concrete type, if it is one.
    pub fn downcast_source<E: std::error::Error + 'static>(&self) -> Option<&E> {
        self.0.source.as_ref().and_then(|source| source.downcast_ref::<E>())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            f.write_str(if index == 0 { " (" } else { ", " })?;
            write!(f, "{key}: {value}")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorKind::Full,
            std::io::ErrorKind::FileTooLarge => ErrorKind::TooLarge,
            _ => ErrorKind::Unavailable,
        };
        Self::new(kind, "local file operation").caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_shows_message_context_and_cause_in_that_order() {
        let error = Error::not_found("read snapshot").with("table", "a/b/c").with("version", 3);
        assert_eq!(error.to_string(), "read snapshot (table: a/b/c, version: 3)");
        let error = error.caused_by("gone");
        assert_eq!(error.to_string(), "read snapshot (table: a/b/c, version: 3): gone");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
