//! The lake mounted through the kernel's FUSE, over any [`FileSystem`].
//!
//! The same file system as over NFS, with what NFS does not know: when files are opened and
//! closed. A reader keeps the version that it opened; a save is judged when its writer closes, and
//! close(2) answers the verdict. Mounting takes root or, for ordinary users, the program
//! `fusermount3`; nothing is linked.

use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fuser::{MountOption, Session, SessionACL};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::FileSystem;

mod adapter;
mod convert;
mod guard;
mod nodes;
mod opens;
mod points;
mod process;
mod service;
#[cfg(test)]
mod tests;

pub use points::{Force, MountPoint, mounts, unmount};

use adapter::{Adapter, THREADS};
use guard::Guard;
use service::Service;

/// How a lake is mounted.
#[derive(Debug, Clone)]
pub struct MountSettings {
    /// Where; made if it is missing.
    pub dir: PathBuf,
    /// What df(1) and mount(8) show, without secrets.
    pub source: String,
    /// Refuses every write.
    pub read_only: bool,
    /// Lets other users in than the one that mounts (ordinary users need `user_allow_other` in
    /// /etc/fuse.conf for that).
    pub allow_other: bool,
    /// Most calls under way.
    pub calls_max: usize,
}

/// A mounted lake. Dropping it unmounts without waiting.
pub struct Mount {
    dir: PathBuf,
    service: Arc<Service>,
    ended: watch::Receiver<bool>,
    guard: Option<Guard>,
    /// Whether it has left its directory; files that are open on it may still be served.
    detached: bool,
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mount").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Mount {
    /// Mounts and serves from then on.
    ///
    /// # Errors
    /// `Unsupported` if this machine has no FUSE; `Denied` if the user may not mount there;
    /// `AlreadyExists` if a lake is mounted there; each says what to do.
    pub async fn start(
        files: Arc<dyn FileSystem>,
        settings: &MountSettings,
        clock: SharedClock,
    ) -> Result<Self> {
        let dir = prepare(&settings.dir)?;
        let service = Arc::new(Service {
            files,
            clock,
            nodes: nodes::Nodes::default(),
            opens: opens::OpenFiles::default(),
            listings: opens::Listings::default(),
            client: client(&dir).into(),
            read_only: settings.read_only,
        });
        let adapter = Adapter::new(Arc::clone(&service), settings.calls_max);
        let config = config(settings);
        let at = dir.clone();
        let session = tokio::task::spawn_blocking(move || Session::new(adapter, at, &config))
            .await
            .map_err(|error| Error::internal("mount").caused_by(error))?
            .map_err(|error| cannot_mount(error, &dir))?;
        let guard = Guard::start(&dir);
        let (end, ended) = watch::channel(false);
        let at = dir.clone();
        std::thread::Builder::new().name("fuse".to_owned()).spawn(move || {
            if let Err(error) = serve(session) {
                warn!(dir = %at.display(), %error, "mount ends");
            }
            end.send_replace(true);
        })?;
        info!(dir = %dir.display(), "mounted");
        Ok(Self { dir, service, ended, guard: Some(guard), detached: false })
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Completes when somebody has unmounted it.
    pub async fn ended(&mut self) {
        // It fails only if the thread is gone, and then the mount is too.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }

    /// Unmounts and closes what was open. A mount that is in use is taken from its directory at
    /// once; the files that are open on it answer until the process ends.
    ///
    /// # Errors
    /// What the system says.
    pub async fn stop(mut self) -> Result<()> {
        let ended = *self.ended.borrow();
        let outcome = if ended { Ok(()) } else { self.detach().await };
        drop(self.guard.take());
        self.service.close_all().await;
        outcome
    }

    async fn detach(&mut self) -> Result<()> {
        let dir = self.dir.clone();
        let outcome = tokio::task::spawn_blocking(move || match unmount(&dir, Force::No) {
            Err(error) if error.kind() == ErrorKind::Busy => {
                warn!(dir = %dir.display(), "in use: detach the mount, open files are cut off");
                unmount(&dir, Force::Detach)
            }
            other => other,
        });
        outcome.await.map_err(|error| Error::internal("unmount").caused_by(error))??;
        self.detached = true;
        let clock = Arc::clone(&self.service.clock);
        tokio::select! {
            () = self.ended() => {}
            () = clock.sleep(adapter::END_WAIT) => {}
        }
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.detached || *self.ended.borrow() {
            return;
        }
        if let Err(error) = unmount(&self.dir, Force::Detach) {
            warn!(dir = %self.dir.display(), %error, "the mount stays");
        }
    }
}

/// Serves a session to its end.
///
/// The session never unmounts by itself: fuser 0.18 asks whether it is still mounted and takes the
/// answer the wrong way round, so at its end it would unmount what somebody else has mounted at
/// the directory since.
fn serve(session: Session<Adapter>) -> std::io::Result<()> {
    let mut session = ManuallyDrop::new(session.spawn()?);
    let nothing = std::thread::Builder::new().spawn(|| Ok(()))?;
    let served = std::mem::replace(&mut session.guard, nothing);
    served.join().map_err(|_| std::io::Error::other("the thread that serves the mount crashed"))?
}

/// What tells this mount's kernel from other clients: machine and directory.
fn client(dir: &Path) -> String {
    let name = rustix::system::uname();
    format!("fuse {}:{}", name.nodename().to_string_lossy(), dir.display())
}

/// The directory, free of what an earlier process left mounted there.
fn prepare(dir: &Path) -> Result<PathBuf> {
    points::clear_dead(dir)?;
    std::fs::create_dir_all(dir)
        .map_err(|error| Error::from(error).with("directory", dir.display()))?;
    let dir = dir.canonicalize()?;
    if points::mounts()?.iter().any(|point| point.dir == dir) {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            "a lake is mounted there already; unmount it with `mountable umount`",
        )
        .with("directory", dir.display()));
    }
    Ok(dir)
}

fn config(settings: &MountSettings) -> fuser::Config {
    let mut config = fuser::Config::default();
    // A comma would end the option.
    let source = settings.source.replace([',', '\\'], "_");
    config.mount_options = vec![
        MountOption::FSName(format!("{}{source}", points::SOURCE_PREFIX)),
        MountOption::Subtype("mountable".to_owned()),
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    if settings.read_only {
        config.mount_options.push(MountOption::RO);
    }
    config.acl = if settings.allow_other { SessionACL::All } else { SessionACL::Owner };
    config.n_threads = Some(THREADS);
    config.clone_fd = true;
    config
}

fn cannot_mount(error: std::io::Error, dir: &Path) -> Error {
    let said = error.to_string();
    let (kind, message) = if !Path::new("/dev/fuse").exists() {
        (
            ErrorKind::Unsupported,
            "this machine has no FUSE (no /dev/fuse): load it with `modprobe fuse`, give the \
             container the device, or serve over NFS",
        )
    } else if said.contains("user_allow_other") {
        (
            ErrorKind::Denied,
            "ordinary users may let others in only if /etc/fuse.conf says `user_allow_other`",
        )
    } else if error.kind() == std::io::ErrorKind::NotFound {
        (
            ErrorKind::Unsupported,
            "ordinary users mount with fusermount3, which is missing: install fuse3, or run this \
             as root",
        )
    } else {
        (ErrorKind::Denied, "mount")
    };
    Error::new(kind, message).with("directory", dir.display()).with("it says", said.trim())
}
