//! Record marking (RFC 5531 section 11): cuts a TCP stream into RPC messages.
//!
//! A record's announced length is compared with the limit before memory is taken for it; the
//! fragments of one record are bounded in number and together in length; a record has to arrive
//! within the slow-record time once its first byte is there.

use std::io;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout, timeout_at};

/// Spare room for the next read while no long record is expected, in bytes.
const CHUNK: usize = 16 << 10;
/// Most fragments of one record; every known client sends one.
const FRAGMENTS_MAX: usize = 256;
/// The bit of a fragment header that marks the last fragment.
const LAST: u32 = 0x8000_0000;

/// Limits of one connection's records.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordLimits {
    /// Longest record, in bytes.
    pub(super) bytes_max: u32,
    /// How long to wait for the first byte of a record.
    pub(super) idle: Duration,
    /// How long the rest of it may take.
    pub(super) slow: Duration,
}

/// Why no more records come.
#[derive(Debug)]
pub(super) enum RecordEnd {
    /// The peer closed the connection between two records.
    Closed,
    /// Nothing came for the idle time; asking again is possible.
    Idle,
    /// A record took too long.
    Slow,
    /// The announced length is above the limit.
    TooLong(u64),
    /// Too many fragments, or none with content.
    Fragments,
    /// The connection broke, or ended inside a record.
    Broken(io::Error),
}

/// Reads records from a stream.
#[derive(Debug)]
pub(super) struct RecordReader<R> {
    source: R,
    buffer: BytesMut,
    limits: RecordLimits,
}

impl<R: AsyncRead + Unpin> RecordReader<R> {
    pub(super) fn new(source: R, limits: RecordLimits) -> Self {
        Self { source, buffer: BytesMut::new(), limits }
    }

    /// The next record, whole.
    pub(super) async fn next(&mut self) -> Result<Bytes, RecordEnd> {
        if self.buffer.is_empty() {
            let limit = self.limits.idle;
            match timeout(limit, self.fill(1)).await {
                Err(_) => return Err(RecordEnd::Idle),
                Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(RecordEnd::Closed);
                }
                Ok(Err(error)) => return Err(RecordEnd::Broken(error)),
                Ok(Ok(())) => {}
            }
        }
        // Usually the whole record is there already and no timer is needed.
        if let Some(record) = self.buffered()? {
            return Ok(record);
        }
        let deadline = Instant::now() + self.limits.slow;
        match timeout_at(deadline, self.assemble()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RecordEnd::Slow),
        }
    }

    /// The next record if it has one fragment and is buffered completely.
    fn buffered(&mut self) -> Result<Option<Bytes>, RecordEnd> {
        let Some(header) = self.buffer.first_chunk::<4>().map(|word| u32::from_be_bytes(*word))
        else {
            return Ok(None);
        };
        let length = self.checked_length(header, 0)?;
        if header & LAST == 0 || self.buffer.len() < 4 + length {
            return Ok(None);
        }
        if length == 0 {
            return Err(RecordEnd::Fragments);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    fn checked_length(&self, header: u32, before: usize) -> Result<usize, RecordEnd> {
        let total = u64::from(header & !LAST) + u64::try_from(before).unwrap_or(u64::MAX);
        if total > u64::from(self.limits.bytes_max) {
            return Err(RecordEnd::TooLong(total));
        }
        usize::try_from(header & !LAST).map_err(|_| RecordEnd::TooLong(total))
    }

    async fn assemble(&mut self) -> Result<Bytes, RecordEnd> {
        let mut parts = BytesMut::new();
        for _ in 0..FRAGMENTS_MAX {
            self.fill(4).await.map_err(RecordEnd::Broken)?;
            let header = self.buffer.get_u32();
            let length = self.checked_length(header, parts.len())?;
            self.fill(length).await.map_err(RecordEnd::Broken)?;
            let fragment = self.buffer.split_to(length);
            let last = header & LAST != 0;
            if last && parts.is_empty() {
                if fragment.is_empty() {
                    return Err(RecordEnd::Fragments);
                }
                return Ok(fragment.freeze());
            }
            parts.extend_from_slice(&fragment);
            if last {
                return Ok(parts.freeze());
            }
        }
        Err(RecordEnd::Fragments)
    }

    /// Reads until `wanted` bytes are buffered; `wanted` is checked against the limit before.
    async fn fill(&mut self, wanted: usize) -> io::Result<()> {
        while self.buffer.len() < wanted {
            let missing = wanted - self.buffer.len();
            // A long body is read up to its end and no further, so that the start of the next
            // record need not be moved; short ones come in as many as there are.
            self.buffer.reserve(missing.max(if missing > CHUNK { 0 } else { CHUNK }));
            if self.source.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> RecordLimits {
        RecordLimits {
            bytes_max: 1 << 20,
            idle: Duration::from_secs(600),
            slow: Duration::from_secs(30),
        }
    }

    async fn all(stream: &[u8]) -> (Vec<Bytes>, RecordEnd) {
        let mut reader = RecordReader::new(stream, limits());
        let mut records = Vec::new();
        loop {
            match reader.next().await {
                Ok(record) => records.push(record),
                Err(end) => return (records, end),
            }
        }
    }

    fn fragment(last: bool, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap();
        let mut out = (length | if last { LAST } else { 0 }).to_be_bytes().to_vec();
        out.extend_from_slice(content);
        out
    }

    #[tokio::test]
    async fn records_of_one_and_of_several_fragments_come_out_whole() {
        let mut stream = fragment(true, b"one");
        stream.extend(fragment(false, b"tw"));
        stream.extend(fragment(false, b""));
        stream.extend(fragment(true, b"o"));
        stream.extend(fragment(true, &vec![7; 300_000]));
        let (records, end) = all(&stream).await;
        assert_eq!(records.len(), 3);
        assert_eq!(records[0], &b"one"[..]);
        assert_eq!(records[1], &b"two"[..]);
        assert_eq!(records[2].len(), 300_000);
        assert!(matches!(end, RecordEnd::Closed));
    }

    #[tokio::test]
    async fn length_above_the_limit_ends_the_stream_before_memory_is_taken() {
        let (records, end) = all(&0xffff_ffff_u32.to_be_bytes()).await;
        assert!(records.is_empty());
        assert!(matches!(end, RecordEnd::TooLong(0x7fff_ffff)));
        let mut stream = fragment(false, &vec![0; 900_000]);
        stream.extend(fragment(true, &vec![0; 200_000]));
        assert!(matches!(all(&stream).await.1, RecordEnd::TooLong(1_100_000)));
    }

    #[tokio::test]
    async fn endless_fragments_and_empty_records_end_the_stream() {
        let empty: Vec<u8> = (0..1000).flat_map(|_| fragment(false, b"")).collect();
        assert!(matches!(all(&empty).await.1, RecordEnd::Fragments));
        assert!(matches!(all(&fragment(true, b"")).await.1, RecordEnd::Fragments));
    }

    #[tokio::test]
    async fn stream_that_ends_inside_a_record_is_broken() {
        let mut stream = fragment(true, b"complete");
        stream.truncate(7);
        assert!(matches!(all(&stream).await.1, RecordEnd::Broken(_)));
    }

    #[tokio::test]
    async fn silent_peer_is_idle_and_slow_peer_is_slow() {
        let (mut ours, theirs) = tokio::io::duplex(64);
        let (idle, slow) = (Duration::from_millis(20), Duration::from_millis(20));
        let mut reader = RecordReader::new(theirs, RecordLimits { idle, slow, ..limits() });
        assert!(matches!(reader.next().await, Err(RecordEnd::Idle)));
        tokio::io::AsyncWriteExt::write_all(&mut ours, &[0x80, 0, 0]).await.unwrap();
        assert!(matches!(reader.next().await, Err(RecordEnd::Slow)));
    }
}
