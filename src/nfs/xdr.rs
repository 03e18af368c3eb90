//! XDR (RFC 4506): reads arguments out of a record without copying and writes results.
//!
//! Arguments are never trusted: every length is compared with the bytes that are there before
//! anything is allocated, so decoding allocates nothing at all except small vectors of numbers.

use bytes::{BufMut, Bytes, BytesMut};

/// The bytes are not what the procedure's arguments look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbage;

/// Result of decoding.
pub(super) type Decoded<T> = Result<T, Garbage>;

/// Reads values from the front of a byte string.
#[derive(Debug)]
pub(super) struct Decoder {
    bytes: Bytes,
    at: usize,
}

impl Decoder {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, at: 0 }
    }

    /// What has not been read yet.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let value = *self.rest().first_chunk::<N>().ok_or(Garbage)?;
        self.at += N;
        Ok(value)
    }

    pub(super) fn u32(&mut self) -> Decoded<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Decoded<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn verifier(&mut self) -> Decoded<[u8; 8]> {
        self.array()
    }

    pub(super) fn flag(&mut self) -> Decoded<bool> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Garbage),
        }
    }

    /// A value that is there only if the flag before it says so.
    pub(super) fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    /// Bytes of variable length; they share the record's memory.
    pub(super) fn opaque(&mut self) -> Decoded<Bytes> {
        let length = usize::try_from(self.u32()?).map_err(|_| Garbage)?;
        let padded = length.checked_next_multiple_of(4).ok_or(Garbage)?;
        if self.rest().len() < padded {
            return Err(Garbage);
        }
        let value = self.bytes.slice(self.at..self.at + length);
        self.at += padded;
        Ok(value)
    }
}

/// Number of zero bytes behind `length` bytes of an opaque.
pub(super) const fn padding(length: usize) -> usize {
    (4 - length % 4) % 4
}

/// Bytes that an opaque of `length` takes, with its length word and padding.
pub(super) const fn opaque_size(length: usize) -> usize {
    4 + length + padding(length)
}

/// Writes an opaque; the caller keeps it below 4 GiB.
pub(super) fn put_opaque(out: &mut BytesMut, value: &[u8]) {
    out.put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
    out.put_slice(value);
    out.put_bytes(0, padding(value.len()));
}

/// Writes a flag.
pub(super) fn put_flag(out: &mut BytesMut, value: bool) {
    out.put_u32(u32::from(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_longer_than_the_record_is_garbage() {
        let mut out = BytesMut::new();
        out.put_u32(u32::MAX);
        out.put_slice(b"abcd");
        assert_eq!(Decoder::new(out.freeze()).opaque(), Err(Garbage));
        // The padding belongs to it.
        let short = Bytes::from_static(b"\0\0\0\x01a");
        assert_eq!(Decoder::new(short).opaque(), Err(Garbage));
    }

    #[test]
    fn values_come_back_in_order() {
        let mut out = BytesMut::new();
        put_opaque(&mut out, b"hello");
        put_flag(&mut out, true);
        out.put_u64(7);
        put_flag(&mut out, false);
        assert_eq!(opaque_size(5), 12);
        let mut decoder = Decoder::new(out.freeze());
        assert_eq!(decoder.opaque().unwrap(), &b"hello"[..]);
        assert_eq!(decoder.option(Decoder::u64), Ok(Some(7)));
        assert_eq!(decoder.option(Decoder::u64), Ok(None));
        assert_eq!(decoder.u32(), Err(Garbage));
    }

    #[test]
    fn flag_other_than_zero_and_one_is_garbage() {
        assert_eq!(Decoder::new(Bytes::from_static(&[0, 0, 0, 2])).flag(), Err(Garbage));
    }
}
