//! The command line: reads arguments and settings, calls the lake, prints, and turns every
//! outcome into one of eight exit codes. It decides nothing about tables.

mod address;
mod args;
mod backup;
mod branch;
mod cat;
mod catalog;
mod columns;
mod compact;
mod console;
mod demo;
mod demo_data;
mod doctor;
mod exit;
mod export;
mod fsck;
mod list;
mod load;
mod mirror;
mod mount;
mod mounting;
mod newer;
mod notify;
mod restore;
mod rows;
mod serve;
mod sql;
mod tables;
mod vacuum;
mod versions;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser};

use crate::cli::args::{BackupAction, Cli, Command, ConfigAction};
use crate::cli::console::{Chatter, Console, Form};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Environment, Flags, Loaded, OriginColumn, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{Lake, Principal};
use crate::telemetry;

pub use crate::cli::exit::Exit;

/// The process: its arguments, environment and standard streams.
pub fn main() -> ExitCode {
    let environment = Environment::capture();
    let mut console = Console::standard(&environment);
    ExitCode::from(run(std::env::args_os(), &environment, &mut console).code())
}

/// Runs one verb.
fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    console: &mut Console,
) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, console),
    };
    if cli.global.quiet {
        console.chatter = Chatter::Quiet;
    }
    if cli.global.json {
        console.form = Form::Json;
    }
    let outcome = dispatch(cli, environment, console).and_then(|exit| {
        console.flush()?;
        Ok(exit)
    });
    match outcome {
        Ok(exit) => exit,
        Err(_) if console.closed() => Exit::Ok,
        Err(error) => {
            console.complain(&format!("mountable: {error}"));
            if let Some(hint) = hint(error.kind()) {
                console.complain(&format!("  {hint}"));
            }
            Exit::from(error.kind())
        }
    }
}

/// Help and version are answers; everything else is wrong usage.
fn usage(error: &clap::Error, console: &mut Console) -> Exit {
    let text = error.render().to_string();
    if error.use_stderr() {
        console.complain(text.trim_end());
        return Exit::Usage;
    }
    match console.write(text.as_bytes()).and_then(|()| console.flush()) {
        Err(_) if !console.closed() => Exit::Failed,
        _ => Exit::Ok,
    }
}

/// What to do about an error that its text cannot say.
fn hint(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Busy => Some("somebody else holds it; try again"),
        ErrorKind::Unknown => Some("look with `mountable log` before you repeat it"),
        ErrorKind::Internal => Some("this is a defect of Mountable; please report it"),
        ErrorKind::Corrupt => Some("stored data contradicts itself; tell the operator of the lake"),
        _ => None,
    }
}

fn dispatch(cli: Cli, environment: &Environment, console: &mut Console) -> Result<Exit> {
    let mut flags = cli.global.flags()?;
    match &cli.command {
        Command::Completions { shell } => return completions(*shell, console),
        Command::Init { lake, layout } => {
            let given = [("lake", lake, "argument"), ("layout", layout, "--layout")];
            flags.settings.extend(given.into_iter().filter_map(|(name, value, from)| {
                Some((name.to_owned(), value.clone()?, from.to_owned()))
            }));
        }
        Command::Serve(serve) => flags.settings.extend(serve.assignments()),
        Command::Mount(mount) => flags.settings.extend(mount.assignments()),
        Command::Umount(umount) => return mount::umount(umount, console),
        Command::Backup { action: BackupAction::Restore { into, .. } } => {
            flags.settings.push(("lake".to_owned(), into.clone(), "--into".to_owned()));
        }
        // Here --set names columns; clap hands it to the settings as well.
        Command::Update(_) => flags.settings.retain(|(_, _, origin)| origin != "--set"),
        Command::Demo(demo) => return run_demo(demo, &flags, environment, console),
        _ => {}
    }
    let loaded = config::load(&flags, environment)?;
    if let Command::Config { action: ConfigAction::Show { origin } } = &cli.command {
        return show_config(&loaded, *origin, console);
    }
    telemetry::install(&loaded.settings.log)?;
    for note in &loaded.notes {
        tracing::warn!("{note}");
    }
    block_on(verb(cli.command, loaded.settings, console))
}

fn run_demo(
    demo: &args::Demo,
    flags: &Flags,
    environment: &Environment,
    console: &mut Console,
) -> Result<Exit> {
    // The demo is a lake of its own: nothing of the user's configuration may lead elsewhere.
    let settings = demo::settings(demo, flags, environment)?;
    telemetry::install(&settings.log)?;
    block_on(demo::demo(demo, settings, console, system_clock()))
}

fn block_on(future: impl Future<Output = Result<Exit>>) -> Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("mountable")
        .build()
        .map_err(|error| Error::internal("start threads").caused_by(error))?;
    runtime.block_on(Box::pin(future))
}

fn system_clock() -> SharedClock {
    Arc::new(SystemClock)
}

async fn verb(command: Command, settings: Settings, console: &mut Console) -> Result<Exit> {
    let needs_none = matches!(
        command,
        Command::Why { .. } | Command::Backup { action: BackupAction::Verify { .. } }
    );
    if settings.lake.is_empty() && !needs_none {
        return Err(Error::invalid(
            "no lake is named: use --lake DIR, the environment variable MOUNTABLE_LAKE or `lake = \
             \"...\"` in the configuration file; `mountable demo` makes one to try",
        ));
    }
    let session = Session { clock: system_clock(), settings };
    match command {
        Command::Init { .. } => tables::init(&session, console).await,
        Command::Create(create) => tables::create(&session, &create, console).await,
        Command::Load(load) => load::load(&session, &load, console).await,
        Command::Cat { table } => cat::cat(&session, &table, console).await,
        Command::Ls { place } => {
            list::ls(&session, place.as_deref().unwrap_or_default(), console).await
        }
        Command::Log { table, limit } => list::log(&session, &table, limit, console).await,
        Command::Schema { table } => list::schema(&session, &table, console).await,
        Command::Drop(drop) => tables::drop(&session, &drop, console).await,
        Command::Rename { from, to } => tables::rename(&session, &from, &to, console).await,
        Command::Restore { place, to: Some(to), .. } => {
            versions::go_back(&session, &place, &to, console).await
        }
        Command::Restore { place, name, to: None } => {
            restore::restore(&session, &place, name.as_deref(), console).await
        }
        Command::Delete(delete) => rows::delete(&session, &delete, console).await,
        Command::Update(update) => rows::update(&session, &update, console).await,
        Command::Upsert(upsert) => rows::upsert(&session, &upsert, console).await,
        Command::Compact { place } => compact::compact(&session, &place, console).await,
        Command::Vacuum(vacuum) => vacuum::vacuum(&session, &vacuum, console).await,
        Command::Export(export) => export::export(&session, &export, console).await,
        Command::Sql(query) => sql::sql(&session, &query, console).await,
        Command::Stats { table } => export::stats(&session, &table, console).await,
        Command::Show { table } => versions::show(&session, &table, console).await,
        Command::Blame { table } => versions::blame(&session, &table, console).await,
        Command::Diff { from, to } => versions::diff(&session, &from, to.as_deref(), console).await,
        Command::Branch(branch) => branch::branch(&session, &branch, console).await,
        Command::Merge(merge) => branch::merge(&session, &merge, console).await,
        Command::Why { path, limit } => why::why(&session, path.as_deref(), limit, console).await,
        Command::Catalog { action } => catalog::catalog(&session, &action, console).await,
        Command::Mirror { action } => mirror::mirror(&session, &action, console).await,
        Command::Backup { action } => backup::backup(&session, &action, console).await,
        Command::Doctor => doctor::doctor(&session, console).await,
        Command::Fsck(fsck) => fsck::fsck(&session, &fsck, console).await,
        Command::Serve(serve) => serve::serve(&session, &serve, console).await,
        Command::Mount(mount) => mount::mount(&session, &mount, console).await,
        Command::Demo(_)
        | Command::Umount(_)
        | Command::Config { .. }
        | Command::Completions { .. } => Err(Error::internal("verb was answered before")),
    }
}

/// What every verb works with.
#[derive(Debug)]
struct Session {
    settings: Settings,
    clock: SharedClock,
}

impl Session {
    async fn lake(&self) -> Result<Lake> {
        Lake::open(&self.settings, Arc::clone(&self.clock)).await
    }

    fn who(&self) -> Principal {
        Principal {
            uid: rustix::process::geteuid().as_raw(),
            client: "cli".to_owned(),
            role: self.settings.role.clone(),
            read_only: self.settings.read_only,
        }
    }
}

fn show_config(loaded: &Loaded, origin: bool, console: &mut Console) -> Result<Exit> {
    if console.form == Form::Json {
        console.json(&config::render_json(loaded))?;
        return Ok(Exit::Ok);
    }
    let column = if origin { OriginColumn::Shown } else { OriginColumn::Hidden };
    console.write(config::render_text(loaded, column).as_bytes())?;
    for note in &loaded.notes {
        console.note(&format!("note: {note}"));
    }
    Ok(Exit::Ok)
}

fn completions(shell: clap_complete::Shell, console: &mut Console) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "mountable", &mut script);
    console.write(&script)?;
    Ok(Exit::Ok)
}

#[cfg(test)]
mod backup_tests;
#[cfg(test)]
mod branch_tests;
#[cfg(test)]
mod ops_tests;
#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod tests;
