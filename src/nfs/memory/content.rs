//! The bytes of one file in memory, in chunks that readers share without copying.

use bytes::{Bytes, BytesMut};

/// Bytes of a full chunk.
const CHUNK: usize = 256 << 10;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A file's bytes; what was never written is zero.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Each at most `CHUNK` long; bytes missing at the end of one are zero.
    chunks: Vec<Bytes>,
    len: u64,
}

impl Content {
    pub(super) fn from_bytes(data: &Bytes) -> Self {
        let starts = (0..data.len()).step_by(CHUNK);
        let chunks = starts.map(|at| data.slice(at..data.len().min(at + CHUNK))).collect();
        Self { chunks, len: u64::try_from(data.len()).unwrap_or(u64::MAX) }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Up to `count` bytes from `offset`, and whether the end is reached.
    pub(super) fn read(&self, offset: u64, count: u32) -> (Vec<Bytes>, bool) {
        let end = offset.saturating_add(u64::from(count)).min(self.len);
        let mut parts = Vec::new();
        let mut at = offset;
        while at < end {
            let (index, start) = position(at);
            let wanted = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK - start);
            let stored = self.chunks.get(index).map_or(0, Bytes::len).saturating_sub(start);
            let taken = stored.min(wanted);
            if let Some(chunk) = self.chunks.get(index).filter(|_| taken > 0) {
                parts.push(chunk.slice(start..start + taken));
            }
            if taken < wanted {
                parts.push(Bytes::from_static(&ZEROS).slice(..wanted - taken));
            }
            at += u64::try_from(wanted).unwrap_or(u64::MAX);
        }
        (parts, end >= self.len)
    }

    pub(super) fn write(&mut self, offset: u64, mut data: &[u8]) {
        let mut at = offset;
        while !data.is_empty() {
            let (index, start) = position(at);
            let (now, later) = data.split_at(data.len().min(CHUNK - start));
            if self.chunks.len() <= index {
                self.chunks.resize(index + 1, Bytes::new());
            }
            if let Some(chunk) = self.chunks.get_mut(index) {
                let mut bytes = own(std::mem::take(chunk));
                if bytes.len() < start + now.len() {
                    bytes.resize(start + now.len(), 0);
                }
                if let Some(target) = bytes.get_mut(start..start + now.len()) {
                    target.copy_from_slice(now);
                }
                *chunk = bytes.freeze();
            }
            at += u64::try_from(now.len()).unwrap_or(u64::MAX);
            data = later;
        }
        self.len = self.len.max(at);
    }

    pub(super) fn resize(&mut self, len: u64) {
        if len < self.len {
            let (index, start) = position(len);
            self.chunks.truncate(index + 1);
            if let Some(last) = self.chunks.get_mut(index) {
                last.truncate(start);
            }
        }
        self.len = len;
    }
}

/// The chunk itself if nobody reads it, else a copy.
fn own(chunk: Bytes) -> BytesMut {
    chunk.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

fn position(offset: u64) -> (usize, usize) {
    let chunk = u64::try_from(CHUNK).unwrap_or(u64::MAX);
    let index = usize::try_from(offset / chunk).unwrap_or(usize::MAX);
    (index, usize::try_from(offset % chunk).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Write(u32, Vec<u8>),
        Resize(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let far = 0..600_000_u32;
        prop_oneof![
            (far.clone(), proptest::collection::vec(any::<u8>(), 0..500))
                .prop_map(|(at, data)| Step::Write(at, data)),
            (0..600_000_u32, any::<u8>(), 0..300_000_usize)
                .prop_map(|(at, byte, len)| Step::Write(at, vec![byte; len])),
            far.prop_map(Step::Resize),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn content_equals_a_plain_vector(steps in proptest::collection::vec(step(), 1..12)) {
            let (mut content, mut model) = (Content::default(), Vec::new());
            let mut readers = Vec::new();
            for step in steps {
                match step {
                    Step::Write(at, data) if !data.is_empty() => {
                        content.write(u64::from(at), &data);
                        let at = usize::try_from(at).unwrap();
                        if model.len() < at + data.len() {
                            model.resize(at + data.len(), 0);
                        }
                        model[at..at + data.len()].copy_from_slice(&data);
                    }
                    Step::Write(..) => {}
                    Step::Resize(len) => {
                        content.resize(u64::from(len));
                        model.resize(usize::try_from(len).unwrap(), 0);
                    }
                }
                let (parts, eof) = content.read(0, u32::MAX);
                prop_assert!(eof);
                prop_assert!(parts.concat() == model);
                readers.push((parts, model.clone()));
            }
            // What a reader holds does not change under it.
            for (parts, model) in readers {
                prop_assert!(parts.concat() == model);
            }
        }
    }
}
