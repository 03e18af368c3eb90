//! Files that were made of tables and queries, kept on local disk as long as there is room: what
//! was not read for the longest time goes first. Content belongs to its name for ever, so files
//! of an earlier process are as good as new ones.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;

use crate::config::SqlSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::gateway::make_private_directory;

/// What unfinished files end with.
const UNFINISHED: &str = ".part";
/// Files that are kept, however small they are.
const FILES_MAX: usize = 10_000;

/// The directory of these files.
#[derive(Debug)]
pub(in crate::vfs) struct Spool {
    directory: PathBuf,
    file_bytes_max: u64,
    kept_bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    files: HashMap<String, Kept>,
    bytes: u64,
    /// Counts uses.
    uses: u64,
    /// Counts files that were begun.
    begun: u64,
    making: HashMap<String, Arc<tokio::sync::Mutex<()>>>,
}

#[derive(Debug)]
struct Kept {
    bytes: u64,
    used: u64,
}

/// A file that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::vfs) struct Spooled {
    /// Its size in bytes.
    pub(in crate::vfs) bytes: u64,
    /// The time of what it was made of, in milliseconds since 1970.
    pub(in crate::vfs) time_ms: i64,
}

/// Takes the bytes of a file, up to the limit.
#[derive(Debug)]
pub(in crate::vfs) struct Limited {
    out: BufWriter<File>,
    left: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > self.left {
            return Err(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                "the file would be larger than `sql.file_bytes_max`",
            ));
        }
        self.out.write_all(bytes)?;
        self.left -= length;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl Spool {
    /// Takes over what an earlier process has left.
    ///
    /// # Errors
    /// As the local file system's.
    pub(in crate::vfs) fn open(state: &Path, limits: &SqlSettings) -> Result<Self> {
        let directory = state.join("made");
        make_private_directory(&directory)?;
        let mut found = State::default();
        let mut files = Vec::new();
        for file in std::fs::read_dir(&directory)? {
            let file = file?;
            let Ok(name) = file.file_name().into_string() else { continue };
            if name.ends_with(UNFINISHED) {
                std::fs::remove_file(file.path())?;
                continue;
            }
            let meta = file.metadata()?;
            files.push((meta.accessed().or_else(|_| meta.modified())?, name, meta.len()));
        }
        files.sort();
        for (_, name, bytes) in files {
            found.uses += 1;
            found.bytes += bytes;
            found.files.insert(name, Kept { bytes, used: found.uses });
        }
        let spool = Self {
            directory,
            file_bytes_max: limits.file_bytes_max,
            kept_bytes_max: limits.kept_bytes_max,
            state: Mutex::new(found),
        };
        spool.make_room(0)?;
        Ok(spool)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file, if it is there.
    pub(in crate::vfs) fn find(&self, name: &str) -> Option<Spooled> {
        {
            let mut state = self.state();
            state.uses += 1;
            let now = state.uses;
            state.files.get_mut(name)?.used = now;
        }
        let meta = std::fs::metadata(self.directory.join(name)).ok()?;
        let since = meta.modified().ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let time_ms = i64::try_from(since.as_millis()).ok()?;
        Some(Spooled { bytes: meta.len(), time_ms })
    }

    /// A file; made by `make` if it is not there, and only once if several ask for it.
    ///
    /// # Errors
    /// Those of `make`; `TooLarge` beyond the limit of a file or of all of them.
    pub(in crate::vfs) async fn find_or_make(
        &self,
        name: &str,
        time_ms: i64,
        make: impl AsyncFnOnce(Limited) -> Result<()>,
    ) -> Result<Spooled> {
        if let Some(found) = self.find(name) {
            return Ok(found);
        }
        let making = Arc::clone(self.state().making.entry(name.to_owned()).or_default());
        let turn = making.lock().await;
        let made = match self.find(name) {
            Some(found) => Ok(found),
            None => self.make(name, time_ms, make).await,
        };
        drop(turn);
        let mut state = self.state();
        // The map's and this one: nobody else waits for it.
        if Arc::strong_count(&making) <= 2 {
            state.making.remove(name);
        }
        made
    }

    async fn make(
        &self,
        name: &str,
        time_ms: i64,
        make: impl AsyncFnOnce(Limited) -> Result<()>,
    ) -> Result<Spooled> {
        let begun = {
            let mut state = self.state();
            state.begun += 1;
            state.begun
        };
        let path = self.directory.join(format!("{begun}{UNFINISHED}"));
        let unfinished = Unfinished(path.clone());
        let file = crate::vfs::staged::private().write(true).create_new(true).open(&path)?;
        let out = BufWriter::with_capacity(1 << 20, file.try_clone()?);
        make(Limited { out, left: self.file_bytes_max.min(self.kept_bytes_max) }).await?;
        let since = std::time::Duration::from_millis(u64::try_from(time_ms).unwrap_or_default());
        file.set_modified(SystemTime::UNIX_EPOCH + since)?;
        let bytes = file.metadata()?.len();
        self.make_room(bytes)?;
        std::fs::rename(&path, self.directory.join(name))?;
        std::mem::forget(unfinished);
        let mut state = self.state();
        state.uses += 1;
        state.bytes += bytes;
        let used = state.uses;
        state.files.insert(name.to_owned(), Kept { bytes, used });
        Ok(Spooled { bytes, time_ms: time_ms.max(0) })
    }

    /// Removes what was not used for the longest time until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> Result<()> {
        let mut state = self.state();
        while state.bytes.saturating_add(bytes) > self.kept_bytes_max
            || state.files.len() >= FILES_MAX
        {
            let oldest = state.files.iter().min_by_key(|(_, kept)| kept.used);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { break };
            match std::fs::remove_file(self.directory.join(&name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
            if let Some(kept) = state.files.remove(&name) {
                state.bytes = state.bytes.saturating_sub(kept.bytes);
            }
        }
        Ok(())
    }

    /// Bytes of a file.
    ///
    /// # Errors
    /// `NotFound` if it had to go.
    pub(in crate::vfs) async fn read(
        &self,
        name: &str,
        offset: u64,
        count: usize,
    ) -> Result<Bytes> {
        let path = self.directory.join(name);
        let read = move || -> Result<Bytes> {
            let file = File::open(path)?;
            let mut bytes = vec![0; count];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes.into())
        };
        tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Error::unavailable("the process is stopping").caused_by(error))?
    }
}

/// A file that is removed if it is not finished, also when whoever makes it gives up.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::warn!(%error, "an unfinished file is left in the state directory");
        }
    }
}

/// The error of a file that had to go while it was read.
pub(in crate::vfs) fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(directory: &Path, file: u64, kept: u64) -> Spool {
        let limits =
            SqlSettings { file_bytes_max: file, kept_bytes_max: kept, ..SqlSettings::default() };
        Spool::open(directory, &limits).expect("open")
    }

    async fn made(spool: &Spool, name: &str, text: &'static str) -> Result<Spooled> {
        let make = async |mut out: Limited| {
            out.write_all(text.as_bytes())?;
            out.flush()?;
            Ok(())
        };
        spool.find_or_make(name, 1_000, make).await
    }

    #[tokio::test]
    async fn the_file_that_was_not_read_for_the_longest_time_goes() {
        let directory = tempfile::tempdir().expect("directory");
        let spool_1 = spool(directory.path(), 10, 12);
        assert_eq!(made(&spool_1, "a", "12345").await.expect("a").bytes, 5);
        made(&spool_1, "b", "12345").await.expect("b");
        assert!(spool_1.find("a").is_some());
        made(&spool_1, "c", "123").await.expect("c");
        assert_eq!(spool_1.find("b"), None);
        assert_eq!(spool_1.read("a", 1, 3).await.expect("read"), "234");
        drop(spool_1);
        let again = spool(directory.path(), 10, 12);
        assert_eq!(again.find("a"), Some(Spooled { bytes: 5, time_ms: 1_000 }));
        let make = async |_: Limited| Err(Error::invalid("it is there"));
        assert!(again.find_or_make("c", 1, make).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_beyond_the_limit_is_not_made_and_leaves_nothing() {
        let directory = tempfile::tempdir().expect("directory");
        let spool = spool(directory.path(), 4, 12);
        assert!(made(&spool, "a", "1234").await.is_ok());
        let refused = made(&spool, "b", "12345").await.expect_err("too large");
        assert_eq!(refused.kind(), ErrorKind::TooLarge);
        assert_eq!(spool.find("b"), None);
        let left = std::fs::read_dir(directory.path().join("made")).expect("list").count();
        assert_eq!(left, 1);
    }
}
