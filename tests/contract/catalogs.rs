//! Instances of the catalogue suite: SQLite in memory, SQLite in a file, Redis.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use mountable::catalog::{
    Catalog, EmbeddedCatalog, Entry, Held, KeyLayout, SharedCatalog, SharedTransfer, Transfer,
};
use mountable::clock::SystemClock;
use mountable::error::ErrorKind;
use mountable::ident::{SuperId, TableId};

use crate::redis_server::RedisServer;

/// Two handles on one catalogue and what keeps it alive.
pub(crate) struct Pair {
    pub(crate) one: SharedCatalog,
    pub(crate) two: SharedCatalog,
    _kept: Box<dyn Any + Send>,
}

pub(crate) async fn in_memory() -> Pair {
    let one: SharedCatalog =
        Arc::new(EmbeddedCatalog::memory(Arc::new(SystemClock)).expect("SQLite works"));
    Pair { two: Arc::clone(&one), one, _kept: Box::new(()) }
}

pub(crate) async fn in_file() -> Pair {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("new/catalog.sqlite");
    let open = || EmbeddedCatalog::open(&path, Arc::new(SystemClock));
    let (one, two) = futures::future::join(open(), open()).await;
    Pair {
        one: Arc::new(one.expect("opens")),
        two: Arc::new(two.expect("opens")),
        _kept: Box::new(directory),
    }
}

pub(crate) async fn in_redis() -> Pair {
    let server = RedisServer::start(&[]).await;
    Pair {
        one: Arc::new(server.catalog().await),
        two: Arc::new(server.catalog().await),
        _kept: Box::new(server),
    }
}

pub(crate) async fn in_memory_v1() -> Pair {
    let catalog = EmbeddedCatalog::memory(Arc::new(SystemClock)).expect("SQLite works");
    let one: SharedCatalog = Arc::new(catalog.spelled(KeyLayout::V1));
    Pair { two: Arc::clone(&one), one, _kept: Box::new(()) }
}

pub(crate) async fn in_redis_v1() -> Pair {
    let server = RedisServer::start(&[]).await;
    let (one, two) = (server.catalog().await, server.catalog().await);
    Pair {
        one: Arc::new(one.in_layout(Some(KeyLayout::V1)).await.expect("layout")),
        two: Arc::new(two.in_layout(Some(KeyLayout::V1)).await.expect("layout")),
        _kept: Box::new(server),
    }
}

/// A root that forbids writing gives no lock, and one that allows it does.
async fn flags_are_obeyed(catalog: SharedCatalog, raw: SharedTransfer, root: &str) {
    let table = TableId::parse("acme/shop/t").expect("valid id");
    let hold = |text: &'static str| {
        let held = Held::Value(text.into());
        let (raw, key) = (Arc::clone(&raw), root.to_owned());
        async move { raw.hold(&Entry { key, held }).await.expect("held") }
    };
    let lock = || catalog.acquire(&table, "token", Duration::from_secs(60));
    hold(r#"{"version":1,"ts":2,"read_only":true}"#).await;
    assert_eq!(lock().await.expect_err("refused").kind(), ErrorKind::ReadOnly);
    let refused = catalog.check_writable(&table.super_id()).await.expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ReadOnly);
    hold(r#"{"version":1,"ts":2,"clone_type":"replica","cloned_from":"x"}"#).await;
    assert_eq!(lock().await.expect_err("refused").kind(), ErrorKind::ReadOnly);
    hold(r#"{"version":1,"ts":2,"read_only":false,"clone_type":"full"}"#).await;
    assert!(lock().await.expect("free"), "flags that allow it");
    let (token, ttl) = ("other", Duration::from_secs(60));
    assert!(!catalog.acquire(&table, token, ttl).await.expect("held by the first"));
}

#[tokio::test]
async fn root_flags_are_obeyed_by_both_catalogues() {
    let keys = ["supertable:acme:shop:meta:root", "supertable:acme:lakes:shop:meta:root"];
    for (layout, root) in [KeyLayout::V1, KeyLayout::V2].into_iter().zip(keys) {
        let memory = EmbeddedCatalog::memory(Arc::new(SystemClock)).expect("SQLite works");
        let memory = Arc::new(memory.spelled(layout));
        flags_are_obeyed(Arc::clone(&memory) as SharedCatalog, memory, root).await;
        let server = RedisServer::start(&[]).await;
        let redis = server.catalog().await.in_layout(Some(layout)).await.expect("layout");
        let redis = Arc::new(redis);
        flags_are_obeyed(Arc::clone(&redis) as SharedCatalog, redis, root).await;
    }
}

#[tokio::test]
async fn super_tables_of_both_layouts_over_one_directory_are_refused() {
    let server = RedisServer::start(&[]).await;
    let id = SuperId::parse("acme/shop").expect("valid id");
    let v1 = server.catalog().await.in_layout(Some(KeyLayout::V1)).await.expect("layout");
    assert!(v1.create_super(&id, 1).await.expect("made"));
    let found = server.catalog().await.in_layout(None).await.expect("detected");
    assert_eq!(found.layout(), KeyLayout::V1);
    let v2 = server.catalog().await;
    let error = v2.create_super(&id, 1).await.expect_err("shared");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let root = Entry {
        key: "supertable:acme:lakes:shop:meta:root".to_owned(),
        held: Held::Value("{}".into()),
    };
    v2.hold(&root).await.expect("held");
    let error = v1.supers(&id.organization).await.expect_err("shared");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    for wanted in [None, Some(KeyLayout::V1), Some(KeyLayout::V2)] {
        let error = server.catalog().await.in_layout(wanted).await.expect_err("shared");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

macro_rules! instances {
    ($make:ident: $($name:ident),* $(,)?) => {
        mod $make {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    let pair = super::$make().await;
                    crate::catalog_suite::$name(&pair.one, &pair.two).await;
                }
            )*
        }
    };
}

macro_rules! every_catalog {
    ($($name:ident),* $(,)?) => {
        instances!(in_memory: $($name),*);
        instances!(in_file: $($name),*);
        instances!(in_redis: $($name),*);
        instances!(in_memory_v1: $($name),*);
        instances!(in_redis_v1: $($name),*);
    };
}

every_catalog!(
    organizations_appear_when_made_or_used,
    an_organization_goes_only_when_empty,
    a_new_supertable_has_root_and_roles,
    a_supertable_goes_only_when_empty_and_alone,
    a_leaf_is_swapped_only_from_what_was_seen,
    a_swap_happens_only_with_what_it_requires,
    a_swap_removes_what_it_replaces,
    bytes_come_back_exactly,
    a_value_of_many_megabytes_is_kept,
    root_is_raised_by_commits_only,
    of_competing_swaps_exactly_one_wins,
    of_competing_creations_exactly_one_wins,
    a_removed_table_leaves_nothing_that_a_new_one_inherits,
    all_leaves_are_listed_in_order,
    a_lock_has_one_holder_until_it_expires,
    a_swap_releases_the_lock_of_its_token_only,
    a_swap_with_all_its_parts_keeps_them_apart,
    row_ids_are_never_given_twice,
    row_ids_stay_above_the_floor_after_a_roll_back,
    documents_are_replaced_only_from_what_was_expected,
    trash_is_listed_in_order,
    a_branch_is_seen_by_its_own_name_only,
    logs_keep_their_newest_entries,
    audit_events_of_any_text_are_taken,
    roles_are_found_without_regard_to_case,
    health_names_the_same_epoch_to_all,
);

/// The making of a new file is one step to everybody who opens it at the same moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn many_may_open_a_new_file_at_once() {
    for round in 0..60 {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("new/catalog.sqlite");
        let open = || async {
            let path = path.clone();
            let opened = tokio::spawn(async move {
                EmbeddedCatalog::open(&path, Arc::new(SystemClock)).await.map(|_| ())
            });
            opened.await.expect("no panic")
        };
        for opened in futures::future::join_all((0..8).map(|_| open())).await {
            opened.unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
}
