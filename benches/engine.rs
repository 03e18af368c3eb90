//! Speed of commits: `cargo bench --bench engine`. Local storage in the temporary directory;
//! SQLite, and for the appends a Redis server of its own, as catalogue.

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark stops where something fails"
)]

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use mountable::catalog::{EmbeddedCatalog, RedisCatalog, RedisOptions, SharedCatalog};
use mountable::clock::SystemClock;
use mountable::config::{RedisSettings, Settings};
use mountable::lake::{
    At, ChangeSet, CommitOutcome, CompactSettings, Edit, Lake, OnExistingKey, OrgName, Principal,
    SuperId, TableConfig, TableId,
};
use mountable::store::{self, StoreOptions};
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Appends of each client in one sample.
const APPENDS: usize = 20;

fn main() {
    divan::main();
}

/// A Redis server that ends with the value.
struct Redis {
    child: Child,
    url: String,
}

impl Redis {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("free port")
            .port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server starts");
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, url: format!("redis://127.0.0.1:{port}/0") }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A lake with one table.
struct Bed {
    runtime: Runtime,
    lake: Lake,
    id: TableId,
    next: AtomicI64,
    _directory: tempfile::TempDir,
    _redis: Option<Redis>,
}

fn who() -> Principal {
    Principal {
        uid: 0,
        client: "bench".to_owned(),
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

fn batch(ids: std::ops::Range<i64>) -> RecordBatch {
    let names = StringArray::from_iter_values(ids.clone().map(|id| format!("name of {id}")));
    let ids = Int64Array::from_iter_values(ids);
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).expect("batch")
}

impl Bed {
    /// A table of `rows` rows.
    fn new(rows: i64, redis: Option<Redis>) -> Self {
        let runtime = Runtime::new().expect("runtime");
        let directory = tempfile::tempdir().expect("directory");
        let place = directory.path().to_string_lossy().into_owned();
        let clock = Arc::new(SystemClock);
        let id = TableId::parse("acme/shop/orders").expect("valid id");
        let lake = runtime.block_on(async {
            let catalog: SharedCatalog = match &redis {
                Some(redis) => {
                    let options =
                        RedisOptions { url: redis.url.clone(), settings: RedisSettings::default() };
                    Arc::new(RedisCatalog::connect(&options, clock.clone()).await.expect("Redis"))
                }
                None => {
                    let file = directory.path().join("catalog.sqlite");
                    Arc::new(EmbeddedCatalog::open(&file, clock.clone()).await.expect("SQLite"))
                }
            };
            let objects = store::open(&place, &StoreOptions::default()).expect("store");
            let lake = Lake::from_parts(&Settings::default(), objects, catalog, clock.clone())
                .expect("lake");
            let org = OrgName::new("acme").expect("name");
            lake.create_organization(&who(), &org).await.expect("create");
            let super_id = SuperId::parse("acme/shop").expect("id");
            lake.create_super(&who(), &super_id).await.expect("create");
            let config = TableConfig::default();
            lake.create_table(&who(), &id, schema(), config).await.expect("create");
            lake
        });
        let bed = Self {
            runtime,
            lake,
            id,
            next: AtomicI64::new(rows),
            _directory: directory,
            _redis: redis,
        };
        if rows > 0 {
            bed.runtime.block_on(bed.fill(rows));
        }
        bed
    }

    async fn fill(&self, rows: i64) {
        let mut writer = self.writer().await;
        let mut at = 0;
        while at < rows {
            let end = rows.min(at + 50_000);
            writer.write(batch(at..end)).await.expect("write");
            at = end;
        }
        let rows = writer.finish().await.expect("finish");
        let insert = rows.rows;
        self.commit(vec![Edit { at: Edit::END, remove: 0, insert }], rows).await;
    }

    async fn writer(&self) -> mountable::lake::RowWriter {
        self.lake.writer(&who(), &self.id, &schema(), &[]).await.expect("writer")
    }

    async fn commit(&self, edits: Vec<Edit>, rows: mountable::lake::NewRows) {
        let base = self.lake.latest(&who(), &self.id).await.expect("latest");
        let change = ChangeSet {
            base,
            edits,
            rows,
            schema: None,
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        let outcome = self.lake.commit(&who(), &self.id, change, "edit", "").await;
        assert!(matches!(outcome, Ok(CommitOutcome::Committed { .. })), "{outcome:?}");
    }

    /// One row at the end.
    async fn append(&self) {
        let row = self.next.fetch_add(1, Ordering::Relaxed);
        let mut writer = self.writer().await;
        writer.write(batch(row..row + 1)).await.expect("write");
        let rows = writer.hold().await.expect("hold");
        self.commit(vec![Edit { at: Edit::END, remove: 0, insert: 1 }], rows).await;
    }

    /// Changes one row each at `places`, ascending.
    async fn edit(&self, places: impl Iterator<Item = u64>) {
        let edits: Vec<Edit> = places.map(|at| Edit { at, remove: 1, insert: 1 }).collect();
        let count = i64::try_from(edits.len()).expect("count");
        let row = self.next.fetch_add(count, Ordering::Relaxed);
        let mut writer = self.writer().await;
        writer.write(batch(row..row + count)).await.expect("write");
        let rows = writer.hold().await.expect("hold");
        self.commit(edits, rows).await;
    }

    /// All bytes of the table, as a gateway reads them that has just been started.
    async fn cat(&self) -> u64 {
        let view = self.lake.view(&who(), &self.id, At::Latest).await.expect("view");
        let (mut at, len) = (0, view.len());
        while at < len {
            let next = len.min(at + (1 << 20));
            black_box(view.read_at(at..next).await.expect("read"));
            at = next;
        }
        len
    }
}

/// Rows acknowledged per second; one client's latency is the time of a sample divided by 20.
#[divan::bench(args = [1, 16], sample_count = 20, sample_size = 1)]
fn appends_of_clients(bencher: Bencher<'_, '_>, clients: usize) {
    let bed = Arc::new(Bed::new(0, Some(Redis::start())));
    bencher.counter(ItemsCount::new(clients * APPENDS)).bench_local(|| {
        bed.runtime.block_on(async {
            let tasks: Vec<_> = (0..clients)
                .map(|_| {
                    let bed = Arc::clone(&bed);
                    tokio::spawn(async move {
                        for _ in 0..APPENDS {
                            bed.append().await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic");
            }
        });
    });
}

/// One changed row in the middle of a table.
#[divan::bench(args = [10_000, 10_000_000], sample_count = 20, sample_size = 1)]
fn one_row_edit(bencher: Bencher<'_, '_>, rows: u64) {
    let bed = Bed::new(i64::try_from(rows).expect("count"), None);
    let mut at = rows / 2;
    bencher.bench_local(|| {
        at += 3;
        bed.runtime.block_on(bed.edit(std::iter::once(at)));
    });
}

/// 10,000 scattered changed rows of a million in one commit.
#[divan::bench(sample_count = 3, sample_size = 1)]
fn scattered_edits(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| Bed::new(1_000_000, None))
        .bench_local_refs(|bed| bed.runtime.block_on(bed.edit((0..10_000).map(|n| n * 100 + 7))));
}

/// Reading a million rows: as written, with 10,000 scattered changes, and compacted after them.
#[divan::bench(args = ["written", "edited", "compacted"], sample_count = 3, sample_size = 1)]
fn cold_cat(bencher: Bencher<'_, '_>, state: &str) {
    bencher
        .with_inputs(|| {
            let bed = Bed::new(1_000_000, None);
            if state != "written" {
                bed.runtime.block_on(bed.edit((0..10_000).map(|n| n * 100 + 7)));
            }
            if state == "compacted" {
                let all = CompactSettings::all();
                let done = bed.runtime.block_on(bed.lake.compact(&who(), &bed.id, &all));
                assert!(done.expect("compact").files_before > 0);
            }
            bed
        })
        .bench_local_refs(|bed| bed.runtime.block_on(bed.cat()));
}
