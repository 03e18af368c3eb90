//! A lake in memory with a gateway over it, and clients that call as the Linux kernel does.

use std::sync::Arc;
use std::time::Duration;

use mountable::catalog::EmbeddedCatalog;
use mountable::catalog::SharedCatalog;
use mountable::clock::{SharedClock, SystemClock};
use mountable::config::Settings;
use mountable::csv::{Parser, Records, TypeInference, parse_header};
use mountable::lake::{
    At, ChangeSet, CommitOutcome, Edit, Lake, OnExistingKey, OrgName, Principal, SuperId,
    TableConfig, TableId,
};
use mountable::store::{self, Objects};
use mountable::vfs::{Caller, Vfs};

use super::client::Client;

/// The lake, its parts (which outlive a gateway) and one gateway.
pub(crate) struct Lab {
    pub(crate) settings: Settings,
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) lake: Lake,
    objects: Objects,
    catalog: SharedCatalog,
    pub(crate) clock: SharedClock,
    state: tempfile::TempDir,
}

/// Another gateway over a lab's lake.
pub(crate) struct Gateway {
    vfs: Arc<Vfs>,
    _state: tempfile::TempDir,
}

/// A table to be made.
pub(crate) struct TableSpec<'a> {
    lab: &'a Lab,
    name: String,
    keys: Vec<String>,
}

fn settings(state: &std::path::Path) -> Settings {
    let mut settings = Settings { state: state.to_owned(), ..Settings::default() };
    let timing = &mut settings.timing;
    timing.settle = Duration::from_millis(50);
    timing.commit_hold = Duration::from_millis(20);
    timing.shrink = Duration::from_millis(300);
    timing.grace = Duration::from_millis(200);
    timing.reader = Duration::from_millis(200);
    timing.pointer = Duration::ZERO;
    settings
}

impl Lab {
    /// An empty SuperTable `acme/shop` with its gateway.
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same with other settings.
    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let state = tempfile::tempdir().unwrap();
        let mut settings = settings(state.path());
        change(&mut settings);
        let clock: SharedClock = Arc::new(SystemClock);
        let objects = store::open("memory:", &store::StoreOptions::default()).unwrap();
        let catalog: SharedCatalog = Arc::new(EmbeddedCatalog::memory(Arc::clone(&clock)).unwrap());
        let lake = door(&objects, &catalog, &clock);
        let who = principal("lab");
        lake.create_organization(&who, &OrgName::new("acme").unwrap()).await.unwrap();
        lake.create_super(&who, &SuperId::parse("acme/shop").unwrap()).await.unwrap();
        let gate =
            Lake::from_parts(&settings, Arc::clone(&objects), Arc::clone(&catalog), clock.clone())
                .unwrap();
        let vfs = Vfs::open(gate, &settings, clock.clone()).await.unwrap();
        Self { settings, vfs, lake, objects, catalog, clock, state }
    }

    /// Ends the gateway without a shutdown and starts another one on the same state.
    pub(crate) async fn restart(self) -> Self {
        // As after kill -9: nothing is finished, the staged files are all that is left.
        let kept = self.keep_staged();
        self.restart_with(kept).await
    }

    /// The staged files as they are at one moment.
    pub(crate) fn keep_staged(&self) -> tempfile::TempDir {
        let staged = self.state.path().join("staged");
        loop {
            let kept = tempfile::tempdir().unwrap();
            copy_files(&staged, kept.path());
            if contents(kept.path()) == contents(&staged) {
                return kept;
            }
        }
    }

    /// Ends the gateway; the next one finds the staged files as they were at some time before.
    pub(crate) async fn restart_with(self, kept: tempfile::TempDir) -> Self {
        let Self { settings, vfs, lake, objects, catalog, clock, state } = self;
        let staged = state.path().join("staged");
        let weak = Arc::downgrade(&vfs);
        drop(vfs);
        for _ in 0..1_500 {
            if weak.strong_count() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(weak.strong_count(), 0, "somebody holds on to the gateway");
        std::fs::remove_dir_all(&staged).unwrap();
        std::fs::create_dir(&staged).unwrap();
        copy_files(kept.path(), &staged);
        let gate =
            Lake::from_parts(&settings, Arc::clone(&objects), Arc::clone(&catalog), clock.clone())
                .unwrap();
        let vfs = Vfs::open(gate, &settings, clock.clone()).await.unwrap();
        Self { settings, vfs, lake, objects, catalog, clock, state }
    }

    /// A second door to the same lake, as another gateway or program has one.
    pub(crate) fn another_door(&self) -> Lake {
        door(&self.objects, &self.catalog, &self.clock)
    }

    /// A second gateway on the same lake, with a state directory of its own.
    pub(crate) async fn another_gateway(&self) -> Gateway {
        let state = tempfile::tempdir().unwrap();
        let settings = Settings { state: state.path().to_owned(), ..self.settings.clone() };
        let (objects, catalog) = (Arc::clone(&self.objects), Arc::clone(&self.catalog));
        let gate = Lake::from_parts(&settings, objects, catalog, self.clock.clone()).unwrap();
        let vfs = Vfs::open(gate, &settings, self.clock.clone()).await.unwrap();
        Gateway { vfs, _state: state }
    }

    /// The lake as the gateway has it, with its settings.
    pub(crate) fn gate(&self) -> Lake {
        let (objects, catalog) = (Arc::clone(&self.objects), Arc::clone(&self.catalog));
        Lake::from_parts(&self.settings, objects, catalog, Arc::clone(&self.clock)).unwrap()
    }

    /// Removes an object behind everybody's back.
    pub(crate) async fn remove_object(&self, path: &str) {
        use object_store::ObjectStoreExt;
        self.objects.delete(&object_store::path::Path::from(path)).await.unwrap();
    }

    pub(crate) fn id(table: &str) -> TableId {
        TableId::parse(&format!("acme/shop/{table}")).unwrap()
    }

    pub(crate) fn client(&self, name: &str) -> Client {
        client(&self.vfs, name)
    }

    pub(crate) fn table(&self, name: &str) -> TableSpec<'_> {
        TableSpec { lab: self, name: name.to_owned(), keys: Vec::new() }
    }

    /// The newest snapshot's text as the lake has it, past all gateways.
    pub(crate) async fn engine_csv(&self, table: &str) -> String {
        let view = self.another_door().view(&principal("eye"), &Self::id(table), At::Latest).await;
        let view = view.unwrap();
        let bytes = view.read_at(0..view.len()).await.unwrap().concat();
        assert_eq!(bytes.len() as u64, view.len());
        String::from_utf8(bytes).unwrap()
    }

    /// Number of snapshots of a table.
    pub(crate) async fn versions(&self, table: &str) -> usize {
        let who = principal("eye");
        self.another_door().history(&who, &Self::id(table), 1000).await.unwrap().len()
    }

    pub(crate) async fn exists(&self, table: &str) -> bool {
        self.another_door().latest(&principal("eye"), &Self::id(table)).await.is_ok()
    }

    /// Another program's commit of rows behind the last.
    pub(crate) async fn foreign_append(&self, table: &str, rows: &str) {
        self.foreign_edit(table, Edit::END, 0, rows).await;
    }

    /// Another program's commit: removes rows and inserts others in their place.
    pub(crate) async fn foreign_edit(&self, table: &str, at: u64, remove: u64, rows: &str) {
        let lake = self.another_door();
        let who = principal("foreign");
        let id = Self::id(table);
        let base = lake.latest(&who, &id).await.unwrap();
        let change = change(&lake, &who, &id, &base, (at, remove), rows).await;
        let outcome = lake.commit(&who, &id, change, "edit", "").await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }

    /// Waits until the engine's text of a table is this.
    pub(crate) async fn settles(&self, table: &str, expected: &str) {
        let mut got = String::new();
        for _ in 0..1_500 {
            if self.exists(table).await {
                got = self.engine_csv(table).await;
                if got == expected {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(got, expected);
    }

    /// Longer than every waiting time; on a slow machine also until what waits is finished.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_millis(700)).await;
        for _ in 0..150 {
            let health = self.client("quiet").at(".mountable").cat("health.json").await;
            if health.contains("\"pending_saves\": 0") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Number of files that wait in the staging area.
    pub(crate) fn staged_files(&self) -> usize {
        std::fs::read_dir(self.state.path().join("staged")).unwrap().count()
    }
}

impl Gateway {
    pub(crate) fn client(&self, name: &str) -> Client {
        client(&self.vfs, name)
    }
}

fn client(vfs: &Arc<Vfs>, name: &str) -> Client {
    let caller = Caller {
        uid: 1000,
        gid: 1000,
        groups: Arc::from([]),
        client: name.into(),
        read_only: false,
    };
    Client { vfs: Arc::clone(vfs), caller, dir: "acme/shop".to_owned() }
}

async fn change(
    lake: &Lake,
    who: &Principal,
    id: &TableId,
    base: &Arc<mountable::lake::Snapshot>,
    (at, remove): (u64, u64),
    rows: &str,
) -> ChangeSet {
    let names: Vec<String> =
        base.schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut writer = lake.writer(who, id, &base.schema, &base.config.keys).await.unwrap();
    let mut insert = 0;
    if !rows.is_empty() {
        let mut parser = Parser::new(&names, &base.schema).unwrap();
        let batch = parser.parse(rows.as_bytes(), 2).unwrap();
        insert = batch.num_rows() as u64;
        writer.write(batch).await.unwrap();
    }
    ChangeSet {
        base: Arc::clone(base),
        edits: vec![Edit { at, remove, insert }],
        rows: writer.finish().await.unwrap(),
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    }
}

impl TableSpec<'_> {
    /// Adds a key column.
    pub(crate) fn key(mut self, column: &str) -> Self {
        self.keys.push(column.to_owned());
        self
    }

    /// Makes the table with the text's columns and rows.
    pub(crate) async fn rows(self, text: &str) {
        let who = principal("lab");
        let id = Lab::id(&self.name);
        let lake = self.lab.another_door();
        let header = Records::new(text.as_bytes()).next().unwrap();
        let body = &text[header.end..];
        let names = parse_header(text[header].as_bytes()).unwrap();
        let mut inference = TypeInference::new(&names);
        inference.observe(body.as_bytes());
        let schema = Arc::new(inference.finish());
        let config = TableConfig { keys: self.keys, ..TableConfig::default() };
        let base = lake.create_table(&who, &id, schema, config).await.unwrap();
        if body.is_empty() {
            return;
        }
        let change = change(&lake, &who, &id, &base, (Edit::END, 0), body).await;
        let outcome = lake.commit(&who, &id, change, "append", "").await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
}

pub(crate) fn principal(client: &str) -> Principal {
    Principal { uid: 0, client: client.to_owned(), role: "superadmin".to_owned(), read_only: false }
}

fn door(objects: &Objects, catalog: &SharedCatalog, clock: &SharedClock) -> Lake {
    let mut settings = Settings::default();
    settings.timing.pointer = Duration::ZERO;
    settings.cache_bytes = 8 << 20;
    Lake::from_parts(&settings, Arc::clone(objects), Arc::clone(catalog), Arc::clone(clock))
        .unwrap()
}

fn copy_files(from: &std::path::Path, to: &std::path::Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // A gateway at work may have removed it since it was listed.
        let _ = std::fs::copy(file.path(), to.join(file.file_name()));
    }
}

fn contents(directory: &std::path::Path) -> Vec<(std::ffi::OsString, Option<Vec<u8>>)> {
    let files = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut contents: Vec<_> =
        files.map(|file| (file.file_name(), std::fs::read(file.path()).ok())).collect();
    contents.sort();
    contents
}
