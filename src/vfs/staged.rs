//! Staged content: what clients wrote and what is not (yet) a commit.
//!
//! A staged file is a base (a table's snapshot, or nothing) overlaid with written extents, which
//! lie at the same offsets in a sparse file of the state directory. Every write is recorded there
//! before it is acknowledged; FILE_SYNC and COMMIT also force it to disk. After a crash the log
//! beside it tells which bytes count.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::compared::Compared;
use super::extents::{Extents, Span};
use crate::error::{Error, ErrorKind, Result};

/// Suffixes of the files of one staged file.
pub(super) const SUFFIXES: [&str; 4] = ["data", "log", "json", "note"];

/// Where staged files lie and how much they may hold.
#[derive(Debug)]
pub(super) struct StagingArea {
    /// Directory, mode 0700.
    pub(super) directory: PathBuf,
    /// Bytes held by all staged files.
    used: AtomicU64,
    total_max: u64,
    file_max: u64,
}

impl StagingArea {
    /// Uses `directory`, which must exist.
    pub(super) fn new(directory: PathBuf, total_max: u64, file_max: u64) -> Arc<Self> {
        Arc::new(Self { directory, used: AtomicU64::new(0), total_max, file_max })
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.total_max {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Error::new(ErrorKind::Full, "the staging area is full"));
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A part of a staged file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Bytes of the staging file, at these offsets.
    Staged(u64, u64),
    /// Bytes of the base, at these offsets.
    Base(u64, u64),
    /// This many zero bytes.
    Zero(u64),
}

/// Which bytes of a staged file come from where; a value, so that it can be frozen.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// Written ranges.
    pub(super) extents: Extents,
    /// Size in bytes.
    pub(super) size: u64,
    /// Bytes of the base that still show: falls with each truncation, never rises.
    pub(super) base_limit: u64,
}

/// Content over a base.
#[derive(Debug)]
pub(super) struct StagedFile {
    area: Arc<StagingArea>,
    id: u64,
    data: Arc<File>,
    log: File,
    content: Content,
    compared: Compared,
    /// Number of changes since it was made.
    revision: u64,
    /// Its client has written bytes that it did not ask to be stable, and may send them again.
    unsettled: bool,
    keep: bool,
}

impl Content {
    fn note_write(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        self.extents.insert(offset..end);
        self.size = self.size.max(end);
    }

    fn note_truncate(&mut self, size: u64) {
        self.extents.truncate(size);
        self.base_limit = self.base_limit.min(size);
        self.size = size;
    }

    /// What the bytes of `range` (clamped to the size) consist of.
    pub(super) fn parts(&self, range: Range<u64>) -> Vec<Part> {
        let end = range.end.min(self.size);
        let mut at = range.start;
        let mut parts = Vec::new();
        while at < end {
            let (part, next) = match self.extents.at(at) {
                Span::Written(stop) => (Part::Staged(at, stop.min(end)), stop.min(end)),
                Span::Gap(stop) if at < self.base_limit => {
                    let stop = stop.min(end).min(self.base_limit);
                    (Part::Base(at, stop), stop)
                }
                Span::Gap(stop) => (Part::Zero(stop.min(end) - at), stop.min(end)),
            };
            parts.push(part);
            at = next;
        }
        parts
    }

    /// Whether no byte is a hole: each was written or shows the base.
    pub(super) fn is_whole(&self) -> bool {
        let mut at = 0;
        while at < self.size {
            match self.extents.at(at) {
                Span::Written(end) => at = end,
                Span::Gap(end) if at < self.base_limit => at = end.min(self.base_limit),
                Span::Gap(_) => return false,
            }
        }
        true
    }

    /// Bytes from `offset` on that certainly show the base at the same offset.
    pub(super) fn unwritten_from(&self, offset: u64) -> u64 {
        match self.extents.at(offset) {
            Span::Gap(end) => end.min(self.base_limit).min(self.size).saturating_sub(offset),
            Span::Written(_) => 0,
        }
    }
}

impl StagedFile {
    /// Makes an empty staged file over a base of `base_bytes`.
    ///
    /// # Errors
    /// `Full`, or as the file system's.
    pub(super) fn create(area: &Arc<StagingArea>, id: u64, base_bytes: u64) -> Result<Self> {
        let data = open_private(&area.directory.join(format!("{id:016x}.data")), true)?;
        let mut log = open_private(&area.directory.join(format!("{id:016x}.log")), true)?;
        log.write_all(format!("b {base_bytes}\n").as_bytes())?;
        Ok(Self {
            area: Arc::clone(area),
            id,
            data: Arc::new(data),
            log,
            content: Content { size: base_bytes, base_limit: base_bytes, ..Content::default() },
            compared: Compared::default(),
            revision: 0,
            unsettled: false,
            keep: false,
        })
    }

    /// Reads a staged file back after a restart.
    ///
    /// # Errors
    /// `Corrupt` if its log cannot be read, or as the file system's.
    pub(super) fn recover(area: &Arc<StagingArea>, id: u64) -> Result<Self> {
        let data = open_private(&area.directory.join(format!("{id:016x}.data")), false)?;
        let log_path = area.directory.join(format!("{id:016x}.log"));
        let lines = BufReader::new(File::open(&log_path)?).lines();
        let log = open_private(&log_path, false)?;
        let mut file = Self {
            area: Arc::clone(area),
            id,
            data: Arc::new(data),
            log,
            content: Content::default(),
            compared: Compared::default(),
            revision: 0,
            unsettled: false,
            keep: false,
        };
        for line in lines {
            let line = line?;
            let mut words = line.split(' ');
            let kind = words.next();
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
            match (kind, number(), number()) {
                (Some("b"), Some(bytes), _) => {
                    file.content.size = bytes;
                    file.content.base_limit = bytes;
                }
                (Some("w"), Some(offset), Some(len)) => file.content.note_write(offset, len),
                (Some("t"), Some(size), _) => file.content.note_truncate(size),
                (Some("u"), Some(unsettled), _) => file.unsettled = unsettled > 0,
                // The last line may be cut off by a crash: that write was never acknowledged.
                _ => break,
            }
            if matches!(kind, Some("w" | "t")) {
                file.revision += 1;
            }
        }
        let bytes = file.content.extents.bytes();
        file.area.used.fetch_add(bytes, Ordering::Relaxed);
        Ok(file)
    }

    /// Number that names the files on disk.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Number of changes since it was made, also those before a restart.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether its client has still to say that all of it was sent: it writes unstably and ends
    /// with a COMMIT. One that died in between never does.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Notes whether bytes are on their way, also for the next process.
    ///
    /// # Errors
    /// As the file system's.
    pub(super) fn set_unsettled(&mut self, unsettled: bool) -> Result<()> {
        if self.unsettled != unsettled {
            self.log.write_all(format!("u {}\n", u8::from(unsettled)).as_bytes())?;
            self.unsettled = unsettled;
        }
        Ok(())
    }

    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.content.size
    }

    /// Where its bytes come from, as of now.
    pub(super) fn content(&self) -> &Content {
        &self.content
    }

    /// What is known of its bytes against its base's.
    pub(super) fn compared(&mut self) -> &mut Compared {
        &mut self.compared
    }

    /// The sparse file with the written bytes.
    pub(super) fn data(&self) -> Arc<File> {
        Arc::clone(&self.data)
    }

    /// Keeps the files on disk when this value goes away (the gateway stops).
    pub(super) fn keep_on_disk(&mut self) {
        self.keep = true;
    }

    /// Removes the files from disk when this value goes away.
    pub(super) fn drop_from_disk(&mut self) {
        self.keep = false;
    }

    /// Writes bytes at an offset.
    ///
    /// # Errors
    /// `TooLarge` beyond the limit of one file, `Full`, or as the file system's.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = offset.checked_add(len).filter(|end| *end <= self.area.file_max);
        let Some(end) = end else {
            return Err(Error::new(ErrorKind::TooLarge, "the file is larger than the limit")
                .with("limit", self.area.file_max));
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let grown = self.content.extents.missing(offset..end);
        if grown == 0 && self.holds(offset, bytes)? {
            // Repeated by the client: no other content, so no other save.
            return Ok(());
        }
        self.area.reserve(grown)?;
        let written = self
            .data
            .write_all_at(bytes, offset)
            .and_then(|()| self.log.write_all(format!("w {offset} {len}\n").as_bytes()));
        if let Err(error) = written {
            self.area.give_back(grown);
            return Err(error.into());
        }
        self.content.note_write(offset, len);
        self.compared.note_write(offset, len);
        self.revision += 1;
        Ok(())
    }

    /// Whether these bytes stand at `offset`, which was written.
    fn holds(&self, offset: u64, bytes: &[u8]) -> Result<bool> {
        let mut there = vec![0_u8; bytes.len()];
        self.data.read_exact_at(&mut there, offset)?;
        Ok(there == bytes)
    }

    /// Sets the size; growth is a hole.
    ///
    /// # Errors
    /// `TooLarge`, or as the file system's.
    pub(super) fn truncate(&mut self, size: u64) -> Result<()> {
        if size > self.area.file_max {
            return Err(Error::new(ErrorKind::TooLarge, "the file is larger than the limit"));
        }
        self.log.write_all(format!("t {size}\n").as_bytes())?;
        let before = self.content.extents.bytes();
        self.content.note_truncate(size);
        self.compared.note_truncate(size);
        self.revision += 1;
        self.area.give_back(before.saturating_sub(self.content.extents.bytes()));
        self.data.set_len(size)?;
        Ok(())
    }

    /// A copy with the same content under another id.
    ///
    /// # Errors
    /// `Full`, or as the file system's.
    pub(super) fn duplicate(&self, id: u64, base_bytes: u64) -> Result<Self> {
        let mut copy = Self::create(&self.area, id, base_bytes)?;
        if self.content.base_limit < base_bytes {
            copy.truncate(self.content.base_limit)?;
        }
        let mut buffer = vec![0_u8; 1 << 20];
        for range in self.content.extents.iter() {
            let mut at = range.start;
            while at < range.end {
                let step = (range.end - at).min(1 << 20);
                let len = usize::try_from(step).unwrap_or(buffer.len());
                let part = buffer.get_mut(..len).unwrap_or_default();
                self.data.read_exact_at(part, at)?;
                copy.write(at, part)?;
                at += step;
            }
        }
        if copy.size() != self.size() {
            copy.truncate(self.size())?;
        }
        Ok(copy)
    }

    /// Handles of the files that [`sync_files`] forces to disk.
    ///
    /// # Errors
    /// As the file system's.
    pub(super) fn files_to_sync(&self) -> Result<(Arc<File>, File)> {
        Ok((Arc::clone(&self.data), self.log.try_clone()?))
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        self.area.give_back(self.content.extents.bytes());
        if self.keep {
            return;
        }
        for suffix in SUFFIXES {
            let path = self.area.directory.join(format!("{:016x}.{suffix}", self.id));
            if let Err(error) = std::fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "leave a staging file behind");
            }
        }
    }
}

/// Writes what a staged file is beside it: the old note or the new one, whenever we are stopped.
///
/// # Errors
/// As the file system's.
pub(super) fn write_note(area: &StagingArea, id: u64, text: &[u8]) -> Result<()> {
    let fresh = area.directory.join(format!("{id:016x}.note"));
    write_private(&fresh, text)?;
    std::fs::rename(&fresh, area.directory.join(format!("{id:016x}.json")))?;
    Ok(())
}

/// Forces a staged file's bytes and log to disk, off the async threads.
///
/// # Errors
/// As the file system's.
pub(super) async fn sync_files(files: (Arc<File>, File)) -> Result<()> {
    let synced = tokio::task::spawn_blocking(move || {
        files.0.sync_data()?;
        files.1.sync_data()
    })
    .await
    .map_err(|error| Error::internal("sync a staging file").caused_by(error))?;
    Ok(synced?)
}

fn open_private(path: &Path, create_new: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(false).write(true).mode(0o600);
    let log = path.extension().is_some_and(|extension| extension == "log");
    if log {
        options.append(true);
    }
    if create_new {
        options.create(true).truncate(!log);
    }
    Ok(never_through_a_link(&mut options).open(path)?)
}

fn never_through_a_link(options: &mut OpenOptions) -> &mut OpenOptions {
    let flags = rustix::fs::OFlags::NOFOLLOW.bits() | rustix::fs::OFlags::CLOEXEC.bits();
    options.custom_flags(i32::try_from(flags).unwrap_or(0))
}

/// How files of the state directory are made: for this user only, never through a symbolic link.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    never_through_a_link(options.create(true).mode(0o600));
    options
}

/// Writes a private file anew.
///
/// # Errors
/// As the file system's.
pub(crate) fn write_private(path: &Path, text: &[u8]) -> Result<()> {
    use std::io::Write as _;
    Ok(private().write(true).truncate(true).open(path)?.write_all(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(directory: &Path) -> Arc<StagingArea> {
        StagingArea::new(directory.to_owned(), 1 << 20, 1 << 16)
    }

    #[test]
    fn content_is_base_overlaid_with_writes_and_zeros_behind_a_truncation() {
        let directory = tempfile::tempdir().expect("directory");
        let mut file = StagedFile::create(&area(directory.path()), 1, 100).expect("create");
        file.write(10, b"hello").expect("write");
        assert_eq!(
            file.content().parts(0..200),
            [Part::Base(0, 10), Part::Staged(10, 15), Part::Base(15, 100)]
        );
        assert!(file.content().is_whole());
        file.truncate(12).expect("truncate");
        file.truncate(20).expect("grow");
        assert_eq!(
            file.content().parts(0..200),
            [Part::Base(0, 10), Part::Staged(10, 12), Part::Zero(8)]
        );
        assert!(!file.content().is_whole());
        assert_eq!(file.size(), 20);
    }

    #[test]
    fn acknowledged_writes_are_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("directory");
        let area = area(directory.path());
        let mut file = StagedFile::create(&area, 7, 3).expect("create");
        file.write(3, b"abc").expect("write");
        file.truncate(5).expect("truncate");
        file.set_unsettled(true).expect("note");
        file.keep_on_disk();
        let parts = file.content().parts(0..10);
        drop(file);
        let file = StagedFile::recover(&area, 7).expect("recover");
        assert_eq!(file.content().parts(0..10), parts);
        assert_eq!((file.revision(), file.is_unsettled()), (2, true));
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).expect("list").count(), 0);
    }

    #[test]
    fn limits_are_kept_and_given_back() {
        let directory = tempfile::tempdir().expect("directory");
        let area = StagingArea::new(directory.path().to_owned(), 10, 1 << 16);
        let mut file = StagedFile::create(&area, 1, 0).expect("create");
        file.write(0, b"12345678").expect("fits");
        let refused = file.write(8, b"12345678").expect_err("full");
        assert_eq!(refused.kind(), ErrorKind::Full);
        file.write(0, b"87654321").expect("rewriting needs no room");
        drop(file);
        let mut file = StagedFile::create(&area, 2, 0).expect("create");
        file.write(0, b"0123456789").expect("room again");
        assert_eq!(file.write(1 << 16, b"x").expect_err("limit").kind(), ErrorKind::TooLarge);
    }
}
