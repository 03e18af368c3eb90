//! A lake moves from one catalogue into another, there and back, without its objects.

use std::sync::Arc;
use std::time::Duration;

use mountable::catalog::{
    DocKey, Entry, Expected, Held, LogKey, SharedCatalog, Transfer, open, open_transfer,
};
use mountable::clock::SystemClock;
use mountable::config::Settings;
use mountable::error::ErrorKind;
use mountable::lake::{Depth, Edit, Scope, Severity, export_catalog, import_catalog};

use crate::lake_fixture::{busy_lake, door, edit, objects, picture, table, who};
use crate::redis_server::RedisServer;

fn at(catalog: &str) -> Settings {
    Settings { catalog: Some(catalog.to_owned()), ..Settings::default() }
}

async fn catalog(settings: &Settings) -> SharedCatalog {
    open(settings, Arc::new(SystemClock)).await.expect("opens")
}

async fn export(settings: &Settings) -> String {
    let mut text = String::new();
    let keys = export_catalog(settings, Arc::new(SystemClock), |line| {
        text.push_str(line);
        text.push('\n');
        Ok(())
    });
    assert!(keys.await.expect("export") > 0);
    text
}

/// Everything that a catalogue holds; ids of events are its own affair.
async fn all(settings: &Settings) -> Vec<Entry> {
    let from = open_transfer(settings, Arc::new(SystemClock)).await.expect("opens");
    let mut entries = Vec::new();
    for key in from.keys().await.expect("keys") {
        let held = match from.held(&key).await.expect("held") {
            Some(Held::Events(events)) => {
                Some(Held::Events(events.into_iter().map(|(_, fields)| (None, fields)).collect()))
            }
            held => held,
        };
        entries.extend(held.map(|held| Entry { key, held }));
    }
    entries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_moves_from_redis_to_a_file_and_back() {
    let (first, second) = (RedisServer::start(&[]).await, RedisServer::start(&[]).await);
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = at(&directory.path().join("catalog.sqlite").display().to_string());
    let (first, second) = (at(&first.url()), at(&second.url()).clone());
    let (objects, old) = (objects(), catalog(&first).await);
    busy_lake(&objects, &old).await;
    let secret = DocKey::Secret("handle-key");
    old.put_doc(&secret, Expected::Any, (&b"\xff\x00key"[..]).into()).await.expect("put");
    let log = LogKey::TableRefusals(table("acme/shop/edited"));
    let refusals: Vec<_> = (0..1200).map(|n| format!("refusal {n}").into()).collect();
    old.append(&log, &refusals, 5000).await.expect("append");
    let locked = table("acme/shop/again");
    assert!(old.acquire(&locked, "me", Duration::from_secs(60)).await.expect("lock"));
    let before = picture(&objects, &old).await;

    import_catalog(&file, Arc::new(SystemClock), &export(&first).await).await.expect("import");
    let new = catalog(&file).await;
    assert_eq!(picture(&objects, &new).await, before);
    assert_eq!(new.doc(&secret).await.expect("doc").as_deref(), Some(&b"\xff\x00key"[..]));
    assert_eq!(new.read_log(&log, 5000).await.expect("log"), refusals);
    let free = new.acquire(&locked, "you", Duration::from_secs(60)).await.expect("lock");
    assert!(free, "locks stay behind");
    assert!(old.release(&locked, "me").await.expect("release"), "and are left alone");
    assert!(new.release(&locked, "you").await.expect("release"));

    import_catalog(&second, Arc::new(SystemClock), &export(&file).await).await.expect("import");
    let again = catalog(&second).await;
    assert_eq!(picture(&objects, &again).await, before);
    assert_eq!(all(&second).await, all(&first).await, "nothing was lost on the way");
    let lake = door(&objects, &again);
    edit(&lake, &table("acme/shop/edited"), Edit::END, 0, &[(50, "goes on")]).await;
    let found = lake.check(&who(), &Scope::Lake, Depth::Text).await.expect("check");
    assert!(found.worst() < Some(Severity::Warning), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalogue_that_holds_a_lake_is_not_filled() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = |name: &str| at(&directory.path().join(name).display().to_string());
    let (one, two) = (path("one"), path("two"));
    busy_lake(&objects(), &catalog(&one).await).await;
    let text = export(&one).await;
    let clock = || Arc::new(SystemClock);
    let error = import_catalog(&one, clock(), &text).await.expect_err("holds a lake");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let cut: Vec<&str> = text.lines().collect();
    let cut = cut[..cut.len() - 3].join("\n");
    let error = import_catalog(&two, clock(), &cut).await.expect_err("cut off");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(all(&two).await, [], "and nothing was written");
    import_catalog(&two, clock(), &text).await.expect("import");
    assert_eq!(all(&two).await, all(&one).await);
}

/// A transfer that broke off is repeated: nothing stands twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filling_twice_is_filling_once() {
    let server = RedisServer::start(&[]).await;
    let redis = at(&server.url());
    let to: Arc<dyn Transfer> = open_transfer(&redis, Arc::new(SystemClock)).await.expect("opens");
    let list = Held::List((0..1100).map(|n| n.to_string().into()).collect());
    let events = vec![(Some("5-1".to_owned()), vec![("a".to_owned(), "b".to_owned())])];
    for held in [list, Held::Events(events), Held::Members(vec!["x".into()])] {
        let entry = Entry { key: "supertable:a:some".to_owned(), held: held.clone() };
        to.hold(&entry).await.expect("hold");
        to.hold(&entry).await.expect("hold");
        assert_eq!(to.held(&entry.key).await.expect("held"), Some(held));
    }
}
