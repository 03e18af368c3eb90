//! Replies: the RPC header, the results, and payload that is sent without being copied.

use bytes::{BufMut, Bytes, BytesMut};
use nfs3_types::nfs3::nfsstat3;
use nfs3_types::rpc::{accept_stat, auth_stat, msg_type, reject_stat, reply_stat};

use super::xdr;

/// Bytes of record mark and header of an accepted reply.
const HEADER: usize = 28;
/// Room that most results fit in besides.
const ROOM: usize = 256;
/// The bit of a fragment header that marks the last fragment.
const LAST: u32 = 0x8000_0000;
const ZEROS: &[u8] = &[0; 4];

/// A reply as it goes to the socket: parts that follow each other.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    head: Bytes,
    data: Vec<Bytes>,
}

impl Reply {
    /// The parts in order.
    pub(super) fn into_parts(self) -> impl Iterator<Item = Bytes> {
        std::iter::once(self.head).chain(self.data)
    }

    /// An accepted call that was not executed.
    pub(super) fn not_executed(xid: u32, why: accept_stat) -> Self {
        let mut body = accepted(why);
        if matches!(why, accept_stat::PROG_MISMATCH) {
            // Both programs are served in version 3 only.
            body.put_u32(3);
            body.put_u32(3);
        }
        finish(body, Vec::new(), xid)
    }

    /// A call whose credential was refused.
    pub(super) fn auth_error(xid: u32, why: auth_stat) -> Self {
        let mut body = denied(reject_stat::AUTH_ERROR);
        body.put_u32(why as u32);
        finish(body, Vec::new(), xid)
    }

    /// A call of another RPC version than 2.
    pub(super) fn rpc_mismatch(xid: u32) -> Self {
        let mut body = denied(reject_stat::RPC_MISMATCH);
        body.put_u32(2);
        body.put_u32(2);
        finish(body, Vec::new(), xid)
    }
}

/// Results of a procedure that was executed, being written.
#[derive(Debug)]
pub(super) struct Results {
    /// Where results are appended.
    pub(super) out: BytesMut,
    data: Vec<Bytes>,
}

impl Results {
    /// Results without a status word (NULL, most of MOUNT).
    pub(super) fn empty() -> Self {
        Self { out: accepted(accept_stat::SUCCESS), data: Vec::new() }
    }

    /// Results that begin with an NFS status.
    pub(super) fn with_status(status: nfsstat3) -> Self {
        let mut results = Self::empty();
        results.out.put_u32(status as u32);
        results
    }

    /// Results of success.
    pub(super) fn ok() -> Self {
        Self::with_status(nfsstat3::NFS3_OK)
    }

    /// The status that they begin with; `None` if there is none.
    pub(super) fn status(&self) -> Option<u32> {
        let word = self.out.get(HEADER..)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*word))
    }

    /// Gives them another status.
    pub(super) fn set_status(&mut self, status: nfsstat3) {
        if let Some(word) = self.out.get_mut(HEADER..).and_then(|rest| rest.first_chunk_mut::<4>())
        {
            *word = (status as u32).to_be_bytes();
        }
    }

    /// Ends the results with an opaque of `length` bytes that is sent from where it is.
    pub(super) fn put_payload(&mut self, length: u32, data: Vec<Bytes>) {
        self.out.put_u32(length);
        self.data = data;
        let padding = xdr::padding(usize::try_from(length).unwrap_or_default());
        if padding > 0 {
            self.data.push(Bytes::from_static(ZEROS).slice(..padding));
        }
    }

    /// The reply to call `xid`.
    pub(super) fn into_reply(self, xid: u32) -> Reply {
        finish(self.out, self.data, xid)
    }
}

fn accepted(status: accept_stat) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER + ROOM);
    out.put_u64(0); // record mark and xid, filled in at the end
    out.put_u32(msg_type::REPLY as u32);
    out.put_u32(reply_stat::MSG_ACCEPTED as u32);
    out.put_u64(0); // verifier: AUTH_NONE, empty
    out.put_u32(status as u32);
    out
}

fn denied(why: reject_stat) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEADER);
    out.put_u64(0);
    out.put_u32(msg_type::REPLY as u32);
    out.put_u32(reply_stat::MSG_DENIED as u32);
    out.put_u32(why as u32);
    out
}

fn finish(mut head: BytesMut, data: Vec<Bytes>, xid: u32) -> Reply {
    let length = head.len() - 4 + data.iter().map(Bytes::len).sum::<usize>();
    let mark = u32::try_from(length).unwrap_or(LAST - 1) | LAST;
    if let Some((first, rest)) = head.split_first_chunk_mut::<4>() {
        *first = mark.to_be_bytes();
        if let Some(second) = rest.first_chunk_mut::<4>() {
            *second = xid.to_be_bytes();
        }
    }
    Reply { head: head.freeze(), data }
}
