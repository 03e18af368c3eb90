//! NFS procedures that change nothing, except the listings (RFC 1813 section 3.3).

use bytes::{BufMut, Bytes};
use nfs3_types::nfs3::{FSF3_CANSETTIME, FSF3_HOMOGENEOUS, FSF3_LINK, FSF3_SYMLINK, nfsstat3};

use super::arguments::{NAME_MAX, Place, check_name};
use super::call::{Cx, Failure};
use super::convert::{put_attr, put_post_op};
use super::reply::Results;
use super::xdr::{Decoded, Decoder, put_flag, put_opaque};
use crate::vfs::{Attr, ReadReply, access};

/// Most bytes of one READ or WRITE that are announced.
pub(super) const TRANSFER_MAX: u32 = 1 << 20;
/// Preferred size of a listing's reply, in bytes.
const LISTING_PREFERRED: u32 = 64 << 10;
/// Hard links that one file may have; editors make one for a backup.
const LINKS_MAX: u32 = 32_000;

const ACCESS_ALL: u32 = access::READ
    | access::LOOKUP
    | access::MODIFY
    | access::EXTEND
    | access::DELETE
    | access::EXECUTE;

/// Procedure 1.
pub(super) async fn getattr(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let attr = match cx.open(&object) {
        Ok(handle) => cx.files.getattr(cx.caller, handle).await,
        Err(error) => Err(error),
    };
    Ok(match attr {
        Ok(attr) => {
            let mut results = Results::ok();
            put_attr(&mut results.out, &attr);
            results
        }
        Err(error) => Results::with_status(Failure::from(error).status()),
    })
}

/// Procedure 3.
pub(super) async fn lookup(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let place = Place::decode(args)?;
    Ok(match found(cx, &place).await {
        Ok(results) => results,
        Err(failure) => cx.failed(failure, &place.dir).await,
    })
}

async fn found(cx: Cx<'_>, place: &Place) -> Result<Results, Failure> {
    let dir = cx.open(&place.dir)?;
    check_name(&place.name)?;
    let entry = cx.files.lookup(cx.caller, dir, &place.name).await?;
    let mut results = Results::ok();
    cx.handles.put(&mut results.out, entry.handle);
    put_post_op(&mut results.out, Some(&entry.attr));
    put_post_op(&mut results.out, cx.attr(dir).await.as_ref());
    Ok(results)
}

/// Procedure 4.
pub(super) async fn access(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let asked = args.u32()? & ACCESS_ALL;
    let answer: Result<_, Failure> = async {
        let handle = cx.open(&object)?;
        let granted = cx.files.access(cx.caller, handle, asked).await?;
        Ok((granted & asked, cx.attr(handle).await))
    }
    .await;
    Ok(match answer {
        Ok((granted, attr)) => {
            let mut results = Results::ok();
            put_post_op(&mut results.out, attr.as_ref());
            results.out.put_u32(granted);
            results
        }
        Err(failure) => cx.failed(failure, &object).await,
    })
}

/// Procedure 5.
pub(super) async fn readlink(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let answer: Result<_, Failure> = async {
        let handle = cx.open(&object)?;
        let target = cx.files.readlink(cx.caller, handle).await?;
        Ok((target, cx.attr(handle).await))
    }
    .await;
    Ok(match answer {
        Ok((target, attr)) => {
            let mut results = Results::ok();
            put_post_op(&mut results.out, attr.as_ref());
            put_opaque(&mut results.out, &target);
            results
        }
        Err(failure) => cx.failed(failure, &object).await,
    })
}

/// Procedure 6.
pub(super) async fn read(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let offset = args.u64()?;
    let count = args.u32()?.min(TRANSFER_MAX);
    Ok(match content(cx, &object, offset, count).await {
        Ok((reply, length)) => {
            let mut results = Results::ok();
            put_post_op(&mut results.out, Some(&reply.attr));
            results.out.put_u32(length);
            put_flag(&mut results.out, reply.eof);
            results.put_payload(length, reply.data);
            results
        }
        Err(failure) => cx.failed(failure, &object).await,
    })
}

async fn content(
    cx: Cx<'_>,
    object: &Bytes,
    offset: u64,
    count: u32,
) -> Result<(ReadReply, u32), Failure> {
    let handle = cx.open(object)?;
    let reply = cx.files.read(cx.caller, handle, offset, count).await?;
    let length = reply.data.iter().map(Bytes::len).sum::<usize>();
    // A longer answer would overrun the client's buffer.
    match u32::try_from(length) {
        Ok(length) if length <= count => Ok((reply, length)),
        _ => Err(nfsstat3::NFS3ERR_SERVERFAULT.into()),
    }
}

/// Procedure 18.
pub(super) async fn fsstat(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    let answer: Result<_, Failure> = async {
        let handle = cx.open(&object)?;
        let size = cx.files.fsstat(cx.caller, handle).await?;
        Ok((size, cx.attr(handle).await))
    }
    .await;
    Ok(match answer {
        Ok((size, attr)) => {
            let mut results = Results::ok();
            let out = &mut results.out;
            put_post_op(out, attr.as_ref());
            out.put_u64(size.total_bytes);
            out.put_u64(size.free_bytes);
            out.put_u64(size.free_bytes);
            out.put_u64(size.total_files);
            out.put_u64(size.free_files);
            out.put_u64(size.free_files);
            out.put_u32(0); // invarsec: may change at any time
            results
        }
        Err(failure) => cx.failed(failure, &object).await,
    })
}

/// Procedure 19.
pub(super) async fn fsinfo(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    Ok(match existing(cx, &object).await {
        Ok(attr) => {
            let mut results = Results::ok();
            let out = &mut results.out;
            put_post_op(out, Some(&attr));
            // rtmax, rtpref, rtmult, wtmax, wtpref, wtmult
            for size in [TRANSFER_MAX, TRANSFER_MAX, 4096, TRANSFER_MAX, TRANSFER_MAX, 4096] {
                out.put_u32(size);
            }
            out.put_u32(LISTING_PREFERRED);
            out.put_u64(i64::MAX.unsigned_abs());
            out.put_u32(0); // time_delta: 1 ns
            out.put_u32(1);
            out.put_u32(FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
            results
        }
        Err(failure) => cx.failed(failure, &object).await,
    })
}

/// Procedure 20.
pub(super) async fn pathconf(cx: Cx<'_>, args: &mut Decoder) -> Decoded<Results> {
    let object = args.opaque()?;
    Ok(match existing(cx, &object).await {
        Ok(attr) => {
            let mut results = Results::ok();
            let out = &mut results.out;
            put_post_op(out, Some(&attr));
            out.put_u32(LINKS_MAX);
            out.put_u32(NAME_MAX);
            put_flag(out, true); // no_trunc: longer names are refused
            put_flag(out, true); // chown_restricted
            put_flag(out, false); // case_insensitive
            put_flag(out, true); // case_preserving
            results
        }
        Err(failure) => cx.failed(failure, &object).await,
    })
}

async fn existing(cx: Cx<'_>, object: &[u8]) -> Result<Attr, Failure> {
    let handle = cx.open(object)?;
    Ok(cx.files.getattr(cx.caller, handle).await?)
}
