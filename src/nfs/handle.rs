//! File handles: what a client keeps to name an object, sealed so that it cannot make one up.
//!
//! 33 bytes: format (1), inode (8, big endian), version (8, big endian), the first 16 bytes of
//! the keyed BLAKE3 hash of the bytes before. The key comes from the file system and outlives the
//! process, and so do handles.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;

use super::xdr;
use crate::vfs::{FsError, FsResult, Handle};

const FORMAT: u8 = 1;
const BODY: usize = 17;
const SEAL: usize = 16;
/// Bytes of a handle.
pub(super) const HANDLE_BYTES: usize = BODY + SEAL;

/// Seals and opens handles.
pub(super) struct HandleCodec {
    key: [u8; 32],
    forged: AtomicU64,
}

impl std::fmt::Debug for HandleCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandleCodec").field("forged", &self.forged()).finish_non_exhaustive()
    }
}

impl HandleCodec {
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, forged: AtomicU64::new(0) }
    }

    /// Number of handles refused so far.
    pub(super) fn forged(&self) -> u64 {
        self.forged.load(Ordering::Relaxed)
    }

    /// The bytes that a client keeps.
    pub(super) fn seal(&self, handle: Handle) -> [u8; HANDLE_BYTES] {
        let mut out = [0; HANDLE_BYTES];
        let (body, seal) = out.split_at_mut(BODY);
        let numbers = handle.inode.to_be_bytes().into_iter().chain(handle.version.to_be_bytes());
        for (to, from) in body.iter_mut().zip(std::iter::once(FORMAT).chain(numbers)) {
            *to = from;
        }
        for (to, from) in seal.iter_mut().zip(blake3::keyed_hash(&self.key, body).as_bytes()) {
            *to = *from;
        }
        out
    }

    /// The handle behind a client's bytes; `BadHandle` if this gateway did not make them.
    pub(super) fn open(&self, bytes: &[u8]) -> FsResult<Handle> {
        let handle = Self::parse(bytes);
        match handle {
            Some(handle) if constant_time_equal(&self.seal(handle), bytes) => Ok(handle),
            _ => {
                self.forged.fetch_add(1, Ordering::Relaxed);
                Err(FsError::BadHandle)
            }
        }
    }

    fn parse(bytes: &[u8]) -> Option<Handle> {
        let (format, rest) = bytes.split_first()?;
        let (inode, rest) = rest.split_first_chunk::<8>()?;
        let (version, seal) = rest.split_first_chunk::<8>()?;
        (*format == FORMAT && seal.len() == SEAL).then(|| Handle {
            inode: u64::from_be_bytes(*inode),
            version: u64::from_be_bytes(*version),
        })
    }

    /// Writes a handle as XDR.
    pub(super) fn put(&self, out: &mut BytesMut, handle: Handle) {
        xdr::put_opaque(out, &self.seal(handle));
    }
}

/// Compares without telling by the time taken how many bytes match.
fn constant_time_equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_handle_opens_and_any_changed_bit_does_not() {
        let codec = HandleCodec::new([7; 32]);
        let handle = Handle { inode: 0x0123_4567_89ab_cdef, version: 42 };
        let sealed = codec.seal(handle);
        assert_eq!(codec.open(&sealed).unwrap(), handle);
        for bit in 0..sealed.len() * 8 {
            let mut forged = sealed;
            forged[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(codec.open(&forged), Err(FsError::BadHandle)));
        }
        for length in 0..sealed.len() {
            assert!(codec.open(&sealed[..length]).is_err());
        }
        assert!(codec.open(&[1; 64]).is_err());
        assert_eq!(codec.forged(), 33 * 8 + 33 + 1);
    }

    #[test]
    fn handle_of_another_key_does_not_open() {
        let handle = Handle { inode: 1, version: 0 };
        let sealed = HandleCodec::new([1; 32]).seal(handle);
        assert!(HandleCodec::new([2; 32]).open(&sealed).is_err());
        // The same key after a restart does.
        assert_eq!(HandleCodec::new([1; 32]).open(&sealed).unwrap(), handle);
    }
}
