//! `mountable mount` and `mountable umount`: a lake on a directory through FUSE.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crate::cli::args::{Mount, Umount};
use crate::cli::console::{Console, Form};
use crate::cli::serve::{Fronts, Gateway, Stop, announce, mount_settings, run};
use crate::cli::{Exit, Session};
use crate::config::redact_url;
use crate::error::{Error, ErrorKind, Result};
use crate::fuse::{Force, mounts, unmount};
use crate::lake::Lake;

/// Mounts; without `--foreground` a process of its own goes on when this one ends.
pub(super) async fn mount(session: &Session, mount: &Mount, console: &mut Console) -> Result<Exit> {
    if !mount.foreground {
        return in_background(session, mount, console).await;
    }
    let stop = Stop::listen()?;
    let (settings, clock) = (&session.settings, Arc::clone(&session.clock));
    let lake = match mount.create {
        true => Lake::init(settings, Arc::clone(&clock)).await?,
        false => Lake::open(settings, Arc::clone(&clock)).await?,
    };
    let fuse = Some(mount_settings(settings, &mount.dir, mount.allow_other));
    let fronts = Fronts { nfs: false, fuse };
    let gateway = Gateway::start(lake, settings, &clock, fronts).await?;
    announce(&gateway, settings, console)?;
    run(gateway, stop, console).await
}

/// Starts this program again in the background and waits until the mount answers.
async fn in_background(session: &Session, mount: &Mount, console: &mut Console) -> Result<Exit> {
    let settings = &session.settings;
    crate::vfs::make_private_directory(&settings.state)?;
    let log_path = settings.state.join("mount.log");
    let log = crate::vfs::private_file()
        .write(true)
        .truncate(true)
        .open(&log_path)
        .map_err(|error| Error::from(error).with("log", log_path.display()))?;
    let child = start(&log)?;
    let (said, child) = tokio::task::spawn_blocking(move || first_word(child))
        .await
        .map_err(|error| Error::internal("start in the background").caused_by(error))??;
    if said == Said::Nothing {
        return Err(failure(child, &log_path));
    }
    let (lake, dir) = (redact_url(&settings.lake), mount.dir.display());
    if console.form == Form::Json {
        console.json(&serde_json::json!({"ready": true, "fuse": mount.dir, "lake": lake}))?;
    } else {
        console.line(&format!("mounted {lake} on {dir}"))?;
        console.note(&format!("unmount it: mountable umount {dir}"));
        console.note(&format!("its log: {}", log_path.display()));
    }
    console.flush()?;
    Ok(Exit::Ok)
}

/// The same command again, in the foreground of a session of its own.
fn start(log: &File) -> Result<Child> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    let _program = arguments.next();
    command.args(arguments).arg("--foreground");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log.try_clone()?);
    // Ctrl-C and the end of this terminal are not for it.
    command.process_group(0);
    Ok(command.spawn()?)
}

/// What a process says on its standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Something: it is mounted.
    Something,
    /// Nothing: it has ended.
    Nothing,
}

/// Waits until the process says that the lake is mounted, or ends.
fn first_word(mut child: Child) -> Result<(Said, Child)> {
    let mut byte = [0_u8];
    let read = match child.stdout.as_mut() {
        Some(out) => out.read(&mut byte)?,
        None => 0,
    };
    Ok((if read == 0 { Said::Nothing } else { Said::Something }, child))
}

/// Why the process in the background has ended.
fn failure(mut child: Child, log: &Path) -> Error {
    let code = child.wait().ok().and_then(|status| status.code());
    let kind = match code {
        Some(2) => ErrorKind::Invalid,
        Some(3) => ErrorKind::NotFound,
        Some(4) => ErrorKind::AlreadyExists,
        Some(5) => ErrorKind::Denied,
        Some(6) => ErrorKind::Unavailable,
        _ => ErrorKind::Full,
    };
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let reason = said.lines().find_map(|line| line.strip_prefix("mountable: "));
    let reason = reason.unwrap_or("the process in the background has ended").to_owned();
    Error::new(kind, reason).with("log", log.display())
}

/// Whether a failed `sync` speaks of a save, and not of a gateway that is dead or read-only.
fn is_verdict(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as Io;
    !matches!(error.kind(), Io::NotConnected | Io::ReadOnlyFilesystem | Io::ConnectionAborted)
}

/// Finishes pending saves, then unmounts.
pub(super) fn umount(umount: &Umount, console: &mut Console) -> Result<Exit> {
    let dir = std::path::absolute(&umount.dir)?;
    // A directory whose gateway is dead cannot be asked for its real path.
    let dir = dir.canonicalize().unwrap_or(dir);
    if !mounts()?.iter().any(|point| point.dir == dir) {
        let why = "no lake is mounted there through FUSE (umount(8) unmounts NFS)";
        return Err(Error::not_found(why).with("directory", dir.display()));
    }
    if let Err(error) = std::fs::write(dir.join(".control"), "sync\n")
        && is_verdict(&error)
    {
        console.complain(&format!(
            "mountable: a pending save could not be finished ({error}); `mountable why` tells more"
        ));
    }
    unmount(&dir, if umount.lazy { Force::Detach } else { Force::No })?;
    console.note(&format!("unmounted {}", dir.display()));
    Ok(Exit::Ok)
}
