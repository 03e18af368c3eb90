//! A lake with a past of every kind, and a picture of all that a user can see of it.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use mountable::catalog::SharedCatalog;
use mountable::clock::SystemClock;
use mountable::config::Settings;
use mountable::lake::{
    At, ChangeSet, CommitOutcome, Edit, Lake, OnExistingKey, OrgName, Principal, SuperId,
    TableConfig, TableId,
};
use mountable::store::{self, Objects};

pub(crate) fn objects() -> Objects {
    store::open("memory:", &store::StoreOptions::default()).expect("memory")
}

/// A lake with caches of its own, as another process has one.
pub(crate) fn door(objects: &Objects, catalog: &SharedCatalog) -> Lake {
    let mut settings = Settings::default();
    settings.timing.pointer = std::time::Duration::ZERO;
    let (objects, catalog) = (Arc::clone(objects), Arc::clone(catalog));
    Lake::from_parts(&settings, objects, catalog, Arc::new(SystemClock)).expect("a lake")
}

pub(crate) fn who() -> Principal {
    Principal { uid: 0, client: "test".to_owned(), role: "superadmin".to_owned(), read_only: false }
}

pub(crate) fn table(text: &str) -> TableId {
    TableId::parse(text).expect("valid id")
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

/// Replaces `remove` rows from `at` on.
pub(crate) async fn edit(lake: &Lake, id: &TableId, at: u64, remove: u64, rows: &[(i64, &str)]) {
    let base = lake.snapshot(&who(), id, At::Latest).await.expect("newest");
    let mut writer = lake.writer(&who(), id, &schema(), &[]).await.expect("writer");
    let ids = Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id));
    let names = StringArray::from_iter_values(rows.iter().map(|(_, name)| *name));
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]);
    if !rows.is_empty() {
        writer.write(batch.expect("batch")).await.expect("write");
    }
    let insert = u64::try_from(rows.len()).expect("small");
    let change = ChangeSet {
        base,
        edits: vec![Edit { at, remove, insert }],
        rows: writer.finish().await.expect("finish"),
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    };
    let outcome = lake.commit(&who(), id, change, "edit", "by the fixture").await.expect("commit");
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
}

async fn create(lake: &Lake, name: &str, rows: &[(i64, &str)]) -> TableId {
    let id = table(name);
    lake.create_table(&who(), &id, schema(), TableConfig::default()).await.expect("create");
    edit(lake, &id, Edit::END, 0, rows).await;
    id
}

/// Makes the lake: edited, empty, dropped, restored, re-created, renamed and moved tables.
pub(crate) async fn busy_lake(objects: &Objects, catalog: &SharedCatalog) -> Lake {
    let lake = door(objects, catalog);
    let organization = OrgName::new("acme").expect("name");
    lake.create_organization(&who(), &organization).await.expect("organization");
    for id in ["acme/shop", "acme/archive", "beta/lab"] {
        let id = SuperId::parse(id).expect("valid id");
        lake.create_super(&who(), &id).await.expect("super table");
    }
    let edited = create(&lake, "acme/shop/edited", &[(1, "a"), (2, "b"), (3, "c")]).await;
    edit(&lake, &edited, 1, 1, &[(2, "B"), (4, "d")]).await;
    edit(&lake, &edited, 0, 2, &[]).await;
    let empty = table("beta/lab/empty");
    lake.create_table(&who(), &empty, schema(), TableConfig::default()).await.expect("create");
    let shop = edited.super_id();
    let restored = create(&lake, "acme/shop/restored", &[(1, "x")]).await;
    lake.drop_table(&who(), &restored).await.expect("drop");
    let trash = lake.trash(&shop).await.expect("trash");
    lake.restore_table(&who(), &shop, &trash[0]).await.expect("restore");
    edit(&lake, &restored, Edit::END, 0, &[(2, "y")]).await;
    let again = create(&lake, "acme/shop/again", &[(1, "first life")]).await;
    lake.drop_table(&who(), &again).await.expect("drop");
    create(&lake, "acme/shop/again", &[(1, "second life")]).await;
    let gone = create(&lake, "acme/shop/gone", &[(1, "in the trash")]).await;
    lake.drop_table(&who(), &gone).await.expect("drop");
    let moved = create(&lake, "acme/shop/moved", &[(1, "m"), (2, "n")]).await;
    let to = table("acme/archive/kept");
    lake.rename_table(&who(), &moved, &to).await.expect("rename");
    edit(&lake, &to, 0, 1, &[]).await;
    create(&lake, "acme/shop/moved", &[(9, "another table of the old name")]).await;
    lake
}

/// Everything that a user sees: names, histories, texts, trash.
pub(crate) async fn picture(objects: &Objects, catalog: &SharedCatalog) -> Vec<String> {
    let lake = door(objects, catalog);
    let mut out = Vec::new();
    for organization in lake.organizations().await.expect("organizations") {
        for name in lake.supers(&organization).await.expect("super tables") {
            let id = SuperId { organization: organization.clone(), super_name: name };
            out.push(format!("{id}: trash {:?}", lake.trash(&id).await.expect("trash")));
            for newest in lake.tables(&id).await.expect("tables") {
                let view = lake.view_of(&newest).await.expect("view");
                let text = view.read_at(0..view.len()).await.expect("text").concat();
                out.push(format!("{}: {:?}", newest.table, String::from_utf8_lossy(&text)));
                let history = lake.history(&who(), &newest.table, 1000).await.expect("history");
                for old in history {
                    out.push(format!(
                        "  {} {} {} rows {:?} {}",
                        old.version,
                        old.committed_ms,
                        old.rows(),
                        old.lineage,
                        old.path
                    ));
                }
            }
        }
    }
    out
}
