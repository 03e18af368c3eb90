//! What measurements need besides the program itself.
//!
//! ```text
//! bench_lab serve FILE                   a file in memory over the same NFS service: the ceiling
//! bench_lab tables LAKE CATALOG COUNT    a lake of many tables with one row each, in bench/many
//! ```
//! `serve` prints the address and goes on until its standard input ends.
#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, clippy::disallowed_methods)]

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use futures::stream::{self, StreamExt};
use mountable::clock::SystemClock;
use mountable::config::Settings;
use mountable::ident::{SimpleName, SuperId, TableId};
use mountable::lake::{ChangeSet, Edit, Lake, OnExistingKey, Principal, TableConfig};
use mountable::nfs::{MemoryFs, Server};

async fn serve(path: &str) {
    let clock = Arc::new(SystemClock);
    let data = bytes::Bytes::from(std::fs::read(path).unwrap());
    let files = Arc::new(MemoryFs::new(clock.clone(), u64::MAX >> 1));
    let settings = Settings { nfs: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    files.insert(b"file", &data).unwrap();
    let server = Server::start(files, &settings, clock).await.unwrap();
    println!("{}", server.address());
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = end.await;
    server.stop(Duration::ZERO).await;
}

fn admin() -> Principal {
    let (client, role) = ("bench".to_owned(), "superadmin".to_owned());
    Principal { uid: 0, client, role, read_only: false }
}

async fn table(lake: &Lake, id: &TableId) {
    let columns =
        vec![Field::new("id", DataType::Int64, true), Field::new("name", DataType::Utf8, true)];
    let schema = Arc::new(Schema::new(columns));
    let rows = RecordBatch::try_new(
        schema.clone(),
        vec![Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec!["one"]))],
    );
    let who = admin();
    let base = lake.create_table(&who, id, schema.clone(), TableConfig::default()).await.unwrap();
    let mut writer = lake.writer(&who, id, &schema, &[]).await.unwrap();
    writer.write(rows.unwrap()).await.unwrap();
    let change = ChangeSet {
        base,
        edits: vec![Edit { at: Edit::END, remove: 0, insert: 1 }],
        rows: writer.finish().await.unwrap(),
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    };
    let _committed = lake.commit(&who, id, change, "append", "").await.unwrap();
}

async fn tables(place: &str, catalog: &str, count: u32) {
    let catalog = (!catalog.is_empty()).then(|| catalog.to_owned());
    let settings = Settings { lake: place.to_owned(), catalog, ..Settings::default() };
    let lake = Lake::init(&settings, Arc::new(SystemClock)).await.unwrap();
    let id = SuperId::parse("bench/many").unwrap();
    lake.create_super(&admin(), &id).await.unwrap();
    let made = stream::iter(0..count).map(|number| {
        let id = id.table(SimpleName::new(&format!("t{number:05}")).unwrap());
        let lake = lake.clone();
        async move { table(&lake, &id).await }
    });
    made.buffer_unordered(8).collect::<Vec<()>>().await;
    println!("{count}");
}

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [_, "serve", path] => serve(path).await,
        [_, "tables", lake, catalog, count] => {
            tables(lake, catalog, count.parse().unwrap()).await;
        }
        _ => println!("bench_lab serve FILE | bench_lab tables LAKE CATALOG COUNT"),
    }
}
