//! What is made of tables when it is asked for: parts of a table, other formats, views.
//!
//! First and last rows are ranges of the table's text. Everything else is made once for a version
//! and kept on local disk (`spool`). The version is in the handle, so who has a file open goes on
//! reading the same bytes, and its size is known before it is read.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::attr::{self, time_of_ms};
use super::gateway::Vfs;
use super::namespace::Node;
use super::tables::READ_MAX;
use super::{Attr, Caller, Entry, FsError, FsResult, Handle, ReadReply};
use crate::error::{ErrorKind, Result};
use crate::lake::{At, CsvView, Snapshot, TableId, write_answer};

mod name;
mod readers;
pub(super) mod spool;
mod views;

use name::Part;
pub(super) use name::{Derived, directory_in, format_in};
pub(super) use readers::Readers;
use spool::{Limited, Spooled};
pub(super) use views::ViewResults;

/// Where the bytes of a file are.
enum Content {
    /// In the text of a version: the header line and a range behind it.
    Text(Arc<CsvView>, Range<u64>),
    /// On local disk.
    File(String, Spooled),
    /// Here.
    Bytes(Bytes, i64),
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Text(view, range) => header_bytes(view) + (range.end - range.start),
            Self::File(_, file) => file.bytes,
            Self::Bytes(bytes, _) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        }
    }

    fn time_ms(&self) -> i64 {
        match self {
            Self::Text(view, _) => view.snapshot().committed_ms,
            Self::File(_, file) => file.time_ms,
            Self::Bytes(_, time_ms) => *time_ms,
        }
    }
}

impl Vfs {
    /// A name in a directory that may stand for something derived.
    pub(super) async fn derived_child(
        &self,
        caller: &Caller,
        dir: &Node,
        name: &str,
    ) -> FsResult<Option<Node>> {
        let child = match dir {
            Node::Super(id) if name == ".views" => Some(Derived::Views(id.clone())),
            Node::Super(id) => format_in(id, name),
            Node::About(table) => directory_in(table, name),
            Node::Derived(derived) => derived.child(name),
            _ => None,
        };
        let Some(child) = child else { return Ok(None) };
        let exists = match &child {
            Derived::Format(table, _) => self.exists(caller, table).await?,
            Derived::Column(table, column) => {
                let snapshot = self.latest(caller, table).await?;
                snapshot.schema.field_with_name(column).is_ok()
            }
            Derived::View(id, view) | Derived::Result(id, view) => {
                self.lake.named_view(&self.principal(caller), id, view).await?.is_some()
            }
            Derived::Failure(id, view) => self.view_failure(caller, id, view).await?.is_some(),
            Derived::Part(..) | Derived::Directory(..) | Derived::Views(_) => true,
        };
        Ok(exists.then_some(Node::Derived(child)))
    }

    /// What a client gets for it.
    pub(super) async fn derived_entry(
        &self,
        caller: &Caller,
        derived: &Derived,
    ) -> FsResult<Entry> {
        let mut handle = self.handle(&Node::Derived(derived.clone()));
        handle.version = match derived {
            Derived::Format(table, _) | Derived::Part(table, _) => {
                self.latest(caller, table).await?.version
            }
            Derived::Result(id, name) => self.view_result(caller, id, name).await?,
            _ => 0,
        };
        let attr = self.derived_attr(caller, handle, derived).await?;
        Ok(Entry { handle, attr })
    }

    pub(super) async fn derived_attr(
        &self,
        caller: &Caller,
        handle: Handle,
        derived: &Derived,
    ) -> FsResult<Attr> {
        let writable = !self.settings.read_only;
        if derived.is_directory() {
            let time = self.directory_time(handle.inode);
            let writable = writable && matches!(derived, Derived::Views(_));
            return Ok(attr::directory(self.owner, handle.inode, writable, time));
        }
        let content = self.content(caller, handle, derived).await?;
        let time = time_of_ms(content.time_ms());
        let writable = writable && matches!(derived, Derived::View(..));
        Ok(attr::file(self.owner, handle.inode, writable, content.len(), time))
    }

    pub(super) async fn read_derived(
        &self,
        caller: &Caller,
        handle: Handle,
        derived: &Derived,
        offset: u64,
        count: u32,
    ) -> FsResult<ReadReply> {
        let attr = self.derived_attr(caller, handle, derived).await?;
        let content = self.content(caller, handle, derived).await?;
        let start = offset.min(content.len());
        let end = start.saturating_add(u64::from(count.min(READ_MAX))).min(content.len());
        let data = match &content {
            Content::Text(view, range) => text_of(view, range, start..end).await?,
            Content::Bytes(bytes, _) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                vec![bytes.slice(place(start)..place(end))]
            }
            Content::File(name, _) => {
                let count = usize::try_from(end - start).unwrap_or_default();
                match self.spool.read(name, start, count).await {
                    Err(error) if spool::is_gone(&error) => return Err(FsError::Stale),
                    read => vec![read?],
                }
            }
        };
        let eof = end >= content.len();
        self.readers.note_read(handle, eof, self.clock.monotonic_ns());
        Ok(ReadReply { data, eof, attr })
    }

    async fn content(
        &self,
        caller: &Caller,
        handle: Handle,
        derived: &Derived,
    ) -> FsResult<Content> {
        match derived {
            Derived::Part(table, part) => {
                let snapshot = self.version_of(caller, table, handle).await?;
                self.part(caller, &snapshot, part).await
            }
            Derived::Format(table, format) => {
                let snapshot = self.version_of(caller, table, handle).await?;
                let who = self.principal(caller);
                let name = name_of(&snapshot, derived);
                let make = async |out: Limited| {
                    self.lake.export(&who, &snapshot, format.export(), out).await.map(drop)
                };
                let file = self.spool.find_or_make(&name, snapshot.committed_ms, make).await?;
                Ok(Content::File(name, file))
            }
            Derived::View(id, name) => {
                let view = self.lake.named_view(&self.principal(caller), id, name).await?;
                let view = view.ok_or(FsError::Stale)?;
                Ok(Content::Bytes(view.text.into(), view.changed_ms))
            }
            Derived::Result(..) => {
                let name = views::file_name(handle.version);
                let file = self.spool.find(&name).ok_or(FsError::Stale)?;
                Ok(Content::File(name, file))
            }
            Derived::Failure(id, name) => {
                let failure = self.view_failure(caller, id, name).await?.ok_or(FsError::Stale)?;
                Ok(Content::Bytes(failure.text.into(), failure.time_ms))
            }
            Derived::Directory(..) | Derived::Column(..) | Derived::Views(_) => {
                Err(FsError::IsDirectory)
            }
        }
    }

    async fn version_of(
        &self,
        caller: &Caller,
        table: &TableId,
        handle: Handle,
    ) -> FsResult<Arc<Snapshot>> {
        let who = self.principal(caller);
        Ok(self.lake.snapshot(&who, table, At::Version(handle.version)).await?)
    }

    async fn part(
        &self,
        caller: &Caller,
        snapshot: &Arc<Snapshot>,
        part: &Part,
    ) -> FsResult<Content> {
        let who = self.principal(caller);
        let made =
            |part: &Part| name_of(snapshot, &Derived::Part(snapshot.table.clone(), part.clone()));
        let (name, file) = match part {
            Part::Head(rows) => {
                let view = self.lake.view_of(snapshot).await?;
                let end = view.offset_of((*rows).min(view.rows())).await?;
                let range = header_bytes(&view)..end.max(header_bytes(&view));
                return Ok(Content::Text(view, range));
            }
            Part::Tail(rows) => {
                let view = self.lake.view_of(snapshot).await?;
                let start = view.offset_of(view.rows().saturating_sub(*rows)).await?;
                let range = start..view.len();
                return Ok(Content::Text(view, range));
            }
            Part::By(column, value) => {
                let make = async |out: Limited| {
                    let answer = self.lake.rows_with(&who, snapshot, column, value).await?;
                    write_answer(answer, crate::lake::ExportFormat::Csv, out).await.map(drop)
                };
                let name = made(part);
                let file = self.spool.find_or_make(&name, snapshot.committed_ms, make).await;
                (name, file.map_err(no_such_part)?)
            }
            Part::Columns(columns) => {
                let names: Vec<&str> = columns.split(',').collect();
                let make = async |out: Limited| {
                    self.lake.export_columns(&who, snapshot, &names, out).await.map(drop)
                };
                let name = made(part);
                let file = self.spool.find_or_make(&name, snapshot.committed_ms, make).await;
                (name, file.map_err(no_such_part)?)
            }
        };
        Ok(Content::File(name, file))
    }
}

/// A value that the column cannot have names no file.
fn no_such_part(error: crate::error::Error) -> FsError {
    match error.kind() {
        ErrorKind::Invalid => FsError::not_found(),
        _ => error.into(),
    }
}

/// The name on local disk of what is made of a version.
fn name_of(snapshot: &Snapshot, derived: &Derived) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(snapshot.path.as_bytes()).update(b"\n").update(derived.to_text().as_bytes());
    hasher.finalize().to_hex().chars().take(32).collect()
}

fn header_bytes(view: &CsvView) -> u64 {
    u64::try_from(view.header().len()).unwrap_or(u64::MAX)
}

/// Bytes of the header line followed by a range of the text.
async fn text_of(
    view: &Arc<CsvView>,
    range: &Range<u64>,
    wanted: Range<u64>,
) -> Result<Vec<Bytes>> {
    let header = header_bytes(view);
    let mut data = view.read_at(wanted.start.min(header)..wanted.end.min(header)).await?;
    let (start, end) = (wanted.start.max(header) - header, wanted.end.max(header) - header);
    data.extend(view.read_at(range.start + start..range.start + end).await?);
    Ok(data)
}
