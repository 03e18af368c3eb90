//! Every failure has its status, the shape that its procedure demands, and its attributes.

use nfs3_types::nfs3::NFS_PROGRAM::*;
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};

use super::Lab;
use super::client::{Client, place, write_args};
use super::scripted::Fault;
use crate::error::ErrorKind;

/// Executes a procedure that fails; its status.
async fn fails<T: Unpack, E: Unpack>(
    client: &mut Client,
    procedure: NFS_PROGRAM,
    args: &impl Pack,
) -> (nfsstat3, E) {
    let reply: Nfs3Result<T, E> = client.nfs(procedure, args).await;
    match reply {
        Nfs3Result::Err(failure) => failure,
        Nfs3Result::Ok(_) => panic!("{procedure:?} succeeds"),
    }
}

/// A procedure that failed, with what status, and whether all its attributes were there.
type Failed = (NFS_PROGRAM, nfsstat3, bool);

/// Executes a procedure that fails and notes how.
macro_rules! failing {
    ($found:ident, $client:ident, $procedure:ident, $ok:ty, $fail:ty, $args:expr, $fine:expr) => {{
        let (status, fail): (_, $fail) = fails::<$ok, $fail>($client, $procedure, &$args).await;
        let fine: fn(&$fail) -> bool = $fine;
        $found.push(($procedure, status, fine(&fail)));
    }};
}

fn both(wcc: &wcc_data) -> bool {
    wcc.before.is_some() && wcc.after.is_some()
}

/// Every procedure that can fail, with `object` as file and directory.
async fn all(client: &mut Client, object: &nfs_fh3) -> Vec<Failed> {
    let mut found = queries(client, object).await;
    found.extend(changes_of_one(client, object).await);
    found.extend(changes_of_names(client, object).await);
    found
}

#[expect(clippy::too_many_lines, reason = "one call after the other")]
async fn queries(client: &mut Client, object: &nfs_fh3) -> Vec<Failed> {
    let mut found = Vec::new();
    let what = place(object, b"n");
    let object = || object.clone();
    let verf = cookieverf3::default();
    failing!(
        found,
        client,
        NFSPROC3_LOOKUP,
        LOOKUP3resok,
        LOOKUP3resfail,
        LOOKUP3args { what },
        |fail| fail.dir_attributes.is_some()
    );
    failing!(
        found,
        client,
        NFSPROC3_ACCESS,
        ACCESS3resok,
        ACCESS3resfail,
        ACCESS3args { object: object(), access: 1 },
        |fail| fail.obj_attributes.is_some()
    );
    failing!(
        found,
        client,
        NFSPROC3_READLINK,
        READLINK3resok<'static>,
        READLINK3resfail,
        READLINK3args { symlink: object() },
        |fail| fail.symlink_attributes.is_some()
    );
    failing!(
        found,
        client,
        NFSPROC3_READ,
        READ3resok<'static>,
        READ3resfail,
        READ3args { file: object(), offset: 0, count: 1 },
        |fail| fail.file_attributes.is_some()
    );
    failing!(
        found,
        client,
        NFSPROC3_READDIR,
        READDIR3resok<'static>,
        READDIR3resfail,
        READDIR3args { dir: object(), cookie: 0, cookieverf: verf, count: 4096 },
        |fail| fail.dir_attributes.is_some()
    );
    failing!(
        found,
        client,
        NFSPROC3_READDIRPLUS,
        READDIRPLUS3resok<'static>,
        READDIRPLUS3resfail,
        READDIRPLUS3args {
            dir: object(),
            cookie: 0,
            cookieverf: verf,
            dircount: 4096,
            maxcount: 4096
        },
        |fail| fail.dir_attributes.is_some()
    );
    failing!(
        found,
        client,
        NFSPROC3_FSSTAT,
        FSSTAT3resok,
        FSSTAT3resfail,
        FSSTAT3args { fsroot: object() },
        |fail| fail.obj_attributes.is_some()
    );
    found
}

async fn changes_of_one(client: &mut Client, object: &nfs_fh3) -> Vec<Failed> {
    let mut found = Vec::new();
    let file = object.clone();
    let set = SETATTR3args {
        object: object.clone(),
        new_attributes: sattr3::default(),
        guard: Nfs3Option::None,
    };
    failing!(found, client, NFSPROC3_SETATTR, SETATTR3resok, SETATTR3resfail, set, |fail| both(
        &fail.obj_wcc
    ));
    failing!(
        found,
        client,
        NFSPROC3_WRITE,
        WRITE3resok,
        WRITE3resfail,
        write_args(object, 0, b"x"),
        |fail| both(&fail.file_wcc)
    );
    failing!(
        found,
        client,
        NFSPROC3_COMMIT,
        COMMIT3resok,
        COMMIT3resfail,
        COMMIT3args { file, offset: 0, count: 0 },
        |fail| both(&fail.file_wcc)
    );
    found
}

#[expect(clippy::too_many_lines, reason = "one call after the other")]
async fn changes_of_names(client: &mut Client, object: &nfs_fh3) -> Vec<Failed> {
    let mut found = Vec::new();
    let what = || place(object, b"n");
    failing!(
        found,
        client,
        NFSPROC3_CREATE,
        CREATE3resok,
        CREATE3resfail,
        CREATE3args { where_: what(), how: createhow3::EXCLUSIVE(createverf3::default()) },
        |fail| both(&fail.dir_wcc)
    );
    failing!(
        found,
        client,
        NFSPROC3_MKDIR,
        MKDIR3resok,
        MKDIR3resfail,
        MKDIR3args { where_: what(), attributes: sattr3::default() },
        |fail| both(&fail.dir_wcc)
    );
    let symlink = symlinkdata3 {
        symlink_attributes: sattr3::default(),
        symlink_data: nfspath3(Opaque::borrowed(b"t")),
    };
    failing!(
        found,
        client,
        NFSPROC3_SYMLINK,
        SYMLINK3resok,
        SYMLINK3resfail,
        SYMLINK3args { where_: what(), symlink },
        |fail| both(&fail.dir_wcc)
    );
    failing!(
        found,
        client,
        NFSPROC3_REMOVE,
        REMOVE3resok,
        REMOVE3resfail,
        REMOVE3args { object: what() },
        |fail| both(&fail.dir_wcc)
    );
    failing!(
        found,
        client,
        NFSPROC3_RMDIR,
        RMDIR3resok,
        RMDIR3resfail,
        RMDIR3args { object: what() },
        |fail| both(&fail.dir_wcc)
    );
    failing!(
        found,
        client,
        NFSPROC3_RENAME,
        RENAME3resok,
        RENAME3resfail,
        RENAME3args { from: what(), to: what() },
        |fail| both(&fail.fromdir_wcc) && both(&fail.todir_wcc)
    );
    failing!(
        found,
        client,
        NFSPROC3_LINK,
        LINK3resok,
        LINK3resfail,
        LINK3args { file: object.clone(), link: what() },
        |fail| fail.file_attributes.is_some() && both(&fail.linkdir_wcc)
    );
    found
}

#[tokio::test]
async fn every_kind_of_failure_of_every_procedure_keeps_status_shape_and_attributes() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    for (kind, expected) in [
        (ErrorKind::NotFound, nfsstat3::NFS3ERR_NOENT),
        (ErrorKind::Denied, nfsstat3::NFS3ERR_ACCES),
        (ErrorKind::Busy, nfsstat3::NFS3ERR_JUKEBOX),
        (ErrorKind::Conflict, nfsstat3::NFS3ERR_IO),
        (ErrorKind::Full, nfsstat3::NFS3ERR_NOSPC),
        (ErrorKind::Internal, nfsstat3::NFS3ERR_SERVERFAULT),
    ] {
        lab.files.set(Fault::Fail(kind));
        for (procedure, status, attributes) in all(&mut client, &root).await {
            assert_eq!(status, expected, "{procedure:?}");
            assert!(attributes, "{procedure:?} {kind:?} lacks attributes");
        }
    }
}

#[tokio::test]
async fn panicking_file_system_is_a_server_fault_and_service_goes_on() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    lab.files.set(Fault::Panic);
    for round in 1..=5 {
        let found = all(&mut client, &root).await;
        assert!(found.iter().all(|(_, status, _)| *status == nfsstat3::NFS3ERR_SERVERFAULT));
        assert_eq!(client.mount("/").await, Err(10_006));
        assert_eq!(lab.server.counters().panics, round * 18);
    }
    lab.files.set(Fault::None);
    assert_eq!(client.attr(&root).await.type_, ftype3::NF3DIR);
}

#[tokio::test]
async fn forged_and_foreign_handles_are_refused_by_every_procedure_and_counted() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let mut flipped = root.data.to_vec();
    flipped[8] ^= 1;
    let other = Lab::start().await;
    let foreign = other.client().await.root().await;
    for forged in [flipped, Vec::new(), vec![0; 64], foreign.data.to_vec()] {
        let forged = nfs_fh3 { data: Opaque::owned(forged) };
        for (procedure, status, _) in all(&mut client, &forged).await {
            assert_eq!(status, nfsstat3::NFS3ERR_BADHANDLE, "{procedure:?}");
        }
        for procedure in [NFSPROC3_FSINFO, NFSPROC3_PATHCONF] {
            let args = FSINFO3args { fsroot: forged.clone() };
            let (status, _) =
                fails::<FSINFO3resok, FSINFO3resfail>(&mut client, procedure, &args).await;
            assert_eq!(status, nfsstat3::NFS3ERR_BADHANDLE);
        }
    }
    assert_eq!(lab.server.counters().forged_handles, 4 * 19);
    assert_eq!(lab.files.changes.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn removed_object_is_stale() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let file = client.create(&root, b"f").await;
    let args = REMOVE3args { object: place(&root, b"f") };
    let removed: REMOVE3res = client.nfs(NFSPROC3_REMOVE, &args).await;
    removed.unwrap();
    let args = FSINFO3args { fsroot: file.clone() };
    let (status, _) =
        fails::<FSINFO3resok, FSINFO3resfail>(&mut client, NFSPROC3_FSINFO, &args).await;
    assert_eq!(status, nfsstat3::NFS3ERR_STALE);
    let Nfs3Result::Err((status, _)) = client.write(&file, 0, b"x").await else {
        panic!("gone");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_STALE);
}

#[tokio::test]
async fn impossible_names_are_refused_with_the_directory_unchanged() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let long = [b'n'; 256];
    for (name, expected) in [
        (&b""[..], nfsstat3::NFS3ERR_ACCES),
        (b"a/b", nfsstat3::NFS3ERR_INVAL),
        (b"a\0b", nfsstat3::NFS3ERR_INVAL),
        (&long[..], nfsstat3::NFS3ERR_NAMETOOLONG),
        (b".", nfsstat3::NFS3ERR_EXIST),
        (b"..", nfsstat3::NFS3ERR_EXIST),
    ] {
        let how = createhow3::GUARDED(sattr3::default());
        let args = CREATE3args { where_: place(&root, name), how };
        let (status, fail) =
            fails::<CREATE3resok, CREATE3resfail>(&mut client, NFSPROC3_CREATE, &args).await;
        assert_eq!(status, expected, "{name:?}");
        let (Nfs3Option::Some(before), Nfs3Option::Some(after)) =
            (fail.dir_wcc.before, fail.dir_wcc.after)
        else {
            panic!("attributes of the directory");
        };
        assert_eq!(before.ctime, after.ctime);
        let args = RENAME3args { from: place(&root, b"x"), to: place(&root, name) };
        let (status, fail) =
            fails::<RENAME3resok, RENAME3resfail>(&mut client, NFSPROC3_RENAME, &args).await;
        assert_ne!(status, nfsstat3::NFS3ERR_NOENT, "{name:?}");
        assert!(fail.todir_wcc.after.is_some());
    }
    assert_eq!(lab.files.changes.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn special_files_and_impossible_writes_are_refused() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let mknod =
        MKNOD3args { where_: place(&root, b"p"), what: mknoddata3::NF3FIFO(sattr3::default()) };
    let (status, fail) =
        fails::<MKNOD3resok, MKNOD3resfail>(&mut client, NFSPROC3_MKNOD, &mknod).await;
    assert_eq!(status, nfsstat3::NFS3ERR_NOTSUPP);
    assert!(fail.dir_wcc.after.is_some());
    let file = client.create(&root, b"f").await;
    let mut args = write_args(&file, 0, b"data");
    args.count = 5;
    let (status, _) = fails::<WRITE3resok, WRITE3resfail>(&mut client, NFSPROC3_WRITE, &args).await;
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);
    let Nfs3Result::Err((status, fail)) = client.write(&file, u64::MAX, b"x").await else {
        panic!("too far");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_FBIG);
    assert!(fail.file_wcc.after.is_some());
    let Nfs3Result::Err((status, _)) = client.write(&file, 65 << 20, b"x").await else {
        panic!("full");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_NOSPC);
}

#[tokio::test]
async fn read_only_gateway_refuses_changes() {
    let lab = Lab::with(|settings| settings.read_only = true).await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let how = createhow3::GUARDED(sattr3::default());
    let args = CREATE3args { where_: place(&root, b"f"), how };
    let (status, _) =
        fails::<CREATE3resok, CREATE3resfail>(&mut client, NFSPROC3_CREATE, &args).await;
    assert_eq!(status, nfsstat3::NFS3ERR_ROFS);
}
