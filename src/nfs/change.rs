//! NFS procedures that change something (RFC 1813 section 3.3). Each answers with the attributes
//! before and after, on success and on failure.

use bytes::{BufMut, Bytes};
use nfs3_types::nfs3::nfsstat3;

use super::arguments::{Place, attributes, check_attributes, check_entry_name, check_target, time};
use super::call::{Cx, Failure, bare_failure};
use super::convert::{put_post_op, put_wcc};
use super::reply::Results;
use super::xdr::{Decoded, Decoder, Garbage};
use crate::vfs::{Changed, CreateMode, Entry, Handle, Moved, Special, Stability};
use nfs3_types::nfs3::NFS_PROGRAM;

const DOTS_EXIST: nfsstat3 = nfsstat3::NFS3ERR_EXIST;
const DOTS_INVALID: nfsstat3 = nfsstat3::NFS3ERR_INVAL;

/// Results that are weak cache consistency data and, on success, what `put` writes behind it.
fn changed<T>(outcome: &Changed<T>, put: impl FnOnce(&mut Results, &T)) -> Results {
    let (status, value) = match &outcome.result {
        Ok(value) => (nfsstat3::NFS3_OK, Some(value)),
        Err(error) => (Failure::status_of(error), None),
    };
    let mut results = Results::with_status(status);
    put_wcc(&mut results.out, outcome.before.as_ref(), outcome.after.as_ref());
    if let Some(value) = value {
        put(&mut results, value);
    }
    results
}

/// Results of a call that was refused before it reached the file system.
async fn refused(cx: Cx<'_>, object: Handle, status: nfsstat3) -> Results {
    let mut results = Results::with_status(Failure::from(status).status());
    let (before, after) = cx.unchanged(object).await;
    put_wcc(&mut results.out, before.as_ref(), after.as_ref());
    results
}

/// Opens the handle of a call whose failure is one set of weak cache consistency data.
macro_rules! open {
    ($cx:expr, $bytes:expr) => {
        match $cx.open($bytes) {
            Ok(handle) => handle,
            Err(error) => {
                let status = Failure::from(error).status();
                return Ok(bare_failure(NFS_PROGRAM::NFSPROC3_WRITE, status));
            }
        }
    };
}

/// Refuses a call whose arguments cannot be right.
macro_rules! check {
    ($cx:expr, $object:expr, $checked:expr) => {
        if let Err(status) = $checked {
            return Ok(refused($cx, $object, status).await);
        }
    };
}

/// Procedure 2.
pub(super) async fn setattr(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let attr = attributes(args)?;
    let guard = args.option(time)?;
    let handle = open!(cx, &object);
    check!(cx, handle, check_attributes(&attr));
    let outcome = cx.files.setattr(cx.caller, handle, attr, guard).await;
    Ok(changed(&outcome, |_, ()| {}))
}

/// Procedure 7.
pub(super) async fn write(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let offset = args.u64()?;
    let count = args.u32()?;
    let stability = match args.u32()? {
        0 => Stability::Unstable,
        1 => Stability::DataSync,
        2 => Stability::FileSync,
        _ => return Err(Garbage),
    };
    let data = args.opaque()?;
    let handle = open!(cx, &object);
    check!(cx, handle, check_extent(offset, count, &data));
    let outcome = cx.files.write(cx.caller, handle, offset, data, stability).await;
    Ok(changed(&outcome, |results, reply| {
        results.out.put_u32(reply.count);
        results.out.put_u32(match reply.stability {
            Stability::Unstable => 0,
            Stability::DataSync => 1,
            Stability::FileSync => 2,
        });
        results.out.put_slice(&reply.verifier);
    }))
}

fn check_extent(offset: u64, count: u32, data: &Bytes) -> Result<(), nfsstat3> {
    if usize::try_from(count) != Ok(data.len()) {
        return Err(nfsstat3::NFS3ERR_INVAL);
    }
    match offset.checked_add(u64::from(count)) {
        Some(end) if end <= i64::MAX.unsigned_abs() => Ok(()),
        _ => Err(nfsstat3::NFS3ERR_FBIG),
    }
}

fn made(cx: Cx<'_>, outcome: &Changed<Entry>) -> Results {
    // CREATE3resok and its like have the object before the directory's data.
    let mut results = match &outcome.result {
        Ok(entry) => {
            let mut results = Results::ok();
            cx.put_made(&mut results.out, entry);
            results
        }
        Err(error) => Results::with_status(Failure::status_of(error)),
    };
    put_wcc(&mut results.out, outcome.before.as_ref(), outcome.after.as_ref());
    results
}

/// Procedure 8.
pub(super) async fn create(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let place = Place::decode(args)?;
    let mode = match args.u32()? {
        0 => CreateMode::Unchecked(attributes(args)?),
        1 => CreateMode::Guarded(attributes(args)?),
        2 => CreateMode::Exclusive(args.verifier()?),
        _ => return Err(Garbage),
    };
    let dir = open!(cx, &place.dir);
    check!(cx, dir, check_entry_name(&place.name, DOTS_EXIST));
    if let CreateMode::Unchecked(attr) | CreateMode::Guarded(attr) = &mode {
        check!(cx, dir, check_attributes(attr));
    }
    Ok(made(cx, &cx.files.create(cx.caller, dir, &place.name, mode).await))
}

/// Procedure 9.
pub(super) async fn mkdir(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let place = Place::decode(args)?;
    let attr = attributes(args)?;
    let dir = open!(cx, &place.dir);
    check!(cx, dir, check_entry_name(&place.name, DOTS_EXIST));
    check!(cx, dir, check_attributes(&attr));
    Ok(made(cx, &cx.files.mkdir(cx.caller, dir, &place.name, attr).await))
}

/// Procedure 10.
pub(super) async fn symlink(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let place = Place::decode(args)?;
    let attr = attributes(args)?;
    let target = args.opaque()?;
    let dir = open!(cx, &place.dir);
    check!(cx, dir, check_entry_name(&place.name, DOTS_EXIST));
    check!(cx, dir, check_target(&target));
    check!(cx, dir, check_attributes(&attr));
    Ok(made(cx, &cx.files.symlink(cx.caller, dir, &place.name, &target, attr).await))
}

/// Procedure 11: named pipes and sockets; there are no devices here.
pub(super) async fn mknod(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let place = Place::decode(args)?;
    let kind = args.u32()?;
    let dir = open!(cx, &place.dir);
    check!(cx, dir, check_entry_name(&place.name, DOTS_EXIST));
    let kind = match kind {
        // Block and character device. Linux has no name for NOTSUPP ("Unknown error 524").
        3 | 4 => return Ok(refused(cx, dir, nfsstat3::NFS3ERR_PERM).await),
        6 => Special::Socket,
        7 => Special::Pipe,
        _ => return Ok(refused(cx, dir, nfsstat3::NFS3ERR_BADTYPE).await),
    };
    let attr = attributes(args)?;
    check!(cx, dir, check_attributes(&attr));
    Ok(made(cx, &cx.files.special(cx.caller, dir, &place.name, kind, attr).await))
}

/// Procedure 12.
pub(super) async fn remove(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let place = Place::decode(args)?;
    let dir = open!(cx, &place.dir);
    check!(cx, dir, check_entry_name(&place.name, DOTS_INVALID));
    let outcome = cx.files.remove(cx.caller, dir, &place.name).await;
    Ok(changed(&outcome, |_, ()| {}))
}

/// Procedure 13.
pub(super) async fn rmdir(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let place = Place::decode(args)?;
    let dir = open!(cx, &place.dir);
    let dots = if &place.name[..] == b".." { DOTS_EXIST } else { DOTS_INVALID };
    check!(cx, dir, check_entry_name(&place.name, dots));
    let outcome = cx.files.rmdir(cx.caller, dir, &place.name).await;
    Ok(changed(&outcome, |_, ()| {}))
}

/// Procedure 14.
pub(super) async fn rename(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let (from, to) = (Place::decode(args)?, Place::decode(args)?);
    let handles = cx.open(&from.dir).and_then(|dir| Ok((dir, cx.open(&to.dir)?)));
    let (from_dir, to_dir) = match handles {
        Ok(handles) => handles,
        Err(error) => {
            let status = Failure::from(error).status();
            return Ok(bare_failure(NFS_PROGRAM::NFSPROC3_RENAME, status));
        }
    };
    let checked = check_entry_name(&from.name, DOTS_INVALID)
        .and_then(|()| check_entry_name(&to.name, DOTS_INVALID));
    let moved = match checked {
        Ok(()) => {
            let (from, to) = ((from_dir, &from.name[..]), (to_dir, &to.name[..]));
            cx.files.rename(cx.caller, from, to).await
        }
        Err(status) => {
            let mut results = Results::with_status(Failure::from(status).status());
            for dir in [from_dir, to_dir] {
                let (before, after) = cx.unchanged(dir).await;
                put_wcc(&mut results.out, before.as_ref(), after.as_ref());
            }
            return Ok(results);
        }
    };
    let mut results = Results::with_status(moved_status(&moved));
    for (before, after) in [&moved.from, &moved.to] {
        put_wcc(&mut results.out, before.as_ref(), after.as_ref());
    }
    Ok(results)
}

fn moved_status(moved: &Moved) -> nfsstat3 {
    moved.result.as_ref().map_or_else(Failure::status_of, |()| nfsstat3::NFS3_OK)
}

/// Procedure 15.
pub(super) async fn link(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let place = Place::decode(args)?;
    let handles = cx.open(&object).and_then(|handle| Ok((handle, cx.open(&place.dir)?)));
    let (handle, dir) = match handles {
        Ok(handles) => handles,
        Err(error) => {
            let status = Failure::from(error).status();
            return Ok(bare_failure(NFS_PROGRAM::NFSPROC3_LINK, status));
        }
    };
    let (status, (before, after)) = match check_entry_name(&place.name, DOTS_EXIST) {
        Ok(()) => {
            let moved = cx.files.link(cx.caller, handle, (dir, &place.name)).await;
            (moved_status(&moved), moved.to)
        }
        Err(status) => (Failure::from(status).status(), cx.unchanged(dir).await),
    };
    let mut results = Results::with_status(status);
    put_post_op(&mut results.out, cx.attr(handle).await.as_ref());
    put_wcc(&mut results.out, before.as_ref(), after.as_ref());
    Ok(results)
}

/// Procedure 21.
pub(super) async fn commit(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let offset = args.u64()?;
    let count = args.u32()?;
    let handle = open!(cx, &object);
    let outcome = cx.files.commit(cx.caller, handle, offset, count).await;
    Ok(changed(&outcome, |results, verifier| results.out.put_slice(verifier)))
}
