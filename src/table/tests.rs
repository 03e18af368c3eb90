//! Tests of the engine: real store and catalogue in memory, nothing mocked but the lengths.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use object_store::memory::InMemory;

use super::*;
use crate::catalog::{EmbeddedCatalog, KeyLayout};
use crate::clock::SystemClock;
use crate::ident::At;
use crate::store::fault::FaultStore;
use crate::table::scan::conform;

mod check;
mod commit;
mod compact;
mod faults;
mod foreign;
mod generations;
mod lifecycle;
mod together;
mod vacuum;

/// Renders the rows and counts.
#[derive(Debug)]
struct Rendered(scan::FileReader);

#[async_trait]
impl RowMeasure for Rendered {
    async fn bytes(&self, file: &DataFile, rows: Range<u32>, schema: &SchemaRef) -> Result<u64> {
        let batch = self.0.read_rows(file, rows, schema).await?;
        let (mut text, mut ends) = (Vec::new(), Vec::new());
        crate::csv::render(&batch, &mut text, &mut ends)?;
        Ok(u64::try_from(text.len()).expect("small"))
    }

    async fn block_bytes(&self, file: &DataFile, schema: &SchemaRef) -> Result<Arc<[u64]>> {
        let rows = u32::try_from(file.rows).expect("small");
        Ok(vec![self.bytes(file, 0..rows, schema).await?].into())
    }
}

/// A lake in memory.
struct Lab {
    store: Arc<FaultStore>,
    catalog: SharedCatalog,
    inline_pieces_max: usize,
}

impl Lab {
    fn new() -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        Self {
            store: Arc::new(FaultStore::new(Arc::new(InMemory::new()))),
            catalog: Arc::new(EmbeddedCatalog::memory(clock).expect("catalogue opens")),
            inline_pieces_max: 3,
        }
    }

    async fn with_super() -> Self {
        Self::new().and_super().await
    }

    /// A lake in the key layout of SuperTable 2.0.
    async fn in_v1() -> Self {
        let clock: SharedClock = Arc::new(SystemClock);
        let catalog = EmbeddedCatalog::memory(clock).expect("catalogue opens");
        let catalog = Arc::new(catalog.spelled(KeyLayout::V1));
        Self { catalog, ..Self::new() }.and_super().await
    }

    async fn and_super(self) -> Self {
        let lab = self;
        let id = TableId::parse("acme/shop/orders").expect("valid id").super_id();
        lab.catalog.create_organization(&id.organization).await.expect("organization");
        lab.catalog.create_super(&id, 1).await.expect("super table");
        lab
    }

    /// A handle with caches of its own, as another gateway has.
    fn table(&self, name: &str) -> Table {
        let parts = TableParts {
            objects: Arc::clone(&self.store) as Objects,
            catalog: Arc::clone(&self.catalog),
            clock: Arc::new(SystemClock),
            measure: Arc::new(Rendered(scan::FileReader::new(
                Arc::clone(&self.store) as Objects,
                1 << 20,
            ))),
            settings: TableSettings {
                inline_pieces_max: self.inline_pieces_max,
                commit_deadline: Duration::from_secs(20),
                ..TableSettings::default()
            },
            caches: Arc::new(TableCaches::new(8 << 20)),
        };
        Table::new(parts, TableId::parse(&format!("acme/shop/{name}")).expect("valid id"))
    }

    async fn orders(&self) -> Table {
        let table = self.table("orders");
        table.create(schema(), TableConfig::default(), by("create")).await.expect("create");
        table
    }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

fn by(operation: &str) -> Lineage {
    Lineage { operation: operation.to_owned(), role: "writer".to_owned(), ..Lineage::default() }
}

fn batch(rows: &[(i64, &str)]) -> RecordBatch {
    let ids = Int64Array::from_iter_values(rows.iter().map(|(id, _)| *id));
    let names = StringArray::from_iter_values(rows.iter().map(|(_, name)| *name));
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names)]).expect("batch")
}

async fn new_rows(table: &Table, base: &Snapshot, rows: &[(i64, &str)]) -> NewRows {
    let mut writer = table.writer(base, &base.schema, &base.config.keys).expect("writer");
    if !rows.is_empty() {
        writer.write(batch(rows)).await.expect("write");
    }
    writer.finish().await.expect("finish")
}

async fn change(
    table: &Table,
    base: &Arc<Snapshot>,
    edits: &[(u64, u64, u64)],
    rows: &[(i64, &str)],
) -> ChangeSet {
    ChangeSet {
        base: Arc::clone(base),
        edits: edits
            .iter()
            .map(|(at, remove, insert)| Edit { at: *at, remove: *remove, insert: *insert })
            .collect(),
        rows: new_rows(table, base, rows).await,
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    }
}

async fn try_edit(
    table: &Table,
    base: &Arc<Snapshot>,
    edits: &[(u64, u64, u64)],
    rows: &[(i64, &str)],
) -> Result<CommitOutcome> {
    let change = change(table, base, edits, rows).await;
    table.commit(change, by("edit"), Vec::new()).await
}

/// Commits an edit that must go through.
#[track_caller]
fn committed(outcome: Result<CommitOutcome>) -> Arc<Snapshot> {
    match outcome.expect("commit") {
        CommitOutcome::Committed { snapshot, .. } => snapshot,
        other => panic!("not committed: {other:?}"),
    }
}

async fn append(table: &Table, rows: &[(i64, &str)]) -> Arc<Snapshot> {
    let base = latest(table).await;
    let count = u64::try_from(rows.len()).expect("small");
    committed(try_edit(table, &base, &[(Edit::END, 0, count)], rows).await)
}

async fn latest(table: &Table) -> Arc<Snapshot> {
    table.latest().await.expect("latest").expect("table exists")
}

/// The rows in order, as `id=name`, through the layout; checks the invariants on the way.
async fn try_text(table: &Table, snapshot: &Snapshot) -> Result<String> {
    let layout = table.layout(snapshot).await?;
    assert_eq!(layout.rows(), snapshot.rows(), "layout has every live row once");
    let mut out = Vec::new();
    for piece in &layout.pieces {
        let path = layout.path(piece.file)?;
        let file = snapshot.files.iter().find(|file| file.path == *path).expect("file is listed");
        let measured = table.parts().measure.bytes(file, piece.range(), &snapshot.schema).await?;
        assert_eq!(piece.bytes, measured, "length of {piece:?} is exact");
        let batches = stored::read_columns(&table.parts().objects, file, &["id", "name"]).await?;
        let mut rows = Vec::new();
        for batch in &batches {
            let batch = conform(batch, &schema())?;
            let names = batch.column(1).as_string::<i32>();
            for (id, name) in batch.column(0).as_primitive::<Int64Type>().iter().zip(names.iter()) {
                rows.push(format!("{}={}", id.unwrap_or(-1), name.unwrap_or("-")));
            }
        }
        let range = piece.range();
        let index = |row: u32| usize::try_from(row).expect("small");
        out.extend_from_slice(&rows[index(range.start)..index(range.end)]);
    }
    Ok(out.join(" "))
}

async fn text(table: &Table) -> String {
    let snapshot = latest(table).await;
    let text = try_text(table, snapshot.as_ref()).await.expect("readable");
    #[cfg(feature = "sql")]
    if let Some(by_sql) = text_by_sql(table, &snapshot).await {
        assert_eq!(by_sql, text, "SQL shows other rows");
    }
    text
}

/// The same rows as a query gives them; `None` where a column is gone or has become another type.
#[cfg(feature = "sql")]
async fn text_by_sql(table: &Table, snapshot: &Arc<Snapshot>) -> Option<String> {
    use crate::sql::{Input, Means, QueryText, TableRows, run, texts};
    use futures::TryStreamExt;

    let typed = |field: &Arc<Field>| {
        let found = snapshot.schema.field_with_name(field.name());
        found.is_ok_and(|found| found.data_type() == field.data_type())
    };
    if !schema().fields().iter().all(typed) {
        return None;
    }
    let layout = table.layout(snapshot).await.expect("layout");
    let mut runs = Vec::new();
    for piece in &layout.pieces {
        let path = layout.path(piece.file).expect("path");
        let file = snapshot.files.iter().find(|file| file.path == *path).expect("file is listed");
        runs.push(FileRun { file: file.clone(), rows: piece.range() });
    }
    let query = QueryText::parse("SELECT id, name FROM t WHERE id < 0 OR id >= 0 OR id IS NULL");
    let query = query.expect("query");
    let name = query.tables().expect("tables").remove(0);
    let rows = Input::Table(TableRows { snapshot: Arc::clone(snapshot), runs });
    let means = Means {
        reader: scan::FileReader::new(Arc::clone(&table.parts().objects), 1 << 20),
        clock: Arc::new(SystemClock),
        settings: crate::config::SqlSettings::default(),
    };
    let answer = run(query, vec![(name, rows)], means).await.expect("plan");
    let batches: Vec<RecordBatch> = answer.rows.try_collect().await.expect("rows");
    let lines = batches.iter().flat_map(|batch| texts(batch).expect("texts")).map(|row| {
        let cell = |at: usize, null: &str| row[at].clone().unwrap_or_else(|| null.to_owned());
        format!("{}={}", cell(0, "-1"), cell(1, "-"))
    });
    Some(lines.collect::<Vec<_>>().join(" "))
}

async fn text_at(table: &Table, version: u64) -> String {
    let snapshot = table.snapshot(At::Version(version)).await.expect("version exists");
    try_text(table, &snapshot).await.expect("readable")
}
