//! One client connection: a reader that starts a task per call, and one writer that sends the
//! replies whole, in the order in which they get ready.
//!
//! Memory is bounded by permits: a call holds one of its connection, one of the gateway and as
//! many as it has bytes, from before it is executed until its reply is sent. When there are none
//! left the reader stops reading and TCP makes the client wait. A call that was started runs to
//! its end even if the connection breaks: the client sends it again and finds it done.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tracing::{debug, warn};

use super::admit::Seat;
use super::record::{RecordEnd, RecordLimits, RecordReader};
use super::reply::Reply;
use super::rpc::Authenticator;
use super::service::{Service, Step};
use crate::config::Limits;

/// Unit in which bytes of calls and replies are counted.
const UNIT: usize = 1024;
/// Bytes that calls under way and replies not yet sent may hold together.
const BYTES_MAX: usize = 256 << 20;
/// Replies sent with one system call at most.
const BATCH: usize = 16;
/// Parts handed to one system call at most.
const PARTS: usize = 64;

/// What all connections share.
pub(super) struct Shared {
    pub(super) service: Service,
    limits: Limits,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(service: Service, limits: &Limits) -> Self {
        let requests = limits.requests_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            service,
            limits: limits.clone(),
            requests: Arc::new(Semaphore::new(requests)),
            bytes: Arc::new(Semaphore::new(BYTES_MAX / UNIT)),
        }
    }
}

/// What a call holds until its reply is sent.
#[derive(Debug)]
struct Permits {
    _connection: OwnedSemaphorePermit,
    _request: OwnedSemaphorePermit,
    _bytes: Option<OwnedSemaphorePermit>,
}

type Outgoing = (Reply, Permits);

/// Set to how long calls under way may still take once the gateway is to stop.
pub(super) type Stop = watch::Receiver<Option<Duration>>;

/// Serves a connection until the client closes it, misbehaves, or the gateway stops.
pub(super) async fn serve(shared: Arc<Shared>, stream: TcpStream, seat: Seat, stop: Stop) {
    let peer = seat.peer();
    if let Err(error) = prepare(&stream) {
        debug!(%peer, %error, "set socket options");
    }
    let (source, sink) = stream.into_split();
    let limits = RecordLimits {
        bytes_max: shared.limits.record_bytes_max,
        idle: shared.limits.idle,
        slow: shared.limits.slow_record,
    };
    // Not bounded by itself: what is in it holds permits of the connection.
    let (replies, outgoing) = mpsc::unbounded_channel();
    let writer = tokio::spawn(send(sink, outgoing, shared.limits.slow_record));
    let reader = Reader {
        records: RecordReader::new(source, limits),
        authenticator: Authenticator::new(peer, seat.rights),
        slots: Arc::new(Semaphore::new(shared.limits.requests_per_connection_max.max(1))),
        shared,
        replies,
        seat,
    };
    let seat = reader.run(stop).await;
    // The writer ends when the last call under way has its reply sent.
    if let Ok(Err(error)) = writer.await {
        debug!(%peer, %error, "send replies");
    }
    drop(seat);
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(60));
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

struct Reader<R> {
    shared: Arc<Shared>,
    records: RecordReader<R>,
    authenticator: Authenticator,
    slots: Arc<Semaphore>,
    replies: mpsc::UnboundedSender<Outgoing>,
    seat: Seat,
}

impl<R: tokio::io::AsyncRead + Unpin> Reader<R> {
    async fn run(mut self, mut stop: Stop) -> Seat {
        loop {
            let record = tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => break,
                () = self.replies.closed() => break,
                record = self.records.next() => record,
            };
            match record {
                Ok(record) => {
                    if !self.start(record).await {
                        break;
                    }
                }
                Err(RecordEnd::Idle) if self.busy() => {}
                Err(end) => {
                    self.ended(&end);
                    break;
                }
            }
        }
        self.seat
    }

    fn busy(&self) -> bool {
        self.slots.available_permits() < self.shared.limits.requests_per_connection_max.max(1)
    }

    fn ended(&self, end: &RecordEnd) {
        let peer = self.seat.peer();
        match end {
            RecordEnd::Closed => debug!(%peer, "client closed connection"),
            RecordEnd::Idle => debug!(%peer, "close idle connection"),
            RecordEnd::Broken(error) => debug!(%peer, %error, "connection broke"),
            RecordEnd::TooLong(bytes) => warn!(%peer, bytes, "close connection: record too long"),
            RecordEnd::Fragments => warn!(%peer, "close connection: record of empty fragments"),
            RecordEnd::Slow => warn!(%peer, "close connection: record takes too long"),
        }
    }

    /// Starts a call; false if the connection cannot go on.
    async fn start(&mut self, record: Bytes) -> bool {
        let peer = self.seat.peer();
        let service = &self.shared.service;
        let step = service.receive(record, peer, &mut self.authenticator);
        let bytes = match &step {
            Step::Execute(request) => request.bytes(),
            Step::Reply(_) => 0,
            Step::Ignore => return true,
        };
        let Some(permits) = self.permits(bytes).await else { return false };
        match step {
            Step::Reply(reply) => self.replies.send((reply, permits)).is_ok(),
            Step::Execute(request) => {
                let shared = Arc::clone(&self.shared);
                let replies = self.replies.clone();
                tokio::spawn(async move {
                    let reply = shared.service.answer(request).await;
                    // Nobody waits for it if the connection is gone.
                    let _ = replies.send((reply, permits));
                });
                true
            }
            Step::Ignore => true,
        }
    }

    async fn permits(&self, bytes: usize) -> Option<Permits> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
        let request = Arc::clone(&self.shared.requests).acquire_owned().await.ok()?;
        let units = u32::try_from(bytes.min(BYTES_MAX) / UNIT).ok()?;
        let bytes = match units {
            0 => None,
            units => Some(Arc::clone(&self.shared.bytes).acquire_many_owned(units).await.ok()?),
        };
        Some(Permits { _connection: slot, _request: request, _bytes: bytes })
    }
}

/// Sends replies until no more can come; fails if the peer takes nothing for `stall`.
async fn send<W: AsyncWrite + Unpin>(
    mut sink: W,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    stall: Duration,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut parts = VecDeque::with_capacity(PARTS);
    let mut permits = Vec::with_capacity(BATCH);
    while outgoing.recv_many(&mut batch, BATCH).await > 0 {
        for (reply, permit) in batch.drain(..) {
            parts.extend(reply.into_parts());
            permits.push(permit);
        }
        write_parts(&mut sink, &mut parts, stall).await?;
        permits.clear();
    }
    sink.shutdown().await
}

async fn write_parts<W: AsyncWrite + Unpin>(
    sink: &mut W,
    parts: &mut VecDeque<Bytes>,
    stall: Duration,
) -> io::Result<()> {
    while !parts.is_empty() {
        let mut slices = [IoSlice::new(&[]); PARTS];
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(parts.iter()) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        let slices = slices.get(..count).unwrap_or_default();
        let written = timeout(stall, sink.write_vectored(slices))
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if written == 0 && slices.iter().any(|slice| !slice.is_empty()) {
            return Err(io::ErrorKind::WriteZero.into());
        }
        advance(parts, written);
    }
    Ok(())
}

/// Drops what was written, and empty parts.
fn advance(parts: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(part) = parts.front_mut() {
        if part.len() > written {
            part.advance(written);
            return;
        }
        written -= part.len();
        parts.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn parts_arrive_whole_through_a_narrow_pipe() {
        let (mut ours, mut theirs) = tokio::io::duplex(7);
        let mut parts: VecDeque<Bytes> =
            (0..200_u8).map(|n| Bytes::from(vec![n; usize::from(n % 5)])).collect();
        let expected: Vec<u8> = parts.iter().flatten().copied().collect();
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            theirs.read_to_end(&mut all).await.unwrap();
            all
        });
        write_parts(&mut ours, &mut parts, Duration::from_secs(5)).await.unwrap();
        drop(ours);
        assert_eq!(reader.await.unwrap(), expected);
    }

    #[tokio::test]
    async fn peer_that_reads_nothing_is_given_up() {
        let (mut ours, _theirs) = tokio::io::duplex(16);
        let mut parts = VecDeque::from([Bytes::from_static(&[0; 64])]);
        let error = write_parts(&mut ours, &mut parts, Duration::from_millis(20)).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
