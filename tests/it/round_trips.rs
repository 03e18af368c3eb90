//! What a look and a save cost: calls of the catalogue and requests to the store, counted.

use std::sync::Arc;
use std::time::Duration;

use mountable::catalog::{EmbeddedCatalog, SharedCatalog};
use mountable::clock::{SharedClock, SystemClock};
use mountable::config::Settings;
use mountable::csv::Parser;
use mountable::lake::{
    At, ChangeSet, CommitOutcome, Edit, Lake, OnExistingKey, OrgName, SuperId, TableConfig,
};
use mountable::store::fault::{Call, FaultStore};
use mountable::store::{self, Objects, StoreOptions};

use crate::support::counting::Counting;
use crate::support::{Lab, principal};

/// A lake whose back ends count.
struct Meter {
    lake: Lake,
    catalog: Arc<Counting>,
    store: Arc<FaultStore>,
    seen: [u64; 3],
}

impl Meter {
    async fn new() -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let inner: SharedCatalog = Arc::new(EmbeddedCatalog::memory(Arc::clone(&clock)).unwrap());
        let catalog = Counting::over(inner);
        let objects = store::open("memory:", &StoreOptions::default()).unwrap();
        let store = Arc::new(FaultStore::new(objects));
        let mut settings = Settings::default();
        // Every look asks: what a pointer that is remembered for a moment saves does not count.
        settings.timing.pointer = Duration::ZERO;
        let parts = (Arc::clone(&store) as Objects, Arc::clone(&catalog) as SharedCatalog);
        let lake = Lake::from_parts(&settings, parts.0, parts.1, clock).unwrap();
        let who = principal("meter");
        lake.create_organization(&who, &OrgName::new("acme").unwrap()).await.unwrap();
        lake.create_super(&who, &SuperId::parse("acme/shop").unwrap()).await.unwrap();
        let schema = {
            use arrow::datatypes::{DataType, Field, Schema};
            let id = Field::new("id", DataType::Int64, true);
            Arc::new(Schema::new(vec![id, Field::new("name", DataType::Utf8, true)]))
        };
        lake.create_table(&who, &Lab::id("t"), schema, TableConfig::default()).await.unwrap();
        let mut meter = Self { lake, catalog, store, seen: [0; 3] };
        meter.append("1,a\n2,b\n").await;
        meter.read().await;
        meter.cost();
        meter
    }

    async fn append(&self, rows: &str) {
        let who = principal("meter");
        let id = Lab::id("t");
        let base = self.lake.latest(&who, &id).await.unwrap();
        let names: Vec<String> =
            base.schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut writer = self.lake.writer(&who, &id, &base.schema, &[]).await.unwrap();
        let batch = Parser::new(&names, &base.schema).unwrap().parse(rows.as_bytes(), 2).unwrap();
        let insert = batch.num_rows() as u64;
        writer.write(batch).await.unwrap();
        let change = ChangeSet {
            base,
            edits: vec![Edit { at: Edit::END, remove: 0, insert }],
            rows: writer.finish().await.unwrap(),
            schema: None,
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        let outcome = self.lake.commit(&who, &id, change, "append", "").await.unwrap();
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }

    async fn read(&self) -> String {
        let view = self.lake.view(&principal("meter"), &Lab::id("t"), At::Latest).await.unwrap();
        String::from_utf8(view.read_at(0..view.len()).await.unwrap().concat()).unwrap()
    }

    /// Calls of the catalogue, and puts, reads and listings of the store since the last time.
    fn cost(&mut self) -> (Vec<&'static str>, [u64; 3]) {
        let now = [Call::Put, Call::Get, Call::List].map(|call| self.store.calls(call));
        let spent = std::array::from_fn(|kind| now[kind] - self.seen[kind]);
        self.seen = now;
        (self.catalog.take(), spent)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_read_is_one_call_of_the_catalogue_and_none_of_the_store() {
    let mut meter = Meter::new().await;
    assert_eq!(meter.read().await, "id,name\n1,a\n2,b\n");
    assert_eq!(meter.cost(), (vec!["leaf"], [0, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_size_is_one_call_of_the_catalogue_and_none_of_the_store() {
    let mut meter = Meter::new().await;
    let snapshot = meter.lake.latest(&principal("meter"), &Lab::id("t")).await.unwrap();
    assert_eq!(meter.lake.text_bytes(&snapshot), Some(16));
    assert_eq!(meter.cost(), (vec!["leaf"], [0, 0, 0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_puts_a_data_file_and_a_snapshot_and_reads_nothing() {
    let mut meter = Meter::new().await;
    meter.append("3,c\n").await;
    let (calls, store) = meter.cost();
    assert_eq!(store, [2, 0, 0], "puts, reads, listings");
    let count = |name: &str| calls.iter().filter(|call| **call == name).count();
    assert_eq!((count("acquire"), count("swap"), count("release")), (1, 1, 1), "{calls:?}");
    assert_eq!(count("reserve_row_ids"), 1, "{calls:?}");
    // Beyond the looks of the fixture: lock, pointer, ids, swap, release.
    let looks = count("leaf");
    assert_eq!(calls.len(), 4 + looks, "{calls:?}");
    assert!(looks <= 3, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_puts_its_rows_its_deletes_and_a_snapshot() {
    let mut meter = Meter::new().await;
    let who = principal("meter");
    let base = meter.lake.latest(&who, &Lab::id("t")).await.unwrap();
    let writer = meter.lake.writer(&who, &Lab::id("t"), &base.schema, &[]).await.unwrap();
    let change = ChangeSet {
        base,
        edits: vec![Edit { at: 0, remove: 1, insert: 0 }],
        rows: writer.finish().await.unwrap(),
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    };
    let outcome = meter.lake.commit(&who, &Lab::id("t"), change, "edit", "").await.unwrap();
    assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    let (_, store) = meter.cost();
    assert_eq!((store[0], store[2]), (2, 0), "a deletion vector and the snapshot; no listing");
    assert_eq!(meter.read().await, "id,name\n2,b\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_version_is_found_without_reading_all_between() {
    let mut meter = Meter::new().await;
    for number in 0..60 {
        meter.append(&format!("{number},x\n")).await;
    }
    let (who, id) = (principal("meter"), Lab::id("t"));
    let history = meter.lake.history(&who, &id, 1000).await.unwrap();
    let fourth = history.iter().find(|snapshot| snapshot.version == 4).unwrap().clone();
    // A process that has seen nothing of it yet.
    let objects = Arc::clone(&meter.store) as Objects;
    let catalog = Arc::clone(&meter.catalog) as SharedCatalog;
    let open = || {
        let (objects, catalog) = (Arc::clone(&objects), Arc::clone(&catalog));
        Lake::from_parts(&Settings::default(), objects, catalog, Arc::new(SystemClock)).unwrap()
    };
    for at in [At::Version(4), At::Time(fourth.committed_ms)] {
        meter.cost();
        let found = open().snapshot(&who, &id, at).await.unwrap();
        assert_eq!(found.path, fourth.path);
        let (_, [puts, reads, lists]) = meter.cost();
        assert_eq!((puts, lists), (0, 1));
        assert!(reads < 32, "{reads} reads for {at:?}");
    }
}
