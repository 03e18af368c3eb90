//! RPC calls (RFC 5531): the header, and the AUTH_SYS credential that becomes a `Caller`.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use nfs3_types::rpc::{RPC_VERSION_2, auth_stat};

use super::admit::Rights;
use super::xdr::{Decoded, Decoder, Garbage};
use crate::config::Squash;
use crate::vfs::Caller;

const CALL: u32 = 0;
const AUTH_NONE: u32 = 0;
const AUTH_SYS: u32 = 1;
/// Longest body of a credential or verifier (RFC 5531 section 8.2).
const AUTH_BYTES_MAX: usize = 400;
const MACHINE_NAME_MAX: usize = 255;
/// Most supplementary groups in AUTH_SYS (RFC 5531 appendix A).
const GROUPS_MAX: usize = 16;
/// User and group of squashed callers.
const NOBODY: u32 = 65_534;

/// A credential as sent.
#[derive(Debug, Clone)]
pub(super) struct Credential {
    flavor: u32,
    body: Bytes,
    verifier_length: usize,
}

/// A call with its header taken apart.
#[derive(Debug)]
pub(super) struct Call {
    /// Transaction id, chosen by the client.
    pub(super) xid: u32,
    /// Program number.
    pub(super) program: u32,
    /// Its version.
    pub(super) version: u32,
    /// The procedure.
    pub(super) procedure: u32,
    /// Who calls.
    pub(super) credential: Credential,
    /// Arguments, not decoded.
    pub(super) arguments: Decoder,
}

/// What a record holds.
#[derive(Debug)]
pub(super) enum Message {
    /// A call.
    Call(Box<Call>),
    /// A call of an unknown RPC version.
    Mismatch(u32),
    /// A call whose header cannot be read, with its xid.
    Malformed(u32),
    /// Not a call: nothing to answer.
    Noise,
}

impl Message {
    /// Takes a record apart.
    pub(super) fn parse(record: Bytes) -> Self {
        let mut decoder = Decoder::new(record);
        let Ok(xid) = decoder.u32() else { return Self::Noise };
        if decoder.u32() != Ok(CALL) {
            return Self::Noise;
        }
        match decoder.u32() {
            Ok(RPC_VERSION_2) => {}
            Ok(_) => return Self::Mismatch(xid),
            Err(Garbage) => return Self::Malformed(xid),
        }
        match Self::header(xid, decoder) {
            Ok(call) => Self::Call(Box::new(call)),
            Err(Garbage) => Self::Malformed(xid),
        }
    }

    fn header(xid: u32, mut decoder: Decoder) -> Decoded<Call> {
        let program = decoder.u32()?;
        let version = decoder.u32()?;
        let procedure = decoder.u32()?;
        let flavor = decoder.u32()?;
        let body = decoder.opaque()?;
        let _verifier_flavor = decoder.u32()?;
        let verifier_length = decoder.opaque()?.len();
        let credential = Credential { flavor, body, verifier_length };
        Ok(Call { xid, program, version, procedure, credential, arguments: decoder })
    }
}

/// Which credentials a procedure takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Any, even one that cannot be read.
    Nothing,
    /// AUTH_SYS.
    System,
}

/// Turns the credentials of one connection into callers; remembers the last one, because a
/// client sends the same bytes with nearly every call.
#[derive(Debug)]
pub(super) struct Authenticator {
    peer: IpAddr,
    rights: Rights,
    anonymous: Caller,
    last: Option<(Bytes, Caller)>,
}

impl Authenticator {
    pub(super) fn new(peer: IpAddr, rights: Rights) -> Self {
        let anonymous = Caller {
            uid: NOBODY,
            gid: NOBODY,
            groups: Arc::from([]),
            client: Arc::from(format!("{peer}/")),
            read_only: true,
        };
        Self { peer, rights, anonymous, last: None }
    }

    /// Who calls; the reason for AUTH_ERROR if the credential is not good enough.
    pub(super) fn caller(
        &mut self,
        credential: &Credential,
        needs: Needs,
    ) -> Result<Caller, auth_stat> {
        if needs == Needs::Nothing && credential.flavor != AUTH_SYS {
            return Ok(self.anonymous.clone());
        }
        match credential.flavor {
            AUTH_SYS => {}
            AUTH_NONE => return Err(auth_stat::AUTH_TOOWEAK),
            // RPCSEC_GSS, AUTH_TLS probes, AUTH_SHORT, AUTH_DH: not served.
            _ => return Err(auth_stat::AUTH_BADCRED),
        }
        if credential.verifier_length > AUTH_BYTES_MAX {
            return Err(auth_stat::AUTH_BADVERF);
        }
        // The stamp (first word) says nothing about who calls.
        let identity = credential.body.get(4..).ok_or(auth_stat::AUTH_BADCRED)?;
        if let Some((bytes, caller)) = &self.last
            && bytes == identity
        {
            return Ok(caller.clone());
        }
        let caller = self.system(&credential.body).map_err(|Garbage| auth_stat::AUTH_BADCRED)?;
        self.last = Some((Bytes::copy_from_slice(identity), caller.clone()));
        Ok(caller)
    }

    fn system(&self, body: &Bytes) -> Decoded<Caller> {
        if body.len() > AUTH_BYTES_MAX {
            return Err(Garbage);
        }
        let mut decoder = Decoder::new(body.clone());
        let _stamp = decoder.u32()?;
        let machine = decoder.opaque()?;
        let mut uid = decoder.u32()?;
        let mut gid = decoder.u32()?;
        let count = usize::try_from(decoder.u32()?).map_err(|_| Garbage)?;
        if machine.len() > MACHINE_NAME_MAX || count > GROUPS_MAX {
            return Err(Garbage);
        }
        let mut groups = (0..count).map(|_| decoder.u32()).collect::<Decoded<Vec<u32>>>()?;
        if !decoder.rest().is_empty() {
            return Err(Garbage);
        }
        match self.rights.squash {
            Squash::None => {}
            Squash::Root => {
                if uid == 0 {
                    (uid, gid) = (NOBODY, NOBODY);
                    groups.clear();
                }
                for group in groups.iter_mut().chain([&mut gid]) {
                    if *group == 0 {
                        *group = NOBODY;
                    }
                }
            }
            Squash::All => {
                (uid, gid) = (NOBODY, NOBODY);
                groups.clear();
            }
        }
        let client = format!("{}/{}", self.peer, printable(&machine));
        let read_only = self.rights.read_only;
        Ok(Caller { uid, gid, groups: groups.into(), client: client.into(), read_only })
    }
}

/// A name that a client chose, fit for logs and audit records.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfs::xdr::put_opaque;
    use bytes::{BufMut, BytesMut};

    fn credential(machine: &[u8], ids: &[u32]) -> Credential {
        let mut body = BytesMut::new();
        body.put_u32(1);
        put_opaque(&mut body, machine);
        ids.iter().for_each(|id| body.put_u32(*id));
        Credential { flavor: AUTH_SYS, body: body.freeze(), verifier_length: 0 }
    }

    fn caller(squash: Squash, credential: &Credential) -> Result<Caller, auth_stat> {
        let peer = IpAddr::from([10, 0, 0, 7]);
        let rights = Rights { read_only: false, squash };
        Authenticator::new(peer, rights).caller(credential, Needs::System)
    }

    #[test]
    fn system_credential_becomes_a_caller() {
        let caller = caller(Squash::None, &credential(b"host\n", &[5, 6, 2, 0, 8])).unwrap();
        assert_eq!((caller.uid, caller.gid, &*caller.groups), (5, 6, &[0, 8][..]));
        assert_eq!(&*caller.client, "10.0.0.7/host?");
    }

    #[test]
    fn root_is_squashed_with_its_groups_and_others_keep_theirs() {
        let root = caller(Squash::Root, &credential(b"h", &[0, 0, 2, 0, 8])).unwrap();
        assert_eq!((root.uid, root.gid, root.groups.len()), (NOBODY, NOBODY, 0));
        let user = caller(Squash::Root, &credential(b"h", &[5, 0, 2, 0, 8])).unwrap();
        assert_eq!((user.uid, user.gid, &*user.groups), (5, NOBODY, &[NOBODY, 8][..]));
        let all = caller(Squash::All, &credential(b"h", &[5, 6, 1, 8])).unwrap();
        assert_eq!((all.uid, all.gid, all.groups.len()), (NOBODY, NOBODY, 0));
    }

    #[test]
    fn bad_credentials_are_refused_with_the_reason() {
        let bad = |credential: &Credential| caller(Squash::None, credential).unwrap_err();
        let mut none = credential(b"h", &[1, 1, 0]);
        none.flavor = AUTH_NONE;
        assert!(matches!(bad(&none), auth_stat::AUTH_TOOWEAK));
        none.flavor = 6;
        assert!(matches!(bad(&none), auth_stat::AUTH_BADCRED));
        let groups: Vec<u32> = [1, 1, 17].into_iter().chain(0..17).collect();
        assert!(matches!(bad(&credential(b"h", &groups)), auth_stat::AUTH_BADCRED));
        assert!(matches!(bad(&credential(b"h", &[1, 1, u32::MAX])), auth_stat::AUTH_BADCRED));
        assert!(matches!(bad(&credential(&[b'h'; 256], &[1, 1, 0])), auth_stat::AUTH_BADCRED));
        let mut long = credential(b"h", &[1, 1, 0]);
        long.verifier_length = 401;
        assert!(matches!(bad(&long), auth_stat::AUTH_BADVERF));
    }

    #[test]
    fn replies_and_short_records_are_noise() {
        assert!(matches!(Message::parse(Bytes::from_static(&[0; 3])), Message::Noise));
        let reply = Bytes::from_static(&[0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0]);
        assert!(matches!(Message::parse(reply), Message::Noise));
        let version_3 = Bytes::from_static(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 3]);
        assert!(matches!(Message::parse(version_3), Message::Mismatch(9)));
        let cut = Bytes::from_static(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
        assert!(matches!(Message::parse(cut), Message::Malformed(9)));
    }
}
