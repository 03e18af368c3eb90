//! A store that fails on demand, for tests of everything above it.
//!
//! Calls are counted from 1; a fault is injected into the n-th call of a kind, so a test can let
//! an operation fail at call 1, 2, 3, ... until it succeeds.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

use super::Objects;
use crate::clock::{SharedClock, SystemClock};

/// Kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// Any call at all; counts them together.
    Any,
    /// Writing an object, the start of an upload included.
    Put,
    /// Reading an object, ranges or metadata of it.
    Get,
    /// Deleting objects.
    Delete,
    /// Listing.
    List,
    /// Copying or renaming.
    Copy,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call fails and nothing has happened.
    Before,
    /// The call happens and its answer is lost.
    After,
    /// The last byte of what is read is missing.
    Short,
    /// The call waits first.
    Delay(Duration),
    /// The store is full.
    Full,
}

/// The failing store.
pub struct FaultStore {
    inner: Objects,
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<Call, u64>,
    single: HashMap<(Call, u64), Fault>,
    every: HashMap<Call, Fault>,
}

impl FaultStore {
    /// Wraps a store; no fault is injected yet.
    pub fn new(inner: Objects) -> Self {
        Self::with_clock(inner, Arc::new(SystemClock))
    }

    /// As [`Self::new`], with the clock that [`Fault::Delay`] waits on.
    pub fn with_clock(inner: Objects, clock: SharedClock) -> Self {
        Self { inner, clock, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the `nth` call of a kind from now on fail (1 = the next one).
    pub fn inject(&self, call: Call, nth: u64, fault: Fault) {
        let mut state = self.state();
        let at = state.calls.get(&call).copied().unwrap_or_default().saturating_add(nth);
        state.single.insert((call, at), fault);
    }

    /// Lets every call of a kind fail.
    pub fn inject_all(&self, call: Call, fault: Fault) {
        self.state().every.insert(call, fault);
    }

    /// Takes all faults back.
    pub fn heal(&self) {
        let mut state = self.state();
        state.single.clear();
        state.every.clear();
    }

    /// How many calls of a kind there were.
    pub fn calls(&self, call: Call) -> u64 {
        self.state().calls.get(&call).copied().unwrap_or_default()
    }

    fn count(&self, call: Call) -> Option<Fault> {
        let mut state = self.state();
        let mut found = None;
        for kind in [call, Call::Any] {
            let count = state.calls.entry(kind).or_default();
            *count = count.saturating_add(1);
            let count = *count;
            let fault =
                state.single.remove(&(kind, count)).or_else(|| state.every.get(&kind).copied());
            found = found.or(fault);
        }
        found
    }

    /// Counts a call and lets it wait or fail before it happens.
    async fn before(&self, call: Call) -> Result<Option<Fault>> {
        let fault = self.count(call);
        match fault {
            Some(Fault::Before) => Err(injected()),
            Some(Fault::Full) => {
                let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
                Err(Error::Generic { store: "FaultStore", source: Box::new(full) })
            }
            Some(Fault::Delay(duration)) => {
                self.clock.sleep(duration).await;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

fn injected() -> Error {
    Error::Generic { store: "FaultStore", source: "injected fault".into() }
}

fn after<T>(fault: Option<Fault>, value: T) -> Result<T> {
    if fault == Some(Fault::After) { Err(injected()) } else { Ok(value) }
}

fn shorten(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len().saturating_sub(1))
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let fault = self.before(Call::Put).await?;
        after(fault, self.inner.put_opts(location, payload, options).await?)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.before(Call::Put).await?;
        after(fault, self.inner.put_multipart_opts(location, options).await?)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.before(Call::Get).await?;
        let result = self.inner.get_opts(location, options).await?;
        if fault != Some(Fault::Short) {
            return after(fault, result);
        }
        let (meta, range) = (result.meta.clone(), result.range.clone());
        let attributes = result.attributes.clone();
        let bytes = shorten(&result.bytes().await?);
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let fault = self.before(Call::Get).await?;
        let mut all = self.inner.get_ranges(location, ranges).await?;
        if fault == Some(Fault::Short)
            && let Some(last) = all.last_mut()
        {
            *last = shorten(last);
        }
        after(fault, all)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        match self.count(Call::Delete) {
            Some(Fault::Before | Fault::Full) => stream::once(async { Err(injected()) }).boxed(),
            Some(Fault::After) => self
                .inner
                .delete_stream(locations)
                .map(|result| result.and_then(|_| Err(injected())))
                .boxed(),
            _ => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.count(Call::List) {
            Some(Fault::Before | Fault::After) => stream::once(async { Err(injected()) }).boxed(),
            _ => self.inner.list(prefix),
        }
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.count(Call::List) {
            Some(Fault::Before | Fault::After) => stream::once(async { Err(injected()) }).boxed(),
            _ => self.inner.list_with_offset(prefix, offset),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fault = self.before(Call::List).await?;
        after(fault, self.inner.list_with_delimiter(prefix).await?)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.before(Call::Copy).await?;
        self.inner.copy_opts(from, to, options).await?;
        after(fault, ())
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let fault = self.before(Call::Copy).await?;
        self.inner.rename_opts(from, to, options).await?;
        after(fault, ())
    }
}
