//! NFSv3 and MOUNT v3 on one TCP port, over any [`FileSystem`]; no portmapper is needed.
//!
//! The RPC layer is our own (docs/adr/0002-own-rpc-loop.md): record marking, AUTH_SYS, the 22 and
//! 6 procedures, a duplicate-request cache and READ replies that are sent without copying. It
//! decides nothing about tables: a call is decoded, handed to the file system once, and encoded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{info, warn};

use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::vfs::FileSystem;

mod admit;
mod arguments;
mod call;
mod change;
mod connection;
mod convert;
mod drc;
mod earlier;
mod handle;
mod listing;
pub mod memory;
mod mount;
mod query;
mod record;
mod reply;
mod rpc;
mod service;
#[cfg(test)]
mod tests;
mod xdr;

pub use memory::MemoryFs;

use admit::{Door, Refusal};
use connection::{Shared, Stop};
use service::{Service, Tally};

/// Wait after the system refused to hand out a new connection (too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running NFS server.
///
/// Dropping it stops it without waiting.
pub struct Server {
    address: SocketAddr,
    stop: Stopper,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Stops a server; may be cloned and kept by a signal handler.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<watch::Sender<Option<Duration>>>);

impl Stopper {
    /// Takes no more connections and calls; calls under way get `grace` to end.
    pub fn stop(&self, grace: Duration) {
        self.0.send_replace(Some(grace));
    }
}

/// What a server counted since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Connections open now.
    pub connections: u64,
    /// Calls executed or answered from the duplicate-request cache.
    pub requests: u64,
    /// Calls answered from the duplicate-request cache.
    pub replayed: u64,
    /// Connections not let in.
    pub refused_connections: u64,
    /// File handles that this lake did not give out.
    pub forged_handles: u64,
    /// Records and arguments that could not be read.
    pub garbage: u64,
    /// Procedures that panicked; each was answered SERVERFAULT.
    pub panics: u64,
}

impl Server {
    /// Listens on `settings.nfs` (port 0: any free one) and serves `files` from then on.
    ///
    /// # Errors
    ///
    /// `Invalid` if other machines could reach the address and `settings.exports` is empty, or
    /// the address is not one of this machine; `Busy` if the port is taken; `Denied` if it is a
    /// port for root only.
    pub async fn start(
        files: Arc<dyn FileSystem>,
        settings: &Settings,
        clock: SharedClock,
    ) -> Result<Self> {
        let door = Arc::new(Door::new(settings)?);
        let listener = TcpListener::bind(settings.nfs)
            .await
            .map_err(|error| cannot_listen(error, settings.nfs))?;
        let address = listener.local_addr().map_err(|error| cannot_listen(error, settings.nfs))?;
        let service = Service {
            handles: handle::HandleCodec::new(files.handle_key()),
            replies: drc::ReplyCache::new(Arc::clone(&clock), settings.limits.replies_kept),
            earlier: earlier::Earlier::open(&settings.state, Arc::clone(&clock)),
            mounts: mount::Mounts::default(),
            tally: Tally::default(),
            files,
            door,
        };
        let shared = Arc::new(Shared::new(service, &settings.limits));
        let (stop, stopped) = watch::channel(None);
        let task = tokio::spawn(accept(Arc::clone(&shared), listener, stopped, clock));
        info!(%address, "serve NFS");
        Ok(Self { address, stop: Stopper(Arc::new(stop)), task, shared })
    }

    /// The address that is listened on, with the port that was chosen.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Something that stops this server from elsewhere.
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        let service = &self.shared.service;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            connections: u64::try_from(service.door.connections()).unwrap_or(u64::MAX),
            requests: read(&service.tally.requests),
            replayed: read(&service.tally.replayed),
            refused_connections: read(&service.tally.refused),
            forged_handles: service.handles.forged(),
            garbage: read(&service.tally.garbage),
            panics: read(&service.tally.panics),
        }
    }

    /// Completes when the server has stopped: after [`Stopper::stop`], when all calls under way
    /// have ended and their replies are sent, or their grace is over.
    pub async fn stopped(&mut self) {
        // It fails only if the task panicked, and then it has stopped too.
        let _ = (&mut self.task).await;
    }

    /// Stops and waits for it.
    pub async fn stop(mut self, grace: Duration) {
        self.stop.stop(grace);
        self.stopped().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.stop(Duration::ZERO);
    }
}

fn cannot_listen(error: std::io::Error, address: SocketAddr) -> Error {
    use std::io::ErrorKind as Io;
    let (kind, message) = match error.kind() {
        Io::AddrInUse => (
            ErrorKind::Busy,
            "listen for NFS: another program has this port; stop it or choose another port",
        ),
        Io::AddrNotAvailable => {
            (ErrorKind::Invalid, "listen for NFS: the address is none of this machine")
        }
        Io::PermissionDenied => {
            (ErrorKind::Denied, "listen for NFS: ports below 1024 need more rights")
        }
        _ => (ErrorKind::Unavailable, "listen for NFS"),
    };
    Error::new(kind, message).with("address", address).caused_by(error)
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, mut stop: Stop, clock: SharedClock) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(Option::is_some) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "accept connection");
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match shared.service.door.enter(peer) {
            Ok(seat) => {
                let serve = connection::serve(Arc::clone(&shared), stream, seat, stop.clone());
                connections.spawn(serve);
            }
            Err(refusal) => refuse(&shared, peer, refusal),
        }
    }
    drop(listener);
    let grace = (*stop.borrow()).unwrap_or_default();
    let drained =
        tokio::time::timeout(grace, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        warn!(connections = connections.len(), "stop before all calls have ended");
        connections.shutdown().await;
    }
}

/// The connection closes when it goes out of scope; each address is worth one line.
fn refuse(shared: &Shared, peer: SocketAddr, refusal: Refusal) {
    Tally::add(&shared.service.tally.refused);
    if !shared.service.door.first_refusal(peer.ip()) {
        return;
    }
    match refusal {
        Refusal::NotExported => {
            warn!(peer = %peer.ip(), "refuse connection: no rule under `exports` matches");
        }
        Refusal::TooMany | Refusal::TooManyFromAddress => {
            warn!(peer = %peer.ip(), ?refusal, "refuse connection: limit reached");
        }
    }
}
