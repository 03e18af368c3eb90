//! Copying an object in bounded memory, with its checksum.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use object_store::{GetResult, ObjectStoreExt};
use sha2::{Digest, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::store::{self, Objects, PutCreate};

/// Objects up to this size go in one piece, larger ones in parts of at least this size.
const PART_BYTES: u64 = 16 << 20;
/// S3 takes 10,000 parts.
const PARTS_MAX: u64 = 8_000;

/// What an object holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) bytes: u64,
    pub(super) sha256: String,
    pub(super) written_ms: i64,
}

/// From where to where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) from: (&'a Objects, &'a str),
    pub(super) to: (&'a Objects, &'a str),
}

/// Copies an object to a name that must be free. An object that does not have the `expected`
/// checksum does not appear there.
///
/// # Errors
/// `NotFound` if there is nothing to copy, `Corrupt` for another checksum; those of the stores.
pub(super) async fn copy(way: Way<'_>, expected: Option<&str>) -> Result<(Print, PutCreate)> {
    let (from, path) = way.from;
    let (to, target) = way.to;
    let got = begin(from, path).await?;
    // A put of the same bytes would count as made, and this is cheaper than a put.
    if store::exists(to, target).await? {
        return Ok((print_of(got, path).await?, PutCreate::Exists));
    }
    if got.meta.size > PART_BYTES {
        return in_parts(got, way, expected).await;
    }
    let (size, written_ms) = (got.meta.size, got.meta.last_modified.timestamp_millis());
    let bytes = got.bytes().await.map_err(|e| store::error_of(e, "read object", path))?;
    let mut reader = Reader::new(size, written_ms);
    reader.take(&bytes);
    let print = reader.end(path, expected)?;
    let put = store::put_create(to, target, bytes).await?;
    Ok((print, put))
}

/// Reads an object only to know what it holds; `None` if there is none.
///
/// # Errors
/// Those of the store; `Corrupt` if fewer bytes came than announced.
pub(super) async fn print(objects: &Objects, path: &str) -> Result<Option<Print>> {
    match begin(objects, path).await {
        Ok(got) => print_of(got, path).await.map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn begin(objects: &Objects, path: &str) -> Result<GetResult> {
    let got = objects.get(&store::object_path(path)?).await;
    got.map_err(|error| store::error_of(error, "read object", path))
}

async fn print_of(got: GetResult, path: &str) -> Result<Print> {
    let mut reader = Reader::new(got.meta.size, got.meta.last_modified.timestamp_millis());
    let mut stream = got.into_stream();
    while let Some(bytes) = stream.next().await {
        reader.take(&bytes.map_err(|e| store::error_of(e, "read object", path))?);
    }
    reader.end(path, None)
}

async fn in_parts(
    got: GetResult,
    way: Way<'_>,
    expected: Option<&str>,
) -> Result<(Print, PutCreate)> {
    let (to, target) = way.to;
    let failed = |error| store::error_of(error, "create object", target);
    let mut upload = to.put_multipart(&store::object_path(target)?).await.map_err(failed)?;
    let print = match parts(got, way.from.1, upload.as_mut(), target, expected).await {
        Ok(print) => print,
        Err(error) => {
            // What stays of it is hidden, and the error above matters more.
            drop(upload.abort().await);
            return Err(error);
        }
    };
    match upload.complete().await {
        Ok(_) => Ok((print, PutCreate::Created)),
        Err(object_store::Error::AlreadyExists { .. }) => Ok((print, PutCreate::Exists)),
        Err(error) => Err(failed(error)),
    }
}

async fn parts(
    got: GetResult,
    path: &str,
    upload: &mut dyn object_store::MultipartUpload,
    target: &str,
    expected: Option<&str>,
) -> Result<Print> {
    let failed = |error| store::error_of(error, "create object", target);
    let size = got.meta.size;
    let part = usize::try_from(PART_BYTES.max(size / PARTS_MAX)).unwrap_or(usize::MAX);
    let mut reader = Reader::new(size, got.meta.last_modified.timestamp_millis());
    let mut stream = got.into_stream();
    let mut waiting = BytesMut::new();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(|error| store::error_of(error, "read object", path))?;
        reader.take(&bytes);
        waiting.extend_from_slice(&bytes);
        while waiting.len() >= part {
            let full: Bytes = waiting.split_to(part).freeze();
            upload.put_part(full.into()).await.map_err(failed)?;
        }
    }
    if !waiting.is_empty() {
        upload.put_part(waiting.freeze().into()).await.map_err(failed)?;
    }
    reader.end(path, expected)
}

/// Sums up what was read.
struct Reader {
    digest: Sha256,
    announced: u64,
    read: u64,
    written_ms: i64,
}

impl Reader {
    fn new(announced: u64, written_ms: i64) -> Self {
        Self { digest: Sha256::new(), announced, read: 0, written_ms }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.read = self.read.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    fn end(self, path: &str, expected: Option<&str>) -> Result<Print> {
        if self.read != self.announced {
            return Err(Error::corrupt("object is shorter than it should be")
                .with("path", path)
                .with("expected_bytes", self.announced)
                .with("got_bytes", self.read));
        }
        let sha256 = hex(&self.digest.finalize());
        if expected.is_some_and(|expected| expected != sha256) {
            return Err(Error::corrupt("object has another checksum than the backup says")
                .with("path", path));
        }
        Ok(Print { bytes: self.read, sha256, written_ms: self.written_ms })
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
