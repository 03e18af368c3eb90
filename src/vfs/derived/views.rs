//! `.views/`: queries as files, their answers, and why there is none.
//!
//! The text of a view is a plain file that is stored with each write. Its answer is made when it
//! is looked up, once for the versions of the tables that it reads.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::name::Derived;
use super::spool::Limited;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{ExportFormat, QueryScope, SimpleName, SuperId, View, write_answer};
use crate::vfs::gateway::Vfs;
use crate::vfs::namespace::Node;
use crate::vfs::{Caller, Entry, FsError, FsResult, SetAttr};

/// Views whose last answer is remembered.
const REMEMBERED_MAX: usize = 4_096;

/// The last answers.
#[derive(Debug, Default)]
pub(in crate::vfs) struct ViewResults(Mutex<HashMap<(SuperId, SimpleName), Known>>);

/// What became of a query.
#[derive(Debug, Clone)]
struct Known {
    /// Number of the query with the versions that it reads.
    identity: u64,
    made_ns: u64,
    /// Whether it may be used however old it is.
    repeatable: bool,
    /// Number of the answer.
    answer: u64,
}

/// Why a view has no answer.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) time_ms: i64,
}

/// The name on local disk of an answer.
pub(super) fn file_name(answer: u64) -> String {
    format!("view-{answer:016x}")
}

impl Vfs {
    /// The number of the answer that a view has now; it is on local disk.
    pub(super) async fn view_result(
        &self,
        caller: &Caller,
        id: &SuperId,
        name: &SimpleName,
    ) -> FsResult<u64> {
        let view = self.lake.named_view(&self.principal(caller), id, name).await?;
        let view = view.ok_or_else(FsError::not_found)?;
        Ok(self.answer_of(caller, id, name, &view).await?)
    }

    /// Why a view has no answer; `None` if it has one, or if there is no such view.
    pub(super) async fn view_failure(
        &self,
        caller: &Caller,
        id: &SuperId,
        name: &SimpleName,
    ) -> FsResult<Option<Failure>> {
        let view = self.lake.named_view(&self.principal(caller), id, name).await?;
        let Some(view) = view else { return Ok(None) };
        match self.answer_of(caller, id, name, &view).await {
            Ok(_) => Ok(None),
            Err(error) => {
                Ok(Some(Failure { text: format!("{error}\n"), time_ms: view.changed_ms }))
            }
        }
    }

    /// Whether an answer is the one that a look-up would give now, as far as that can be told
    /// without making another one.
    pub(super) async fn is_newest_answer(
        &self,
        caller: &Caller,
        (id, name): (&SuperId, &SimpleName),
        answer: u64,
    ) -> bool {
        let who = self.principal(caller);
        let Ok(Some(view)) = self.lake.named_view(&who, id, name).await else { return false };
        let query = self.lake.prepare_query(&who, &view.text, &scope_of(id)).await;
        let Ok(identity) = query.map(|query| query.identity()) else { return false };
        match self.view_results.get(&(id.clone(), name.clone())) {
            Some(known) if known.identity == identity => {
                known.answer == answer && self.is_fresh(&known)
            }
            _ => identity == answer,
        }
    }

    /// An answer that depends on time or chance is reused for a while, so that its size and the
    /// bytes read after it agree.
    fn is_fresh(&self, known: &Known) -> bool {
        let age = self.clock.monotonic_ns().saturating_sub(known.made_ns);
        known.repeatable || u128::from(age) < self.settings.timing.reader.as_nanos()
    }

    async fn answer_of(
        &self,
        caller: &Caller,
        id: &SuperId,
        name: &SimpleName,
        view: &View,
    ) -> Result<u64> {
        let who = self.principal(caller);
        let query = self.lake.prepare_query(&who, &view.text, &scope_of(id)).await?;
        let identity = query.identity();
        let key = (id.clone(), name.clone());
        let now = self.clock.monotonic_ns();
        if let Some(known) = self.view_results.get(&key)
            && known.identity == identity
            && self.is_fresh(&known)
            && self.spool.find(&file_name(known.answer)).is_some()
        {
            return Ok(known.answer);
        }
        let time_ms = query.newest_ms().unwrap_or_default().max(view.changed_ms);
        // An answer of an earlier process is as good; it is only there if it was repeatable.
        if self.spool.find(&file_name(identity)).is_some() {
            let known = Known { identity, made_ns: now, repeatable: true, answer: identity };
            self.view_results.put(key, known);
            return Ok(identity);
        }
        let answer = self.lake.answer(query).await?;
        let repeatable = answer.repeatable;
        let (number, time_ms) = match repeatable {
            true => (identity, time_ms),
            false => ((self.clock.random() >> 1).max(1), self.clock.now_ns() / 1_000_000),
        };
        let make =
            async |out: Limited| write_answer(answer, ExportFormat::Csv, out).await.map(drop);
        self.spool.find_or_make(&file_name(number), time_ms, make).await?;
        let known = Known { identity, made_ns: now, repeatable, answer: number };
        self.view_results.put(key, known);
        Ok(number)
    }

    /// Makes an empty view where a name in `.views/` is one; `None` = it is something else.
    pub(in crate::vfs) async fn create_view(
        &self,
        caller: &Caller,
        dir: &Node,
        name: &[u8],
    ) -> FsResult<Option<Entry>> {
        let Node::Derived(views @ Derived::Views(_)) = dir else { return Ok(None) };
        let text = std::str::from_utf8(name).unwrap_or_default();
        match views.child(text) {
            Some(view @ Derived::View(..)) => {
                if let Derived::View(id, name) = &view {
                    self.save_view(caller, id, name, b"").await?;
                }
                Ok(Some(self.derived_entry(caller, &view).await?))
            }
            Some(_) => Err(made_here()),
            None if text.ends_with(".sql") && !text.starts_with(['.', '#', '~', '_']) => {
                Err(FsError::Lake(Error::invalid(
                    "a view's name has small letters, digits and _, and begins with a letter",
                )))
            }
            None => Ok(None),
        }
    }

    /// Saves a view as a whole.
    pub(in crate::vfs) async fn save_view(
        &self,
        caller: &Caller,
        id: &SuperId,
        name: &SimpleName,
        text: &[u8],
    ) -> FsResult<()> {
        let text = utf8(text.to_vec())?;
        let change = |_: Option<&str>| Ok(Some(text.clone()));
        Ok(self.lake.change_view(&self.principal(caller), id, name, change).await?)
    }

    /// Removes a view.
    pub(in crate::vfs) async fn remove_view(
        &self,
        caller: &Caller,
        id: &SuperId,
        name: &SimpleName,
    ) -> FsResult<()> {
        let change = |text: Option<&str>| match text {
            Some(_) => Ok(None),
            None => Err(Error::not_found("there is no such view")),
        };
        Ok(self.lake.change_view(&self.principal(caller), id, name, change).await?)
    }

    /// WRITE to a view.
    pub(in crate::vfs) async fn write_view(
        &self,
        caller: &Caller,
        derived: &Derived,
        offset: u64,
        data: &[u8],
    ) -> FsResult<()> {
        let (Derived::View(id, name), Ok(offset)) = (derived, usize::try_from(offset)) else {
            return Err(made_here());
        };
        let end = offset.saturating_add(data.len());
        let change = |text: Option<&str>| {
            let mut bytes = text.map(|text| text.as_bytes().to_vec()).ok_or_else(gone)?;
            if bytes.len() < end {
                bytes.resize(within_limit(end)?, b' ');
            }
            if let Some(place) = bytes.get_mut(offset..end) {
                place.copy_from_slice(data);
            }
            utf8(bytes).map(Some)
        };
        Ok(self.lake.change_view(&self.principal(caller), id, name, change).await?)
    }

    /// SETATTR of something derived: only a view's size changes anything.
    pub(in crate::vfs) async fn set_derived_attr(
        &self,
        caller: &Caller,
        derived: &Derived,
        set: &SetAttr,
    ) -> FsResult<()> {
        let Derived::View(id, name) = derived else { return Err(made_here()) };
        let Some(size) = set.size else { return Ok(()) };
        let size = within_limit(usize::try_from(size).unwrap_or(usize::MAX))?;
        let change = |text: Option<&str>| {
            let mut bytes = text.map(|text| text.as_bytes().to_vec()).ok_or_else(gone)?;
            bytes.resize(size, b' ');
            utf8(bytes).map(Some)
        };
        Ok(self.lake.change_view(&self.principal(caller), id, name, change).await?)
    }
}

impl ViewResults {
    fn get(&self, key: &(SuperId, SimpleName)) -> Option<Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn put(&self, key: (SuperId, SimpleName), known: Known) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(key, known);
    }
}

/// What names in a view mean: tables of its own SuperTable first, then others of its organization.
fn scope_of(id: &SuperId) -> QueryScope {
    let organization = Some(id.organization.clone());
    QueryScope { organization, super_table: Some(id.clone()) }
}

fn gone() -> Error {
    Error::not_found("the view is gone")
}

fn made_here() -> FsError {
    FsError::new(ErrorKind::ReadOnly, "this file is made by the gateway")
}

/// Refuses sizes before memory is taken for them.
fn within_limit(bytes: usize) -> Result<usize> {
    if bytes > 1 << 20 {
        return Err(Error::new(ErrorKind::TooLarge, "the text of the view is too long"));
    }
    Ok(bytes)
}

fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::invalid("a view is UTF-8 text"))
}
