//! Many calls at once, repeated calls, limits, start and stop.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use nfs3_types::nfs3::NFS_PROGRAM::*;
use nfs3_types::nfs3::*;

use super::Lab;
use super::client::{Client, place, record, unpack};
use crate::clock::SystemClock;
use crate::config::{Export, Settings, Squash};
use crate::error::ErrorKind;
use crate::nfs::{MemoryFs, Server};

fn guarded(root: &nfs_fh3, name: &'static [u8]) -> CREATE3args<'static> {
    CREATE3args { where_: place(root, name), how: createhow3::GUARDED(sattr3::default()) }
}

#[tokio::test]
async fn repeated_call_has_one_effect_and_one_answer_even_on_another_connection() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let message = client.message(NFSPROC3_CREATE, &guarded(&root, b"f"));
    let first = client.exchange(&message).await;
    let created: CREATE3res = unpack(&first[24..]);
    created.unwrap();
    assert_eq!(client.exchange(&message).await, first);
    let mut other = lab.client().await;
    assert_eq!(other.exchange(&message).await, first);
    assert_eq!(lab.files.changes.load(Ordering::SeqCst), 1);
    // The same xid with other arguments, or from another user, is another call.
    let again = client.message(NFSPROC3_CREATE, &guarded(&root, b"g"));
    let mut same_xid = again.clone();
    same_xid[..4].copy_from_slice(&message[..4]);
    client.exchange(&same_xid).await;
    assert_eq!(lab.files.changes.load(Ordering::SeqCst), 2);
    let counters = lab.server.counters();
    assert_eq!(counters.replayed, 2);
}

#[tokio::test]
async fn repetition_of_a_call_that_is_still_running_waits_for_its_reply() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    let message = client.message(NFSPROC3_REMOVE, &REMOVE3args { object: place(&root, b"f") });
    client.create(&root, b"f").await;
    lab.files.close_gate();
    client.send(&record(&message)).await;
    drop(client); // the connection breaks, the call goes on
    let mut other = lab.client().await;
    other.send(&record(&message)).await;
    tokio::time::timeout(Duration::from_millis(200), other.receive()).await.unwrap_err();
    lab.files.open_gate();
    let reply = other.receive().await.unwrap();
    let removed: REMOVE3res = unpack(&reply[24..]);
    removed.unwrap();
    assert_eq!(lab.files.changes.load(Ordering::SeqCst), 2, "CREATE and one REMOVE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_calls_in_flight_are_all_answered() {
    let lab = Lab::start().await;
    let data = Bytes::from((0..4_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    lab.files.memory().insert(b"big", &data).unwrap();
    let mut client = lab.client().await;
    let root = client.root().await;
    let file = client.lookup(&root, b"big").await.unwrap().object;
    lab.files.close_gate();
    let mut wanted = HashSet::new();
    for n in 0..300_u64 {
        let args = READ3args { file: file.clone(), offset: n * 1000, count: 40_000 };
        let message = client.message(NFSPROC3_READ, &args);
        wanted.insert((client.xid, n * 1000));
        client.send(&record(&message)).await;
    }
    let first_xid = client.xid - 299;
    while lab.files.running.load(Ordering::SeqCst) < 64 {
        tokio::task::yield_now().await;
    }
    lab.files.open_gate();
    for _ in 0..300 {
        let reply = client.receive().await.unwrap();
        let xid = u32::from_be_bytes(reply[..4].try_into().unwrap());
        let offset = u64::from(xid - first_xid) * 1000;
        assert!(wanted.remove(&(xid, offset)));
        let read: READ3res<'static> = unpack(&reply[24..]);
        let start = usize::try_from(offset).unwrap();
        assert!(read.unwrap().data[..] == data[start..start + 40_000]);
    }
    assert_eq!(lab.files.running_max.load(Ordering::SeqCst), 64, "limit of one connection");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_call_does_not_hold_up_others() {
    let lab = Lab::start().await;
    let mut client = lab.client().await;
    let root = client.root().await;
    lab.files.close_gate();
    let slow = client.message(NFSPROC3_LOOKUP, &LOOKUP3args { what: place(&root, b"x") });
    client.send(&record(&slow)).await;
    // GETATTR does not pass the gate.
    assert_eq!(client.attr(&root).await.type_, ftype3::NF3DIR);
    lab.files.open_gate();
    assert_eq!(client.receive().await.unwrap()[..4], slow[..4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_that_takes_nothing_is_held_back_and_then_closed() {
    let lab = Lab::with(|settings| {
        settings.limits.slow_record = Duration::from_millis(300);
    })
    .await;
    let data = Bytes::from(vec![1; 1 << 20]);
    lab.files.memory().insert(b"big", &data).unwrap();
    let mut client = lab.client().await;
    let root = client.root().await;
    let file = client.lookup(&root, b"big").await.unwrap().object;
    let args = READ3args { file, offset: 0, count: 1 << 20 };
    let before = lab.server.counters().requests;
    for _ in 0..500 {
        let message = client.message(NFSPROC3_READ, &args);
        if tokio::io::AsyncWriteExt::write_all(&mut client.stream, &record(&message)).await.is_err()
        {
            break;
        }
    }
    for _ in 0..100 {
        if lab.server.counters().connections == 0 {
            break;
        }
        tokio::time::timeout(Duration::from_millis(50), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
    let counters = lab.server.counters();
    assert_eq!(counters.connections, 0);
    assert!(counters.requests - before < 500, "{}", counters.requests);
    lab.client().await.root().await;
}

#[tokio::test]
async fn connections_above_the_limit_are_closed() {
    let lab = Lab::with(|settings| settings.limits.connections_per_address_max = 2).await;
    let mut first = lab.client().await;
    first.root().await;
    let mut second = lab.client().await;
    second.root().await;
    let mut third = lab.client().await;
    assert!(third.receive().await.is_none());
    assert_eq!(lab.server.counters().refused_connections, 1);
    drop(first);
    second.root().await;
    // The seat gets free when the server has seen the end of the first.
    while lab.server.counters().connections > 1 {
        tokio::task::yield_now().await;
    }
    lab.client().await.root().await;
}

#[tokio::test]
async fn export_rule_for_the_loopback_takes_precedence() {
    let rule = Export {
        address: "127.0.0.0".parse().unwrap(),
        prefix: 8,
        read_only: true,
        squash: Squash::All,
    };
    let lab = Lab::with(|settings| settings.exports = vec![rule]).await;
    lab.client().await.root().await;
    let caller = lab.files.last_caller.lock().unwrap().clone().unwrap();
    assert_eq!((caller.uid, caller.gid, caller.read_only), (65_534, 65_534, true));
}

#[tokio::test]
async fn taken_port_and_foreign_address_are_explained() {
    let lab = Lab::start().await;
    let start = async |nfs| {
        let settings = Settings { nfs, ..Settings::default() };
        let clock = std::sync::Arc::new(SystemClock);
        let files = std::sync::Arc::new(MemoryFs::new(clock.clone(), 1));
        Server::start(files, &settings, clock).await.unwrap_err()
    };
    let taken = start(lab.server.address()).await;
    assert_eq!(taken.kind(), ErrorKind::Busy);
    assert!(taken.to_string().contains("another program has this port"), "{taken}");
    let open = start("0.0.0.0:0".parse().unwrap()).await;
    assert!(open.to_string().contains("exports"), "{open}");
}

#[tokio::test]
async fn stopping_lets_calls_end_and_closes_connections() {
    let Lab { files, server } = Lab::start().await;
    let address = server.address();
    let mut client = Client::connect(address).await;
    let root = client.root().await;
    files.close_gate();
    let message = client.message(NFSPROC3_CREATE, &guarded(&root, b"f"));
    client.send(&record(&message)).await;
    while files.running.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let stopper = server.stopper();
    stopper.stop(Duration::from_secs(20));
    let stopping = tokio::spawn(server.stop(Duration::from_secs(20)));
    tokio::task::yield_now().await;
    assert!(!stopping.is_finished());
    files.open_gate();
    let created: CREATE3res = unpack(&client.receive().await.unwrap()[24..]);
    created.unwrap();
    assert!(client.receive().await.is_none(), "closed after the last reply");
    stopping.await.unwrap();
    tokio::net::TcpStream::connect(address).await.unwrap_err();
}

#[tokio::test]
async fn handles_survive_a_restart() {
    let Lab { files, server } = Lab::start().await;
    let mut client = Client::connect(server.address()).await;
    let root = client.root().await;
    drop(client);
    server.stop(Duration::from_secs(5)).await;
    let settings = Settings { nfs: "127.0.0.1:0".parse().unwrap(), ..Settings::default() };
    let clock = std::sync::Arc::new(SystemClock);
    let server = Server::start(files, &settings, clock).await.unwrap();
    let mut client = Client::connect(server.address()).await;
    assert_eq!(client.attr(&root).await.type_, ftype3::NF3DIR);
}
