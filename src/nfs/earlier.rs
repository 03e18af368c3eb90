//! Calls that an earlier process has begun or answered.
//!
//! A client that was not answered because the gateway ended sends its call again to the next one,
//! which has an empty reply cache: a RENAME that was done would fail, because its source is gone,
//! and the user's command with it although the save was committed. So calls that change names are
//! written down before they are executed, with their status behind it when they were.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nfs3_types::nfs3::{NFS_PROGRAM, nfsstat3};
use tracing::warn;

use super::drc::CallKey;
use super::reply::Results;
use crate::clock::SharedClock;
use crate::error::Result;
use crate::vfs::{private_file, write_private};

/// How long a client may take to send a call again.
const AGE_MAX_SECONDS: i64 = 15 * 60;
/// Most calls that are taken over.
const CALLS_MAX: usize = 4096;

/// The log of one process and what it found of those before.
#[derive(Debug)]
pub(super) struct Earlier {
    clock: SharedClock,
    log: Option<Mutex<File>>,
    /// Status that a call was answered with; `None` = it was only begun.
    calls: HashMap<String, Option<u32>>,
}

impl Earlier {
    /// Opens the log in `directory`, the gateway's state; without one nothing is kept.
    pub(super) fn open(directory: &Path, clock: SharedClock) -> Self {
        let none = || Self { clock: SharedClock::clone(&clock), log: None, calls: HashMap::new() };
        if directory.as_os_str().is_empty() || !directory.is_dir() {
            return none();
        }
        match Self::read(directory, &clock) {
            Ok(earlier) => earlier,
            Err(error) => {
                warn!(%error, "go on without the calls of an earlier process");
                none()
            }
        }
    }

    fn read(directory: &Path, clock: &SharedClock) -> Result<Self> {
        let path = directory.join("calls.log");
        let now = seconds(clock);
        let mut calls = HashMap::new();
        let mut kept: Vec<String> = Vec::new();
        let before = private_file().read(true).append(true).open(&path)?;
        for line in BufReader::new(before).lines().map_while(std::io::Result::ok) {
            let mut words = line.split(' ');
            let (Some(call), Some(time)) = (words.next(), words.next()) else { continue };
            let young = time.parse().is_ok_and(|time: i64| now - time <= AGE_MAX_SECONDS);
            // The last line may be cut off; a call whose status is not known was begun.
            let status = words.next().and_then(|status| status.parse().ok());
            if young {
                calls.insert(call.to_owned(), status);
                kept.push(line);
            }
        }
        let first = kept.len().saturating_sub(2 * CALLS_MAX);
        let mut text = kept.get(first..).unwrap_or_default().join("\n");
        if !text.is_empty() {
            text.push('\n');
        }
        let fresh = directory.join("calls.log.new");
        write_private(&fresh, text.as_bytes())?;
        std::fs::rename(&fresh, &path)?;
        let log = private_file().append(true).open(&path)?;
        Ok(Self { clock: SharedClock::clone(clock), log: Some(Mutex::new(log)), calls })
    }

    /// Writes a call down before it is executed; what to do with its results.
    pub(super) fn begin(&self, key: &CallKey) -> Option<Begun> {
        let failure = forgiven(key.procedure)?;
        let call = name_of(key);
        let before = self.calls.get(&call).copied();
        // What was refused is refused again by itself, or may succeed now.
        let done = matches!(before, Some(None | Some(0)));
        self.write(&format!("{call} {}\n", seconds(&self.clock)));
        Some(Begun { call, failure: done.then_some(failure) })
    }

    /// Writes down how a call ended; its results are those of success if an earlier process had
    /// done it already.
    pub(super) fn end(&self, begun: &Begun, results: &mut Results) {
        if let (Some(failure), Some(status)) = (begun.failure, results.status())
            && status == failure as u32
        {
            // Failure and success are followed by the same attributes in these procedures.
            results.set_status(nfsstat3::NFS3_OK);
        }
        let status = results.status().unwrap_or(0);
        self.write(&format!("{} {} {status}\n", begun.call, seconds(&self.clock)));
    }

    fn write(&self, line: &str) {
        let Some(log) = &self.log else { return };
        let written = log.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        if let Err(error) = written {
            warn!(%error, "a call is not written down for the next process");
        }
    }
}

/// A call that is being executed.
#[derive(Debug)]
pub(super) struct Begun {
    call: String,
    /// The failure that only says that it was done before.
    failure: Option<nfsstat3>,
}

/// The failure that a procedure answers with when it has been done already; `None` for those that
/// can be repeated, or whose results need more than a status.
fn forgiven(procedure: u32) -> Option<nfsstat3> {
    use NFS_PROGRAM as P;
    match NFS_PROGRAM::try_from(procedure) {
        Ok(P::NFSPROC3_REMOVE | P::NFSPROC3_RMDIR | P::NFSPROC3_RENAME) => {
            Some(nfsstat3::NFS3ERR_NOENT)
        }
        Ok(P::NFSPROC3_LINK) => Some(nfsstat3::NFS3ERR_EXIST),
        _ => None,
    }
}

fn name_of(key: &CallKey) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(key.peer.to_string().as_bytes());
    hasher.update(&key.xid.to_be_bytes());
    hasher.update(&key.procedure.to_be_bytes());
    hasher.update(&key.digest);
    hasher.finalize().to_hex().as_str().chars().take(32).collect()
}

fn seconds(clock: &SharedClock) -> i64 {
    clock.now_ns().div_euclid(1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use std::sync::Arc;

    fn open(directory: &Path) -> Earlier {
        Earlier::open(directory, Arc::new(SystemClock))
    }

    fn answer(earlier: &Earlier, xid: u32, procedure: NFS_PROGRAM, status: nfsstat3) -> u32 {
        let peer = [127, 0, 0, 1].into();
        let key = CallKey { peer, xid, procedure: procedure as u32, digest: [7; 16] };
        let mut results = Results::with_status(status);
        if let Some(begun) = earlier.begin(&key) {
            earlier.end(&begun, &mut results);
        }
        results.status().expect("status")
    }

    #[test]
    fn a_call_that_an_earlier_process_did_is_answered_as_done() {
        use NFS_PROGRAM::{NFSPROC3_LINK, NFSPROC3_REMOVE, NFSPROC3_RENAME, NFSPROC3_SETATTR};
        use nfsstat3::{NFS3_OK, NFS3ERR_EXIST, NFS3ERR_INVAL, NFS3ERR_NOENT};
        let directory = tempfile::tempdir().expect("directory");
        let first = open(directory.path());
        let (ok, gone) = (NFS3_OK as u32, NFS3ERR_NOENT as u32);
        assert_eq!(answer(&first, 1, NFSPROC3_RENAME, NFS3_OK), ok);
        assert_eq!(answer(&first, 2, NFSPROC3_REMOVE, NFS3ERR_NOENT), gone);
        answer(&first, 3, NFSPROC3_RENAME, NFS3ERR_INVAL);
        answer(&first, 4, NFSPROC3_LINK, NFS3_OK);
        // Begun, and not ended when the process did.
        let peer = [127, 0, 0, 1].into();
        let procedure = NFSPROC3_REMOVE as u32;
        first.begin(&CallKey { peer, xid: 5, procedure, digest: [7; 16] }).expect("kept");
        for _ in 0..2 {
            let second = open(directory.path());
            assert_eq!(answer(&second, 1, NFSPROC3_RENAME, NFS3ERR_NOENT), ok);
            assert_eq!(answer(&second, 2, NFSPROC3_REMOVE, NFS3ERR_NOENT), gone);
            assert_eq!(answer(&second, 3, NFSPROC3_RENAME, NFS3ERR_NOENT), gone);
            assert_eq!(answer(&second, 4, NFSPROC3_LINK, NFS3ERR_EXIST), ok);
            assert_eq!(answer(&second, 5, NFSPROC3_REMOVE, NFS3ERR_NOENT), ok);
            assert_eq!(answer(&second, 6, NFSPROC3_REMOVE, NFS3ERR_NOENT), gone);
            assert_eq!(answer(&second, 1, NFSPROC3_SETATTR, NFS3ERR_NOENT), gone);
        }
    }
    #[test]
    fn the_log_is_for_its_user_only_and_never_behind_a_link() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().expect("directory");
        let log = place.path().join("calls.log");
        std::fs::write(&log, "").expect("a log that an older release made");
        std::fs::set_permissions(&log, PermissionsExt::from_mode(0o644)).expect("mode");
        drop(open(place.path()));
        let mode = std::fs::metadata(&log).expect("log").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = place.path().join("other");
        std::fs::write(&other, "mine\n").expect("a file of somebody else");
        std::fs::remove_file(&log).expect("remove");
        std::os::unix::fs::symlink(&other, &log).expect("link");
        let earlier = open(place.path());
        let rename = NFS_PROGRAM::NFSPROC3_RENAME;
        assert_eq!(answer(&earlier, 1, rename, nfsstat3::NFS3_OK), 0);
        assert_eq!(std::fs::read_to_string(&other).expect("read"), "mine\n");
    }
}
