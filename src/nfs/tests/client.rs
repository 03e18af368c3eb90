//! A small RPC client.

use std::net::SocketAddr;
use std::time::Duration;

use nfs3_types::mount::{self, MOUNT_PROGRAM};
use nfs3_types::nfs3::*;
use nfs3_types::rpc::*;
use nfs3_types::xdr_codec::{Opaque, Pack, Unpack};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection to a server.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    pub(super) xid: u32,
    pub(super) uid: u32,
}

/// Packs a value.
pub(super) fn pack(value: &impl Pack) -> Vec<u8> {
    let mut out = Vec::new();
    value.pack(&mut out).unwrap();
    out
}

/// Unpacks a value; all bytes have to belong to it.
#[track_caller]
pub(super) fn unpack<T: Unpack>(mut bytes: &[u8]) -> T {
    let value = T::unpack(&mut bytes).expect("reply unpacks").0;
    assert!(bytes.is_empty(), "{} bytes behind the reply", bytes.len());
    value
}

/// AUTH_SYS of a user.
pub(super) fn system(uid: u32) -> opaque_auth<'static> {
    opaque_auth::auth_unix(&auth_unix {
        stamp: 7,
        machinename: Opaque::borrowed(b"test"),
        uid,
        gid: 100,
        gids: vec![100, 200],
    })
}

/// A call without its record mark.
pub(super) fn call(
    xid: u32,
    (prog, vers, proc): (u32, u32, u32),
    cred: opaque_auth<'_>,
    args: &[u8],
) -> Vec<u8> {
    let mut out = pack(&xid);
    msg_type::CALL.pack(&mut out).unwrap();
    let body = call_body { rpcvers: 2, prog, vers, proc, cred, verf: opaque_auth::default() };
    body.pack(&mut out).unwrap();
    out.extend_from_slice(args);
    out
}

/// Adds a record mark.
pub(super) fn record(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    let mut out = fragment_header::new(length, true).into_xdr_buf().to_vec();
    out.extend_from_slice(message);
    out
}

/// The results in the reply to an executed call.
#[track_caller]
pub(super) fn results(xid: u32, reply: &[u8]) -> &[u8] {
    let (head, results) = reply.split_at(24);
    assert_eq!(head[..4], xid.to_be_bytes(), "xid");
    assert_eq!(head[4..], [[0, 0, 0, 1], [0; 4], [0; 4], [0; 4], [0; 4]].concat(), "header");
    results
}

/// Status word of a reply that says why a call was not executed: (reply_stat, word behind).
pub(super) fn verdict(reply: &[u8]) -> (u32, Vec<u32>) {
    let words: Vec<u32> =
        reply.chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
    match words[2] {
        0 => (0, words[5..].to_vec()),
        denied => (denied, words[3..].to_vec()),
    }
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, xid: 1000, uid: 501 }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next reply without its mark; `None` if the server closed the connection.
    pub(super) async fn receive(&mut self) -> Option<Vec<u8>> {
        timeout(Duration::from_secs(20), async {
            let mark = self.stream.read_u32().await.ok()?;
            assert!(mark & 0x8000_0000 != 0, "replies come in one fragment");
            let mut reply = vec![0; usize::try_from(mark & 0x7fff_ffff).unwrap()];
            self.stream.read_exact(&mut reply).await.ok()?;
            Some(reply)
        })
        .await
        .expect("a reply in time")
    }

    /// Sends one message and takes one reply.
    pub(super) async fn exchange(&mut self, message: &[u8]) -> Vec<u8> {
        self.send(&record(message)).await;
        self.receive().await.expect("a reply")
    }

    fn next_xid(&mut self) -> u32 {
        self.xid += 1;
        self.xid
    }

    /// An NFS call as a message, with a new xid.
    pub(super) fn message(&mut self, procedure: NFS_PROGRAM, args: &impl Pack) -> Vec<u8> {
        let target = (PROGRAM, VERSION, procedure as u32);
        let uid = self.uid;
        call(self.next_xid(), target, system(uid), &pack(args))
    }

    /// Executes an NFS procedure.
    pub(super) async fn nfs<R: Unpack>(&mut self, procedure: NFS_PROGRAM, args: &impl Pack) -> R {
        let message = self.message(procedure, args);
        let reply = self.exchange(&message).await;
        unpack(results(self.xid, &reply))
    }

    /// Executes a MOUNT procedure; its raw results.
    pub(super) async fn mount_raw(&mut self, procedure: MOUNT_PROGRAM, args: &[u8]) -> Vec<u8> {
        let target = (mount::PROGRAM, mount::VERSION, procedure as u32);
        let uid = self.uid;
        let message = call(self.next_xid(), target, system(uid), args);
        let reply = self.exchange(&message).await;
        results(self.xid, &reply).to_vec()
    }

    /// Mounts a path: the handle's bytes or the status.
    pub(super) async fn mount(&mut self, path: &str) -> Result<nfs_fh3, u32> {
        let args = pack(&Opaque::borrowed(path.as_bytes()));
        let results = self.mount_raw(MOUNT_PROGRAM::MOUNTPROC3_MNT, &args).await;
        match unpack::<mount::mountres3<'static>>(&results) {
            mount::mountres3::Ok(ok) => {
                assert_eq!(ok.auth_flavors, [1], "AUTH_SYS and nothing else");
                Ok(nfs_fh3 { data: Opaque::owned(ok.fhandle.0.to_vec()) })
            }
            mount::mountres3::Err(status) => Err(status as u32),
        }
    }

    pub(super) async fn root(&mut self) -> nfs_fh3 {
        self.mount("/").await.unwrap()
    }

    pub(super) async fn lookup(&mut self, dir: &nfs_fh3, name: &[u8]) -> LOOKUP3res {
        let args = LOOKUP3args { what: place(dir, name) };
        self.nfs(NFS_PROGRAM::NFSPROC3_LOOKUP, &args).await
    }

    /// Makes a file by GUARDED CREATE.
    pub(super) async fn create(&mut self, dir: &nfs_fh3, name: &[u8]) -> nfs_fh3 {
        let args =
            CREATE3args { where_: place(dir, name), how: createhow3::GUARDED(sattr3::default()) };
        let made: CREATE3res = self.nfs(NFS_PROGRAM::NFSPROC3_CREATE, &args).await;
        match made.unwrap().obj {
            Nfs3Option::Some(handle) => handle,
            Nfs3Option::None => panic!("CREATE gives a handle"),
        }
    }

    pub(super) async fn write(&mut self, file: &nfs_fh3, offset: u64, data: &[u8]) -> WRITE3res {
        self.nfs(NFS_PROGRAM::NFSPROC3_WRITE, &write_args(file, offset, data)).await
    }

    pub(super) async fn read(&mut self, file: &nfs_fh3, offset: u64, count: u32) -> Vec<u8> {
        let args = READ3args { file: file.clone(), offset, count };
        let reply: READ3res<'static> = self.nfs(NFS_PROGRAM::NFSPROC3_READ, &args).await;
        let reply = reply.unwrap();
        assert_eq!(usize::try_from(reply.count).unwrap(), reply.data.len());
        reply.data.to_vec()
    }

    pub(super) async fn attr(&mut self, object: &nfs_fh3) -> fattr3 {
        let args = GETATTR3args { object: object.clone() };
        let reply: GETATTR3res = self.nfs(NFS_PROGRAM::NFSPROC3_GETATTR, &args).await;
        reply.unwrap().obj_attributes
    }
}

pub(super) fn place<'a>(dir: &nfs_fh3, name: &'a [u8]) -> diropargs3<'a> {
    diropargs3 { dir: dir.clone(), name: filename3(Opaque::borrowed(name)) }
}

pub(super) fn write_args<'a>(file: &nfs_fh3, offset: u64, data: &'a [u8]) -> WRITE3args<'a> {
    WRITE3args {
        file: file.clone(),
        offset,
        count: u32::try_from(data.len()).unwrap(),
        stable: stable_how::UNSTABLE,
        data: Opaque::borrowed(data),
    }
}
