//! A directory of this machine as an object store that keeps what it has acknowledged.
//!
//! A write goes to a temporary file beside its target (`<name>#<digits>`, which listings hide), is
//! flushed to the disk, appears under its name in one step and is flushed again with its
//! directory (commit-protocol.md, step S3). Reads and listings are those of `LocalFileSystem`.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    RenameOptions, Result as StoreResult, UploadPart,
};

use crate::error::{Error, Result};

/// Tells the temporary files of one process apart.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// A durable object store in a local directory.
#[derive(Debug)]
pub struct LocalStore {
    inner: LocalFileSystem,
    root: PathBuf,
}

impl LocalStore {
    /// Opens `directory`, creating it if it does not exist.
    ///
    /// # Errors
    /// `Denied`, `ReadOnly`, `Full` or `Unavailable` if it cannot be made or read.
    pub fn open(directory: &FilePath) -> Result<Self> {
        let context = |error: Error| error.with("directory", directory.display());
        std::fs::create_dir_all(directory).map_err(|e| context(Error::from(e)))?;
        let root = std::fs::canonicalize(directory).map_err(|e| context(Error::from(e)))?;
        let inner = LocalFileSystem::new_with_prefix(&root)
            .map_err(|e| context(Error::invalid("open directory").caused_by(e)))?;
        Ok(Self { inner, root })
    }

    fn target(&self, location: &Path) -> StoreResult<Target> {
        let path = self.inner.path_to_filesystem(location)?;
        Ok(Target { root: self.root.clone(), path })
    }
}

impl fmt::Display for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalStore({})", self.root.display())
    }
}

/// Where an object goes.
#[derive(Debug, Clone)]
struct Target {
    root: PathBuf,
    path: PathBuf,
}

impl Target {
    fn folder(&self) -> &FilePath {
        self.path.parent().unwrap_or(&self.root)
    }

    /// Makes the folders above the object and flushes each into its parent.
    ///
    /// Refuses a folder that a symbolic link has moved out of the lake.
    fn make_folder(&self) -> io::Result<()> {
        let folder = self.folder();
        let mut missing = Vec::new();
        let mut at = folder;
        while at.starts_with(&self.root) && !at.is_dir() {
            missing.push(at);
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        for each in missing.into_iter().rev() {
            match std::fs::create_dir(each) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => flush_folder(each.parent().unwrap_or(&self.root))?,
            }
        }
        if std::fs::canonicalize(folder)?.starts_with(&self.root) {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::PermissionDenied, "folder leads out of the lake"))
    }

    /// Makes a new temporary file beside the object.
    fn temporary(&self) -> io::Result<Temporary> {
        self.make_folder()?;
        loop {
            let count = TEMPORARY.fetch_add(1, Ordering::Relaxed);
            let mut name = self.path.clone().into_os_string();
            name.push(format!("#{}{count:09}", std::process::id()));
            let path = PathBuf::from(name);
            let made = File::options().read(true).write(true).create_new(true).open(&path);
            match made {
                Ok(file) => return Ok(Temporary { file, path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives the flushed temporary file its name, which must be free.
    fn create(&self, temporary: &Temporary) -> StoreResult<()> {
        match link(&temporary.path, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Whoever is told that the name is taken builds on it: it must be there for good.
                flush_folder(self.folder()).map_err(failed)?;
                return Err(StoreError::AlreadyExists {
                    path: self.path.display().to_string(),
                    source: error.into(),
                });
            }
            Err(error) => return Err(failed(error)),
        }
        flush_folder(self.folder()).map_err(failed)
    }

    /// Gives the flushed temporary file its name, in place of what has it now.
    fn replace(&self, temporary: &Temporary) -> StoreResult<()> {
        std::fs::rename(&temporary.path, &self.path).map_err(failed)?;
        flush_folder(self.folder()).map_err(failed)
    }
}

/// Links `from` to the free name `to`. File systems without hard links (exFAT, some network
/// shares) rename without replacing instead.
fn link(from: &FilePath, to: &FilePath) -> io::Result<()> {
    let Err(error) = std::fs::hard_link(from, to) else {
        return Ok(());
    };
    let no_links =
        matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied);
    if !no_links {
        return Err(error);
    }
    let here = rustix::fs::CWD;
    rustix::fs::renameat_with(here, from, here, to, rustix::fs::RenameFlags::NOREPLACE).map_err(
        |second| match io::Error::from(second) {
            taken if taken.kind() == io::ErrorKind::AlreadyExists => taken,
            _ => error,
        },
    )
}

fn flush_folder(folder: &FilePath) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that nobody sees yet; removed when dropped.
#[derive(Debug)]
struct Temporary {
    file: File,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove; any other rest is hidden from listings.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn failed(error: io::Error) -> StoreError {
    StoreError::Generic { store: "LocalStore", source: Box::new(error) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> StoreResult<T> + Send + 'static,
) -> StoreResult<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Writes all of `payload` durably.
fn write(target: &Target, payload: &PutPayload, create_only: &PutMode) -> StoreResult<()> {
    let temporary = target.temporary().map_err(failed)?;
    let mut offset = 0;
    for chunk in payload {
        temporary.file.write_all_at(chunk, offset).map_err(failed)?;
        offset += u64::try_from(chunk.len()).unwrap_or_default();
    }
    temporary.file.sync_all().map_err(failed)?;
    match create_only {
        PutMode::Create => target.create(&temporary),
        _ => target.replace(&temporary),
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) || !options.attributes.is_empty() {
            return Err(StoreError::NotImplemented {
                operation: "conditional update or attributes".to_owned(),
                implementer: self.to_string(),
            });
        }
        let target = self.target(location)?;
        blocking(move || write(&target, &payload, &options.mode)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return Err(StoreError::NotImplemented {
                operation: "attributes".to_owned(),
                implementer: self.to_string(),
            });
        }
        let target = self.target(location)?;
        let (target, temporary) = blocking(move || {
            let temporary = target.temporary().map_err(failed)?;
            Ok((target, temporary))
        })
        .await?;
        Ok(Box::new(LocalUpload {
            target,
            temporary: Some(Arc::new(temporary)),
            offset: 0,
            written: Arc::new(AtomicU64::new(0)),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        let target = self.target(to)?;
        self.inner.copy_opts(from, to, options).await?;
        blocking(move || flush_folder(target.folder()).map_err(failed)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        let target = self.target(to)?;
        self.inner.rename_opts(from, to, options).await?;
        blocking(move || flush_folder(target.folder()).map_err(failed)).await
    }
}

/// An object that is written in parts; its name must be free when it is complete.
#[derive(Debug)]
struct LocalUpload {
    target: Target,
    temporary: Option<Arc<Temporary>>,
    offset: u64,
    written: Arc<AtomicU64>,
}

impl LocalUpload {
    fn over() -> StoreError {
        failed(io::Error::other("upload is already completed or aborted"))
    }
}

#[async_trait]
impl MultipartUpload for LocalUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let Some(temporary) = self.temporary.clone() else {
            return futures::future::ready(Err(Self::over())).boxed();
        };
        let mut offset = self.offset;
        self.offset += u64::try_from(data.content_length()).unwrap_or_default();
        let written = Arc::clone(&self.written);
        blocking(move || {
            for chunk in &data {
                temporary.file.write_all_at(chunk, offset).map_err(failed)?;
                let length = u64::try_from(chunk.len()).unwrap_or_default();
                offset += length;
                written.fetch_add(length, Ordering::AcqRel);
            }
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let temporary = self.temporary.take().ok_or_else(Self::over)?;
        if self.written.load(Ordering::Acquire) != self.offset {
            return Err(failed(io::Error::other("a part of the upload is missing")));
        }
        let target = self.target.clone();
        blocking(move || {
            temporary.file.sync_all().map_err(failed)?;
            target.create(&temporary)
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> StoreResult<()> {
        let temporary = self.temporary.take().ok_or_else(Self::over)?;
        blocking(move || {
            drop(temporary);
            Ok(())
        })
        .await
    }
}

#[cfg(test)]
#[path = "local_tests.rs"]
mod tests;
