//! What every store in a cloud gets around it: bounded requests, large objects in parts, ranges
//! joined with care, and a proof that create-only puts are honoured before the first one counts.
//!
//! The commit protocol stands on create-only puts (commit-protocol.md section 3). A store that
//! ignores the condition answers like one that honours it until two writers meet, so the question
//! is put to it in the first write of each process.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, CopyOptions, Error as StoreError, GetOptions, GetResult,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, RetryConfig,
};
use tokio::sync::OnceCell;

use super::ranges::joined;
use super::{StoreOptions, layout};
use crate::config::values;
use crate::error::{Error, Result};

/// Requests of one call under way at the same time.
const PARALLEL: usize = 8;
/// Parts of one object under way at the same time.
const PARTS_PARALLEL: usize = 4;
/// Least length of a part: S3's own limit.
const PART_BYTES_MIN: u64 = 5 << 20;

/// Limits of requests; the options that begin alike in docs/CONFIGURATION.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CloudLimits {
    /// How often a request is repeated after an error of the store or of the network.
    pub(super) retries: usize,
    /// How long a request may take in all, repetitions included.
    pub(super) retry_timeout: Duration,
    /// Length of the parts of a large object.
    pub(super) part_bytes: u64,
}

impl Default for CloudLimits {
    fn default() -> Self {
        Self { retries: 8, retry_timeout: Duration::from_secs(30), part_bytes: 16 << 20 }
    }
}

impl CloudLimits {
    /// Takes our own options out of `options`; the rest is the store's.
    pub(super) fn take(options: &mut StoreOptions) -> Result<Self> {
        let mut limits = Self::default();
        let mut own = |name: &'static str, set: &mut dyn FnMut(&str) -> values::ValueResult<()>| {
            let Some(text) = options.remove(name) else { return Ok(()) };
            set(text.reveal().trim()).map_err(|reason| {
                Error::invalid("storage option has a wrong value")
                    .with("option", name)
                    .with("reason", reason)
            })
        };
        own("retries", &mut |text| values::count(text).map(|value| limits.retries = value))?;
        own("retry_timeout", &mut |text| {
            values::duration(text).map(|value| limits.retry_timeout = value)
        })?;
        own("part_bytes", &mut |text| match values::bytes(text)? {
            bytes if bytes >= PART_BYTES_MIN => {
                limits.part_bytes = bytes;
                Ok(())
            }
            _ => Err("at least 5MiB".to_owned()),
        })?;
        Ok(limits)
    }

    /// How requests are repeated.
    pub(super) fn retry(&self) -> RetryConfig {
        RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: self.retries,
            retry_timeout: self.retry_timeout,
        }
    }
}

/// How long one request and one connection may take; the options `timeout` and `connect_timeout`
/// of the store go before these.
pub(super) fn client() -> ClientOptions {
    ClientOptions::new()
        .with_timeout(Duration::from_secs(60))
        .with_connect_timeout(Duration::from_secs(5))
}

/// Stands in the extensions of a put whose name nobody else can have: such an object may be sent
/// in parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct UniqueName;

/// The store of a cloud.
pub(super) struct CloudStore<T> {
    inner: T,
    part_bytes: u64,
    proven: OnceCell<()>,
}

impl<T: ObjectStore> CloudStore<T> {
    /// Wraps a store; nothing is asked of it yet.
    pub(super) fn new(inner: T, limits: &CloudLimits) -> Self {
        Self { inner, part_bytes: limits.part_bytes, proven: OnceCell::new() }
    }

    /// Puts the same object twice; the second put must be refused. The object stays, so that
    /// later processes need one request only. It holds nothing: two processes that ask at the
    /// same time do not disturb each other.
    async fn prove(&self) -> object_store::Result<()> {
        let probe = Path::from(layout::CREATE_ONLY_PROBE);
        for _ in 0..2 {
            let put = self.inner.put_opts(&probe, PutPayload::default(), PutMode::Create.into());
            match put.await {
                Ok(_) => {}
                Err(StoreError::AlreadyExists { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::NotSupported {
            source: "the store ignores If-None-Match: it overwrites objects that are to be \
                     created only, and concurrent saves would be lost; use one with conditional \
                     writes"
                .into(),
        })
    }

    async fn put_parts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let options = PutMultipartOptions {
            tags: options.tags,
            attributes: options.attributes,
            extensions: options.extensions,
        };
        let bytes = Bytes::from(payload);
        let part = usize::try_from(self.part_bytes).unwrap_or(usize::MAX).max(1);
        let mut upload = self.inner.put_multipart_opts(location, options).await?;
        let parts: Vec<_> = (0..bytes.len())
            .step_by(part)
            .map(|at| bytes.slice(at..bytes.len().min(at.saturating_add(part))))
            .map(|bytes| upload.put_part(PutPayload::from_bytes(bytes)))
            .collect();
        let sent =
            futures::stream::iter(parts).buffer_unordered(PARTS_PARALLEL).try_collect::<()>().await;
        match sent {
            Ok(()) => upload.complete().await,
            Err(error) => {
                // What stays of it costs storage until the bucket's own rule removes it.
                if let Err(error) = upload.abort().await {
                    tracing::debug!(%location, %error, "upload in parts was not taken back");
                }
                Err(error)
            }
        }
    }
}

impl<T: ObjectStore> fmt::Debug for CloudStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<T: ObjectStore> fmt::Display for CloudStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

#[async_trait]
impl<T: ObjectStore> ObjectStore for CloudStore<T> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if options.mode == PutMode::Create {
            self.proven.get_or_try_init(|| self.prove()).await?;
        }
        let length = u64::try_from(payload.content_length()).unwrap_or(u64::MAX);
        let unique = options.extensions.get::<UniqueName>().is_some();
        if unique && length > self.part_bytes {
            return self.put_parts(location, payload, options).await;
        }
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        let fetches = joined(ranges);
        let fetched: Vec<Bytes> = futures::stream::iter(fetches.iter().cloned())
            .map(|range| self.inner.get_range(location, range))
            .buffered(PARALLEL)
            .try_collect()
            .await?;
        Ok(ranges.iter().map(|range| part_of(range, &fetches, &fetched)).collect())
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> object_store::Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

/// The bytes of `range` out of the fetch that covers it; fewer if the store gave fewer, which the
/// caller notices.
fn part_of(range: &Range<u64>, fetches: &[Range<u64>], fetched: &[Bytes]) -> Bytes {
    if range.is_empty() {
        return Bytes::new();
    }
    let at = fetches.partition_point(|fetch| fetch.start <= range.start).saturating_sub(1);
    let (Some(fetch), Some(bytes)) = (fetches.get(at), fetched.get(at)) else {
        return Bytes::new();
    };
    let within = |offset: u64| {
        let offset = usize::try_from(offset.saturating_sub(fetch.start)).unwrap_or(usize::MAX);
        offset.min(bytes.len())
    };
    bytes.slice(within(range.start)..within(range.end).max(within(range.start)))
}

#[cfg(test)]
mod tests;
