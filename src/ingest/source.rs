//! The bytes of an input: opened, spooled if they cannot be read twice, unpacked.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::clock::random_hex;
use crate::error::{Error, Result};
use crate::ingest::{Compression, Options, Progress};

/// Buffer before the decoders.
const BUFFER_BYTES: usize = 256 << 10;

/// A file that can be read from the start as often as needed.
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) bytes: u64,
}

/// Opens a file; standard input and pipes are copied to the spool.
pub(super) fn open(path: &Path, options: &Options) -> Result<Opened> {
    if path.as_os_str() == "-" {
        return spool(&mut io::stdin().lock(), options);
    }
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(Error::invalid("this is a directory; name the files in it"));
    }
    if !metadata.is_file() {
        return spool(&mut file, options);
    }
    Ok(Opened { file, bytes: metadata.len() })
}

/// Copies a stream to a file that nobody else can open and that vanishes with this process.
pub(super) fn spool(reader: &mut impl Read, options: &Options) -> Result<Opened> {
    std::fs::create_dir_all(&options.spool)?;
    let path = options.spool.join(format!("load-{}", random_hex(&*options.clock)));
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    // Removed at once: the open file stays usable and nothing is left behind by a crash.
    std::fs::remove_file(&path)?;
    let bytes = io::copy(reader, &mut file)?;
    Ok(Opened { file, bytes })
}

/// The unpacked bytes of a range of the file. Readers of one file do not disturb each other.
pub(super) fn reader(
    file: &File,
    range: Range<u64>,
    compression: Compression,
    progress: &Progress,
) -> Result<BufReader<Unpacked>> {
    let raw = Metered { file: file.try_clone()?, range, progress: progress.clone() };
    let unpacked = match compression {
        Compression::None => Unpacked::Plain(raw),
        Compression::Gzip => Unpacked::Gzip(Box::new(MultiGzDecoder::new(
            BufReader::with_capacity(BUFFER_BYTES, raw),
        ))),
        Compression::Zstd => Unpacked::Zstd(Box::new(zstd::stream::read::Decoder::new(raw)?)),
    };
    Ok(BufReader::with_capacity(BUFFER_BYTES, unpacked))
}

/// Reads a range of a file and tells how far it got.
pub(super) struct Metered {
    file: File,
    range: Range<u64>,
    progress: Progress,
}

impl Read for Metered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.range.end.saturating_sub(self.range.start);
        let wanted = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count =
            self.file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.range.start)?;
        let read = u64::try_from(count).unwrap_or_default();
        self.range.start += read;
        (self.progress)(read);
        Ok(count)
    }
}

/// A file behind its decoder.
pub(super) enum Unpacked {
    Plain(Metered),
    Gzip(Box<MultiGzDecoder<BufReader<Metered>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, BufReader<Metered>>>),
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(buffer),
            Self::Gzip(reader) => reader.read(buffer),
            Self::Zstd(reader) => reader.read(buffer),
        }
    }
}

/// A failure while reading the unpacked bytes: damaged compression is the file's fault, the rest
/// is the machine's.
pub(super) fn read_error(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Error::invalid("the compressed data is damaged or cut short").caused_by(error)
        }
        _ => Error::from(error),
    }
}
