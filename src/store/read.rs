//! Reads, lists and deletes with our error kinds; the object's path is part of every error.

use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::Objects;
use crate::error::{Error, ErrorKind, Result};

/// Checks an object path: relative, no empty, `.` or `..` segments, no control characters.
///
/// # Errors
/// `Invalid` if it is not such a path.
pub fn object_path(path: &str) -> Result<Path> {
    let refuse = || Error::invalid("object path is not allowed").with("path", path.escape_debug());
    if path.is_empty() || path.starts_with('/') || path.ends_with('/') {
        return Err(refuse());
    }
    Path::parse(path).map_err(|error| refuse().caused_by(error))
}

/// Reads an object; `None` if it does not exist.
///
/// # Errors
/// `Unavailable`, `Denied` or `Invalid`; `Corrupt` if fewer bytes came than the store announced.
pub async fn get(objects: &Objects, path: &str) -> Result<Option<Bytes>> {
    let location = object_path(path)?;
    let result = match objects.get(&location).await {
        Ok(result) => result,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error_of(error, "read object", path)),
    };
    let expected = result.meta.size;
    let bytes = result.bytes().await.map_err(|error| error_of(error, "read object", path))?;
    complete(bytes, expected, path).map(Some)
}

/// Reads an object that something else refers to.
///
/// # Errors
/// As [`get`]; `NotFound` if it does not exist.
pub async fn get_existing(objects: &Objects, path: &str) -> Result<Bytes> {
    get(objects, path).await?.ok_or_else(|| Error::not_found("read object").with("path", path))
}

/// Reads `range` of an object; all of it must exist.
///
/// # Errors
/// As [`get`]; `NotFound` if the object does not exist, `Corrupt` if it is too short.
pub async fn get_range(objects: &Objects, path: &str, range: Range<u64>) -> Result<Bytes> {
    if range.is_empty() {
        return Ok(Bytes::new());
    }
    let location = object_path(path)?;
    let expected = range.end.saturating_sub(range.start);
    let bytes = objects
        .get_range(&location, range)
        .await
        .map_err(|error| error_of(error, "read range of object", path))?;
    complete(bytes, expected, path)
}

/// Reads several ranges of an object; neighbours are fetched together.
///
/// # Errors
/// As [`get_range`].
pub async fn get_ranges(
    objects: &Objects,
    path: &str,
    ranges: &[Range<u64>],
) -> Result<Vec<Bytes>> {
    let location = object_path(path)?;
    let all = objects
        .get_ranges(&location, ranges)
        .await
        .map_err(|error| error_of(error, "read ranges of object", path))?;
    if all.len() != ranges.len() {
        return Err(Error::internal("store answered another number of ranges").with("path", path));
    }
    all.into_iter()
        .zip(ranges)
        .map(|(bytes, range)| complete(bytes, range.end.saturating_sub(range.start), path))
        .collect()
}

/// Short data is an error, never passed on (commit-protocol.md section 5).
fn complete(bytes: Bytes, expected: u64, path: &str) -> Result<Bytes> {
    if u64::try_from(bytes.len()).is_ok_and(|got| got == expected) {
        return Ok(bytes);
    }
    Err(Error::corrupt("object is shorter than it should be")
        .with("path", path)
        .with("expected_bytes", expected)
        .with("got_bytes", bytes.len()))
}

/// Size of an object in bytes; `None` if it does not exist.
///
/// # Errors
/// `Unavailable`, `Denied` or `Invalid`.
pub async fn size(objects: &Objects, path: &str) -> Result<Option<u64>> {
    match objects.head(&object_path(path)?).await {
        Ok(meta) => Ok(Some(meta.size)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error_of(error, "look up object", path)),
    }
}

/// Whether an object exists.
///
/// # Errors
/// As [`size`].
pub async fn exists(objects: &Objects, path: &str) -> Result<bool> {
    Ok(size(objects, path).await?.is_some())
}

/// All objects below `prefix` (a folder path without a slash at its end), sorted by path.
///
/// # Errors
/// `Unavailable`, `Denied` or `Invalid`.
pub async fn list(objects: &Objects, prefix: &str) -> Result<Vec<ObjectMeta>> {
    let location = object_path(prefix)?;
    let mut all: Vec<ObjectMeta> = objects
        .list(Some(&location))
        .try_collect()
        .await
        .map_err(|error| error_of(error, "list objects", prefix))?;
    all.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(all)
}

/// Removes an object; `false` if there was none (some stores cannot tell and answer `true`).
///
/// # Errors
/// `Unavailable`, `Denied` or `Invalid`.
pub async fn delete(objects: &Objects, path: &str) -> Result<bool> {
    match objects.delete(&object_path(path)?).await {
        Ok(()) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error_of(error, "delete object", path)),
    }
}

/// Turns a store's error into ours.
pub fn error_of(error: object_store::Error, action: &'static str, path: &str) -> Error {
    Error::new(kind_of(&error), action).with("path", path).caused_by(error)
}

fn kind_of(error: &object_store::Error) -> ErrorKind {
    use object_store::Error as Store;
    match error {
        Store::NotFound { .. } => ErrorKind::NotFound,
        Store::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        Store::Precondition { .. } | Store::NotModified { .. } => ErrorKind::Conflict,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => ErrorKind::Denied,
        Store::InvalidPath { .. } | Store::UnknownConfigurationKey { .. } => ErrorKind::Invalid,
        Store::NotSupported { .. } | Store::NotImplemented { .. } => ErrorKind::Unsupported,
        Store::JoinError { .. } => ErrorKind::Internal,
        other => kind_of_cause(other),
    }
}

/// A local cause knows more than "generic"; a full store says so in the text of its answer.
fn kind_of_cause(error: &(dyn std::error::Error + 'static)) -> ErrorKind {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<std::io::Error>() {
            return match io.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    ErrorKind::Full
                }
                std::io::ErrorKind::ReadOnlyFilesystem => ErrorKind::ReadOnly,
                std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                std::io::ErrorKind::FileTooLarge => ErrorKind::TooLarge,
                _ => ErrorKind::Unavailable,
            };
        }
        cause = current.source();
    }
    let text = error.to_string();
    if text.contains("XMinioStorageFull") || text.contains("QuotaExceeded") {
        return ErrorKind::Full;
    }
    ErrorKind::Unavailable
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn paths_that_escape_are_refused() {
        for bad in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\nb", "a/\0"] {
            assert_eq!(object_path(bad).map_err(|e| e.kind()), Err(ErrorKind::Invalid), "{bad:?}");
        }
        let path = "acme/shop/tables/t/data/year=2026/month=01/day=02/1_ab_data.parquet";
        assert_eq!(object_path(path).expect("allowed").as_ref(), path);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let io = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = object_store::Error::Generic { store: "x", source: Box::new(io) };
        assert_eq!(error_of(error, "write object", "a/b").kind(), ErrorKind::Full);
    }

    #[tokio::test]
    async fn a_range_behind_the_end_is_an_error_and_not_short_data() {
        let objects: Objects = Arc::new(InMemory::new());
        objects.put(&Path::from("a"), Bytes::from_static(b"12345").into()).await.expect("put");
        assert_eq!(get_range(&objects, "a", 1..3).await.expect("range").as_ref(), b"23");
        assert!(get_range(&objects, "a", 3..9).await.is_err());
        assert!(get_ranges(&objects, "a", &[0..1, 3..9]).await.is_err());
        assert_eq!(get(&objects, "b").await.expect("no error"), None);
        assert_eq!(size(&objects, "a").await.expect("size"), Some(5));
    }
}
