//! A backup as the lake's store that it was: objects under their own paths, to be read only.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use super::manifest::ObjectLine;
use crate::store::Objects;

/// The objects of a backup.
pub(super) struct Shelf {
    from: Objects,
    objects: BTreeMap<Path, ObjectLine>,
}

impl Shelf {
    pub(super) fn open(from: &Objects, objects: &BTreeMap<String, ObjectLine>) -> Objects {
        let objects = objects.values().map(|line| (Path::from(line.path.as_str()), line.clone()));
        Arc::new(Self { from: Arc::clone(from), objects: objects.collect() })
    }

    fn find(&self, location: &Path) -> Result<&ObjectLine> {
        self.objects.get(location).ok_or_else(|| Error::NotFound {
            path: location.to_string(),
            source: "the backup does not list it".into(),
        })
    }

    fn refuse<T>(&self, operation: &str) -> Result<T> {
        Err(Error::NotImplemented {
            operation: operation.to_owned(),
            implementer: self.to_string(),
        })
    }
}

fn meta(location: &Path, line: &ObjectLine) -> ObjectMeta {
    ObjectMeta {
        location: location.clone(),
        last_modified: DateTime::from_timestamp_millis(line.written_ms).unwrap_or_default(),
        size: line.bytes,
        e_tag: None,
        version: None,
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("objects", &self.objects.len()).finish_non_exhaustive()
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backup({})", self.from)
    }
}

#[async_trait]
impl ObjectStore for Shelf {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        self.refuse("put")
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.refuse("put in parts")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let line = self.find(location)?;
        let mut result = self.from.get_opts(&Path::from(line.stored.as_str()), options).await?;
        result.meta.location = location.clone();
        Ok(result)
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let refused = self.refuse("delete");
        stream::once(async { refused }).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let below = |path: &&Path| prefix.is_none_or(|prefix| path.prefix_matches(prefix));
        let found: Vec<_> = self
            .objects
            .iter()
            .filter(|(path, _)| below(path))
            .map(|(path, line)| Ok(meta(path, line)))
            .collect();
        stream::iter(found).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        // Nothing that checks a backup asks for folders.
        let objects = self.list(prefix).try_collect().await?;
        Ok(ListResult { common_prefixes: Vec::new(), objects })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        self.refuse("copy")
    }
}
