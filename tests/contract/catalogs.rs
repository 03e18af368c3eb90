//! Instances of the catalogue suite: SQLite in memory, SQLite in a file, Redis.

use std::any::Any;
use std::sync::Arc;

use mountable::catalog::{EmbeddedCatalog, SharedCatalog};
use mountable::clock::SystemClock;

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
