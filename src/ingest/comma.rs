//! Comma-separated text at the speed of the machine: pieces of whole records, typed on all cores
//! and parsed by the parser of the CSV view.
//!
//! That parser is stricter than loading has to be. A piece that it does not take goes through
//! [`delimited`], which knows the odd forms and words the errors; both agree on where records end.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;

use crate::csv::{FieldSplitter, Parser, RecordSplitter, Records};
use crate::error::{Error, Result};
use crate::ingest::batches::Batches;
use crate::ingest::infer::Inference;
use crate::ingest::source::read_error;
use crate::ingest::{Emit, Limits, delimited};

const COMMA: u8 = b',';
/// How a text is cut; tests cut small.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Text read at once, in bytes.
    pub(super) chunk: usize,
    /// Text of a piece of a file: enough for a data file, so that pieces do not make more of them.
    pub(super) piece: u64,
}

pub(super) const SIZES: Sizes = Sizes { chunk: 1 << 20, piece: 64 << 20 };

/// Chunks that the parser may refuse before it is not asked any more.
const REFUSED_MAX: u32 = 8;

/// A place in a file at which a record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Bytes before it.
    pub(super) offset: u64,
    /// Lines before it.
    pub(super) lines: u64,
}

/// What the first reading found out.
#[derive(Debug)]
pub(super) struct Outline {
    /// The column names.
    pub(super) names: Arc<[String]>,
    /// Where pieces begin, in ascending order; the first one behind the header.
    pub(super) cuts: Vec<Cut>,
}

/// Whole records that follow each other.
#[derive(Debug)]
struct Chunk {
    text: Vec<u8>,
    start: Cut,
}

/// Reads text in chunks of whole records.
pub(super) struct Chunks<R> {
    reader: R,
    limits: Limits,
    sizes: Sizes,
    /// Read already.
    pending: Vec<u8>,
    /// Where that begins.
    at: Cut,
    ended: bool,
}

impl<R: Read> Chunks<R> {
    /// Begins at a record.
    pub(super) fn new(reader: R, limits: Limits, sizes: Sizes, at: Cut) -> Self {
        Self { reader, limits, sizes, pending: Vec::new(), at, ended: false }
    }

    /// Begins at the beginning of a file: takes the header away and returns the column names.
    ///
    /// # Errors
    /// `Invalid` if there is none.
    pub(super) fn with_header(
        reader: R,
        limits: Limits,
        sizes: Sizes,
    ) -> Result<(Self, Arc<[String]>)> {
        let mut chunks = Self::new(reader, limits, sizes, Cut { offset: 0, lines: 0 });
        let text = chunks.next()?.map(|chunk| chunk.text).unwrap_or_default();
        let names = delimited::names(&text[..], COMMA, limits)?;
        let end = Records::new(&text).next().map_or(0, |record| record.end);
        let header = text.get(..end).unwrap_or_default();
        chunks.at = Cut { offset: length(end), lines: lines_of(header) };
        let mut rest = text.get(end..).unwrap_or_default().to_vec();
        rest.append(&mut chunks.pending);
        chunks.pending = rest;
        Ok((chunks, names.into()))
    }

    fn next(&mut self) -> Result<Option<Chunk>> {
        loop {
            let whole = if self.ended {
                self.pending.len()
            } else {
                RecordSplitter::new().last_end(&self.pending).unwrap_or(0)
            };
            let overlong = length(self.pending.len()) > self.limits.record_bytes_max;
            if whole > 0 || (overlong && !self.pending.is_empty()) {
                let whole = if whole > 0 { whole } else { self.pending.len() };
                return Ok(Some(self.take(whole)));
            }
            if self.ended {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.pending.reserve(self.sizes.chunk);
        let mut part = self.reader.by_ref().take(length(self.sizes.chunk));
        let read = part.read_to_end(&mut self.pending).map_err(read_error)?;
        self.ended = read < self.sizes.chunk;
        Ok(())
    }

    fn take(&mut self, whole: usize) -> Chunk {
        let mut rest = Vec::with_capacity(self.sizes.chunk + (self.pending.len() - whole));
        rest.extend_from_slice(self.pending.get(whole..).unwrap_or_default());
        self.pending.truncate(whole);
        let text = std::mem::replace(&mut self.pending, rest);
        let start = self.at;
        self.at.offset += length(text.len());
        self.at.lines += lines_of(&text);
        Chunk { text, start }
    }
}

/// Reads a file through on all cores; the columns with the types of all their values, and where
/// its pieces begin.
///
/// # Errors
/// `Invalid` with the place of the first text that cannot be split into records.
pub(super) fn outline(
    reader: impl Read,
    limits: Limits,
    sizes: Sizes,
    workers: usize,
) -> Result<(SchemaRef, Outline)> {
    let (mut chunks, names) = Chunks::with_header(reader, limits, sizes)?;
    let mut cuts = vec![chunks.at];
    let work = Work { names: Arc::clone(&names), limits, stopped: AtomicBool::new(false) };
    let (sender, receiver) = sync_channel::<(u64, Chunk)>(workers);
    let receiver = Mutex::new(receiver);
    let outcome = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..workers.max(1)).map(|_| scope.spawn(|| work.infer(&receiver))).collect();
        let read = (|| {
            let mut number = 0;
            while let Some(chunk) = chunks.next()? {
                if chunk.start.offset - cuts.last().map_or(0, |cut| cut.offset) >= sizes.piece {
                    cuts.push(chunk.start);
                }
                if work.stopped.load(Ordering::Relaxed) || sender.send((number, chunk)).is_err() {
                    break;
                }
                number += 1;
            }
            Ok(())
        })();
        drop(sender);
        let mut inference = Inference::default();
        let mut first: Option<(u64, Error)> = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(found)) => inference.merge(&found),
                Ok(Err(error)) => {
                    if first.as_ref().is_none_or(|(number, _)| error.0 < *number) {
                        first = Some(error);
                    }
                }
                Err(_) => return Err(Error::internal("reading thread ended")),
            }
        }
        match first {
            Some((_, error)) => Err(error),
            None => read.map(|()| inference),
        }
    });
    let schema = outcome?.finish(&names)?;
    Ok((schema, Outline { names, cuts }))
}

/// What the threads of the first reading share.
struct Work {
    names: Arc<[String]>,
    limits: Limits,
    stopped: AtomicBool,
}

impl Work {
    /// Looks at chunks until there are no more; the number of a bad one goes with its error.
    ///
    /// Every chunk before a bad one was handed out before it, so that the lowest number of all
    /// threads is the first error of the file.
    fn infer(
        &self,
        chunks: &Mutex<Receiver<(u64, Chunk)>>,
    ) -> std::result::Result<Inference, (u64, Error)> {
        let mut inference = Inference::default();
        let mut splitter = FieldSplitter::default();
        loop {
            let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((number, chunk)) = next else { return Ok(inference) };
            let plain = self.plain(&chunk)
                && inference.observe_text(&chunk.text, self.names.len(), &mut splitter);
            if !plain && let Err(error) = self.observe(&chunk, &mut inference) {
                self.stopped.store(true, Ordering::Relaxed);
                return Err((number, error));
            }
        }
    }

    fn plain(&self, chunk: &Chunk) -> bool {
        length(chunk.text.len()) <= self.limits.record_bytes_max
            && simdutf8::basic::from_utf8(&chunk.text).is_ok()
    }

    /// Takes a chunk of odd forms into account.
    fn observe(&self, chunk: &Chunk, inference: &mut Inference) -> Result<()> {
        let body = delimited::Body { names: &self.names, lines: chunk.start.lines };
        body.read(&chunk.text, COMMA, self.limits, &mut |names, record| {
            inference.observe(names, record);
            Ok(())
        })
    }
}

/// Reads rows as `target`.
///
/// # Errors
/// As [`super::Input::read`].
pub(super) fn read(
    mut chunks: Chunks<impl Read>,
    names: &[String],
    target: &SchemaRef,
    emit: &mut Emit<'_>,
) -> Result<()> {
    let limits = chunks.limits;
    // A file with columns that the target leaves out is none for the parser.
    let mut parser = Parser::new(names, target).ok();
    let mut refused = 0;
    while let Some(chunk) = chunks.next()? {
        let plain = length(chunk.text.len()) <= limits.record_bytes_max;
        if let Some(parser) = parser.as_mut().filter(|_| plain) {
            if let Ok(batch) = parser.parse(&chunk.text, chunk.start.lines + 1) {
                emit(batch)?;
                continue;
            }
            refused += 1;
        }
        if refused >= REFUSED_MAX {
            parser = None;
        }
        let mut batches = Batches::new(target);
        let body = delimited::Body { names, lines: chunk.start.lines };
        body.read(&chunk.text, COMMA, limits, &mut |names, record| {
            batches.push(names, record, emit)
        })?;
        batches.finish(emit)?;
    }
    Ok(())
}

fn lines_of(text: &[u8]) -> u64 {
    length(memchr::memchr_iter(b'\n', text).count())
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
