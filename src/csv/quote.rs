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
    lanes != [0; 32] || rest.iter().any(|byte| is_special(*byte))
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

/// Fills a place of exactly the right length with the text in quotes.
pub(super) fn fill_quoted(text: &[u8], place: &mut [u8]) {
    let [first, inside @ .., last] = place else { return };
    (*first, *last) = (b'"', b'"');
    let (mut from, mut at) = (0, 0);
    for quote in memchr_iter(b'"', text) {
        let part = text.get(from..=quote).unwrap_or_default();
        if let Some(target) = inside.get_mut(at..at + part.len()) {
            target.copy_from_slice(part);
        }
        at += part.len();
        if let Some(target) = inside.get_mut(at) {
            *target = b'"';
        }
        at += 1;
        from = quote + 1;
    }
    let rest = text.get(from..).unwrap_or_default();
    debug_assert_eq!(at + rest.len(), inside.len());
    if let Some(target) = inside.get_mut(at..) {
        let length = rest.len().min(target.len());
        let (target, rest) = (target.get_mut(..length), rest.get(..length));
        if let (Some(target), Some(rest)) = (target, rest) {
            target.copy_from_slice(rest);
        }
    }
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
        if needs_quotes(text.as_bytes()) {
            let mut place = vec![0; expected.len()];
            fill_quoted(text.as_bytes(), &mut place);
            assert_eq!(place, expected.as_bytes());
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
