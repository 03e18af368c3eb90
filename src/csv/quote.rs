//! When a text needs quotes and how they are written (RFC 4180 section 2, semantics section 2).

use memchr::memchr_iter;

/// Length of the text in a CSV file: as it is, or with quotes around and quotes inside doubled.
pub(super) fn written_length(text: &[u8]) -> usize {
    if needs_quotes(text) { text.len() + 2 + memchr_iter(b'"', text).count() } else { text.len() }
}

/// Whether the text must be quoted: separators or quotes inside, empty, or a space at an end.
#[inline]
pub(super) fn needs_quotes(text: &[u8]) -> bool {
    has_odd_ends(text) || has_special(text)
}

/// Whether the text is empty or begins or ends with a space.
#[inline]
pub(super) fn has_odd_ends(text: &[u8]) -> bool {
    match text {
        [] | [b' ', ..] => true,
        [.., last] => *last == b' ',
    }
}

/// Whether any byte is a comma, quote, CR or LF.
#[inline]
pub(super) fn has_special(text: &[u8]) -> bool {
    // Lane by lane over blocks of known size: a form of which the compiler makes vector compares.
    // Leaving early would cost more than it saves, texts are short and mostly clean.
    let (blocks, rest) = text.as_chunks::<32>();
    let mut lanes = [0; 32];
    for block in blocks {
        for (lane, byte) in lanes.iter_mut().zip(block) {
            *lane |= u8::from(is_special(*byte));
        }
    }
    if lanes != [0; 32] {
        return true;
    }
    // What is left, and most short texts, by words; the last one may overlap the one before.
    let (words, _) = rest.as_chunks::<8>();
    match rest.last_chunk::<8>() {
        Some(last) => words.iter().chain([last]).any(|word| word_has_special(*word)),
        None => rest.iter().any(|byte| is_special(*byte)),
    }
}

/// Whether any of eight bytes is special: of a word without the byte, no byte is zero.
#[inline]
fn word_has_special(word: [u8; 8]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let word = u64::from_le_bytes(word);
    let has = |byte: u8| {
        let zeros = word ^ (ONES * u64::from(byte));
        zeros.wrapping_sub(ONES) & !zeros & (ONES << 7)
    };
    has(b',') | has(b'"') | has(b'\n') | has(b'\r') != 0
}

#[inline]
fn is_special(byte: u8) -> bool {
    (byte == b',') | (byte == b'"') | (byte == b'\n') | (byte == b'\r')
}

/// Appends the text, quoted if it needs it.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) {
    if needs_quotes(text) {
        write_quoted(text, out);
    } else {
        out.extend_from_slice(text);
    }
}

/// Appends the text in quotes.
pub(super) fn write_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut from = 0;
    for quote in memchr_iter(b'"', text) {
        out.extend_from_slice(text.get(from..=quote).unwrap_or_default());
        out.push(b'"');
        from = quote + 1;
    }
    out.extend_from_slice(text.get(from..).unwrap_or_default());
    out.push(b'"');
}

/// Where the special bytes of a run of texts are: found once for all of them, 64 bytes at a time.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Place of the run in its buffer.
    start: usize,
    special: Vec<u64>,
    quotes: Vec<u64>,
}

impl Marks {
    /// Replaces the marks by those of the bytes of `run`, which begins at `start` of its buffer.
    pub(super) fn scan(&mut self, run: &[u8], start: usize) {
        self.clear();
        self.start = start;
        let (blocks, rest) = run.as_chunks::<64>();
        for block in blocks {
            self.scan_block(block);
        }
        if !rest.is_empty() {
            let mut block = [0; 64];
            for (place, byte) in block.iter_mut().zip(rest) {
                *place = *byte;
            }
            self.scan_block(&block);
        }
        self.special.push(0);
        self.quotes.push(0);
    }

    /// Forgets all marks: no text at hand holds a special byte.
    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.special.clear();
        self.quotes.clear();
    }

    fn scan_block(&mut self, block: &[u8; 64]) {
        let special = mask64(block, is_special);
        self.special.push(special);
        self.quotes.push(if special == 0 { 0 } else { mask64(block, |byte| byte == b'"') });
    }

    /// Length of a text of the run as written.
    #[inline]
    pub(super) fn written_length(&self, text: &[u8], start: usize) -> usize {
        let from = start - self.start;
        if text.len() <= 64 {
            let special = window(&self.special, from, text.len()) != 0;
            let quotes = window(&self.quotes, from, text.len()).count_ones() as usize;
            // No quote is there if nothing special is.
            let around = if special | has_odd_ends(text) { 2 } else { 0 };
            return text.len() + around + quotes;
        }
        let (mut special, mut quotes) = (has_odd_ends(text), 0);
        for_words(&self.special, from..from + text.len(), |_, word| special |= word != 0);
        if !special {
            return text.len();
        }
        for_words(&self.quotes, from..from + text.len(), |_, word| {
            quotes += word.count_ones() as usize;
        });
        text.len() + 2 + quotes
    }

    /// Calls `quote` with the place in the buffer of each quote of a text of the run.
    #[inline]
    pub(super) fn quotes_of(&self, start: usize, length: usize, mut quote: impl FnMut(usize)) {
        let from = start - self.start;
        let mut each = |at: usize, mut word: u64| {
            while word != 0 {
                quote(at + word.trailing_zeros() as usize);
                word &= word - 1;
            }
        };
        if length <= 64 {
            each(start, window(&self.quotes, from, length));
        } else {
            for_words(&self.quotes, from..from + length, |at, word| each(self.start + at, word));
        }
    }
}

/// The bits from `from` on, at most 64 of them; the words end with one that stands for no byte.
#[inline]
fn window(words: &[u64], from: usize, length: usize) -> u64 {
    let Some([low, high]) = words.get(from / 64..).and_then(|rest| rest.first_chunk::<2>()) else {
        return 0;
    };
    // By two shifts, as one by 64 is none.
    let word = (low >> (from % 64)) | ((high << 1) << (63 - from % 64));
    if length < 64 { word & !(u64::MAX << length) } else { word }
}

/// Calls `visit` with each word that has bits of the range, others masked out, and the place of
/// its first bit.
#[inline]
fn for_words(words: &[u64], range: std::ops::Range<usize>, mut visit: impl FnMut(usize, u64)) {
    let mut at = range.start - range.start % 64;
    while at < range.end {
        let mut word = words.get(at / 64).copied().unwrap_or(0);
        if at < range.start {
            word &= u64::MAX << (range.start - at);
        }
        if range.end - at < 64 {
            word &= !(u64::MAX << (range.end - at));
        }
        visit(at, word);
        at += 64;
    }
}

/// A bit for each byte of the block that `is` holds for.
///
/// Vector compares over the block (the compiler makes them of the loop), then each eight flags are
/// gathered into the eight bits of a byte by one multiplication.
#[inline]
pub(super) fn mask64(block: &[u8; 64], is: impl Fn(u8) -> bool) -> u64 {
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let flags = block.map(|byte| u8::from(is(byte)));
    let (eights, _) = flags.as_chunks::<8>();
    let mut bytes = [0; 8];
    for (byte, eight) in bytes.iter_mut().zip(eights) {
        let [.., gathered] = u64::from_le_bytes(*eight).wrapping_mul(GATHER).to_le_bytes();
        *byte = gathered;
    }
    u64::from_le_bytes(bytes)
}

/// Removes the doubling of quotes from the inside of a quoted text.
pub(super) fn write_unescaped(inside: &[u8], out: &mut Vec<u8>) {
    let mut rest = inside;
    while let Some(quote) = memchr::memchr(b'"', rest) {
        out.extend_from_slice(rest.get(..=quote).unwrap_or_default());
        rest = rest.get(quote + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut out = Vec::new();
        write(text.as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(written_length(text.as_bytes()), expected.len());
        // As one of several texts of a run that begins somewhere in its buffer.
        for before in [0, 1, 38, 39, 40, 56, 57, 58, 63, 64, 200] {
            let buffer = format!("{}{text}{text}\"", "\"".repeat(before + 7));
            let mut marks = Marks::default();
            marks.scan(&buffer.as_bytes()[7..], 7);
            let start = before + 7 + text.len();
            assert_eq!(marks.written_length(text.as_bytes(), start), expected.len());
            let mut quotes = Vec::new();
            marks.quotes_of(start, text.len(), |at| quotes.push(at - start));
            let places: Vec<usize> = text.match_indices('"').map(|(at, _)| at).collect();
            assert_eq!(quotes, places);
        }
    }

    #[test]
    fn quotes_appear_only_where_needed() {
        check("plain", "plain");
        check("in side", "in side");
        check("", "\"\"");
        check(" a", "\" a\"");
        check("a ", "\"a \"");
        check("a,b", "\"a,b\"");
        check("say \"hi\"", "\"say \"\"hi\"\"\"");
        check("\"", "\"\"\"\"");
        check("two\nlines", "\"two\nlines\"");
        check("\r", "\"\r\"");
        check("tab\t", "tab\t");
        check(&"x".repeat(200), &"x".repeat(200));
        check(&format!("{},", "x".repeat(63)), &format!("\"{},\"", "x".repeat(63)));
    }

    #[test]
    fn special_bytes_are_found_wherever_they_stand() {
        for length in 0..100 {
            let mut text = vec![b'-'; length];
            // Neighbours of the special bytes, and their high-bit twins, are none.
            for (place, byte) in
                text.iter_mut().zip(b"+-!#\x09\x0b\x0c\x0e\xac\xa2\x8a\x8d".iter().cycle())
            {
                *place = *byte;
            }
            assert!(!has_special(&text), "{length}");
            for at in 0..length {
                for byte in *b",\"\n\r" {
                    let mut text = text.clone();
                    text[at] = byte;
                    assert!(has_special(&text), "{at} of {length}");
                }
            }
        }
    }

    #[test]
    fn unescaping_is_the_inverse_of_quoting() {
        for text in ["", "\"", "\"\"", "a\"b", "a\"\"b\"", "\n\""] {
            let mut quoted = Vec::new();
            write_quoted(text.as_bytes(), &mut quoted);
            let mut back = Vec::new();
            write_unescaped(&quoted[1..quoted.len() - 1], &mut back);
            assert_eq!(back, text.as_bytes());
        }
    }
}
