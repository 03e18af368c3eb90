//! Exit codes: stable, the same for every verb (docs/CLI.md).

use crate::error::ErrorKind;

/// What the process says with its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok,
    /// Something failed that none of the others describes.
    Failed,
    /// Wrong arguments or unusable data.
    Usage,
    /// What was named does not exist.
    NotFound,
    /// It exists already, or somebody else changed the same rows.
    Conflict,
    /// No right to do this.
    Denied,
    /// A back end does not answer or is held by somebody else: try again later.
    Unavailable,
    /// It could not be found out whether the change was made: look before repeating it.
    Unknown,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::Denied => 5,
            Self::Unavailable => 6,
            Self::Unknown => 7,
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::AlreadyExists | ErrorKind::Conflict => Self::Conflict,
            ErrorKind::Denied | ErrorKind::ReadOnly => Self::Denied,
            ErrorKind::Invalid | ErrorKind::TooLarge | ErrorKind::Unsupported => Self::Usage,
            ErrorKind::Busy | ErrorKind::Unavailable => Self::Unavailable,
            ErrorKind::Unknown => Self::Unknown,
            ErrorKind::Full | ErrorKind::Corrupt | ErrorKind::Internal => Self::Failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_documented_code() {
        use ErrorKind as K;
        // The match above is exhaustive by the compiler; this pins the numbers.
        for (kind, code) in [
            (K::Full, 1),
            (K::Corrupt, 1),
            (K::Internal, 1),
            (K::Invalid, 2),
            (K::TooLarge, 2),
            (K::Unsupported, 2),
            (K::NotFound, 3),
            (K::AlreadyExists, 4),
            (K::Conflict, 4),
            (K::Denied, 5),
            (K::ReadOnly, 5),
            (K::Busy, 6),
            (K::Unavailable, 6),
            (K::Unknown, 7),
        ] {
            assert_eq!(Exit::from(kind).code(), code, "{kind:?}");
        }
        assert_eq!(Exit::Ok.code(), 0);
    }
}
