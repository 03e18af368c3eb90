//! Mirrors of a lake's tables: switched on per SuperTable, refreshed on demand and in the
//! background. Commits never wait for them, and never fail because of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

use super::{Lake, MirrorFormat, Principal, SuperId, TableId};
use crate::access::Permission;
use crate::clock::now_ms;
use crate::config::Mirrors;
use crate::error::{Error, ErrorKind, Result};
use crate::mirror::{self, MirrorParts, MirrorState, Refreshed, States};
use crate::store::{self, Address};
use crate::table::Snapshot;
use crate::telemetry;

/// After so long a mirror is looked at again though the table did not change: somebody else may
/// have written there.
const LOOK_AGAIN_NS: u64 = 60_000_000_000;

/// What this process knows about mirrors.
#[derive(Debug, Default)]
pub(super) struct Board {
    wake: Notify,
    /// Tables that were written since the background looked at them.
    written: Mutex<HashSet<TableId>>,
    /// The snapshot that each mirror was seen to show, and when.
    seen: Mutex<HashMap<(TableId, MirrorFormat), (String, u64)>>,
    states: Mutex<BTreeMap<TableId, States>>,
}

impl Board {
    /// Tells the background that a table changed.
    pub(super) fn changed(&self, id: &TableId) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(id.clone());
        drop(written);
        self.wake.notify_one();
    }

    fn take_written(&self) -> HashSet<TableId> {
        std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, id: &TableId, format: MirrorFormat, state: &MirrorState) -> Option<MirrorState> {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.entry(id.clone()).or_default().insert(format, state.clone())
    }

    fn state(&self, id: &TableId, format: MirrorFormat) -> Option<MirrorState> {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        states.get(id)?.get(&format).cloned()
    }

    fn is_seen(&self, snapshot: &Snapshot, format: MirrorFormat, now_ns: u64) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(snapshot.table.clone(), format)).is_some_and(|(path, at_ns)| {
            *path == snapshot.path && now_ns.saturating_sub(*at_ns) < LOOK_AGAIN_NS
        })
    }

    fn see(&self, snapshot: &Snapshot, format: MirrorFormat, now_ns: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert((snapshot.table.clone(), format), (snapshot.path.clone(), now_ns));
    }
}

/// A mirror of a table as `mirror status` tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MirrorStatus {
    /// The table.
    pub table: String,
    /// The format.
    pub format: MirrorFormat,
    /// Version of the table now.
    pub newest: u64,
    /// How far the mirror is.
    #[serde(flatten)]
    pub state: MirrorState,
    /// Versions that the mirror does not show yet; `None` = it shows none.
    pub lag: Option<u64>,
}

/// The mirrors of a SuperTable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MirrorReport {
    /// Formats that are switched on.
    pub formats: Vec<MirrorFormat>,
    /// Mirrors of all tables in them.
    pub mirrors: Vec<MirrorStatus>,
}

impl Lake {
    /// The formats that a SuperTable's tables are mirrored in.
    ///
    /// # Errors
    /// `NotFound` if there is no such SuperTable; `Corrupt`, `Unavailable`.
    pub async fn mirror_formats(&self, id: &SuperId) -> Result<Vec<MirrorFormat>> {
        self.check_super(id).await?;
        mirror::formats_of(&self.0.catalog, id).await
    }

    async fn check_super(&self, id: &SuperId) -> Result<()> {
        if self.0.catalog.root(id).await?.is_none() {
            return Err(Error::not_found("there is no such SuperTable").with("super", id));
        }
        Ok(())
    }

    /// Switches a format on or off; whether that changed anything.
    ///
    /// # Errors
    /// `NotFound` if there is no such SuperTable; `Denied`, `ReadOnly`, `Busy`, `Unavailable`.
    pub async fn set_mirror(
        &self,
        who: &Principal,
        id: &SuperId,
        format: MirrorFormat,
        enabled: bool,
    ) -> Result<bool> {
        self.allow_super(who, id, Permission::Write).await?;
        self.check_super(id).await?;
        self.0.catalog.check_writable(id).await?;
        let now = now_ms(&*self.0.clock);
        mirror::set_format(&self.0.catalog, id, format, enabled, now).await
    }

    /// Removes the files of a SuperTable's mirrors in a format that is switched off; their number.
    ///
    /// # Errors
    /// `Conflict` if the format is switched on; `Denied`, `ReadOnly`, `Unavailable`.
    pub async fn remove_mirrors(
        &self,
        who: &Principal,
        id: &SuperId,
        format: MirrorFormat,
    ) -> Result<u64> {
        self.allow_super(who, id, Permission::Write).await?;
        if self.mirror_formats(id).await?.contains(&format) {
            return Err(Error::new(ErrorKind::Conflict, "the mirror is switched on")
                .with("super", id)
                .with("format", format));
        }
        let folder = store::layout::mirrors(id, format.name());
        let mut removed = 0_u64;
        for meta in store::list(&self.0.objects, &folder).await? {
            let gone = store::delete(&self.0.objects, meta.location.as_ref()).await?;
            removed = removed.saturating_add(u64::from(gone));
        }
        Ok(removed)
    }

    /// How far the mirrors of a SuperTable are.
    ///
    /// # Errors
    /// `NotFound` if there is no such SuperTable; `Denied`, `Unavailable`.
    pub async fn mirror_report(&self, who: &Principal, id: &SuperId) -> Result<MirrorReport> {
        self.allow_super(who, id, Permission::Read).await?;
        let formats = self.mirror_formats(id).await?;
        let mut mirrors = Vec::new();
        for snapshot in self.tables(id).await? {
            let states = mirror::states_of(&self.0.catalog, &snapshot.table).await?;
            for format in &formats {
                let state = states.get(format).cloned().unwrap_or_default();
                let newest = snapshot.version;
                mirrors.push(MirrorStatus {
                    table: snapshot.table.to_string(),
                    format: *format,
                    newest,
                    lag: state.version.map(|shown| newest.saturating_sub(shown)),
                    state,
                });
            }
        }
        Ok(MirrorReport { formats, mirrors })
    }

    /// What this process knows about mirrors, for `.mountable/stats.json`.
    pub fn mirrors_json(&self) -> Value {
        let states = self.0.mirrors.states.lock().unwrap_or_else(PoisonError::into_inner);
        let named = states.iter().map(|(id, states)| (id.to_string(), states));
        let named: BTreeMap<String, &States> = named.collect();
        serde_json::to_value(named).unwrap_or_default()
    }

    fn mirror_parts(&self) -> Result<MirrorParts> {
        Ok(MirrorParts {
            objects: Arc::clone(&self.0.objects),
            reader: self.0.views.reader().clone(),
            clock: Arc::clone(&self.0.clock),
            root: Address::parse(&self.0.location)?.uri()?,
        })
    }

    /// Brings a mirror of a table up to its newest version.
    ///
    /// # Errors
    /// `NotFound` if there is no such table; `Denied`, `ReadOnly`, `Unsupported`, `Busy`,
    /// `Unavailable`. The mirror goes on to show what it showed.
    pub async fn refresh_mirror(
        &self,
        who: &Principal,
        id: &TableId,
        format: MirrorFormat,
    ) -> Result<Refreshed> {
        self.allow(who, id, Permission::Write).await?;
        let newest = self.latest(who, id).await?;
        self.refresh_to(&newest, format).await
    }

    async fn refresh_to(&self, newest: &Arc<Snapshot>, format: MirrorFormat) -> Result<Refreshed> {
        let id = &newest.table;
        let done = self.publish(newest, format).await;
        let now = now_ms(&*self.0.clock);
        let board = &self.0.mirrors;
        let (state, tell) = match &done {
            Ok(refreshed) => {
                telemetry::SNAPSHOTS_MIRRORED.add(refreshed.published);
                board.see(newest, format, self.0.clock.monotonic_ns());
                let state = MirrorState {
                    version: Some(newest.version),
                    refreshed_ms: Some(now),
                    ..MirrorState::default()
                };
                (state, refreshed.published > 0)
            }
            Err(error) => {
                telemetry::MIRROR_FAILURES.add(1);
                let known = self.known_state(id, format).await;
                let state = MirrorState {
                    error: Some(error.to_string()),
                    failed_ms: Some(now),
                    ..known.clone()
                };
                (state.clone(), known.error != state.error)
            }
        };
        let before = board.note(id, format, &state);
        if tell || before.is_none_or(|before| before.version != state.version) {
            // What could not be noted is noted next time; it is for people only.
            if let Err(error) = mirror::save_state(&self.0.catalog, id, format, &state).await {
                tracing::debug!(table = %id, %format, %error, "go on without noting a refresh");
            }
        }
        match &done {
            Ok(refreshed) if refreshed.published > 0 => tracing::info!(
                table = %id, %format, version = newest.version, published = refreshed.published,
                "mirror refreshed"
            ),
            Err(error) if tell => {
                tracing::warn!(table = %id, %format, %error, "the mirror lags behind");
            }
            _ => {}
        }
        done
    }

    async fn known_state(&self, id: &TableId, format: MirrorFormat) -> MirrorState {
        if let Some(state) = self.0.mirrors.state(id, format) {
            return state;
        }
        let stored = mirror::states_of(&self.0.catalog, id).await.unwrap_or_default();
        stored.get(&format).cloned().unwrap_or_default()
    }

    async fn publish(&self, newest: &Arc<Snapshot>, format: MirrorFormat) -> Result<Refreshed> {
        let parts = self.mirror_parts()?;
        let table = self.table(&newest.table);
        let mirror = mirror::open(&parts, &newest.table, format);
        mirror::refresh(mirror.as_ref(), &parts, &table, newest).await
    }

    /// Refreshes the mirrors of all tables that need it; the number of mirrors that failed.
    pub async fn refresh_mirrors(&self, who: &Principal) -> u64 {
        let mut failed = 0_u64;
        let supers = match self.supers_with_mirrors().await {
            Ok(supers) => supers,
            Err(error) => {
                tracing::debug!(%error, "look for mirrors later");
                return 1;
            }
        };
        for (id, formats) in supers {
            let tables = match self.tables(&id).await {
                Ok(tables) => self.newest_known(&tables),
                Err(error) => {
                    tracing::debug!(super_name = %id, %error, "look for tables later");
                    failed = failed.saturating_add(1);
                    continue;
                }
            };
            for snapshot in tables {
                failed = failed.saturating_add(self.follow(who, &snapshot, &formats).await);
            }
        }
        failed
    }

    /// Refreshes the mirrors of a table where they need it; the number of those that failed.
    async fn follow(
        &self,
        who: &Principal,
        newest: &Arc<Snapshot>,
        formats: &[MirrorFormat],
    ) -> u64 {
        let mut failed = 0_u64;
        if self.allow(who, &newest.table, Permission::Write).await.is_err() {
            return failed;
        }
        for format in formats {
            let now_ns = self.0.clock.monotonic_ns();
            if !self.0.mirrors.is_seen(newest, *format, now_ns)
                && self.refresh_to(newest, *format).await.is_err()
            {
                failed = failed.saturating_add(1);
            }
        }
        failed
    }

    /// Refreshes the mirrors of the tables that were written through this lake since the last
    /// call.
    async fn follow_written(&self, who: &Principal) {
        for id in self.0.mirrors.take_written() {
            let formats = mirror::formats_of(&self.0.catalog, &id.super_id()).await;
            // What cannot be found out now is looked at in the next interval.
            if let Ok(formats) = formats
                && !formats.is_empty()
                && let Ok(newest) = self.latest(who, &id).await
            {
                self.follow(who, &newest, &formats).await;
            }
        }
    }

    async fn supers_with_mirrors(&self) -> Result<Vec<(SuperId, Vec<MirrorFormat>)>> {
        let mut found = Vec::new();
        for organization in self.organizations().await? {
            for super_name in self.supers(&organization).await? {
                let id = SuperId { organization: organization.clone(), super_name };
                let formats = mirror::formats_of(&self.0.catalog, &id).await?;
                if !formats.is_empty() {
                    found.push((id, formats));
                }
            }
        }
        Ok(found)
    }

    /// Starts refreshing mirrors in the background, after commits and in an interval; it ends when
    /// the task is aborted, at any point without harm.
    pub fn mirror(
        &self,
        who: Principal,
        settings: &Mirrors,
    ) -> Option<tokio::task::JoinHandle<()>> {
        if settings.interval.is_zero() || who.read_only {
            return None;
        }
        let (lake, interval) = (self.clone(), settings.interval);
        Some(tokio::spawn(async move {
            let clock = Arc::clone(lake.clock());
            loop {
                lake.refresh_mirrors(&who).await;
                let mut rest = clock.sleep(interval);
                loop {
                    tokio::select! {
                        () = &mut rest => break,
                        () = lake.0.mirrors.wake.notified() => {}
                    }
                    lake.follow_written(&who).await;
                }
            }
        }))
    }

    /// Lets the mirrors of a table show its newest version and forget what a vacuum would take
    /// from them: Iceberg names data files where they are.
    pub(super) async fn before_vacuum(
        &self,
        who: &Principal,
        id: &TableId,
        older_than: Duration,
    ) -> Result<()> {
        let formats = mirror::formats_of(&self.0.catalog, &id.super_id()).await?;
        for format in formats {
            let ready = async {
                self.refresh_mirror(who, id, format).await?;
                let age = i64::try_from(older_than.as_millis()).unwrap_or(i64::MAX);
                let before = now_ms(&*self.0.clock).saturating_sub(age);
                mirror::open(&self.mirror_parts()?, id, format).clean(before).await
            };
            ready.await.map_err(|error: Error| {
                Error::new(error.kind(), "nothing is removed while a mirror cannot be refreshed")
                    .with("table", id)
                    .with("format", format)
                    .caused_by(error)
            })?;
        }
        Ok(())
    }
}
