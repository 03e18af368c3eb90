//! An object store in memory, reached through the world.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::world::Life;

/// A gateway's way to the objects.
#[derive(Debug)]
pub(crate) struct SimStore {
    pub(crate) inner: Arc<InMemory>,
    pub(crate) life: Life,
}

impl fmt::Display for SimStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimStore")
    }
}

fn error(_: bool) -> Error {
    Error::Generic { store: "SimStore", source: "no answer".into() }
}

#[async_trait]
impl ObjectStore for SimStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let (inner, path) = (Arc::clone(&self.inner), location.clone());
        let name = format!("put {location}");
        let work = async move { inner.put_opts(&path, payload, options).await };
        self.life.call(&name, true, work, error).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        panic!("{location}: tables of the simulation are small")
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (inner, path) = (Arc::clone(&self.inner), location.clone());
        let name = format!("get {location}");
        let work = async move { inner.get_opts(&path, options).await };
        self.life.call(&name, false, work, error).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let (inner, life) = (Arc::clone(&self.inner), self.life.clone());
        locations
            .then(move |location| {
                let (inner, life) = (Arc::clone(&inner), life.clone());
                async move {
                    let location = location?;
                    let name = format!("delete {location}");
                    let path = location.clone();
                    let work = async move { inner.delete(&path).await };
                    life.call(&name, true, work, error).await?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (inner, prefix, life) = (Arc::clone(&self.inner), prefix.cloned(), self.life.clone());
        let work = async move { inner.list(prefix.as_ref()).try_collect::<Vec<_>>().await };
        stream::once(async move { life.call("list", false, work, error).await })
            .flat_map(|listed| match listed {
                Ok(found) => stream::iter(found.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => stream::iter(vec![Err(error)]),
            })
            .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let (inner, prefix) = (Arc::clone(&self.inner), prefix.cloned());
        let work = async move { inner.list_with_delimiter(prefix.as_ref()).await };
        self.life.call("list", false, work, error).await
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        panic!("{from}: objects are never copied")
    }
}
