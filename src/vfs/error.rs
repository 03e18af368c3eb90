//! What a file-system call can answer besides success; adapters map it to errno or NFS status.

use thiserror::Error as ThisError;

use crate::error::{Error, ErrorKind};

/// Result of a file-system call.
pub type FsResult<T> = std::result::Result<T, FsError>;

/// Why a file-system call fails.
#[derive(Debug, ThisError)]
pub enum FsError {
    /// Not a directory.
    #[error("not a directory")]
    NotDirectory,
    /// Is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// The directory is not empty.
    #[error("directory not empty")]
    NotEmpty,
    /// The name is longer than 255 bytes.
    #[error("name too long")]
    NameTooLong,
    /// The handle is malformed or forged.
    #[error("bad handle")]
    BadHandle,
    /// The object behind the handle is gone or superseded: look the name up again.
    #[error("stale handle")]
    Stale,
    /// The guard of a SETATTR did not match.
    #[error("guard does not match")]
    NotSync,
    /// The cookie of a directory listing is not one of this directory.
    #[error("bad cookie")]
    BadCookie,
    /// Source and target lie in file systems between which nothing can be moved.
    #[error("cannot move between these directories")]
    CrossDevice,
    /// Only the owner or the superuser may do this (EPERM).
    #[error("not permitted")]
    NotPermitted,
    /// Too large a file.
    #[error("file too large")]
    FileTooLarge,
    /// The object is of a kind that the call is not for (READLINK of a file).
    #[error("wrong type of object")]
    WrongType,
    /// Everything that the layers below can answer.
    #[error(transparent)]
    Lake(#[from] Error),
}

impl FsError {
    /// An error of the lake's kinds.
    pub fn new(kind: ErrorKind, message: &'static str) -> Self {
        Self::Lake(Error::new(kind, message))
    }

    /// No such name.
    pub fn not_found() -> Self {
        Self::new(ErrorKind::NotFound, "no such file or directory")
    }

    /// The kind, where it is one of the lake's.
    pub fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Lake(error) => Some(error.kind()),
            _ => None,
        }
    }
}
