//! Mirrors of a lake in memory, read back by their own rules; every storage call fails once.

use std::sync::Arc;
use std::time::Duration;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use object_store::memory::InMemory;
use serde_json::Value;

use super::*;
use crate::catalog::{DocKey, EmbeddedCatalog, Expected, SharedCatalog};
use crate::clock::{Clock, SystemClock};
use crate::config::{Mirrors, Settings};
use crate::csv;
use crate::lake::{
    At, ChangeSet, CommitOutcome, Edit, Lake, OnExistingKey, Principal, Rehearsal, RowsWanted,
    SchemaChange, TableConfig, VacuumSettings,
};
use crate::store::fault::{Call, Fault, FaultStore};
use crate::table::scan::{FileReader, conform};
use crate::table::{Table, TableCaches, TableParts, TableSettings};
use crate::view::{ViewSettings, Views};

struct Lab {
    store: Arc<FaultStore>,
    catalog: SharedCatalog,
    lake: Lake,
    who: Principal,
    id: TableId,
}

impl Lab {
    async fn new() -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let store = Arc::new(FaultStore::new(Arc::new(InMemory::new())));
        let catalog: SharedCatalog =
            Arc::new(EmbeddedCatalog::memory(Arc::clone(&clock)).expect("catalogue"));
        let lake = open_lake(&store, &catalog);
        let who = Principal {
            uid: 0,
            client: "test".to_owned(),
            role: "superadmin".to_owned(),
            read_only: false,
        };
        let id = TableId::parse("acme/shop/orders").expect("valid id");
        lake.create_organization(&who, &id.organization).await.expect("organization");
        lake.create_super(&who, &id.super_id()).await.expect("super");
        let lab = Self { store, catalog, lake, who, id };
        lab.create().await;
        lab
    }

    async fn create(&self) {
        let (columns, config) = (columns(&["id", "name"]), TableConfig::default());
        self.lake.create_table(&self.who, &self.id, columns, config).await.expect("table");
    }

    /// Another process on the same lake.
    fn other(&self) -> Lake {
        open_lake(&self.store, &self.catalog)
    }

    async fn append(&self, text: &str) {
        let base = self.lake.latest(&self.who, &self.id).await.expect("latest");
        let text = format!("{}\n{text}", header(&base.schema));
        let parsed = csv_batch(&text, &base.schema);
        let writer = self.lake.writer(&self.who, &self.id, &base.schema, &[]).await;
        let mut writer = writer.expect("writer");
        let insert = u64::try_from(parsed.num_rows()).expect("small");
        writer.write(parsed).await.expect("write");
        let rows = writer.finish().await.expect("finish");
        let edits = vec![Edit { at: Edit::END, remove: 0, insert }];
        let change = ChangeSet {
            base,
            edits,
            rows,
            schema: None,
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        let done = self.lake.commit(&self.who, &self.id, change, "append", "").await;
        assert!(matches!(done.expect("commit"), CommitOutcome::Committed { .. }));
    }

    async fn columns(&self, names: &[&str]) {
        let base = self.lake.latest(&self.who, &self.id).await.expect("latest");
        let change = ChangeSet {
            base,
            edits: Vec::new(),
            rows: crate::table::NewRows::none(),
            schema: Some(SchemaChange { columns: columns(names) }),
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        let done = self.lake.commit(&self.who, &self.id, change, "schema", "").await;
        assert!(matches!(done.expect("commit"), CommitOutcome::Committed { .. }));
    }

    async fn change(&self, condition: &str, assignments: &[String]) {
        let wanted = RowsWanted { condition, assignments, rehearsal: Rehearsal::No, message: "" };
        let done = self.lake.change_rows(&self.who, &self.id, &wanted).await.expect("changed");
        assert!(done.changed > 0);
    }

    async fn delete(&self, condition: &str) {
        self.change(condition, &[]).await;
    }

    /// The past that mirrors are tested with: appends, an update, deletes, columns.
    async fn live(&self) {
        self.append("1,one\n2,two\n3,three\n").await;
        self.append("4,four\n").await;
        self.change("id = 2", &["name = 'TWO'".to_owned()]).await;
        self.delete("id = 1").await;
        self.columns(&["id", "name", "more"]).await;
        self.append("5,five,x\n").await;
        self.delete("id = 4").await;
    }

    /// Lines of the table, sorted; the first one is the header.
    async fn text(&self, at: At) -> Vec<String> {
        let snapshot = self.lake.snapshot(&self.who, &self.id, at).await.expect("snapshot");
        let mut out = Vec::new();
        let format = crate::lake::ExportFormat::Csv;
        self.lake.export(&self.who, &snapshot, format, &mut out).await.expect("export");
        sorted(&String::from_utf8(out).expect("text"))
    }

    async fn refresh(&self, format: MirrorFormat) -> u64 {
        let done = self.lake.refresh_mirror(&self.who, &self.id, format).await;
        done.expect("refreshed").published
    }

    fn folder(&self, format: MirrorFormat) -> String {
        store::layout::mirror(&self.id, format.name())
    }

    fn objects(&self) -> Objects {
        Arc::clone(&self.store) as Objects
    }

    fn parts(&self) -> MirrorParts {
        MirrorParts {
            objects: self.objects(),
            reader: FileReader::new(self.objects(), 1 << 20),
            clock: Arc::new(SystemClock),
            root: "memory://lake".to_owned(),
        }
    }

    fn table(&self) -> Table {
        let parts = TableParts {
            objects: self.objects(),
            catalog: Arc::clone(&self.catalog),
            clock: Arc::new(SystemClock),
            measure: Arc::new(Views::new(self.objects(), ViewSettings::default())),
            settings: TableSettings::default(),
            caches: Arc::new(TableCaches::new(1 << 20)),
        };
        Table::new(parts, self.id.clone())
    }

    async fn json(&self, path: &str) -> Value {
        let bytes = store::get_existing(&self.objects(), path).await.expect(path);
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// What a mirror shows, read as its format says; `None` if it shows nothing yet.
    async fn shown(&self, format: MirrorFormat) -> Option<Vec<String>> {
        let folder = self.folder(format);
        let (names, paths): (Vec<String>, Vec<String>) = match format {
            MirrorFormat::Delta => {
                let state = delta::read_log(self.objects(), &folder).await.expect("log");
                state.newest?;
                let columns = state.metadata.expect("metadata")["schemaString"].clone();
                let columns: Value = serde_json::from_str(columns.as_str()?).expect("schema");
                let paths = state.active.keys().map(|path| format!("{folder}/{path}")).collect();
                (names_in(&columns["fields"]), paths)
            }
            MirrorFormat::Iceberg => {
                let hint = format!("{folder}/metadata/version-hint.text");
                let number = store::get(&self.objects(), &hint).await.expect("hint")?;
                let number = String::from_utf8(number.to_vec()).expect("number");
                let path = format!("{folder}/metadata/v{number}.metadata.json");
                let document = self.json(&path).await;
                let id = document["current-snapshot-id"].as_i64().expect("id");
                let files = self.json(&format!("{folder}/metadata/{id}.files.json")).await;
                let current = document["current-schema-id"].as_u64().expect("schema id");
                let schemas = document["schemas"].as_array().expect("schemas");
                let schema = schemas.iter().find(|schema| schema["schema-id"] == current)?;
                let strip = |uri: &Value| uri.as_str().map(|uri| uri.replace("memory://lake/", ""));
                let files = files.as_array().expect("files");
                let paths = files.iter().filter_map(|file| strip(&file["uri"])).collect();
                (names_in(&schema["fields"]), paths)
            }
            MirrorFormat::Parquet => {
                let path = format!("{folder}/latest.json");
                let bytes = store::get(&self.objects(), &path).await.expect("latest")?;
                let latest: Value = serde_json::from_slice(&bytes).expect("JSON");
                let inner = format!("{folder}/{}", latest["folder"].as_str()?);
                let files = latest["files"].as_array().expect("files");
                let paths: Vec<String> = files
                    .iter()
                    .map(|f| format!("{inner}/{}", f["name"].as_str().unwrap()))
                    .collect();
                let first = store::get_existing(&self.objects(), &paths[0]).await.expect("file");
                let built = ParquetRecordBatchReaderBuilder::try_new(first).expect("Parquet");
                let names = built.schema().fields().iter().map(|f| f.name().clone()).collect();
                (names, paths)
            }
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let schema = columns(&names);
        let mut text = format!("{}\n", header(&schema)).into_bytes();
        for path in paths {
            let bytes = store::get_existing(&self.objects(), &path).await.expect("data file");
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("Parquet");
            for batch in reader.build().expect("reader") {
                let batch = conform(&batch.expect("batch"), &schema).expect("columns");
                csv::render(&batch, &mut text, &mut Vec::new()).expect("render");
            }
        }
        Some(sorted(&String::from_utf8(text).expect("text")))
    }
}

fn open_lake(store: &Arc<FaultStore>, catalog: &SharedCatalog) -> Lake {
    let settings = Settings { lake: "memory:".to_owned(), ..Settings::default() };
    let (store, catalog) = (Arc::clone(store) as Objects, Arc::clone(catalog));
    Lake::from_parts(&settings, store, catalog, Arc::new(SystemClock)).expect("lake")
}

/// `id` is a number, everything else is text.
fn columns(names: &[&str]) -> SchemaRef {
    let field = |name: &&str| {
        let data_type = if *name == "id" { DataType::Int64 } else { DataType::Utf8 };
        Field::new(*name, data_type, true)
    };
    Arc::new(Schema::new(names.iter().map(field).collect::<Vec<_>>()))
}

fn header(schema: &Schema) -> String {
    schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(",")
}

fn csv_batch(text: &str, schema: &SchemaRef) -> RecordBatch {
    let builder = arrow::csv::ReaderBuilder::new(schema.clone()).with_header(true);
    let mut reader = builder.build(text.as_bytes()).expect("reader");
    reader.next().expect("rows").expect("parsed")
}

fn names_in(fields: &Value) -> Vec<String> {
    let name = |field: &Value| field["name"].as_str().expect("name").to_owned();
    fields.as_array().expect("fields").iter().map(name).collect()
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

#[tokio::test]
async fn mirrors_show_the_live_rows_after_every_kind_of_change() {
    let lab = Lab::new().await;
    let follow = async |what: &str| {
        for format in MirrorFormat::ALL {
            lab.refresh(format).await;
            let wanted = lab.text(At::Latest).await;
            assert_eq!(lab.shown(format).await.as_ref(), Some(&wanted), "{format} after {what}");
            assert_eq!(lab.refresh(format).await, 0, "{format} shows it already");
        }
    };
    follow("creation").await;
    lab.append("1,one\n2,two\n3,three\n").await;
    follow("an append").await;
    lab.change("id = 2", &["name = 'TWO'".to_owned()]).await;
    follow("an update").await;
    lab.delete("id = 1").await;
    follow("a delete").await;
    lab.columns(&["id", "name", "more"]).await;
    follow("a new column").await;
    lab.append("5,five,x\n").await;
    follow("an append with it").await;
    lab.columns(&["more", "id"]).await;
    follow("a column that went").await;
    lab.delete("id > 0").await;
    follow("a delete of everything").await;
}

#[tokio::test]
async fn a_file_without_deleted_rows_is_not_written_again() {
    let lab = Lab::new().await;
    lab.append("1,one\n2,two\n").await;
    let snapshot = lab.lake.latest(&lab.who, &lab.id).await.expect("latest");
    let data = snapshot.files[0].path.to_string();
    let copies = lab.store.calls(Call::Copy);
    lab.refresh(MirrorFormat::Delta).await;
    assert_eq!(lab.store.calls(Call::Copy), copies + 1, "a second name, not a second file");
    lab.refresh(MirrorFormat::Iceberg).await;
    let folder = lab.folder(MirrorFormat::Iceberg);
    let document = lab.json(&format!("{folder}/metadata/v1.metadata.json")).await;
    let id = &document["current-snapshot-id"];
    let files = lab.json(&format!("{folder}/metadata/{id}.files.json")).await;
    assert_eq!(files[0]["uri"], format!("memory://lake/{data}"));
    // Another file changes: this one stays what it is.
    lab.append("3,three\n").await;
    lab.delete("id = 3").await;
    let puts = lab.store.calls(Call::Copy);
    lab.refresh(MirrorFormat::Delta).await;
    assert_eq!(lab.store.calls(Call::Copy), puts + 1, "only the new file of the step between");
}

#[tokio::test]
async fn delta_has_a_version_for_each_version_of_the_table() {
    let lab = Lab::new().await;
    lab.refresh(MirrorFormat::Delta).await;
    lab.live().await;
    let newest = lab.lake.latest(&lab.who, &lab.id).await.expect("latest").version;
    assert_eq!(lab.refresh(MirrorFormat::Delta).await, newest);
    let folder = lab.folder(MirrorFormat::Delta);
    for version in 0..=newest {
        let state = delta::read_log_at(lab.objects(), &folder, version).await.expect("log");
        assert_eq!(state.newest, Some(version));
        let rows: u64 = state
            .active
            .values()
            .map(|add| serde_json::from_str::<Value>(add["stats"].as_str().unwrap()).unwrap())
            .map(|stats| stats["numRecords"].as_u64().unwrap())
            .sum();
        let at = lab.lake.snapshot(&lab.who, &lab.id, At::Version(version)).await.expect("one");
        assert_eq!(rows, at.rows(), "version {version}");
    }
}

#[tokio::test]
async fn a_long_log_has_checkpoints_and_reads_the_same() {
    let lab = Lab::new().await;
    for id in 0..25 {
        lab.append(&format!("{id},x\n")).await;
        if id % 3 == 0 {
            lab.delete(&format!("id = {id}")).await;
        }
        lab.refresh(MirrorFormat::Delta).await;
    }
    let wanted = lab.text(At::Latest).await;
    assert_eq!(lab.shown(MirrorFormat::Delta).await.expect("shown"), wanted);
    let folder = lab.folder(MirrorFormat::Delta);
    let state = delta::read_log(lab.objects(), &folder).await.expect("log");
    assert!(state.checkpoint > Some(20), "{:?}", state.checkpoint);
    // Without the hint and without what the checkpoint holds, all is still there.
    store::delete(&lab.objects(), &format!("{folder}/_delta_log/_last_checkpoint"))
        .await
        .expect("removed");
    for version in 0..=20 {
        let path = format!("{folder}/_delta_log/{version:020}.json");
        store::delete(&lab.objects(), &path).await.expect("removed");
    }
    assert_eq!(lab.shown(MirrorFormat::Delta).await.expect("shown"), wanted);
    assert_eq!(lab.refresh(MirrorFormat::Delta).await, 0);
}

/// Another writer's commit in the Delta log: all data files as they are, deleted rows included.
async fn foreign_commit(lab: &Lab, version: u64) {
    let folder = lab.folder(MirrorFormat::Delta);
    let snapshot = lab.lake.latest(&lab.who, &lab.id).await.expect("latest");
    let mut lines = vec![r#"{"commitInfo":{"operation":"WRITE"}}"#.to_owned()];
    for (index, file) in snapshot.files.iter().enumerate() {
        let bytes = store::get_existing(&lab.objects(), &file.path).await.expect("data file");
        let path = format!("files/{index}.parquet");
        let object = format!("{folder}/{path}");
        store::put_overwrite(&lab.objects(), &object, bytes).await.expect("copied");
        let add = serde_json::json!({"add": {"path": path, "partitionValues": {},
            "size": file.bytes, "modificationTime": 1, "dataChange": true}});
        lines.push(add.to_string());
    }
    let path = format!("{folder}/_delta_log/{version:020}.json");
    store::put_overwrite(&lab.objects(), &path, lines.join("\n").into()).await.expect("put");
}

#[tokio::test]
async fn commits_of_other_writers_in_the_delta_log_are_corrected() {
    let lab = Lab::new().await;
    lab.live().await;
    let newest = lab.lake.latest(&lab.who, &lab.id).await.expect("latest").version;
    // The library was first, with the number of the snapshot, and without regard to deletes.
    lab.refresh(MirrorFormat::Delta).await;
    let wanted = lab.text(At::Latest).await;
    // Behind ours; in the place of ours, which a checkpoint hides; in the place of an older one
    // with a newer one of ours on top.
    for version in [newest + 1, newest] {
        foreign_commit(&lab, version).await;
        lab.other().refresh_mirror(&lab.who, &lab.id, MirrorFormat::Delta).await.expect("again");
        assert_eq!(lab.shown(MirrorFormat::Delta).await.as_ref(), Some(&wanted), "at {version}");
    }
    for _ in 0..3 {
        lab.append("77,new\n".replace("new", "new,y").as_str()).await;
        lab.refresh(MirrorFormat::Delta).await;
    }
    let folder = lab.folder(MirrorFormat::Delta);
    let state = delta::read_log(lab.objects(), &folder).await.expect("log");
    foreign_commit(&lab, state.newest.expect("newest") - 1).await;
    lab.refresh(MirrorFormat::Delta).await;
    let wanted = lab.text(At::Latest).await;
    assert_eq!(lab.shown(MirrorFormat::Delta).await.expect("shown"), wanted, "in between");
}

#[tokio::test]
async fn a_log_that_another_writer_began_is_taken_over() {
    let lab = Lab::new().await;
    lab.live().await;
    let newest = lab.lake.latest(&lab.who, &lab.id).await.expect("latest").version;
    foreign_commit(&lab, newest).await;
    lab.refresh(MirrorFormat::Delta).await;
    let wanted = lab.text(At::Latest).await;
    assert_eq!(lab.shown(MirrorFormat::Delta).await.expect("shown"), wanted);
    let folder = lab.folder(MirrorFormat::Delta);
    let state = delta::read_log(lab.objects(), &folder).await.expect("log");
    assert_eq!(state.newest, Some(newest), "the number of the snapshot");
}

#[tokio::test]
async fn a_table_that_was_dropped_and_made_again_is_followed() {
    let lab = Lab::new().await;
    lab.live().await;
    for format in MirrorFormat::ALL {
        lab.refresh(format).await;
    }
    lab.lake.drop_table(&lab.who, &lab.id).await.expect("dropped");
    lab.create().await;
    lab.append("9,nine\n").await;
    let wanted = lab.text(At::Latest).await;
    for format in MirrorFormat::ALL {
        lab.refresh(format).await;
        assert_eq!(lab.shown(format).await.as_ref(), Some(&wanted), "{format}");
    }
}

/// A refresh whose n-th call of a kind fails shows the old or the new version, for each n until
/// no call fails; the next refresh then shows the new one.
async fn fail_each_call(format: MirrorFormat, call: Call, fault: Fault) {
    for n in 1..400 {
        let lab = Lab::new().await;
        lab.append("1,one\n2,two\n3,three\n").await;
        lab.append("4,four\n").await;
        lab.delete("id = 4").await;
        lab.append("5,five\n").await;
        lab.refresh(format).await;
        let mut versions = vec![lab.text(At::Latest).await];
        lab.delete("id = 2").await;
        versions.push(lab.text(At::Latest).await);
        lab.append("6,six\n").await;
        versions.push(lab.text(At::Latest).await);
        if format != MirrorFormat::Parquet {
            // There, every file would be another one.
            lab.columns(&["id", "name", "more"]).await;
            versions.push(lab.text(At::Latest).await);
        }
        // A process that knows nothing yet: all its calls are part of the refresh.
        let other = lab.other();
        let calls = lab.store.calls(call);
        lab.store.inject(call, n, fault);
        let outcome = other.refresh_mirror(&lab.who, &lab.id, format).await;
        let reached = lab.store.calls(call) >= calls + n;
        lab.store.heal();
        let shown = lab.shown(format).await.expect("shown");
        let newest = versions.last().expect("one");
        assert!(versions.contains(&shown), "{format} {call:?} n={n}: a mixture {shown:?}");
        if outcome.is_ok() {
            assert_eq!(&shown, newest, "{format} {call:?} n={n}");
        }
        lab.refresh(format).await;
        assert_eq!(lab.shown(format).await.as_ref(), Some(newest), "{format} {call:?} n={n}");
        if !reached {
            assert!(n > 1, "no call was made");
            return;
        }
    }
    panic!("calls do not end");
}

#[tokio::test]
async fn a_put_that_fails_leaves_the_old_or_the_new_version_in_delta() {
    fail_each_call(MirrorFormat::Delta, Call::Put, Fault::Before).await;
    fail_each_call(MirrorFormat::Delta, Call::Put, Fault::After).await;
}

#[tokio::test]
async fn a_copy_that_fails_leaves_the_old_or_the_new_version_in_delta() {
    fail_each_call(MirrorFormat::Delta, Call::Copy, Fault::Before).await;
    fail_each_call(MirrorFormat::Delta, Call::Copy, Fault::After).await;
}

#[tokio::test]
async fn a_read_that_fails_leaves_the_old_or_the_new_version_in_delta() {
    fail_each_call(MirrorFormat::Delta, Call::Get, Fault::Before).await;
    fail_each_call(MirrorFormat::Delta, Call::List, Fault::Before).await;
}

#[tokio::test]
async fn a_put_that_fails_leaves_the_old_or_the_new_version_in_iceberg() {
    fail_each_call(MirrorFormat::Iceberg, Call::Put, Fault::Before).await;
    fail_each_call(MirrorFormat::Iceberg, Call::Put, Fault::After).await;
}

#[tokio::test]
async fn a_read_that_fails_leaves_the_old_or_the_new_version_in_iceberg() {
    fail_each_call(MirrorFormat::Iceberg, Call::Get, Fault::Before).await;
    fail_each_call(MirrorFormat::Iceberg, Call::List, Fault::Before).await;
}

#[tokio::test]
async fn a_call_that_fails_leaves_the_old_or_the_new_version_in_parquet() {
    fail_each_call(MirrorFormat::Parquet, Call::Put, Fault::Before).await;
    fail_each_call(MirrorFormat::Parquet, Call::Copy, Fault::Before).await;
    fail_each_call(MirrorFormat::Parquet, Call::Get, Fault::Before).await;
}

#[tokio::test]
async fn a_vacuum_takes_nothing_that_a_mirror_shows() {
    let lab = Lab::new().await;
    lab.live().await;
    let (catalog, id) = (&lab.catalog, lab.id.super_id());
    for format in MirrorFormat::ALL {
        set_format(catalog, &id, format, true, 1).await.expect("enabled");
        lab.refresh(format).await;
    }
    lab.delete("id = 3").await;
    let settings = VacuumSettings {
        older_than: Duration::ZERO,
        strays_older_than: Duration::ZERO,
        rehearsal: false,
    };
    let done = lab.lake.vacuum(&lab.who, &lab.id, &settings, "").await.expect("vacuumed");
    assert!(done.objects > 0);
    let wanted = lab.text(At::Latest).await;
    for format in MirrorFormat::ALL {
        assert_eq!(lab.shown(format).await.as_ref(), Some(&wanted), "{format}");
    }
    // Files that only older versions of the mirror held are gone with them.
    let folder = format!("{}/data", lab.folder(MirrorFormat::Delta));
    let left = store::list(&lab.objects(), &folder).await.expect("listed").len();
    let state = delta::read_log(lab.objects(), &lab.folder(MirrorFormat::Delta)).await;
    assert_eq!(left, state.expect("log").active.len());
}

#[tokio::test]
async fn what_older_versions_need_goes_and_the_newest_stays() {
    let lab = Lab::new().await;
    for id in 0..25 {
        lab.append(&format!("{id},x\n{},y\n", id + 100)).await;
        lab.delete(&format!("id = {id}")).await;
        for format in MirrorFormat::ALL {
            lab.refresh(format).await;
        }
    }
    let parts = lab.parts();
    let count = async |format| {
        store::list(&lab.objects(), &lab.folder(format)).await.expect("listed").len()
    };
    let wanted = lab.text(At::Latest).await;
    for format in MirrorFormat::ALL {
        let before = count(format).await;
        open(&parts, &lab.id, format).clean(i64::MAX).await.expect("cleaned");
        let after = count(format).await;
        assert!(after < before, "{format} {before} {after}");
        assert_eq!(lab.shown(format).await.as_ref(), Some(&wanted), "{format}");
        assert_eq!(lab.refresh(format).await, 0, "{format}");
    }
    lab.append("999,last\n").await;
    let wanted = lab.text(At::Latest).await;
    for format in MirrorFormat::ALL {
        lab.refresh(format).await;
        assert_eq!(lab.shown(format).await.as_ref(), Some(&wanted), "{format} goes on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_may_refresh_one_mirror() {
    for format in MirrorFormat::ALL {
        let lab = Lab::new().await;
        lab.live().await;
        let others = [lab.other(), lab.other(), lab.other(), lab.other()];
        let runs = others.map(|lake| {
            let (who, id) = (lab.who.clone(), lab.id.clone());
            tokio::spawn(async move { lake.refresh_mirror(&who, &id, format).await })
        });
        for run in runs {
            run.await.expect("ran").expect("refreshed");
        }
        let wanted = lab.text(At::Latest).await;
        assert_eq!(lab.shown(format).await.as_ref(), Some(&wanted), "{format}");
        assert_eq!(lab.refresh(format).await, 0, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_background_follows_the_commits_of_its_own_lake() {
    let lab = Lab::new().await;
    lab.append("1,one\n").await;
    let id = lab.id.super_id();
    lab.lake.set_mirror(&lab.who, &id, MirrorFormat::Delta, true).await.expect("enabled");
    // Only a commit wakes it before the test's time is over.
    let settings = Mirrors { interval: Duration::from_secs(100_000) };
    let task = lab.lake.mirror(lab.who.clone(), &settings).expect("started");
    for name in ["two", "three"] {
        lab.append(&format!("2,{name}\n")).await;
        let wanted = lab.text(At::Latest).await;
        for left in (0..6_000).rev() {
            if lab.shown(MirrorFormat::Delta).await.as_ref() == Some(&wanted) {
                break;
            }
            assert!(left > 0, "the mirror does not follow");
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    }
    task.abort();
    assert!(lab.lake.mirror(Principal { read_only: true, ..lab.who.clone() }, &settings).is_none());
}

#[tokio::test]
async fn who_knows_an_older_version_does_not_take_a_mirror_back() {
    for format in MirrorFormat::ALL {
        let lab = Lab::new().await;
        lab.append("1,one\n").await;
        let old = lab.lake.latest(&lab.who, &lab.id).await.expect("latest");
        lab.live().await;
        lab.refresh(format).await;
        let wanted = lab.text(At::Latest).await;
        let parts = lab.parts();
        let mirror = open(&parts, &lab.id, format);
        let table = lab.table();
        let done = refresh(mirror.as_ref(), &parts, &table, &old).await.expect("nothing to do");
        assert_eq!(done.published, 0, "{format}");
        assert_eq!(lab.shown(format).await.as_ref(), Some(&wanted), "{format}");
    }
}

#[tokio::test]
async fn formats_are_kept_where_the_python_library_keeps_them() {
    let lab = Lab::new().await;
    let (catalog, id) = (&lab.catalog, lab.id.super_id());
    let key = DocKey::Mirrors(id.clone());
    assert_eq!(formats_of(catalog, &id).await.expect("none"), []);
    // An empty list that went through the library's Lua, and a format that we do not know.
    for (stored, known) in [
        (r#"{"formats":{},"ts":1}"#, vec![]),
        (r#"{"formats":["HUDI","PARQUET"],"ts":1}"#, vec![MirrorFormat::Parquet]),
    ] {
        catalog.put_doc(&key, Expected::Any, stored.into()).await.expect("put");
        assert_eq!(formats_of(catalog, &id).await.expect("read"), known);
    }
    assert!(set_format(catalog, &id, MirrorFormat::Delta, true, 7).await.expect("enabled"));
    assert!(!set_format(catalog, &id, MirrorFormat::Delta, true, 8).await.expect("enabled"));
    assert!(set_format(catalog, &id, MirrorFormat::Parquet, false, 9).await.expect("disabled"));
    let stored = catalog.doc(&key).await.expect("read").expect("there");
    assert_eq!(&stored[..], br#"{"formats":["HUDI","DELTA"],"ts":9}"#);
}

#[tokio::test]
async fn a_failure_is_told_and_the_next_success_takes_it_back() {
    let lab = Lab::new().await;
    lab.append("1,one\n").await;
    let id = lab.id.super_id();
    lab.lake.set_mirror(&lab.who, &id, MirrorFormat::Delta, true).await.expect("enabled");
    lab.refresh(MirrorFormat::Delta).await;
    lab.append("2,two\n").await;
    lab.store.inject_all(Call::Copy, Fault::Before);
    lab.store.inject_all(Call::Put, Fault::Before);
    assert_eq!(lab.lake.refresh_mirrors(&lab.who).await, 1);
    lab.store.heal();
    let report = lab.other().mirror_report(&lab.who, &id).await.expect("report");
    let [mirror] = report.mirrors.as_slice() else { panic!("{report:?}") };
    assert_eq!((mirror.state.version, mirror.newest, mirror.lag), (Some(1), 2, Some(1)));
    assert!(mirror.state.error.is_some());
    assert_eq!(lab.lake.refresh_mirrors(&lab.who).await, 0);
    let report = lab.other().mirror_report(&lab.who, &id).await.expect("report");
    assert_eq!((report.mirrors[0].lag, &report.mirrors[0].state.error), (Some(0), &None));
    assert!(lab.lake.mirrors_json()["acme/shop/orders"]["DELTA"]["version"] == 2);
    // Files go only when the mirror is switched off.
    let removed = lab.lake.remove_mirrors(&lab.who, &id, MirrorFormat::Delta).await;
    assert_eq!(removed.expect_err("refused").kind(), crate::error::ErrorKind::Conflict);
    lab.lake.set_mirror(&lab.who, &id, MirrorFormat::Delta, false).await.expect("disabled");
    lab.lake.remove_mirrors(&lab.who, &id, MirrorFormat::Delta).await.expect("removed");
    let left = store::list(&lab.objects(), &lab.folder(MirrorFormat::Delta)).await;
    assert!(left.expect("listed").is_empty());
}
