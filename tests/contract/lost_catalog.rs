//! A catalogue that was lost is made again from the objects: names, histories and trash are the
//! same, and the lake goes on.

use std::sync::Arc;

use mountable::catalog::{EmbeddedCatalog, LeafSwap, SharedCatalog, SwapOutcome};
use mountable::clock::SystemClock;
use mountable::lake::{At, Depth, Edit, Rebuild, Scope, Severity};
use mountable::store::Objects;

use crate::lake_fixture::{busy_lake, door, edit, objects, picture, table, who};
use crate::redis_server::RedisServer;

async fn rebuilt_is_the_same(objects: &Objects, before: &[String], empty: &SharedCatalog) {
    assert_eq!(picture(objects, empty).await, Vec::<String>::new(), "the catalogue is empty");
    let lake = door(objects, empty);
    let plan = lake.rebuild(&who(), &Scope::Lake, Rebuild::Plan).await.expect("plan");
    assert_eq!(picture(objects, empty).await, Vec::<String>::new(), "a plan changes nothing");
    let found = lake.check(&who(), &Scope::Lake, Depth::Documents).await.expect("check");
    assert_eq!(found.worst(), Some(Severity::Error));
    let done = lake.rebuild(&who(), &Scope::Lake, Rebuild::Do).await.expect("rebuild");
    assert_eq!(plan, done);
    assert_eq!(done.named.len(), 6, "{done:?}");
    assert_eq!(done.trashed, 2, "{done:?}");
    assert_eq!(picture(objects, empty).await, before);
    let found = lake.check(&who(), &Scope::Lake, Depth::Text).await.expect("check");
    assert!(found.worst() < Some(Severity::Warning), "{found:#?}");
    let second = lake.rebuild(&who(), &Scope::Lake, Rebuild::Do).await.expect("again");
    assert_eq!((second.named.len(), second.moved.len(), second.trashed), (0, 0, 0));
    // Life goes on: nothing is given out twice, dropped tables come back.
    let id = table("acme/shop/edited");
    edit(&lake, &id, Edit::END, 0, &[(7, "new")]).await;
    let shop = id.super_id();
    let gone = lake.trash(&shop).await.expect("trash").into_iter().find(|n| n.starts_with("gone"));
    lake.restore_table(&who(), &shop, &gone.expect("in the trash")).await.expect("restore");
    let found = lake.check(&who(), &Scope::Lake, Depth::Text).await.expect("check");
    assert!(found.worst() < Some(Severity::Warning), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flushed_redis_is_made_again() {
    let server = RedisServer::start(&[]).await;
    let (objects, catalog) = (objects(), Arc::new(server.catalog().await) as SharedCatalog);
    busy_lake(&objects, &catalog).await;
    let before = picture(&objects, &catalog).await;
    let mut raw = server.raw().await;
    redis::cmd("FLUSHALL").exec_async(&mut raw).await.expect("flush");
    rebuilt_is_the_same(&objects, &before, &catalog).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_catalogue_file_is_made_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("catalog.sqlite");
    let open = || async {
        let catalog = EmbeddedCatalog::open(&path, Arc::new(SystemClock)).await.expect("opens");
        Arc::new(catalog) as SharedCatalog
    };
    let (objects, catalog) = (objects(), open().await);
    busy_lake(&objects, &catalog).await;
    let before = picture(&objects, &catalog).await;
    drop(catalog);
    for name in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(directory.path().join(name));
    }
    rebuilt_is_the_same(&objects, &before, &open().await).await;
}

/// A catalogue restored from an old backup names old versions: they are moved forward, and what
/// was made since appears.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_backup_of_redis_is_brought_up_to_date() {
    let server = RedisServer::start(&[]).await;
    let (objects, catalog) = (objects(), Arc::new(server.catalog().await) as SharedCatalog);
    let lake = busy_lake(&objects, &catalog).await;
    let id = table("acme/shop/edited");
    let old = catalog.leaf(&id).await.expect("leaf").expect("there");
    edit(&lake, &id, Edit::END, 0, &[(7, "since the backup")]).await;
    let before = picture(&objects, &catalog).await;
    let new = catalog.leaf(&id).await.expect("leaf").expect("there");
    let back = LeafSwap {
        table: id.clone(),
        expected: Some(new.raw),
        new: Some(old.raw),
        schema: None,
        now_ms: 1,
        bump_root: false,
        audit: Vec::new(),
        requires: None,
        removes: None,
    };
    assert!(matches!(catalog.swap(back).await, Ok(SwapOutcome::Swapped { .. })));
    let lake = door(&objects, &catalog);
    let done = lake.rebuild(&who(), &Scope::Lake, Rebuild::Do).await.expect("rebuild");
    assert_eq!(done.moved, [("acme/shop/edited".to_owned(), 4)]);
    assert_eq!((done.named.len(), done.trashed), (0, 0));
    assert_eq!(picture(&objects, &catalog).await, before);
}

/// Somebody made a table of the same name before the rebuild: it is not taken from them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_catalogue_names_is_not_replaced() {
    let fresh = || {
        Arc::new(EmbeddedCatalog::memory(Arc::new(SystemClock)).expect("opens")) as SharedCatalog
    };
    let (objects, catalog) = (objects(), fresh());
    busy_lake(&objects, &catalog).await;
    let catalog = fresh();
    let lake = door(&objects, &catalog);
    let id = table("acme/shop/edited");
    lake.create_super(&who(), &id.super_id()).await.expect("super table");
    let schema = arrow::datatypes::Schema::new(vec![
        arrow::datatypes::Field::new("id", arrow::datatypes::DataType::Int64, true),
        arrow::datatypes::Field::new("name", arrow::datatypes::DataType::Utf8, true),
    ]);
    lake.create_table(&who(), &id, Arc::new(schema), Default::default()).await.expect("create");
    edit(&lake, &id, Edit::END, 0, &[(5, "since then")]).await;
    let mine = lake.snapshot(&who(), &id, At::Latest).await.expect("newest");
    let done = lake.rebuild(&who(), &Scope::Lake, Rebuild::Do).await.expect("rebuild");
    assert_eq!(done.named.len(), 5);
    let finding = done.findings.iter().find(|f| f.severity == Severity::Error).expect("told");
    assert_eq!(finding.place, "acme/shop/edited");
    let now = door(&objects, &catalog).snapshot(&who(), &id, At::Latest).await.expect("newest");
    assert_eq!(now.path, mine.path);
    // As the remedy says: give the new one another name, rebuild again.
    lake.rename_table(&who(), &id, &table("acme/shop/newer")).await.expect("rename");
    let done = lake.rebuild(&who(), &Scope::Lake, Rebuild::Do).await.expect("rebuild");
    assert_eq!(done.named, [("acme/shop/edited".to_owned(), 3)]);
}
