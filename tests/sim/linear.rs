//! Several clients over two gateways at the same time, in real threads on a real directory and a
//! real catalogue file: each acknowledged row exactly once, versions in the order of real time, the
//! last acknowledged update of a key is what is read. A store that overwrites what it should refuse
//! must be noticed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::stream::BoxStream;
use mountable::catalog::{EmbeddedCatalog, SharedCatalog};
use mountable::clock::{Clock, SharedClock, SystemClock};
use mountable::store::{self, Objects, StoreOptions};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::counts::count;
use crate::history::{Asked, History};
use crate::lab::{self, Gateway, Row};
use crate::unlocked::Unlocked;
use crate::world::Dice;

/// A store without create-only puts: what is there is overwritten.
#[derive(Debug)]
pub(crate) struct Overwriting(pub(crate) Objects);

impl fmt::Display for Overwriting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overwriting")
    }
}

#[async_trait]
impl ObjectStore for Overwriting {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        options.mode = PutMode::Overwrite;
        self.0.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.0.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.0.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.0.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.0.copy_opts(from, to, options).await
    }
}

/// What is shared by the clients.
#[derive(Clone)]
struct Race {
    history: History,
    begun: Instant,
    ids: Arc<AtomicI64>,
}

impl Race {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap()
    }
}

/// How a race came out.
struct Outcome {
    contradictions: Vec<String>,
    acknowledged: u64,
    asked: usize,
}

async fn client(race: Race, gateway: Gateway, number: u64, questions: u64) {
    let mut dice = Dice::new(number);
    for _ in 0..questions {
        let known = race.history.known_ids();
        let fresh = race.ids.fetch_add(1, Ordering::SeqCst);
        if known.is_empty() || dice.chance(600) {
            let rows: Vec<Row> = vec![(fresh, 0)];
            let at = race.history.ask_at(race.now(), Asked::Append(rows.clone()));
            let outcome = gateway.append("orders", &rows).await;
            race.history.answer_at(race.now(), at, &outcome);
        } else {
            // A few keys only, so that updates meet.
            let few = known.len().min(6) as u64;
            let row = (known[dice.below(few) as usize], fresh);
            let at = race.history.ask_at(race.now(), Asked::Update(row));
            let outcome = gateway.update("orders", row).await;
            race.history.answer_at(race.now(), at, &outcome);
        }
    }
}

fn race(clients: u64, questions: u64, honest: bool) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let lake = directory.path().join("lake");
    std::fs::create_dir(&lake).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async move {
        let clock: SharedClock = Arc::new(SystemClock);
        let open = |_| {
            let objects = store::open(lake.to_str().unwrap(), &StoreOptions::new()).unwrap();
            let objects: Objects = if honest { objects } else { Arc::new(Overwriting(objects)) };
            let file = directory.path().join("catalog.sqlite");
            let clock = Arc::clone(&clock);
            async move {
                let catalog: SharedCatalog =
                    Arc::new(EmbeddedCatalog::open(&file, Arc::clone(&clock)).await.unwrap());
                let catalog: SharedCatalog = Arc::new(Unlocked(catalog));
                lab::gateway_over(objects, catalog, clock)
            }
        };
        let gateways = [open(0).await, open(1).await];
        lab::furnish(&gateways[0]).await;
        let race = Race {
            history: History::default(),
            begun: Instant::now(),
            ids: Arc::new(AtomicI64::new(1)),
        };
        let tasks: Vec<_> = (0..clients)
            .map(|number| {
                let gateway = gateways[(number % 2) as usize].clone();
                tokio::spawn(client(race.clone(), gateway, number, questions))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        // Longer than the pointer may be reused.
        SystemClock.sleep(Duration::from_millis(50)).await;
        let contradictions = match gateways[0].rows("orders").await {
            Ok((_, rows)) => race.history.contradictions(&rows),
            Err(error) => vec![format!("the table cannot be read: {error}")],
        };
        let entries = race.history.entries();
        let done =
            entries.iter().filter(|entry| matches!(entry.answer, crate::history::Answer::Done(_)));
        Outcome { contradictions, acknowledged: done.count() as u64, asked: entries.len() }
    })
}

#[test]
fn commits_of_two_gateways_are_in_the_order_of_real_time() {
    let long = std::env::var_os("MOUNTABLE_LONG").is_some();
    let questions = if long { 2_000 } else { 12 };
    let outcome = race(16, questions, true);
    let wrong = outcome.contradictions.join("\n");
    assert!(wrong.is_empty(), "{wrong}");
    assert!(outcome.acknowledged >= 20, "only {} were acknowledged", outcome.acknowledged);
    count(&format!(
        "linearizability: 16 clients of 2 gateways, {} asked, {} acknowledged, 0 violations",
        outcome.asked, outcome.acknowledged
    ));
}

#[test]
fn a_store_that_overwrites_is_noticed() {
    for round in 1..=20 {
        let found = race(8, 10, false).contradictions.len();
        if found > 0 {
            count(&format!(
                "linearizability, broken build: {found} violations noticed in round {round}"
            ));
            return;
        }
    }
    panic!("a store without create-only puts is taken for a good one");
}

#[test]
fn the_simulation_notices_a_store_that_overwrites() {
    for seed in 0..400 {
        let found = crate::seeds::contradictions_over_broken_store(seed);
        if !found.is_empty() {
            count(&format!("simulation, broken store: noticed at seed {seed}: {}", found[0]));
            return;
        }
    }
    panic!("a store without create-only puts is taken for a good one");
}
