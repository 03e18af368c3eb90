//! What only the catalogue in Redis must do: the keys and values that other programs see, and how
//! it behaves while the server is away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mountable::catalog::{
    Catalog, DocKey, Expected, RedisCatalog, RedisOptions, SharedCatalog, SwapOutcome,
};
use mountable::clock::{Clock, SystemClock};
use mountable::config::{RedisSettings, Secret};
use mountable::error::{ErrorKind, Result};
use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::catalog_suite::{put, swap, table};
use crate::redis_server::{RedisServer, free_port};

async fn connect(url: &str, settings: RedisSettings) -> Result<RedisCatalog> {
    let options = RedisOptions { url: url.to_owned(), settings };
    let connecting = RedisCatalog::connect(&options, Arc::new(SystemClock));
    tokio::time::timeout(Duration::from_secs(20), connecting).await.expect("bounded in time")
}

#[tokio::test]
async fn keys_and_types_are_those_of_layout_v2() {
    let server = RedisServer::start(&[]).await;
    let catalog = server.catalog().await;
    let mut raw = server.raw().await;
    let id = table("acme/shop/orders");
    catalog.create_super(&id.super_id(), 7).await.expect("create");
    let mut change = swap(&id, None, Some(&"leaf".into()));
    change.schema = Some("schema".into());
    change.audit = vec![vec![("event_id".to_owned(), "e1".to_owned())]];
    assert!(matches!(catalog.swap(change).await, Ok(SwapOutcome::Swapped { root_version: 1 })));
    catalog.reserve_row_ids(&id, 3, 0).await.expect("reserve");
    assert!(catalog.acquire(&id, "token", Duration::from_secs(30)).await.expect("lock"));
    let config = DocKey::TableConfig(id.clone());
    catalog.put_doc(&config, Expected::Any, "{}".into()).await.expect("put");

    let mut keys: Vec<String> = raw.keys("*").await.expect("keys");
    keys.sort();
    let base = "supertable:acme:lakes:shop";
    let role = keys.iter().find(|k| k.contains(":rbac:roles:doc:")).expect("role").clone();
    let user = keys.iter().find(|k| k.contains(":rbac:users:doc:")).expect("user").clone();
    let mut expected: Vec<String> = [
        "lock:leaf:doc:orders",
        "meta:leaf:doc:orders",
        "meta:root",
        "meta:rowid_seq:doc:orders",
        "meta:table_config:doc:orders",
        "meta:table_names",
        "rbac:roles:index",
        "rbac:roles:meta",
        "rbac:roles:name_to_id",
        "rbac:roles:type:doc:superadmin",
        "rbac:users:index",
        "rbac:users:meta",
        "rbac:users:name_to_id",
        "schema:doc:orders",
    ]
    .iter()
    .map(|rest| format!("{base}:{rest}"))
    .collect();
    expected.extend([role.clone(), user.clone(), "supertable:acme:system:audit:stream".into()]);
    expected.sort();
    assert_eq!(keys, expected);

    let get = async |rest: &str| -> String {
        server.raw().await.get(format!("{base}:{rest}")).await.expect("text")
    };
    assert_eq!(get("meta:leaf:doc:orders").await, "leaf");
    assert_eq!(get("schema:doc:orders").await, "schema");
    assert_eq!(get("meta:rowid_seq:doc:orders").await, "3");
    assert_eq!(get("lock:leaf:doc:orders").await, "token");
    let ttl: i64 = raw.pttl(format!("{base}:lock:leaf:doc:orders")).await.expect("ttl");
    assert!((25_000..=30_000).contains(&ttl), "{ttl}");
    let names: Vec<String> = raw.smembers(format!("{base}:meta:table_names")).await.expect("set");
    assert_eq!(names, ["orders"]);
    let role_id = role.rsplit_once(':').expect("id").1;
    let user: BTreeMap<String, String> = raw.hgetall(user).await.expect("hash");
    assert_eq!(user["roles"], format!("[\"{role_id}\"]"));
    let meta: BTreeMap<String, String> =
        raw.hgetall(format!("{base}:rbac:roles:meta")).await.expect("hash");
    assert_eq!((meta["version"].as_str(), meta["initialized"].as_str()), ("1", "true"));
    let events: i64 = raw.xlen("supertable:acme:system:audit:stream").await.expect("stream");
    assert_eq!(events, 1);
}

/// Old root, new root, version of the answer: the cases of the unit tests of the embedded form.
const ROOTS: [(&str, &str, u64); 9] = [
    (r#"{"version":3,"ts":5}"#, r#"{"version":4,"ts":77}"#, 4),
    (
        r#"{ "ts" : 5, "list":[], "big":1234567890123456789, "x":"a\/\"b", "version" : 9 }"#,
        r#"{ "ts" : 77, "list":[], "big":1234567890123456789, "x":"a\/\"b", "version" : 10 }"#,
        10,
    ),
    (r#"{"version":3.0,"ts":1.8e+12}"#, r#"{"version":4,"ts":77}"#, 4),
    (
        r#"{"a":{"version":1,"ts":2},"b":"version","c":["ts"],"version":1,"ts":2}"#,
        r#"{"a":{"version":1,"ts":2},"b":"version","c":["ts"],"version":2,"ts":77}"#,
        2,
    ),
    (r#"{"read_only":true}"#, r#"{"ts":77,"version":0,"read_only":true}"#, 0),
    ("{ }", r#"{"ts":77,"version":0 }"#, 0),
    ("nonsense", r#"{"version":0,"ts":77}"#, 0),
    (r#"{"version":"x","ts":1}"#, r#"{"version":"x","ts":77}"#, 0),
    (r#"{"version":-1,"ts":1}"#, r#"{"version":0,"ts":77}"#, 0),
];

#[tokio::test]
async fn flags_in_the_root_survive_byte_for_byte() {
    let server = RedisServer::start(&[]).await;
    let catalog = server.catalog().await;
    let mut raw = server.raw().await;
    for (number, (old, new, version)) in ROOTS.into_iter().enumerate() {
        let id = table(&format!("acme/s{number}/t"));
        let key = format!("supertable:acme:lakes:s{number}:meta:root");
        let _: () = raw.set(&key, old).await.expect("set");
        let mut change = swap(&id, None, Some(&"leaf".into()));
        change.now_ms = 77;
        let outcome = catalog.swap(change).await.expect("swap");
        assert_eq!(outcome, SwapOutcome::Swapped { root_version: version }, "{old}");
        let stored: String = raw.get(&key).await.expect("get");
        assert_eq!(stored, new);
    }
}

#[tokio::test]
async fn foreign_keys_do_not_disturb_listings() {
    let server = RedisServer::start(&[]).await;
    let catalog = server.catalog().await;
    let mut raw = server.raw().await;
    for key in [
        "supertable:acme:shop:meta:root",
        "supertable:acme:lakes:Shop:meta:root",
        "supertable:ACME:lakes:shop:meta:root",
        "supertable:acme:lakes:a:b:meta:root",
        "supertable:acme:lakes:shop:meta:leaf:doc:Orders",
        "supertable:acme:lakes:shop:meta:leaf:doc:a:b",
        "other",
    ] {
        let _: () = raw.set(key, "{}").await.expect("set");
    }
    let shared: SharedCatalog = Arc::new(catalog);
    let id = table("acme/shop/orders");
    put(&shared, &id, "leaf").await;
    assert_eq!(shared.organizations().await.expect("list").len(), 1);
    assert_eq!(shared.supers(&id.organization).await.expect("list").len(), 1);
    assert_eq!(shared.leaves(&id.super_id()).await.expect("list").len(), 1);
}

#[tokio::test]
async fn a_key_of_a_wrong_type_is_corrupt_and_changes_nothing() {
    let server = RedisServer::start(&[]).await;
    let catalog = server.catalog().await;
    let mut raw = server.raw().await;
    let id = table("acme/shop/orders");
    let _: () = raw.set("supertable:acme:lakes:shop:meta:table_names", "x").await.expect("set");
    let error = catalog.swap(swap(&id, None, Some(&"leaf".into()))).await.expect_err("type");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert_eq!(catalog.leaf(&id).await.expect("leaf"), None);
    let _: () =
        raw.set("supertable:acme:lakes:shop:meta:rowid_seq:doc:orders", "x").await.expect("set");
    let error = catalog.reserve_row_ids(&id, 1, 0).await.expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn calls_go_on_after_a_restart_and_the_epoch_changes() {
    let mut server = RedisServer::start(&[]).await;
    let catalog = Arc::new(server.catalog().await);
    let id = table("acme/shop/orders");
    let shared: SharedCatalog = catalog.clone();
    put(&shared, &id, "leaf").await;
    let before = catalog.health().await.expect("health").epoch;
    server.restart(Duration::ZERO).await;
    assert_eq!(catalog.leaf(&id).await.expect("reconnects"), None, "the server came back empty");
    assert_ne!(catalog.health().await.expect("health").epoch, before);
    // The scripts are gone with the old server.
    put(&shared, &id, "leaf").await;

    // A call that finds the server away waits for it.
    let waiting = {
        let (catalog, id) = (catalog.clone(), id.clone());
        async move { catalog.leaf(&id).await }
    };
    let ((), leaf) =
        futures::future::join(server.restart(Duration::from_millis(400)), waiting).await;
    leaf.expect("it came back in time");
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_in_bounded_time() {
    let mut server = RedisServer::start(&[]).await;
    let catalog = Arc::new(server.catalog().await);
    server.stop();
    let calls = (0..64).map(|number| {
        let catalog = catalog.clone();
        tokio::spawn(async move { catalog.leaf(&table(&format!("a/b/t{number}"))).await })
    });
    let all = tokio::time::timeout(Duration::from_secs(8), futures::future::join_all(calls)).await;
    for result in all.expect("bounded, however many wait") {
        let error = result.expect("task").expect_err("away");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    let url = server.url();
    let error = connect(&url, RedisSettings::default()).await.expect_err("away");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unavailable_in_bounded_time() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let url = format!("redis://127.0.0.1:{}/0", listener.local_addr().expect("address").port());
    let error = connect(&url, RedisSettings::default()).await.expect_err("silent");
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn something_else_at_the_address_is_told() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    let answering = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 512];
            let _ = stream.read(&mut buffer).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let url = format!("redis://127.0.0.1:{port}/0");
    let error = connect(&url, RedisSettings::default()).await.expect_err("no Redis");
    assert!(
        matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Unavailable),
        "{:?}: {error}",
        error.kind()
    );
    answering.abort();
}

#[tokio::test]
async fn an_encrypted_address_on_a_plain_server_is_an_error_and_no_panic() {
    let server = RedisServer::start(&[]).await;
    let url = format!("rediss://127.0.0.1:{}/0", server.port());
    assert!(connect(&url, RedisSettings::default()).await.is_err());
}

#[tokio::test]
async fn credentials_are_checked_and_never_shown() {
    let server = RedisServer::start(&[
        "--requirepass",
        "right-word",
        "--user",
        "gateway",
        "on",
        ">gate-word",
        "~*",
        "&*",
        "+@all",
        "--user",
        "narrow",
        "on",
        ">gate-word",
        "~*",
        "&*",
        "+@all",
        "-@dangerous",
    ])
    .await;
    let settings = |user: Option<&str>, password: Option<&str>| RedisSettings {
        username: user.map(str::to_owned),
        password: password.map(Secret::new),
        ..RedisSettings::default()
    };
    for (user, password) in
        [(None, None), (None, Some("wrong-word")), (Some("x"), Some("wrong-word"))]
    {
        let error = connect(&server.url(), settings(user, password)).await.expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(!format!("{error} {error:?}").contains("-word"), "{error}");
    }
    // The first command of a connection to another database is refused in other words.
    let third = format!("redis://127.0.0.1:{}/3", server.port());
    let error = connect(&third, settings(None, None)).await.expect_err("no password");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    let plain = connect(&server.url(), settings(None, Some("right-word"))).await.expect("password");
    assert!(!format!("{plain:?}").contains("-word"));
    let acl = connect(&server.url(), settings(Some("gateway"), Some("gate-word"))).await;
    let health = acl.expect("ACL user").health().await.expect("health");
    assert!(!health.description.contains("-word"));
    let narrow = connect(&server.url(), settings(Some("narrow"), Some("gate-word"))).await;
    let narrow = narrow.expect("INFO is not needed");
    assert!(narrow.health().await.expect("health").description.contains("INFO"));
    assert!(narrow.create_super(&table("a/b/c").super_id(), 1).await.expect("create"));
    let url = format!("redis://gateway:gate-word@127.0.0.1:{}/3", server.port());
    let in_url = connect(&url, RedisSettings::default()).await.expect("in the address");
    let description = in_url.health().await.expect("health").description;
    assert!(!description.contains("-word") && description.contains("/3"), "{description}");
}

#[tokio::test]
async fn the_master_is_found_by_sentinel_and_followed_after_a_failover() {
    let mut master = RedisServer::start(&[]).await;
    let master_port = master.port().to_string();
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &master_port]).await;
    let port = free_port();
    let config = master.directory().join("sentinel.conf");
    let text = format!(
        "port {port}\nbind 127.0.0.1\nsentinel monitor lake 127.0.0.1 {master_port} 1\n\
         sentinel down-after-milliseconds lake 500\nsentinel failover-timeout lake 3000\n"
    );
    std::fs::write(&config, text).expect("write");
    let _sentinel = Sentinel(
        std::process::Command::new("redis-server")
            .arg(&config)
            .arg("--sentinel")
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("redis-server must be installed"),
    );
    let settings = RedisSettings {
        sentinels: vec![format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{port}")],
        sentinel_master: Some("lake".to_owned()),
        ..RedisSettings::default()
    };
    let catalog: SharedCatalog =
        Arc::new(connect("redis://ignored/0", settings).await.expect("found"));
    let id = table("acme/shop/orders");
    put(&catalog, &id, "leaf").await;
    wait_for_replica(&replica, &id).await;
    let before = catalog.health().await.expect("health").epoch;
    // Sentinel must know the replica before it can promote it.
    SystemClock.sleep(Duration::from_secs(11)).await;
    master.stop();
    let mut found = None;
    for _ in 0..12 {
        if let Ok(leaf) = catalog.leaf(&id).await {
            found = leaf;
            break;
        }
    }
    assert_eq!(found.map(|leaf| leaf.raw), Some(Bytes::from("leaf")), "the replica took over");
    assert_ne!(catalog.health().await.expect("health").epoch, before);
    let outcome = catalog.swap(swap(&id, Some(&"leaf".into()), Some(&"next".into()))).await;
    assert!(matches!(outcome, Ok(SwapOutcome::Swapped { .. })), "{outcome:?}");
}

struct Sentinel(std::process::Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn wait_for_replica(replica: &RedisServer, id: &mountable::ident::TableId) {
    let key = format!(
        "supertable:{}:lakes:{}:meta:leaf:doc:{}",
        id.organization, id.super_name, id.simple_name
    );
    for _ in 0..1_500 {
        let copied: Option<String> = replica.raw().await.get(&key).await.expect("get");
        if copied.is_some() {
            return;
        }
        SystemClock.sleep(Duration::from_millis(50)).await;
    }
    panic!("the replica does not follow");
}
