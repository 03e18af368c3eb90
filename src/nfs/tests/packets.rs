//! Bad packets: each gets the answer of RFC 5531 or a closed connection, and harms nobody else.

use std::time::Duration;

use nfs3_types::nfs3::NFS_PROGRAM::*;
use nfs3_types::nfs3::*;
use nfs3_types::rpc::*;
use nfs3_types::xdr_codec::{Opaque, Pack};

use super::Lab;
use super::client::{call, place, record, results, system, verdict, write_args};
use crate::clock::{Clock, ManualClock};

const NFS_NULL: (u32, u32, u32) = (PROGRAM, VERSION, 0);
const NFS_GETATTR: (u32, u32, u32) = (PROGRAM, VERSION, 1);
const MOUNT_MNT: (u32, u32, u32) = (100_005, 3, 1);
const MOUNT_EXPORT: (u32, u32, u32) = (100_005, 3, 5);

#[tokio::test]
async fn calls_that_cannot_be_served_get_the_reason() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    for (target, expected) in [
        ((100_227, 3, 1), vec![1]),       // NFS_ACL: PROG_UNAVAIL
        ((100_003, 2, 1), vec![2, 3, 3]), // PROG_MISMATCH
        ((100_003, 4, 1), vec![2, 3, 3]),
        ((100_005, 1, 1), vec![2, 3, 3]),
        ((100_003, 3, 22), vec![3]), // PROC_UNAVAIL
        ((100_005, 3, 6), vec![3]),
        (NFS_GETATTR, vec![4]), // GARBAGE_ARGS: no arguments
        (NFS_NULL, vec![0]),
    ] {
        let reply = client.exchange(&call(5, target, system(1), &[])).await;
        assert_eq!(verdict(&reply), (0, expected), "{target:?}");
    }
    let mut version_3 = call(5, NFS_NULL, system(1), &[]);
    version_3[11] = 3;
    assert_eq!(verdict(&client.exchange(&version_3).await), (1, vec![0, 2, 2]));
}

#[tokio::test]
async fn credentials_are_demanded_where_they_matter() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let none = opaque_auth::default;
    for (target, expected) in [
        (NFS_NULL, (0, vec![0])),
        (NFS_GETATTR, (1, vec![1, 5])), // AUTH_TOOWEAK
        (MOUNT_MNT, (1, vec![1, 5])),
        ((100_005, 3, 0), (0, vec![0])),
    ] {
        assert_eq!(verdict(&client.exchange(&call(5, target, none(), &[])).await), expected);
    }
    let (denied, _) = verdict(&client.exchange(&call(5, MOUNT_EXPORT, none(), &[])).await);
    assert_eq!(denied, 0);
    // RPCSEC_GSS (6), AUTH_TLS (7): nfs3_types does not know them.
    for flavor in [6_u8, 7, 99] {
        let mut message = call(5, NFS_GETATTR, none(), &[]);
        message[27] = flavor;
        assert_eq!(verdict(&client.exchange(&message).await), (1, vec![1, 1]));
    }
    let many = auth_unix { gids: (0..17).collect(), ..auth_unix::default() };
    let message = call(5, NFS_GETATTR, opaque_auth::auth_unix(&many), &[]);
    assert_eq!(verdict(&client.exchange(&message).await), (1, vec![1, 1]));
}

#[tokio::test]
async fn caller_is_who_the_credential_names() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    client.uid = 1234;
    client.root().await;
    let caller = lab.files.last_caller.lock().unwrap().clone().unwrap();
    assert_eq!((caller.uid, caller.gid, &*caller.groups), (1234, 100, &[100, 200][..]));
    assert_eq!(&*caller.client, "127.0.0.1/test");
    assert!(!caller.read_only);
    client.uid = 0;
    client.root().await;
    assert_eq!(lab.files.last_caller.lock().unwrap().clone().unwrap().uid, 0);
}

#[tokio::test]
async fn bad_record_marks_close_the_connection() {
    let lab = Lab::start().await;
    let header = |length: u32, last| fragment_header::new(length, last).into_xdr_buf().to_vec();
    let empty: Vec<u8> = (0..300).flat_map(|_| header(0, false)).collect();
    let growing: Vec<u8> =
        (0..3).flat_map(|_| [header(1 << 20, false), vec![0; 1 << 20]].concat()).collect();
    for bytes in
        [header(0x4000_0000, true), header(0x7fff_ffff, false), header(0, true), empty, growing]
    {
        let mut client = lab.client().await;
        // The server may close before it has read everything.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &bytes).await;
        assert!(client.receive().await.is_none());
    }
    lab.client().await.root().await;
}

#[tokio::test]
async fn every_truncation_of_every_call_is_garbage_or_noise() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    for message in messages(&mut client, &root) {
        for length in 4..message.len() {
            let mut short = message[..length].to_vec();
            // No effect is wanted here: another xid per try keeps the reply cache out.
            short[..4].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            if length < 8 {
                client.send(&record(&short)).await;
                continue;
            }
            let (denied, words) = verdict(&client.exchange(&short).await);
            let answer = if denied == 0 { words[0] } else { 100 };
            assert!(matches!(answer, 0 | 4 | 100), "{length} of {}: {answer}", message.len());
            if length == message.len() - 4 {
                assert_ne!(answer, 0, "the last word is missing");
            }
        }
    }
    client.root().await;
}

fn messages(client: &mut super::Client, root: &nfs_fh3) -> Vec<Vec<u8>> {
    let what = || place(root, b"name.csv");
    let object = || root.clone();
    let how = createhow3::UNCHECKED(sattr3::default());
    let symlink = symlinkdata3 {
        symlink_attributes: sattr3::default(),
        symlink_data: nfspath3(Opaque::borrowed(b"target")),
    };
    let cookieverf = cookieverf3::default();
    let (dircount, maxcount) = (512, 4096);
    vec![
        client.message(NFSPROC3_GETATTR, &GETATTR3args { object: object() }),
        client.message(
            NFSPROC3_SETATTR,
            &SETATTR3args {
                object: object(),
                new_attributes: sattr3::default(),
                guard: Nfs3Option::None,
            },
        ),
        client.message(NFSPROC3_LOOKUP, &LOOKUP3args { what: what() }),
        client.message(NFSPROC3_ACCESS, &ACCESS3args { object: object(), access: 63 }),
        client.message(NFSPROC3_READLINK, &READLINK3args { symlink: object() }),
        client.message(NFSPROC3_READ, &READ3args { file: object(), offset: 0, count: 9 }),
        client.message(NFSPROC3_WRITE, &write_args(root, 0, b"datadata")),
        client.message(NFSPROC3_CREATE, &CREATE3args { where_: what(), how }),
        client
            .message(NFSPROC3_MKDIR, &MKDIR3args { where_: what(), attributes: sattr3::default() }),
        client.message(NFSPROC3_SYMLINK, &SYMLINK3args { where_: what(), symlink }),
        client.message(NFSPROC3_REMOVE, &REMOVE3args { object: what() }),
        client.message(NFSPROC3_RMDIR, &RMDIR3args { object: what() }),
        client.message(NFSPROC3_RENAME, &RENAME3args { from: what(), to: what() }),
        client.message(NFSPROC3_LINK, &LINK3args { file: object(), link: what() }),
        client.message(
            NFSPROC3_READDIR,
            &READDIR3args { dir: object(), cookie: 0, cookieverf, count: 4096 },
        ),
        client.message(
            NFSPROC3_READDIRPLUS,
            &READDIRPLUS3args { dir: object(), cookie: 0, cookieverf, dircount, maxcount },
        ),
        client.message(NFSPROC3_FSSTAT, &FSSTAT3args { fsroot: object() }),
        client.message(NFSPROC3_COMMIT, &COMMIT3args { file: object(), offset: 0, count: 0 }),
    ]
}

#[tokio::test]
async fn mutated_messages_never_stop_the_service() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let templates = messages(&mut client, &root);
    // Different in each run of a longer campaign, the same by default.
    let dice = ManualClock::new(0, 42);
    let roll = |below: usize| usize::try_from(dice.random() % below as u64).unwrap();
    let mut answered = 0;
    for round in 0..10_000_u32 {
        let mut message = templates[roll(templates.len())].clone();
        for _ in 0..=roll(4) {
            let at = 4 + roll(message.len() - 4);
            match roll(4) {
                0 => message[at] = u8::try_from(roll(256)).unwrap(),
                1 => message[at] ^= 1 << roll(8),
                2 => message.truncate(at.max(12)),
                _ => {
                    let word = [0_u32, 1, 0x7fff_ffff, u32::MAX, 1 << 29][roll(5)];
                    let at = (at / 4 * 4).min(message.len() - 4);
                    message[at..at + 4].copy_from_slice(&word.to_be_bytes());
                }
            }
        }
        message[..4].copy_from_slice(&(round + 1).to_be_bytes());
        let is_call = message[4..8] == [0; 4];
        client.send(&record(&message)).await;
        if is_call {
            let reply = client.receive().await.expect("a reply to every call");
            assert_eq!(reply[..4], (round + 1).to_be_bytes());
            answered += 1;
        }
    }
    assert!(answered > 5_000, "{answered}");
    assert_eq!(lab.server.counters().panics, 0);
    client.root().await;
}

#[tokio::test]
async fn fragments_of_one_call_are_put_together() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let message = call(9, NFS_NULL, system(1), &[]);
    let mut bytes = Vec::new();
    for (index, part) in message.chunks(7).enumerate() {
        let last = index == message.len().div_ceil(7) - 1;
        let length = u32::try_from(part.len()).unwrap();
        fragment_header::new(length, last).pack(&mut bytes).unwrap();
        bytes.extend_from_slice(part);
    }
    for byte in bytes {
        client.send(&[byte]).await;
    }
    assert!(results(9, &client.receive().await.unwrap()).is_empty());
}

#[tokio::test]
async fn slow_and_idle_connections_are_closed() {
    let lab = Lab::with(|settings| {
        settings.limits.idle = Duration::from_millis(100);
        settings.limits.slow_record = Duration::from_millis(100);
    })
    .await;
    let mut idle = lab.client().await;
    assert!(idle.receive().await.is_none());
    let mut slow = lab.client().await;
    slow.send(&[0x80, 0, 1, 0, 1, 2, 3]).await;
    assert!(slow.receive().await.is_none());
    assert_eq!(lab.server.counters().connections, 0);
}
