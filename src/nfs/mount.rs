//! The MOUNT protocol, version 3 (RFC 1813 section 5.1), on the same port as NFS.
//!
//! Every directory of the lake can be mounted by its path. The list of mounts is only for show
//! (`showmount`): nothing depends on it, and it is bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::BufMut;
use nfs3_types::mount::{MNTPATHLEN, MOUNT_PROGRAM, mountstat3};
use tracing::{debug, info};

use super::call::Cx;
use super::convert::mount_status;
use super::reply::Results;
use super::rpc::printable;
use super::xdr::{Decoded, Decoder, put_flag, put_opaque};
use crate::vfs::{FsError, FsResult};

const AUTH_SYS: u32 = 1;
/// Most mounts remembered.
const MOUNTS_KEPT: usize = 1024;

/// Who mounted what, as far as clients told.
#[derive(Debug, Default)]
pub(super) struct Mounts(Mutex<VecDeque<(String, String)>>);

impl Mounts {
    fn add(&self, client: &str, path: &str) {
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.retain(|(who, what)| who != client || what != path);
        if mounts.len() >= MOUNTS_KEPT {
            mounts.pop_front();
        }
        mounts.push_back((client.to_owned(), path.to_owned()));
    }

    fn remove(&self, client: &str, path: Option<&str>) {
        let mut mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        mounts.retain(|(who, what)| who != client || path.is_some_and(|path| path != what));
    }

    fn put(&self, results: &mut Results) {
        let mounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (client, path) in mounts.iter() {
            put_flag(&mut results.out, true);
            put_opaque(&mut results.out, client.as_bytes());
            put_opaque(&mut results.out, path.as_bytes());
        }
        put_flag(&mut results.out, false);
    }
}

/// Executes a procedure of the MOUNT program.
pub(super) async fn execute(
    cx: Cx<'_>,
    mounts: &Mounts,
    networks: &[String],
    procedure: MOUNT_PROGRAM,
    args: &mut Decoder,
) -> Decoded<Results> {
    let mut results = Results::empty();
    match procedure {
        MOUNT_PROGRAM::MOUNTPROC3_NULL => {}
        MOUNT_PROGRAM::MOUNTPROC3_MNT => return mount(cx, mounts, args).await,
        MOUNT_PROGRAM::MOUNTPROC3_DUMP => mounts.put(&mut results),
        MOUNT_PROGRAM::MOUNTPROC3_UMNT => {
            let path = args.opaque()?;
            if let Ok(path) = directory(&path) {
                mounts.remove(&cx.caller.client, Some(&format!("/{path}")));
            }
        }
        MOUNT_PROGRAM::MOUNTPROC3_UMNTALL => mounts.remove(&cx.caller.client, None),
        MOUNT_PROGRAM::MOUNTPROC3_EXPORT => {
            put_flag(&mut results.out, true);
            put_opaque(&mut results.out, b"/");
            for network in networks {
                put_flag(&mut results.out, true);
                put_opaque(&mut results.out, network.as_bytes());
            }
            put_flag(&mut results.out, false);
            put_flag(&mut results.out, false);
        }
    }
    Ok(results)
}

async fn mount(cx: Cx<'_>, mounts: &Mounts, args: &mut Decoder) -> Decoded<Results> {
    let sent = args.opaque()?;
    let mut results = Results::empty();
    let found = match directory(&sent) {
        Ok(path) => cx.files.root(cx.caller, &path).await.map(|handle| (path, handle)),
        Err(error) => Err(error),
    };
    match found {
        Ok((path, handle)) => {
            info!(client = %cx.caller.client, path = %path, "mount");
            mounts.add(&cx.caller.client, &format!("/{path}"));
            results.out.put_u32(mountstat3::MNT3_OK as u32);
            cx.handles.put(&mut results.out, handle);
            results.out.put_u32(1);
            results.out.put_u32(AUTH_SYS);
        }
        Err(error) => {
            let status = mount_status(&error);
            let path = printable(sent.get(..sent.len().min(MNTPATHLEN)).unwrap_or_default());
            debug!(client = %cx.caller.client, path = %path, status = %status,
                   error = %error, "refuse mount");
            results.out.put_u32(status as u32);
        }
    }
    Ok(results)
}

/// The path below the root that a client means: `/`, `//acme/`, `/acme/./shop`. A path that
/// climbs (`..`) names nothing.
fn directory(sent: &[u8]) -> FsResult<String> {
    if sent.len() > MNTPATHLEN {
        return Err(FsError::NameTooLong);
    }
    let text = std::str::from_utf8(sent).map_err(|_| FsError::not_found())?;
    let mut path = String::with_capacity(text.len());
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." || part.chars().any(char::is_control) {
            return Err(FsError::not_found());
        }
        if !path.is_empty() {
            path.push('/');
        }
        path.push_str(part);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_as_clients_write_them() {
        for (sent, path) in [
            ("", ""),
            ("/", ""),
            ("//", ""),
            ("/acme", "acme"),
            ("//acme", "acme"),
            ("acme/", "acme"),
            ("/acme/./shop/", "acme/shop"),
        ] {
            assert_eq!(directory(sent.as_bytes()).unwrap(), path, "{sent}");
        }
        for refused in ["/..", "/acme/../..", "/a\0b", "/a\nb"] {
            assert!(directory(refused.as_bytes()).is_err(), "{refused}");
        }
        assert!(directory(b"/\xff").is_err());
        assert!(matches!(directory(&[b'a'; 1025]), Err(FsError::NameTooLong)));
    }

    #[test]
    fn list_of_mounts_is_bounded_and_without_repetitions() {
        let mounts = Mounts::default();
        for index in 0..3000 {
            mounts.add(&format!("c{}", index % 2000), "/");
        }
        assert_eq!(mounts.0.lock().unwrap().len(), MOUNTS_KEPT);
        mounts.add("c", "/x");
        mounts.add("c", "/y");
        mounts.remove("c", Some("/x"));
        let left = |mounts: &Mounts| {
            let list = mounts.0.lock().unwrap();
            list.iter().filter(|(who, _)| who == "c").count()
        };
        assert_eq!(left(&mounts), 1);
        mounts.remove("c", None);
        assert_eq!(left(&mounts), 0);
    }
}
