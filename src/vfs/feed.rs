//! `<table>/changes.csv`: the rows that each version changed, oldest first, for `tail -f`.
//!
//! The text only grows, as long as a gateway runs and the columns stay: what a reader has seen
//! stays where it was. It begins a bounded number of versions and bytes ago.

use std::sync::{Arc, PoisonError};

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use tokio::sync::Mutex;

use super::gateway::Vfs;
use super::{Caller, FsResult};
use crate::clock::rfc3339;
use crate::csv;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{Principal, Snapshot, TableId};

/// Versions that a feed goes back when it begins.
const VERSIONS_MAX: usize = 200;
/// Bytes of one version's changes; more are told in one line.
const VERSION_BYTES_MAX: usize = 1 << 20;
/// Bytes with which a feed begins at most.
const BEGIN_BYTES_MAX: usize = 2 << 20;
/// Bytes at which a feed begins anew.
const FEED_BYTES_MAX: usize = 8 << 20;
/// Feeds kept at a time.
const FEEDS_MAX: usize = 64;

/// A table's feed; empty until it is looked at.
pub(super) type SharedFeed = Arc<Mutex<Option<Feed>>>;

/// What was told so far.
#[derive(Debug)]
pub(super) struct Feed {
    /// The newest version that it tells of.
    newest: Arc<Snapshot>,
    text: Vec<u8>,
}

impl Vfs {
    /// The bytes of a table's feed.
    pub(super) async fn changes_csv(&self, caller: &Caller, table: &TableId) -> FsResult<Bytes> {
        let who = self.principal(caller);
        let newest = self.latest(caller, table).await?;
        let shared = {
            let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
            if feeds.len() >= FEEDS_MAX && !feeds.contains_key(table) {
                feeds.clear();
            }
            Arc::clone(feeds.entry(table.clone()).or_default())
        };
        let mut feed = shared.lock().await;
        let goes_on = feed.as_ref().is_some_and(|feed| {
            feed.newest.schema == newest.schema
                && feed.newest.version <= newest.version
                && feed.text.len() < FEED_BYTES_MAX
        });
        if !goes_on {
            *feed = None;
        }
        let since = feed.as_ref().map(|feed| Arc::clone(&feed.newest));
        let versions = self.versions_since(&who, &newest, since.as_deref()).await?;
        let mut parts = Vec::new();
        for [old, new] in &versions {
            parts.push(self.changes_of(&who, [old, new]).await?);
        }
        let feed = feed.get_or_insert_with(|| {
            let kept = first_kept(&parts);
            parts.drain(..kept);
            Feed { newest: Arc::clone(&newest), text: header(&newest.schema) }
        });
        feed.text.extend(parts.concat());
        feed.newest = newest;
        Ok(Bytes::copy_from_slice(&feed.text))
    }

    /// The versions after `since` that changed the text, each with its predecessor, oldest first.
    async fn versions_since(
        &self,
        who: &Principal,
        newest: &Arc<Snapshot>,
        since: Option<&Snapshot>,
    ) -> Result<Vec<[Arc<Snapshot>; 2]>> {
        let limit = match since {
            Some(since) => usize::try_from(newest.version - since.version).unwrap_or(usize::MAX),
            None => VERSIONS_MAX,
        };
        let mut history =
            self.lake.history_from(who, newest, limit.saturating_add(1)).await?.into_iter();
        let mut versions = Vec::new();
        let mut next = history.next();
        while let (Some(new), Some(old)) = (next.take(), history.next()) {
            if old.schema != newest.schema || versions.len() >= limit {
                break;
            }
            if new.text_version() == new.version {
                versions.push([Arc::clone(&old), new]);
            }
            next = Some(old);
        }
        versions.reverse();
        Ok(versions)
    }

    /// The lines of one version.
    async fn changes_of(&self, who: &Principal, sides: [&Arc<Snapshot>; 2]) -> Result<Vec<u8>> {
        let new = sides[1];
        let time = rfc3339(new.committed_ms.saturating_mul(1_000_000));
        let begin = format!("{},{time},", new.version);
        let mut text = Vec::new();
        let mut each = |op: &str, row: &[u8]| {
            if text.len().saturating_add(row.len()) > VERSION_BYTES_MAX {
                return Err(Error::new(ErrorKind::TooLarge, "too many changes for a feed"));
            }
            text.extend_from_slice(begin.as_bytes());
            text.extend_from_slice(op.as_bytes());
            text.push(b',');
            text.extend_from_slice(row);
            Ok(())
        };
        match self.lake.changes(who, sides, &new.schema, &mut each).await {
            Ok(()) => Ok(text),
            Err(error) if error.kind() == ErrorKind::TooLarge => {
                let empty = ",".repeat(new.schema.fields().len());
                Ok(format!("{begin}many{empty}\n").into_bytes())
            }
            Err(error) => Err(error),
        }
    }
}

/// How many parts in front are left out, so that the rest is not too long.
fn first_kept(parts: &[Vec<u8>]) -> usize {
    let mut bytes = 0;
    let kept = parts.iter().rev().take_while(|part| {
        bytes += part.len();
        bytes <= BEGIN_BYTES_MAX
    });
    parts.len() - kept.count()
}

fn header(schema: &SchemaRef) -> Vec<u8> {
    let mut text = b"_version,_time,_op,".to_vec();
    csv::render_header(schema, &mut text);
    text
}
