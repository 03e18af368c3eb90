//! `mountable demo`: a sample lake and what to type next.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::args::Demo;
use crate::cli::console::Console;
use crate::cli::demo_data::{self, Sample};
use crate::cli::serve::{Fronts, Gateway, Stop, check_port, finish, mount_settings, run};
use crate::cli::{Exit, mounting, tables};
use crate::clock::SharedClock;
use crate::config::{self, Environment, Flags, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{SuperId, TableId};
use crate::lake::{ChangeSet, CommitOutcome, Edit, Lake, OnExistingKey, Principal, TableConfig};

/// Where the sample tables are.
const SUPER: &str = "acme/shop";

/// Settings of the demo: only the log and explicit `--set` follow the user's configuration.
pub(super) fn settings(demo: &Demo, flags: &Flags, environment: &Environment) -> Result<Settings> {
    if flags.settings.iter().any(|(name, _, _)| matches!(name.as_str(), "lake" | "catalog")) {
        return Err(Error::invalid(
            "the demo makes a lake of its own: name its directory with --dir",
        ));
    }
    let own: Vec<(&str, &str)> = ["MOUNTABLE_LOG", "HOME", "XDG_STATE_HOME"]
        .into_iter()
        .filter_map(|name| environment.get(name).map(|value| (name, value)))
        // Keeps a configuration file in the usual places from being read.
        .chain([("MOUNTABLE_CONFIG", "/dev/null")])
        .collect();
    let dir = std::path::absolute(&demo.dir)?;
    let mut flags = Flags { config: None, settings: flags.settings.clone() };
    let text = |path: PathBuf| path.display().to_string();
    flags.settings.splice(
        0..0,
        [
            ("lake".to_owned(), text(dir.join("lake")), "--dir".to_owned()),
            ("state".to_owned(), text(dir.join("state")), "--dir".to_owned()),
            ("nfs".to_owned(), demo.nfs.to_string(), "--nfs".to_owned()),
        ],
    );
    Ok(config::load(&flags, &Environment::of(own))?.settings)
}

/// Makes the sample lake unless there is one, and serves it.
pub(super) async fn demo(
    demo: &Demo,
    settings: Settings,
    console: &mut Console,
    clock: SharedClock,
) -> Result<Exit> {
    let stop = Stop::listen()?;
    if !demo.no_serve {
        // Before a minute of work, not after it.
        check_port(settings.nfs)?;
    }
    let who = Principal {
        uid: rustix::process::geteuid().as_raw(),
        client: "demo".to_owned(),
        role: settings.role.clone(),
        read_only: false,
    };
    std::fs::create_dir_all(&settings.lake)?;
    let lake = Lake::init(&settings, Arc::clone(&clock)).await?;
    make(&lake, &who, demo, console).await?;
    if demo.no_serve {
        return Ok(Exit::Ok);
    }
    let fronts = Fronts { nfs: true, fuse: None };
    let mut gateway = Gateway::start(lake, &settings, &clock, fronts).await?;
    let Some(address) = gateway.address() else {
        return Err(Error::internal("the demo is not served"));
    };
    let mounted = mount(demo, address, console).await;
    let shown = match &mounted {
        None => mount_otherwise(demo, &mut gateway, (&settings, &clock), console).await,
        mounted => mounted.clone(),
    };
    console.write(instructions(demo, address, shown.as_deref()).as_bytes())?;
    console.flush()?;
    let Some(dir) = mounted else { return run(gateway, stop, console).await };
    let mut stop = stop;
    stop.wait().await;
    // The kernel must let go before the service that it talks to ends.
    let unmounted = tokio::task::spawn_blocking(move || mounting::unmount(&dir)).await;
    if let Ok(Err(error)) = unmounted {
        console.complain(&format!("mountable: {error}"));
    }
    finish(gateway, stop, console).await
}

/// Mounts through FUSE where NFS cannot be mounted; the gateway unmounts it as it stops.
async fn mount_otherwise(
    demo: &Demo,
    gateway: &mut Gateway,
    (settings, clock): (&Settings, &SharedClock),
    console: &mut Console,
) -> Option<PathBuf> {
    let dir = demo.mount.as_deref()?;
    // As over NFS: who runs the demo as root wants to look at it as somebody else.
    let others = rustix::process::geteuid().is_root();
    match gateway.mount(&mount_settings(settings, dir, others), clock).await {
        Ok(()) => Some(dir.to_owned()),
        Err(error) => {
            console.complain(&format!("not mounted through FUSE either: {error}"));
            None
        }
    }
}

/// Mounts over NFS if that was asked for and is possible; says why not otherwise.
async fn mount(
    demo: &Demo,
    address: std::net::SocketAddr,
    console: &mut Console,
) -> Option<PathBuf> {
    let dir = demo.mount.clone()?;
    if let Some(obstacle) = mounting::obstacle() {
        console.complain(&format!("not mounted over NFS: {obstacle}"));
        return None;
    }
    let at = dir.clone();
    let outcome = tokio::task::spawn_blocking(move || mounting::mount(address, &at)).await;
    match outcome {
        Ok(Ok(())) => Some(dir),
        Ok(Err(error)) => {
            console.complain(&format!("not mounted: {error}"));
            None
        }
        Err(error) => {
            console.complain(&format!("not mounted: {error}"));
            None
        }
    }
}

/// Makes the tables that are missing.
async fn make(lake: &Lake, who: &Principal, demo: &Demo, console: &mut Console) -> Result<()> {
    let id = SuperId::parse(SUPER)?;
    if !lake.supers(&id.organization).await?.contains(&id.super_name) {
        lake.create_super(who, &id).await?;
    }
    let there: Vec<TableId> =
        lake.tables(&id).await?.iter().map(|snapshot| snapshot.table.clone()).collect();
    for sample in demo_data::samples(demo.rows) {
        let table = TableId::parse(&format!("{SUPER}/{}", sample.name))?;
        if !there.contains(&table) {
            fill(lake, who, &table, &sample, console).await?;
        }
    }
    Ok(())
}

async fn fill(
    lake: &Lake,
    who: &Principal,
    table: &TableId,
    sample: &Sample,
    console: &mut Console,
) -> Result<()> {
    let keys = tables::keys(&[sample.key.to_owned()], &sample.schema)?;
    let config = TableConfig { keys, ..Default::default() };
    let bar = console.rows_bar(sample.rows, sample.name);
    let keys = config.keys.clone();
    let base = lake.create_table(who, table, sample.schema.clone(), config).await?;
    let mut writer = lake.writer(who, table, &sample.schema, &keys).await?;
    for batch in sample.batches() {
        let batch = batch?;
        bar.inc(u64::try_from(batch.num_rows()).unwrap_or_default());
        writer.write(batch).await?;
    }
    let rows = writer.finish().await?;
    let change = ChangeSet {
        base,
        edits: vec![Edit { at: Edit::END, remove: 0, insert: rows.rows }],
        rows,
        schema: None,
        config: None,
        on_existing_key: OnExistingKey::Refuse,
    };
    let outcome = lake.commit(who, table, change, "append", "sample data").await?;
    bar.finish_and_clear();
    match outcome {
        CommitOutcome::Committed { snapshot, .. } => {
            console.note(&format!("made {table}: {} rows", snapshot.rows()));
            Ok(())
        }
        CommitOutcome::Unchanged { .. } => Ok(()),
        CommitOutcome::Conflict { .. } => {
            Err(Error::new(ErrorKind::Conflict, "somebody else fills this table")
                .with("table", table))
        }
    }
}

/// What to type next.
fn instructions(demo: &Demo, address: std::net::SocketAddr, mounted: Option<&Path>) -> String {
    let dir = mounted.or(demo.mount.as_deref()).map_or_else(
        || "/mnt/lake".to_owned(),
        |dir| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string(),
    );
    let mut text = format!("\nserving {SUPER} of {} on {address}\n\n", demo.dir.display());
    match mounted {
        Some(_) => text.push_str(&format!("Mounted on {dir}; Ctrl-C unmounts and ends.\n")),
        None => {
            text.push_str(&format!(
                "Mount it in another terminal.\n  Linux:  sudo mkdir -p {dir}\n          {}\n",
                mounting::linux_command(address, &dir)
            ));
            text.push_str(&format!(
                "  macOS:  mkdir -p ~/lake\n          {}\n",
                mounting::macos_command(address, "~/lake")
            ));
        }
    }
    text.push_str(&format!(
        "\nThen try:\n\
         \x20 ls -l {dir}/{SUPER}\n\
         \x20 head -3 {dir}/{SUPER}/orders.csv\n\
         \x20 grep -c ',paid,' {dir}/{SUPER}/orders.csv\n\
         \x20 sed -i 's/,Berlin,/,Hamburg,/' {dir}/{SUPER}/customers.csv\n\
         \x20 tail -1 {dir}/{SUPER}/customers/history.csv\n"
    ));
    if mounted.is_none() {
        text.push_str(&format!(
            "\nAt the end:\n  sudo umount {dir}\n  Ctrl-C here; rm -r {} removes the lake\n",
            demo.dir.display()
        ));
    }
    text
}
