//! What an append asks of Redis: every command that a client sends is one round trip.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use mountable::clock::SystemClock;
use mountable::config::Settings;
use mountable::lake::{
    At, ChangeSet, CommitOutcome, Edit, Lake, OnExistingKey, OrgName, Principal, SuperId,
    TableConfig, TableId,
};
use mountable::store::{self, StoreOptions};

use crate::redis_server::RedisServer;

/// Commands that clients send to a server, scripts' own commands left out.
struct Monitor(BufReader<TcpStream>);

impl Monitor {
    fn start(server: &RedisServer) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("time-out");
        stream.write_all(b"MONITOR\r\n").expect("asks");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("answer");
        assert_eq!(line, "+OK\r\n");
        Self(reader)
    }

    /// The commands up to an ECHO of `end`.
    fn until(&mut self, end: &str) -> Vec<String> {
        let mut commands = Vec::new();
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).expect("a command");
            if line.contains(end) {
                return commands;
            }
            if !line.contains(" lua] ") {
                commands.push(line.trim_end().to_owned());
            }
        }
    }
}

fn who() -> Principal {
    Principal {
        uid: 0,
        client: "test".to_owned(),
        role: "superadmin".to_owned(),
        read_only: false,
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

async fn append(lake: &Lake, id: &TableId, row: i64) -> CommitOutcome {
    let base = lake.latest(&who(), id).await.expect("latest");
    let mut writer = lake.writer(&who(), id, &schema(), &[]).await.expect("writer");
    let columns: (Int64Array, StringArray) = (vec![row].into(), vec!["x"].into());
    let batch = RecordBatch::try_new(schema(), vec![Arc::new(columns.0), Arc::new(columns.1)]);
    writer.write(batch.expect("batch")).await.expect("write");
    let change = ChangeSet {
        base,
        edits: vec![Edit { at: Edit::END, remove: 0, insert: 1 }],
        rows: writer.hold().await.expect("hold"),
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    };
    lake.commit(&who(), id, change, "append", "").await.expect("commit")
}

async fn lake_on(server: &RedisServer) -> (Lake, TableId) {
    let objects = store::open("memory:", &StoreOptions::default()).expect("store");
    let catalog = Arc::new(server.catalog().await);
    let lake = Lake::from_parts(&Settings::default(), objects, catalog, Arc::new(SystemClock))
        .expect("lake");
    let id = TableId::parse("acme/shop/orders").expect("valid id");
    lake.create_organization(&who(), &OrgName::new("acme").expect("name")).await.expect("create");
    lake.create_super(&who(), &SuperId::parse("acme/shop").expect("id")).await.expect("create");
    lake.create_table(&who(), &id, schema(), TableConfig::default()).await.expect("create");
    (lake, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_append_takes_four_round_trips() {
    let server = RedisServer::start(&[]).await;
    let (lake, id) = lake_on(&server).await;
    // The first one loads the scripts into the server.
    let first = append(&lake, &id, 1).await;
    assert!(matches!(first, CommitOutcome::Committed { .. }), "{first:?}");
    let mut monitor = Monitor::start(&server);
    let second = append(&lake, &id, 2).await;
    assert!(matches!(second, CommitOutcome::Committed { .. }), "{second:?}");
    let mut raw = server.raw().await;
    let _: String = redis::cmd("ECHO").arg("the end").query_async(&mut raw).await.expect("echo");
    let commands = monitor.until("the end");
    let own = |line: &&String| !line.contains("CLIENT") && !line.contains("HELLO");
    let commands: Vec<&String> = commands.iter().filter(own).collect();
    assert!(commands.len() <= 4, "{commands:#?}");
    assert!(commands.len() >= 3, "the monitor misses some: {commands:#?}");
    assert_eq!(lake.snapshot(&who(), &id, At::Latest).await.expect("latest").rows(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_at_once_have_an_audit_event_each() {
    let server = RedisServer::start(&[]).await;
    let (lake, id) = lake_on(&server).await;
    let key = "supertable:acme:system:audit:stream";
    let mut raw = server.raw().await;
    let before: u64 = redis::cmd("XLEN").arg(key).query_async(&mut raw).await.expect("length");
    let mut tasks = Vec::new();
    for row in 0..40 {
        let (lake, id) = (lake.clone(), id.clone());
        tasks.push(tokio::spawn(async move { append(&lake, &id, row).await }));
    }
    for task in tasks {
        let outcome = task.await.expect("no panic");
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }
    let after: u64 = redis::cmd("XLEN").arg(key).query_async(&mut raw).await.expect("length");
    assert_eq!(after - before, 40);
    let newest = lake.snapshot(&who(), &id, At::Latest).await.expect("latest");
    assert_eq!(newest.rows(), 40);
    assert!(newest.version < 40, "some were committed together");
}
