//! Every procedure does what RFC 1813 says and carries its attributes.

use nfs3_types::mount::{MOUNT_PROGRAM, exports, mountlist};
use nfs3_types::nfs3::NFS_PROGRAM::*;
use nfs3_types::nfs3::*;
use nfs3_types::xdr_codec::{List, Opaque};

use super::Lab;
use super::client::{pack, place, unpack, write_args};

/// Weak cache consistency data says that something changed.
#[track_caller]
fn moved_on(wcc: &wcc_data) {
    let (Nfs3Option::Some(before), Nfs3Option::Some(after)) = (&wcc.before, &wcc.after) else {
        panic!("both sides are known: {wcc:?}");
    };
    let key = |time: nfstime3| (time.seconds, time.nseconds);
    assert!(key(before.ctime) < key(after.ctime), "{wcc:?}");
}

fn mode(bits: u32) -> sattr3 {
    sattr3 { mode: Nfs3Option::Some(bits), ..sattr3::default() }
}

#[tokio::test]
async fn files_are_made_written_read_and_removed() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let file = client.create(&root, b"a \xff.csv").await;
    let written = client.write(&file, 2, b"hello").await.unwrap();
    moved_on(&written.file_wcc);
    assert_eq!(written.count, 5);
    let args = write_args(&file, 0, b"");
    let nothing: WRITE3res = client.nfs(NFSPROC3_WRITE, &args).await;
    assert_eq!(nothing.unwrap().verf, written.verf);
    assert_eq!(client.read(&file, 0, 100).await, b"\0\0hello");
    assert_eq!(client.read(&file, 4, 2).await, b"ll");
    assert_eq!(client.read(&file, 1 << 40, 2).await, b"");
    let args = READ3args { file: file.clone(), offset: 0, count: 7 };
    let reply: READ3res<'static> = client.nfs(NFSPROC3_READ, &args).await;
    let reply = reply.unwrap();
    assert!(reply.eof && reply.file_attributes.is_some());
    let attr = client.attr(&file).await;
    assert_eq!((attr.size, attr.uid, attr.gid, attr.nlink), (7, 501, 100, 1));
    let args = COMMIT3args { file: file.clone(), offset: 0, count: 0 };
    let committed: COMMIT3res = client.nfs(NFSPROC3_COMMIT, &args).await;
    assert_eq!(committed.unwrap().verf, written.verf);
    let found = client.lookup(&root, b"a \xff.csv").await.unwrap();
    assert_eq!(found.object, file);
    assert!(found.obj_attributes.is_some() && found.dir_attributes.is_some());
    let args = REMOVE3args { object: place(&root, b"a \xff.csv") };
    let removed: REMOVE3res = client.nfs(NFSPROC3_REMOVE, &args).await;
    moved_on(&removed.unwrap().dir_wcc);
    let Nfs3Result::Err((status, fail)) = client.lookup(&root, b"a \xff.csv").await else {
        panic!("removed");
    };
    assert_eq!(status, nfsstat3::NFS3ERR_NOENT);
    assert!(fail.dir_attributes.is_some());
}

#[tokio::test]
async fn create_follows_its_three_modes() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let mut create = async |how: createhow3| -> CREATE3res {
        let args = CREATE3args { where_: place(&root, b"f"), how };
        client.nfs(NFSPROC3_CREATE, &args).await
    };
    let verifier = createverf3([1, 2, 3, 4, 5, 6, 7, 8]);
    let first = create(createhow3::EXCLUSIVE(verifier)).await.unwrap();
    moved_on(&first.dir_wcc);
    assert!(first.obj_attributes.is_some());
    let again = create(createhow3::EXCLUSIVE(verifier)).await.unwrap();
    assert_eq!(again.obj, first.obj);
    let other = createverf3([1, 2, 3, 4, 5, 6, 7, 9]);
    for how in [createhow3::EXCLUSIVE(other), createhow3::GUARDED(sattr3::default())] {
        let Nfs3Result::Err((status, fail)) = create(how).await else { panic!("exists") };
        assert_eq!(status, nfsstat3::NFS3ERR_EXIST);
        assert!(fail.dir_wcc.before.is_some() && fail.dir_wcc.after.is_some());
    }
    let opened = create(createhow3::UNCHECKED(mode(0o600))).await.unwrap();
    assert_eq!(opened.obj, first.obj);
    let Nfs3Option::Some(attr) = opened.obj_attributes else { panic!("attributes") };
    assert_eq!(attr.mode, 0o644, "an existing file keeps its mode");
}

#[tokio::test]
async fn setattr_obeys_its_guard_and_sets_what_is_asked() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let file = client.create(&root, b"f").await;
    client.write(&file, 0, b"12345678").await.unwrap();
    let ctime = client.attr(&file).await.ctime;
    let time = nfstime3 { seconds: 1_000_000, nseconds: 5 };
    let new_attributes = sattr3 {
        mode: Nfs3Option::Some(0o100_640),
        uid: Nfs3Option::Some(7),
        gid: Nfs3Option::Some(8),
        size: Nfs3Option::Some(3),
        atime: set_atime::SET_TO_CLIENT_TIME(time),
        mtime: set_mtime::SET_TO_CLIENT_TIME(time),
    };
    let args = |guard| SETATTR3args {
        object: file.clone(),
        new_attributes: new_attributes.clone(),
        guard,
    };
    let wrong = args(Nfs3Option::Some(nfstime3 { seconds: 1, nseconds: 1 }));
    let refused: SETATTR3res = client.nfs(NFSPROC3_SETATTR, &wrong).await;
    let Nfs3Result::Err((status, fail)) = refused else { panic!("guard does not match") };
    assert_eq!(status, nfsstat3::NFS3ERR_NOT_SYNC);
    assert!(fail.obj_wcc.after.is_some());
    assert_eq!(client.attr(&file).await.size, 8, "nothing was applied");
    let set: SETATTR3res = client.nfs(NFSPROC3_SETATTR, &args(Nfs3Option::Some(ctime))).await;
    moved_on(&set.unwrap().obj_wcc);
    let attr = client.attr(&file).await;
    assert_eq!((attr.mode, attr.uid, attr.gid, attr.size), (0o640, 7, 8, 3));
    assert_eq!((attr.atime, attr.mtime), (time, time));
    let bad = SETATTR3args {
        object: file.clone(),
        new_attributes: sattr3 {
            mtime: set_mtime::SET_TO_CLIENT_TIME(nfstime3 { seconds: 1, nseconds: u32::MAX }),
            ..sattr3::default()
        },
        guard: Nfs3Option::None,
    };
    let refused: SETATTR3res = client.nfs(NFSPROC3_SETATTR, &bad).await;
    let Nfs3Result::Err((status, _)) = refused else { panic!("no such time") };
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);
}

#[tokio::test]
async fn directories_links_and_renames_work() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let args = MKDIR3args { where_: place(&root, b"d"), attributes: mode(0o700) };
    let made: MKDIR3res = client.nfs(NFSPROC3_MKDIR, &args).await;
    let made = made.unwrap();
    moved_on(&made.dir_wcc);
    let Nfs3Option::Some(dir) = made.obj else { panic!("handle") };
    let file = client.create(&root, b"f").await;

    let to = place(&dir, b"hard");
    let linked: LINK3res =
        client.nfs(NFSPROC3_LINK, &LINK3args { file: file.clone(), link: to }).await;
    let linked = linked.unwrap();
    moved_on(&linked.linkdir_wcc);
    let Nfs3Option::Some(attr) = linked.file_attributes else { panic!("attributes") };
    assert_eq!(attr.nlink, 2);

    let args = RENAME3args { from: place(&root, b"f"), to: place(&dir, b"g") };
    let moved: RENAME3res = client.nfs(NFSPROC3_RENAME, &args).await;
    let moved = moved.unwrap();
    moved_on(&moved.fromdir_wcc);
    moved_on(&moved.todir_wcc);
    assert_eq!(client.lookup(&dir, b"g").await.unwrap().object, file);
    assert_eq!(client.lookup(&dir, b"..").await.unwrap().object, root);

    let args = SYMLINK3args {
        where_: place(&root, b"s"),
        symlink: symlinkdata3 {
            symlink_attributes: sattr3::default(),
            symlink_data: nfspath3(Opaque::borrowed(b"user@host.1:2")),
        },
    };
    let link: SYMLINK3res = client.nfs(NFSPROC3_SYMLINK, &args).await;
    let Nfs3Option::Some(link) = link.unwrap().obj else { panic!("handle") };
    let args = READLINK3args { symlink: link };
    let target: READLINK3res<'static> = client.nfs(NFSPROC3_READLINK, &args).await;
    let target = target.unwrap();
    assert_eq!(&target.data.0[..], b"user@host.1:2");
    assert!(target.symlink_attributes.is_some());
    let args = READLINK3args { symlink: file };
    let target: READLINK3res<'static> = client.nfs(NFSPROC3_READLINK, &args).await;
    let Nfs3Result::Err((status, _)) = target else { panic!("no link") };
    assert_eq!(status, nfsstat3::NFS3ERR_INVAL);

    let args = RMDIR3args { object: place(&root, b"d") };
    let full: RMDIR3res = client.nfs(NFSPROC3_RMDIR, &args).await;
    let Nfs3Result::Err((status, _)) = full else { panic!("not empty") };
    assert_eq!(status, nfsstat3::NFS3ERR_NOTEMPTY);
    for name in [&b"g"[..], b"hard"] {
        let args = REMOVE3args { object: place(&dir, name) };
        let removed: REMOVE3res = client.nfs(NFSPROC3_REMOVE, &args).await;
        removed.unwrap();
    }
    let removed: RMDIR3res = client.nfs(NFSPROC3_RMDIR, &args).await;
    moved_on(&removed.unwrap().dir_wcc);
}

#[tokio::test]
async fn access_and_static_information_are_answered() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let args = ACCESS3args { object: root.clone(), access: 0xffff_ffff };
    let granted: ACCESS3res = client.nfs(NFSPROC3_ACCESS, &args).await;
    assert_eq!(granted.unwrap().access, 0x3f, "no bits that RFC 1813 does not know");
    let info: FSINFO3res = client.nfs(NFSPROC3_FSINFO, &FSINFO3args { fsroot: root.clone() }).await;
    let info = info.unwrap();
    assert!(info.obj_attributes.is_some());
    assert_eq!((info.rtmax, info.rtpref, info.wtmax, info.wtpref), {
        let mib = 1 << 20;
        (mib, mib, mib, mib)
    });
    assert_eq!((info.dtpref, info.properties), (65_536, 0x1b));
    assert_eq!(info.time_delta, nfstime3 { seconds: 0, nseconds: 1 });
    let conf: PATHCONF3res =
        client.nfs(NFSPROC3_PATHCONF, &PATHCONF3args { object: root.clone() }).await;
    let conf = conf.unwrap();
    assert_eq!((conf.linkmax, conf.name_max), (32_000, 255));
    assert!(conf.no_trunc && conf.case_preserving && !conf.case_insensitive);
    let stat: FSSTAT3res = client.nfs(NFSPROC3_FSSTAT, &FSSTAT3args { fsroot: root }).await;
    let stat = stat.unwrap();
    assert_eq!((stat.tbytes, stat.fbytes), (64 << 20, 64 << 20));
}

#[tokio::test]
async fn listings_fit_the_asked_bytes_and_miss_nothing() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let mut names: Vec<Vec<u8>> =
        (0..300_usize).map(|n| format!("{n}{}", "x".repeat(n % 97)).into_bytes()).collect();
    for name in &names {
        client.create(&root, name).await;
    }
    names.extend([b".".to_vec(), b"..".to_vec()]);
    names.sort();
    for count in [256, 512, 4096, 65_536, u32::MAX] {
        let (mut seen, mut cookie) = (Vec::new(), 0);
        loop {
            let verf = cookieverf3::default();
            let args = READDIR3args { dir: root.clone(), cookie, cookieverf: verf, count };
            let message = client.message(NFSPROC3_READDIR, &args);
            let reply = client.exchange(&message).await;
            assert!(reply.len() - 28 <= usize::try_from(count).unwrap(), "{}", reply.len());
            let page: READDIR3res<'static> = unpack(&reply[24..]);
            let page = page.unwrap();
            assert!(page.dir_attributes.is_some());
            for entry in &page.reply.entries.0 {
                seen.push(entry.name.0.to_vec());
                cookie = entry.cookie;
            }
            if page.reply.eof {
                break;
            }
        }
        seen.sort();
        assert_eq!(seen, names, "count {count}");
    }
}

#[tokio::test]
async fn listings_with_attributes_obey_both_limits() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    for n in 0..100 {
        client.create(&root, format!("file{n}").as_bytes()).await;
    }
    for (dircount, maxcount) in [(64, 8192), (4096, 600), (1 << 20, 1 << 20), (1, 4096)] {
        let (mut seen, mut cookie) = (0, 0);
        loop {
            let args = READDIRPLUS3args {
                dir: root.clone(),
                cookie,
                cookieverf: cookieverf3::default(),
                dircount,
                maxcount,
            };
            let message = client.message(NFSPROC3_READDIRPLUS, &args);
            let reply = client.exchange(&message).await;
            assert!(reply.len() - 28 <= usize::try_from(maxcount).unwrap());
            let page: READDIRPLUS3res<'static> = unpack(&reply[24..]);
            let page = page.unwrap();
            for entry in &page.reply.entries.0 {
                let Nfs3Option::Some(attr) = &entry.name_attributes else { panic!("attr") };
                assert_eq!(attr.fileid, entry.fileid);
                assert!(entry.name_handle.is_some());
                (seen, cookie) = (seen + 1, entry.cookie);
            }
            if page.reply.eof {
                break;
            }
        }
        assert_eq!(seen, 102);
    }
    for (dir, status) in [
        (root.clone(), nfsstat3::NFS3ERR_TOOSMALL),
        (client.create(&root, b"file").await, nfsstat3::NFS3ERR_NOTDIR),
    ] {
        let maxcount = if status == nfsstat3::NFS3ERR_TOOSMALL { 120 } else { 8192 };
        let args = READDIRPLUS3args {
            dir,
            cookie: 0,
            cookieverf: cookieverf3::default(),
            dircount: 10,
            maxcount,
        };
        let refused: READDIRPLUS3res<'static> = client.nfs(NFSPROC3_READDIRPLUS, &args).await;
        let Nfs3Result::Err((answer, fail)) = refused else { panic!("{status}") };
        assert_eq!(answer, status);
        assert!(fail.dir_attributes.is_some());
    }
}

#[tokio::test]
async fn directories_are_mounted_by_path_and_mounts_are_listed() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let args = MKDIR3args { where_: place(&root, b"acme"), attributes: sattr3::default() };
    let made: MKDIR3res = client.nfs(NFSPROC3_MKDIR, &args).await;
    let Nfs3Option::Some(acme) = made.unwrap().obj else { panic!("handle") };
    client.create(&acme, b"file").await;
    assert_eq!(client.mount("/acme").await, Ok(acme.clone()));
    assert_eq!(client.mount("//acme/").await, Ok(acme));
    assert_eq!(client.mount("/nothing").await, Err(2));
    assert_eq!(client.mount("/acme/../acme").await, Err(2));
    assert_eq!(client.mount("/acme/file").await, Err(20));
    assert_eq!(client.mount(&"x".repeat(1025)).await, Err(63));

    let list = client.mount_raw(MOUNT_PROGRAM::MOUNTPROC3_DUMP, &[]).await;
    let list: mountlist<'static, 'static> = unpack(&list);
    let paths: Vec<_> = list.0.iter().map(|mount| mount.ml_directory.0.to_vec()).collect();
    assert_eq!(paths, [b"/".to_vec(), b"/acme".to_vec()]);
    let args = pack(&Opaque::borrowed(b"/acme"));
    client.mount_raw(MOUNT_PROGRAM::MOUNTPROC3_UMNT, &args).await;
    client.mount_raw(MOUNT_PROGRAM::MOUNTPROC3_UMNTALL, &[]).await;
    let list = client.mount_raw(MOUNT_PROGRAM::MOUNTPROC3_DUMP, &[]).await;
    let List(left) = unpack::<mountlist<'static, 'static>>(&list);
    assert!(left.is_empty());
    let list = client.mount_raw(MOUNT_PROGRAM::MOUNTPROC3_EXPORT, &[]).await;
    let list: exports<'static, 'static> = unpack(&list);
    assert_eq!(&list.0[0].ex_dir.0[..], b"/");
    assert!(client.mount_raw(MOUNT_PROGRAM::MOUNTPROC3_NULL, &[]).await.is_empty());
}
