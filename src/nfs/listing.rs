//! READDIR and READDIRPLUS: as many entries as fit into the bytes that the client allows.
//!
//! The cookie verifier is constant: cookies stay valid when a directory changes, so a walk is
//! never broken off in the middle (macOS gives up on BAD_COOKIE).

use bytes::{BufMut, BytesMut};
use nfs3_types::nfs3::nfsstat3;

use super::call::{Cx, Failure};
use super::convert::{POST_OP_ATTR_BYTES, put_post_op};
use super::handle::HANDLE_BYTES;
use super::query::TRANSFER_MAX;
use super::reply::Results;
use super::xdr::{Decoded, Decoder, opaque_size, put_flag, put_opaque};
use crate::vfs::{DirEntry, DirPage};

const VERIFIER: u64 = 0;
/// Attributes, verifier, end of the list and end-of-directory flag (READDIR3resok, empty).
const FRAME_BYTES: usize = POST_OP_ATTR_BYTES + 8 + 4 + 4;
/// Most entries asked of the file system at once.
const ENTRIES_MAX: usize = 8192;
/// Handle and attributes of an entry that has both.
const PLUS_BYTES: usize = POST_OP_ATTR_BYTES + 4 + opaque_size(HANDLE_BYTES);

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
struct Wish {
    cookie: u64,
    /// Bytes of names and cookies; READDIRPLUS only.
    names_max: usize,
    /// Bytes of the whole answer.
    bytes_max: usize,
    plus: bool,
}

/// Procedure 16.
pub(super) async fn readdir(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let dir = args.opaque()?;
    let cookie = args.u64()?;
    let _verifier = args.verifier()?;
    let bytes_max = bytes(args.u32()?);
    let wish = Wish { cookie, names_max: usize::MAX, bytes_max, plus: false };
    Ok(answer(cx, &dir, wish).await)
}

/// Procedure 17.
pub(super) async fn readdirplus(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let dir = args.opaque()?;
    let cookie = args.u64()?;
    let _verifier = args.verifier()?;
    let names_max = bytes(args.u32()?);
    let bytes_max = bytes(args.u32()?);
    let wish = Wish { cookie, names_max, bytes_max, plus: true };
    Ok(answer(cx, &dir, wish).await)
}

fn bytes(asked: u32) -> usize {
    usize::try_from(asked.min(TRANSFER_MAX)).unwrap_or_default()
}

async fn answer(cx: Cx<'_>, dir: &[u8], wish: Wish) -> Results {
    match list(cx, dir, wish).await {
        Ok(results) => results,
        Err(failure) => cx.failed(failure, dir).await,
    }
}

async fn list(cx: Cx<'_>, dir: &[u8], wish: Wish) -> Result<Results, Failure> {
    let dir = cx.open(dir)?;
    let room = wish.bytes_max.checked_sub(FRAME_BYTES).ok_or(nfsstat3::NFS3ERR_TOOSMALL)?;
    let smallest = name_bytes(1) + if wish.plus { PLUS_BYTES } else { 0 };
    let limit = (room / smallest).min(wish.names_max / name_bytes(1)).clamp(1, ENTRIES_MAX);
    let page = cx.files.readdir(cx.caller, dir, wish.cookie, limit, wish.plus).await?;
    let mut results = Results::ok();
    let out = &mut results.out;
    put_post_op(out, Some(&page.attr));
    out.put_u64(VERIFIER);
    let written = put_entries(cx, out, &page, wish, room);
    if written == 0 && !page.entries.is_empty() {
        return Err(nfsstat3::NFS3ERR_TOOSMALL.into());
    }
    put_flag(out, false);
    put_flag(out, page.end && written == page.entries.len());
    Ok(results)
}

/// Writes the entries that fit; their number.
fn put_entries(cx: Cx<'_>, out: &mut BytesMut, page: &DirPage, wish: Wish, room: usize) -> usize {
    let (mut names, mut bytes) = (0, 0);
    for (index, entry) in page.entries.iter().enumerate() {
        names += name_bytes(entry.name.len());
        bytes += name_bytes(entry.name.len());
        if wish.plus {
            bytes += if entry.entry.is_some() { PLUS_BYTES } else { 8 };
        }
        // The client's limit on names is advice for all but the first entry.
        if bytes > room || (names > wish.names_max && index > 0) {
            return index;
        }
        put_entry(cx, out, entry, wish.plus);
    }
    page.entries.len()
}

/// Flag, file id, name and cookie of an entry.
const fn name_bytes(length: usize) -> usize {
    4 + 8 + opaque_size(length) + 8
}

fn put_entry(cx: Cx<'_>, out: &mut BytesMut, entry: &DirEntry, plus: bool) {
    put_flag(out, true);
    out.put_u64(entry.inode);
    put_opaque(out, &entry.name);
    out.put_u64(entry.cookie);
    if !plus {
        return;
    }
    put_post_op(out, entry.entry.as_ref().map(|found| &found.attr));
    put_flag(out, entry.entry.is_some());
    if let Some(found) = &entry.entry {
        cx.handles.put(out, found.handle);
    }
}
