//! Calls that a client sends again, byte by byte, over a connection of its own: to the process
//! that answered them, and to the one after it.

use std::sync::Arc;
use std::time::Duration;

use mountable::clock::SystemClock;
use mountable::nfs::Server;
use mountable::vfs::FileSystem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Lab;

const CREATE: u32 = 8;
const WRITE: u32 = 7;
const REMOVE: u32 = 12;
const RENAME: u32 = 14;
const LOOKUP: u32 = 3;

fn word(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn opaque(out: &mut Vec<u8>, bytes: &[u8]) {
    word(out, u32::try_from(bytes.len()).unwrap());
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// An RPC call with AUTH_SYS, record mark included.
fn call(xid: u32, program: u32, procedure: u32, arguments: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for value in [xid, 0, 2, program, 3, procedure] {
        word(&mut body, value);
    }
    let mut credential = Vec::new();
    word(&mut credential, 1);
    opaque(&mut credential, b"wire");
    for value in [0, 0, 0] {
        word(&mut credential, value);
    }
    word(&mut body, 1);
    opaque(&mut body, &credential);
    word(&mut body, 0);
    word(&mut body, 0);
    body.extend_from_slice(arguments);
    let mark = u32::try_from(body.len()).unwrap() | 0x8000_0000;
    [&mark.to_be_bytes()[..], &body].concat()
}

/// A server over the lab's gateway and a connection to it.
struct Wire {
    server: Server,
    stream: TcpStream,
}

impl Wire {
    async fn to(lab: &Lab) -> Self {
        let mut settings = lab.settings.clone();
        settings.nfs = "127.0.0.1:0".parse().unwrap();
        let files: Arc<dyn FileSystem> = Arc::clone(&lab.vfs) as _;
        let server = Server::start(files, &settings, Arc::new(SystemClock)).await.unwrap();
        let stream = TcpStream::connect(server.address()).await.unwrap();
        Self { server, stream }
    }

    /// Sends a call and gives the reply behind its record mark.
    async fn exchange(&mut self, message: &[u8]) -> Vec<u8> {
        self.stream.write_all(message).await.unwrap();
        let length = self.stream.read_u32().await.unwrap() & 0x7fff_ffff;
        let mut reply = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut reply).await.unwrap();
        reply
    }

    async fn end(self) {
        drop(self.stream);
        self.server.stop(Duration::from_secs(5)).await;
    }
}

/// The NFS status of a reply.
fn status(reply: &[u8]) -> u32 {
    u32::from_be_bytes(reply[24..28].try_into().unwrap())
}

/// The handle that follows the status of LOOKUP and MNT.
fn handle_at(reply: &[u8], at: usize) -> Vec<u8> {
    let length = u32::from_be_bytes(reply[at..at + 4].try_into().unwrap());
    reply[at + 4..at + 4 + usize::try_from(length).unwrap()].to_vec()
}

async fn directory(wire: &mut Wire) -> Vec<u8> {
    let mut path = Vec::new();
    opaque(&mut path, b"/acme/shop");
    let reply = wire.exchange(&call(1, 100_005, 1, &path)).await;
    assert_eq!(status(&reply), 0);
    handle_at(&reply, 28)
}

fn named(directory: &[u8], name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    opaque(&mut out, directory);
    opaque(&mut out, name.as_bytes());
    out
}

fn exclusive(directory: &[u8], name: &str) -> Vec<u8> {
    let mut out = named(directory, name);
    word(&mut out, 2);
    out.extend_from_slice(&[7; 8]);
    out
}

fn write(file: &[u8], offset: u64, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    opaque(&mut out, file);
    out.extend_from_slice(&offset.to_be_bytes());
    word(&mut out, u32::try_from(text.len()).unwrap());
    word(&mut out, 2);
    opaque(&mut out, text.as_bytes());
    out
}

fn rename(directory: &[u8], from: &str, to: &str) -> Vec<u8> {
    [named(directory, from), named(directory, to)].concat()
}

const TEXT: &str = "id,qty\n1,5\n2,6\n";

/// A save by `sed -i` and one by `>>`: the calls in their order.
async fn save(wire: &mut Wire) -> Vec<Vec<u8>> {
    let dir = directory(wire).await;
    let found = wire.exchange(&call(2, 100_003, LOOKUP, &named(&dir, "t.csv"))).await;
    let table = handle_at(&found, 28);
    let create = call(11, 100_003, CREATE, &exclusive(&dir, "sedAbC"));
    let made = wire.exchange(&create).await;
    assert_eq!(status(&made), 0);
    let file = handle_at(&made, 32);
    let append = call(15, 100_003, WRITE, &write(&table, 15, "3,7\n"));
    let text = "id,qty\n1,50\n2,6\n3,7\n";
    vec![
        append,
        create,
        call(12, 100_003, WRITE, &write(&file, 0, text)),
        call(13, 100_003, RENAME, &rename(&dir, "sedAbC", "t.csv")),
        call(14, 100_003, REMOVE, &named(&dir, "gone.csv")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_sent_again_get_the_first_answer() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    lab.table("gone").rows(TEXT).await;
    let mut wire = Wire::to(&lab).await;
    let calls = save(&mut wire).await;
    let mut answers = Vec::new();
    for message in &calls {
        let answer = wire.exchange(message).await;
        assert_eq!(status(&answer), 0);
        answers.push(answer);
    }
    for (message, answer) in calls.iter().zip(&answers) {
        assert_eq!(wire.exchange(message).await, *answer);
    }
    // On another connection, too.
    wire.stream = TcpStream::connect(wire.server.address()).await.unwrap();
    for (message, answer) in calls.iter().zip(&answers) {
        assert_eq!(wire.exchange(message).await, *answer);
    }
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,50\n2,6\n3,7\n");
    assert_eq!(lab.versions("t").await, 4);
    wire.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_sent_again_after_a_restart_succeed_as_they_did() {
    let lab = Lab::new().await;
    lab.table("t").rows(TEXT).await;
    lab.table("gone").rows(TEXT).await;
    let mut wire = Wire::to(&lab).await;
    let calls = save(&mut wire).await;
    let names = &calls[3..];
    for message in &calls {
        assert_eq!(status(&wire.exchange(message).await), 0);
    }
    let kept = lab.keep_staged();
    wire.end().await;
    let lab = lab.restart_with(kept).await;
    let mut wire = Wire::to(&lab).await;
    for message in names {
        assert_eq!(status(&wire.exchange(message).await), 0, "done, and refused afterwards");
    }
    // The append is on no row twice.
    assert_eq!(status(&wire.exchange(&calls[0]).await), 0);
    lab.quiet().await;
    assert_eq!(lab.engine_csv("t").await, "id,qty\n1,50\n2,6\n3,7\n");
    // The same name by a call of another number is what it is.
    let dir = directory(&mut wire).await;
    let again = call(99, 100_003, RENAME, &rename(&dir, "sedAbC", "t.csv"));
    assert_eq!(status(&wire.exchange(&again).await), 2);
    wire.end().await;
}
