//! Gateways over the simulated world, and what clients ask of them.

use std::sync::Arc;

use mountable::catalog::SharedCatalog;
use mountable::clock::SharedClock;
use mountable::config::Settings;
use mountable::csv::Parser;
use mountable::error::{Error, Result};
use mountable::lake::{
    At, ChangeSet, CommitOutcome, Edit, Lake, OnExistingKey, OrgName, Principal, Snapshot, SuperId,
    TableConfig, TableId,
};
use mountable::store::Objects;
use object_store::memory::InMemory;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::catalog::{Server, SimCatalog};
use crate::linear::Overwriting;
use crate::store::SimStore;
use crate::world::{Life, World};

/// What outlives every gateway.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) server: Server,
    objects: Arc<InMemory>,
    /// Whether the store overwrites what it should refuse.
    broken: bool,
}

/// A gateway, until it dies.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) lake: Lake,
    life: Option<Life>,
    who: Principal,
}

pub(crate) fn table(name: &str) -> TableId {
    TableId::parse(&format!("acme/shop/{name}")).unwrap()
}

pub(crate) fn schema() -> SchemaRef {
    let field = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![field("id"), field("value")]))
}

/// A row: its id and its value.
pub(crate) type Row = (i64, i64);

impl Lab {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            server: Server::default(),
            objects: Arc::default(),
            broken: false,
        }
    }

    /// The same over a store without create-only puts.
    pub(crate) fn broken(world: &World) -> Self {
        Self { broken: true, ..Self::new(world) }
    }

    /// A gateway without anything cached.
    pub(crate) fn gateway(&self, number: usize) -> Gateway {
        let life = Life::new(&self.world, number);
        let clock: SharedClock = Arc::new(life.clone());
        let objects: Objects =
            Arc::new(SimStore { inner: Arc::clone(&self.objects), life: life.clone() });
        let objects = if self.broken { Arc::new(Overwriting(objects)) } else { objects };
        let catalog: SharedCatalog =
            Arc::new(SimCatalog { server: self.server.clone(), life: life.clone() });
        let client = format!("gateway {number}");
        Gateway { life: Some(life), ..gateway_of(&client, objects, catalog, clock) }
    }

    /// Makes `acme/shop` with a table of no rows and the key `id`.
    pub(crate) async fn furnish(&self) {
        furnish(&self.gateway(99)).await;
        self.server.pin();
    }
}

/// A gateway over any store and catalogue.
pub(crate) fn gateway_over(
    objects: Objects,
    catalog: SharedCatalog,
    clock: SharedClock,
) -> Gateway {
    gateway_of("client", objects, catalog, clock)
}

fn gateway_of(
    client: &str,
    objects: Objects,
    catalog: SharedCatalog,
    clock: SharedClock,
) -> Gateway {
    let mut settings = Settings { cache_bytes: 32 << 20, ..Settings::default() };
    settings.timing.pointer = std::time::Duration::from_millis(1);
    let lake = Lake::from_parts(&settings, objects, catalog, clock).unwrap();
    let who = Principal {
        uid: 0,
        client: client.to_owned(),
        role: "superadmin".to_owned(),
        read_only: false,
    };
    Gateway { lake, life: None, who }
}

/// Makes `acme/shop/orders`.
pub(crate) async fn furnish(gateway: &Gateway) {
    gateway.lake.create_organization(&gateway.who, &OrgName::new("acme").unwrap()).await.unwrap();
    let id = SuperId::parse("acme/shop").unwrap();
    gateway.lake.create_super(&gateway.who, &id).await.unwrap();
    gateway.create("orders").await.unwrap();
}

impl Gateway {
    /// Its hold on the simulated world.
    pub(crate) fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    pub(crate) async fn create(&self, name: &str) -> Result<Arc<Snapshot>> {
        let config = TableConfig { keys: vec!["id".to_owned()], ..TableConfig::default() };
        self.lake.create_table(&self.who, &table(name), schema(), config).await
    }

    pub(crate) async fn drop_table(&self, name: &str) -> Result<()> {
        self.lake.drop_table(&self.who, &table(name)).await
    }

    /// Brings the table back that was dropped last.
    pub(crate) async fn restore(&self) -> Result<Arc<Snapshot>> {
        let id = SuperId::parse("acme/shop").unwrap();
        let trash = self.lake.trash(&id).await?;
        let name = trash.last().ok_or_else(|| Error::not_found("the trash is empty"))?;
        self.lake.restore_table(&self.who, &id, name).await
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<Arc<Snapshot>> {
        self.lake.rename_table(&self.who, &table(from), &table(to)).await
    }

    pub(crate) async fn latest(&self, name: &str) -> Result<Arc<Snapshot>> {
        self.lake.latest(&self.who, &table(name)).await
    }

    /// Rows of a table in order, with their snapshot.
    pub(crate) async fn rows(&self, name: &str) -> Result<(Arc<Snapshot>, Vec<Row>)> {
        let view = self.lake.view(&self.who, &table(name), At::Latest).await?;
        let text = view.read_at(0..view.len()).await?.concat();
        let text = String::from_utf8(text).unwrap();
        let mut rows = Vec::new();
        for line in text.lines().skip(1) {
            let (id, value) = line.split_once(',').unwrap();
            rows.push((id.parse().unwrap(), value.parse().unwrap()));
        }
        Ok((Arc::clone(view.snapshot()), rows))
    }

    /// Versions of a table, newest first.
    pub(crate) async fn versions(&self, name: &str) -> Result<Vec<u64>> {
        let history = self.lake.history(&self.who, &table(name), 100_000).await?;
        Ok(history.iter().map(|snapshot| snapshot.version).collect())
    }

    /// Commits an edit of rows of `base` and new ones.
    pub(crate) async fn edit(
        &self,
        base: &Arc<Snapshot>,
        edit: Edit,
        new: &[Row],
    ) -> Result<CommitOutcome> {
        let id = &base.table;
        let mut writer = self.lake.writer(&self.who, id, &base.schema, &base.config.keys).await?;
        if !new.is_empty() {
            let names = ["id".to_owned(), "value".to_owned()];
            let mut parser = Parser::new(&names, &base.schema)?;
            let text: String = new.iter().map(|(id, value)| format!("{id},{value}\n")).collect();
            writer.write(parser.parse(text.as_bytes(), 2).unwrap()).await?;
        }
        let change = ChangeSet {
            base: Arc::clone(base),
            edits: vec![edit],
            rows: writer.finish().await?,
            schema: None,
            config: None,
            on_existing_key: OnExistingKey::Refuse,
        };
        self.lake.commit(&self.who, id, change, "edit", "").await
    }

    pub(crate) async fn append(&self, name: &str, rows: &[Row]) -> Result<CommitOutcome> {
        let base = self.latest(name).await?;
        let insert = rows.len() as u64;
        self.edit(&base, Edit { at: Edit::END, remove: 0, insert }, rows).await
    }

    /// Gives the row of this id another value.
    pub(crate) async fn update(&self, name: &str, (id, value): Row) -> Result<CommitOutcome> {
        let (base, at) = self.find(name, id).await?;
        self.edit(&base, Edit { at, remove: 1, insert: 1 }, &[(id, value)]).await
    }

    pub(crate) async fn delete(&self, name: &str, id: i64) -> Result<CommitOutcome> {
        let (base, at) = self.find(name, id).await?;
        self.edit(&base, Edit { at, remove: 1, insert: 0 }, &[]).await
    }

    async fn find(&self, name: &str, id: i64) -> Result<(Arc<Snapshot>, u64)> {
        let (base, rows) = self.rows(name).await?;
        let at = rows.iter().position(|(row, _)| *row == id);
        let at = at.ok_or_else(|| Error::not_found("there is no such row"))?;
        Ok((base, at as u64))
    }

    /// Removes every version but the newest.
    pub(crate) async fn vacuum(&self, name: &str) -> Result<mountable::lake::Vacuumed> {
        let now = mountable::lake::VacuumSettings::older_than(std::time::Duration::ZERO);
        self.lake.vacuum(&self.who, &table(name), &now, "").await
    }

    /// Gives the table another rule for conflicts.
    pub(crate) async fn configure(&self, name: &str) -> Result<CommitOutcome> {
        let base = self.latest(name).await?;
        let mut config = base.config.clone();
        config.on_conflict = match config.on_conflict {
            mountable::lake::OnConflict::Refuse => mountable::lake::OnConflict::LastWriterWins,
            mountable::lake::OnConflict::LastWriterWins => mountable::lake::OnConflict::Refuse,
        };
        let change = ChangeSet {
            base: Arc::clone(&base),
            edits: Vec::new(),
            rows: mountable::lake::NewRows::none(),
            schema: None,
            config: Some(config),
            on_existing_key: OnExistingKey::Refuse,
        };
        self.lake.commit(&self.who, &base.table, change, "configure", "").await
    }
}
