//! From a call to its reply: which program and procedure, whether it was answered before, and
//! what happens if the procedure panics.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use nfs3_types::mount::{self as mount3, MOUNT_PROGRAM};
use nfs3_types::nfs3::{self, NFS_PROGRAM, nfsstat3};
use nfs3_types::rpc::accept_stat;
use tracing::{Instrument, debug, debug_span, error};

use super::admit::Door;
use super::call::{Cx, bare_failure};
use super::drc::{CallKey, ReplyCache, Verdict};
use super::earlier::{Begun, Earlier};
use super::handle::HandleCodec;
use super::mount::{self, Mounts};
use super::query::TRANSFER_MAX;
use super::reply::{Reply, Results};
use super::rpc::{Authenticator, Call, Message, Needs};
use super::xdr::{Decoded, Decoder, Garbage};
use super::{change, listing, query};
use crate::vfs::{Caller, FileSystem};

/// What a call is for.
#[derive(Debug, Clone, Copy)]
enum Target {
    Nfs(NFS_PROGRAM),
    Mount(MOUNT_PROGRAM),
}

/// A call that may be executed.
#[derive(Debug)]
pub(super) struct Request {
    xid: u32,
    target: Target,
    peer: std::net::IpAddr,
    caller: Caller,
    arguments: Decoder,
}

/// What to do with a record.
#[derive(Debug)]
pub(super) enum Step {
    /// Execute it.
    Execute(Request),
    /// Send this.
    Reply(Reply),
    /// Nothing: the record is no call.
    Ignore,
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: AtomicU64,
    pub(super) replayed: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) garbage: AtomicU64,
    pub(super) panics: AtomicU64,
}

impl Tally {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Everything that calls need, shared by all connections.
pub(super) struct Service {
    pub(super) files: Arc<dyn FileSystem>,
    pub(super) handles: HandleCodec,
    pub(super) replies: Arc<ReplyCache>,
    pub(super) earlier: Earlier,
    pub(super) mounts: Mounts,
    pub(super) door: Arc<Door>,
    pub(super) tally: Tally,
}

impl Service {
    /// Takes a record apart and checks who sent it.
    pub(super) fn receive(
        &self,
        record: bytes::Bytes,
        peer: std::net::IpAddr,
        authenticator: &mut Authenticator,
    ) -> Step {
        let call = match Message::parse(record) {
            Message::Call(call) => *call,
            Message::Mismatch(xid) => return Step::Reply(Reply::rpc_mismatch(xid)),
            Message::Malformed(xid) => {
                Tally::add(&self.tally.garbage);
                return Step::Reply(Reply::not_executed(xid, accept_stat::GARBAGE_ARGS));
            }
            Message::Noise => {
                Tally::add(&self.tally.garbage);
                return Step::Ignore;
            }
        };
        let target = match Target::of(&call) {
            Ok(target) => target,
            Err(why) => return Step::Reply(Reply::not_executed(call.xid, why)),
        };
        match authenticator.caller(&call.credential, target.needs()) {
            Ok(caller) => {
                let Call { xid, arguments, .. } = call;
                Step::Execute(Request { xid, target, peer, caller, arguments })
            }
            Err(why) => {
                debug!(%peer, %why, "refuse credential");
                Step::Reply(Reply::auth_error(call.xid, why))
            }
        }
    }

    /// Answers a call.
    pub(super) async fn answer(&self, request: Request) -> Reply {
        Tally::add(&self.tally.requests);
        let span = debug_span!("nfs", xid = request.xid, call = ?request.target,
                               client = %request.caller.client, uid = request.caller.uid);
        self.answer_once(request).instrument(span).await
    }

    async fn answer_once(&self, mut request: Request) -> Reply {
        let Some(key) = request.key() else { return self.execute(&mut request, None).await };
        match self.replies.begin(key).await {
            Verdict::Execute(ticket) => {
                let begun = self.earlier.begin(&key);
                let reply = self.execute(&mut request, begun).await;
                ticket.keep(&reply);
                reply
            }
            Verdict::Replay(reply) => {
                debug!("answer repeated call as before");
                Tally::add(&self.tally.replayed);
                reply
            }
        }
    }

    async fn execute(&self, request: &mut Request, begun: Option<Begun>) -> Reply {
        let xid = request.xid;
        let (target, caller) = (request.target, &request.caller);
        let cx = Cx { files: &*self.files, handles: &self.handles, caller };
        let run = async {
            match target {
                Target::Nfs(procedure) => nfs(cx, procedure, &mut request.arguments).await,
                Target::Mount(procedure) => {
                    let networks = self.door.networks();
                    let args = &mut request.arguments;
                    mount::execute(cx, &self.mounts, &networks, procedure, args).await
                }
            }
        };
        match AssertUnwindSafe(run).catch_unwind().await {
            Ok(Ok(mut results)) => {
                if let Some(begun) = &begun {
                    self.earlier.end(begun, &mut results);
                }
                results.into_reply(xid)
            }
            Ok(Err(Garbage)) => {
                Tally::add(&self.tally.garbage);
                debug!("refuse arguments that cannot be read");
                Reply::not_executed(xid, accept_stat::GARBAGE_ARGS)
            }
            Err(panic) => {
                Tally::add(&self.tally.panics);
                error!(call = ?target, reason = panic_text(&*panic), "procedure panicked");
                target.fault().into_reply(xid)
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
}

impl Target {
    fn of(call: &Call) -> Result<Self, accept_stat> {
        match (call.program, call.version) {
            (nfs3::PROGRAM, nfs3::VERSION) => NFS_PROGRAM::try_from(call.procedure)
                .map(Self::Nfs)
                .map_err(|_| accept_stat::PROC_UNAVAIL),
            (mount3::PROGRAM, mount3::VERSION) => MOUNT_PROGRAM::try_from(call.procedure)
                .map(Self::Mount)
                .map_err(|_| accept_stat::PROC_UNAVAIL),
            (nfs3::PROGRAM | mount3::PROGRAM, _) => Err(accept_stat::PROG_MISMATCH),
            _ => Err(accept_stat::PROG_UNAVAIL),
        }
    }

    /// RFC 1813: NULL and the procedures that only list mounts take any credential.
    fn needs(self) -> Needs {
        match self {
            Self::Nfs(NFS_PROGRAM::NFSPROC3_NULL) => Needs::Nothing,
            Self::Mount(MOUNT_PROGRAM::MOUNTPROC3_MNT) | Self::Nfs(_) => Needs::System,
            Self::Mount(_) => Needs::Nothing,
        }
    }

    /// Whether executing the call a second time could have another outcome than the first.
    fn changes(self) -> bool {
        use NFS_PROGRAM as P;
        match self {
            Self::Nfs(
                P::NFSPROC3_SETATTR
                | P::NFSPROC3_WRITE
                | P::NFSPROC3_CREATE
                | P::NFSPROC3_MKDIR
                | P::NFSPROC3_SYMLINK
                | P::NFSPROC3_MKNOD
                | P::NFSPROC3_REMOVE
                | P::NFSPROC3_RMDIR
                | P::NFSPROC3_RENAME
                | P::NFSPROC3_LINK
                | P::NFSPROC3_COMMIT,
            ) => true,
            Self::Nfs(_) | Self::Mount(_) => false,
        }
    }

    /// The answer to a call that panicked.
    fn fault(self) -> Results {
        match self {
            Self::Nfs(procedure) => bare_failure(procedure, nfsstat3::NFS3ERR_SERVERFAULT),
            Self::Mount(_) => {
                let mut results = Results::empty();
                let status = mount3::mountstat3::MNT3ERR_SERVERFAULT;
                bytes::BufMut::put_u32(&mut results.out, status as u32);
                results
            }
        }
    }
}

impl Request {
    /// Bytes that the call and its reply may hold in memory.
    pub(super) fn bytes(&self) -> usize {
        use NFS_PROGRAM as P;
        let rest = self.arguments.rest();
        let reply = match self.target {
            // The last word of all three says how much the client wants.
            Target::Nfs(P::NFSPROC3_READ | P::NFSPROC3_READDIR | P::NFSPROC3_READDIRPLUS) => {
                rest.last_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word))
            }
            _ => 0,
        };
        rest.len() + usize::try_from(reply.min(TRANSFER_MAX)).unwrap_or_default()
    }

    fn key(&self) -> Option<CallKey> {
        let Target::Nfs(procedure) = self.target else { return None };
        if !self.target.changes() {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.caller.client.as_bytes());
        hasher.update(&[0]);
        hasher.update(&self.caller.uid.to_be_bytes());
        hasher.update(&self.caller.gid.to_be_bytes());
        hasher.update(self.arguments.rest());
        let digest = *hasher.finalize().as_bytes().first_chunk::<16>()?;
        Some(CallKey { peer: self.peer, xid: self.xid, procedure: procedure as u32, digest })
    }
}

async fn nfs(cx: Cx<'_>, procedure: NFS_PROGRAM, args: &mut Decoder) -> Decoded<Results> {
    use NFS_PROGRAM as P;
    match procedure {
        P::NFSPROC3_NULL => Ok(Results::empty()),
        P::NFSPROC3_GETATTR => query::getattr(cx, args).await,
        P::NFSPROC3_SETATTR => change::setattr(cx, args).await,
        P::NFSPROC3_LOOKUP => query::lookup(cx, args).await,
        P::NFSPROC3_ACCESS => query::access(cx, args).await,
        P::NFSPROC3_READLINK => query::readlink(cx, args).await,
        P::NFSPROC3_READ => query::read(cx, args).await,
        P::NFSPROC3_WRITE => change::write(cx, args).await,
        P::NFSPROC3_CREATE => change::create(cx, args).await,
        P::NFSPROC3_MKDIR => change::mkdir(cx, args).await,
        P::NFSPROC3_SYMLINK => change::symlink(cx, args).await,
        P::NFSPROC3_MKNOD => change::mknod(cx, args).await,
        P::NFSPROC3_REMOVE => change::remove(cx, args).await,
        P::NFSPROC3_RMDIR => change::rmdir(cx, args).await,
        P::NFSPROC3_RENAME => change::rename(cx, args).await,
        P::NFSPROC3_LINK => change::link(cx, args).await,
        P::NFSPROC3_READDIR => listing::readdir(cx, args).await,
        P::NFSPROC3_READDIRPLUS => listing::readdirplus(cx, args).await,
        P::NFSPROC3_FSSTAT => query::fsstat(cx, args).await,
        P::NFSPROC3_FSINFO => query::fsinfo(cx, args).await,
        P::NFSPROC3_PATHCONF => query::pathconf(cx, args).await,
        P::NFSPROC3_COMMIT => change::commit(cx, args).await,
    }
}
