//! `mountable serve`: puts lake, file system, NFS service and FUSE mount together and takes them
//! down again.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::args::Serve;
use crate::cli::console::{Console, Form};
use crate::cli::notify::notify;
use crate::cli::{Exit, Session, mounting};
use crate::clock::SharedClock;
use crate::config::{Environment, Settings, redact_url};
use crate::error::{Error, ErrorKind, Result};
use crate::fuse::{Mount, MountSettings};
use crate::lake::{Lake, Principal};
use crate::nfs::Server;
use crate::telemetry;
use crate::vfs::{FileSystem, Vfs};

/// How long calls under way get to end.
const GRACE: Duration = Duration::from_secs(10);

/// How the file system is reached.
#[derive(Debug)]
pub(super) struct Fronts {
    /// Over NFS, at the address of the settings.
    pub(super) nfs: bool,
    /// Through FUSE.
    pub(super) fuse: Option<MountSettings>,
}

/// A running service.
pub(super) struct Gateway {
    vfs: Arc<Vfs>,
    server: Option<Server>,
    mount: Option<Mount>,
    /// Maintenance and mirrors.
    background: Vec<tokio::task::JoinHandle<()>>,
}

impl Gateway {
    /// Starts serving a lake.
    ///
    /// # Errors
    /// `Invalid` if other machines could connect and no network is allowed; `Unavailable` with a
    /// remedy if the port is taken.
    pub(super) async fn start(
        lake: Lake,
        settings: &Settings,
        clock: &SharedClock,
        fronts: Fronts,
    ) -> Result<Self> {
        if fronts.nfs {
            check_address(settings)?;
            check_port(settings.nfs)?;
        }
        crate::vfs::make_private_directory(&settings.state)?;
        let mut background = Vec::new();
        background.extend(lake.manage(background_user(settings, "manage"), &settings.manage));
        background.extend(lake.mirror(background_user(settings, "mirror"), &settings.mirrors));
        let vfs = match Vfs::open(lake, settings, Arc::clone(clock)).await {
            Ok(vfs) => vfs,
            Err(error) => {
                end(background);
                return Err(error);
            }
        };
        let mut gateway = Self { vfs, server: None, mount: None, background };
        match gateway.open(settings, clock, fronts).await {
            Ok(()) => Ok(gateway),
            Err(error) => {
                gateway.stop().await;
                Err(error)
            }
        }
    }

    async fn open(
        &mut self,
        settings: &Settings,
        clock: &SharedClock,
        fronts: Fronts,
    ) -> Result<()> {
        if fronts.nfs {
            let files: Arc<dyn FileSystem> = self.vfs.clone();
            self.server = Some(Server::start(files, settings, Arc::clone(clock)).await?);
        }
        match fronts.fuse {
            Some(mount) => self.mount(&mount, clock).await,
            None => Ok(()),
        }
    }

    /// Mounts through FUSE.
    pub(super) async fn mount(
        &mut self,
        settings: &MountSettings,
        clock: &SharedClock,
    ) -> Result<()> {
        let files: Arc<dyn FileSystem> = self.vfs.clone();
        self.mount = Some(Mount::start(files, settings, Arc::clone(clock)).await?);
        Ok(())
    }

    /// Where it listens for NFS.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(Server::address)
    }

    /// Where it is mounted through FUSE.
    pub(super) fn dir(&self) -> Option<&Path> {
        self.mount.as_ref().map(Mount::dir)
    }

    /// Completes when nobody can reach it any more, because its only front was unmounted.
    async fn unreachable(&mut self) {
        match (&self.server, &mut self.mount) {
            (None, Some(mount)) => mount.ended().await,
            _ => std::future::pending().await,
        }
    }

    /// Takes no more calls, then finishes pending saves; what cannot be committed stays in the
    /// journal for the next start.
    pub(super) async fn stop(self) {
        if let Some(mount) = self.mount
            && let Err(error) = mount.stop().await
        {
            tracing::warn!(%error, "the mount stays");
        }
        if let Some(server) = self.server {
            server.stop(GRACE).await;
        }
        end(self.background);
        self.vfs.shutdown().await;
    }
}

/// Who works on tables in the background.
fn background_user(settings: &Settings, client: &str) -> Principal {
    Principal {
        uid: rustix::process::geteuid().as_raw(),
        client: client.to_owned(),
        role: settings.role.clone(),
        read_only: settings.read_only,
    }
}

fn end(background: Vec<tokio::task::JoinHandle<()>>) {
    for task in background {
        // A compaction that is cut short leaves the old files in place; a refresh, the old version.
        task.abort();
    }
}

/// Other machines may connect only if some network is allowed to.
fn check_address(settings: &Settings) -> Result<()> {
    if settings.nfs.ip().is_loopback() || !settings.exports.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(
        "other machines could reach this address, but no network is allowed to: set `exports`, \
         for example exports = [\"10.0.0.0/8(rw)\"], or listen on 127.0.0.1",
    )
    .with("nfs", settings.nfs))
}

/// Finds out early that the port is taken, to say so in a useful way.
pub(super) fn check_port(address: SocketAddr) -> Result<()> {
    match std::net::TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "port {} is in use, perhaps by another mountable: stop that one, or take another \
                 port with --nfs {}:{}",
                address.port(),
                address.ip(),
                address.port().checked_add(1).unwrap_or(12_049)
            ),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Err(Error::new(
            ErrorKind::Denied,
            "ports below 1024 need root; take a higher one with --nfs",
        )
        .with("nfs", address)),
        Err(error) => {
            Err(Error::invalid("listen on this address").with("nfs", address).caused_by(error))
        }
    }
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn serve(session: &Session, serve: &Serve, console: &mut Console) -> Result<Exit> {
    // Before anything slow, so that an early signal is not lost.
    let stop = Stop::listen()?;
    let clock = Arc::clone(&session.clock);
    let settings = &session.settings;
    let lake = if serve.create {
        Lake::init(settings, Arc::clone(&clock)).await?
    } else {
        Lake::open(settings, Arc::clone(&clock)).await?
    };
    lake.check_store(settings).await?;
    let fuse = serve.fuse.as_ref().map(|dir| mount_settings(settings, dir, serve.allow_other));
    let fronts = Fronts { nfs: fuse.is_none() || serve.nfs.is_some(), fuse };
    let gateway = Gateway::start(lake, settings, &clock, fronts).await?;
    announce(&gateway, settings, console)?;
    run(gateway, stop, console).await
}

/// How the lake of the settings is mounted.
pub(super) fn mount_settings(settings: &Settings, dir: &Path, allow_other: bool) -> MountSettings {
    MountSettings {
        dir: dir.to_owned(),
        source: redact_url(&settings.lake),
        read_only: settings.read_only,
        allow_other,
        calls_max: settings.limits.requests_max,
    }
}

/// Says once that it can be used.
pub(super) fn announce(
    gateway: &Gateway,
    settings: &Settings,
    console: &mut Console,
) -> Result<()> {
    let lake = redact_url(&settings.lake);
    let (address, dir) = (gateway.address(), gateway.dir());
    if console.form == Form::Json {
        let ready = serde_json::json!({"ready": true, "nfs": address, "fuse": dir, "lake": lake});
        console.json(&ready)?;
        return console.flush();
    }
    if let Some(address) = address {
        console.line(&format!("serving {lake} on {address}"))?;
        console.note(&format!("mount it: {}", mounting::linux_command(address, "/mnt/lake")));
    }
    if let Some(dir) = dir {
        console.line(&format!("mounted {lake} on {}", dir.display()))?;
        console.note(&format!("unmount it: mountable umount {}", dir.display()));
    }
    console.flush()
}

/// Waits for a signal, or until it is unmounted, then finishes.
pub(super) async fn run(
    mut gateway: Gateway,
    mut stop: Stop,
    console: &mut Console,
) -> Result<Exit> {
    let socket = Environment::capture().get("NOTIFY_SOCKET").map(str::to_owned);
    notify(socket.as_deref(), "READY=1");
    tokio::select! {
        () = stop.wait() => {}
        () = gateway.unreachable() => {}
    }
    notify(socket.as_deref(), "STOPPING=1");
    finish(gateway, stop, console).await
}

/// Takes everything down; a second signal ends the process at once.
pub(super) async fn finish(
    gateway: Gateway,
    mut stop: Stop,
    console: &mut Console,
) -> Result<Exit> {
    console.note("finishing pending saves");
    tokio::select! {
        () = gateway.stop() => {}
        () = stop.wait() => {
            return Err(Error::new(
                ErrorKind::Unknown,
                "stopped before all saves were finished; the journal has them and the next start \
                 goes on with it",
            ));
        }
    }
    let counters = serde_json::Value::Object(telemetry::counters_json());
    tracing::info!(%counters, "stopped");
    Ok(Exit::Ok)
}

/// SIGINT and SIGTERM.
pub(super) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    /// Begins to listen; from now on the signals do not end the process by themselves.
    pub(super) fn listen() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_others_reach_needs_exports() {
        let mut settings = Settings::default();
        assert!(check_address(&settings).is_ok());
        settings.nfs = "0.0.0.0:12049".parse().unwrap();
        assert_eq!(check_address(&settings).unwrap_err().kind(), ErrorKind::Invalid);
        settings.exports.push(crate::config::Export {
            address: "10.0.0.0".parse().unwrap(),
            prefix: 8,
            read_only: false,
            squash: crate::config::Squash::Root,
        });
        assert!(check_address(&settings).is_ok());
    }

    #[test]
    fn a_taken_port_is_named_with_a_way_out() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = check_port(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("--nfs 127.0.0.1:"), "{error}");
    }
}
