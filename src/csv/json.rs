//! A small JSON reader that keeps numbers as written and objects in order.
//!
//! Numbers must not pass through floats (decimals, 64-bit integers), and members must keep their
//! order and repetitions; that is why this is not `serde_json::Value`.

/// Deepest nesting that is read; deeper text is refused instead of exhausting the stack.
const DEPTH_MAX: usize = 64;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Json {
    Null,
    /// `true`, `false` or a number, as written.
    Literal(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// Reads one value with nothing but white space around it; the error says what is wrong.
pub(super) fn parse(text: &[u8]) -> Result<Json, &'static str> {
    let mut reader = Reader { rest: text };
    let value = reader.value(DEPTH_MAX)?;
    reader.skip_space();
    if reader.rest.is_empty() { Ok(value) } else { Err("text follows the JSON value") }
}

/// Appends a text as a JSON string.
pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    if !has_escaped(text) {
        out.extend_from_slice(text);
        out.push(b'"');
        return;
    }
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
        let (clean, special) = rest.split_at(at);
        out.extend_from_slice(clean);
        let Some((byte, behind)) = special.split_first() else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => out.extend_from_slice(format!("\\u{other:04x}").as_bytes()),
        }
        rest = behind;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Whether any byte is written otherwise than it is; by a form that the compiler vectorises.
pub(super) fn has_escaped(text: &[u8]) -> bool {
    let is = |byte: u8| (byte == b'"') | (byte == b'\\') | (byte < 0x20);
    let (blocks, rest) = text.as_chunks::<8>();
    let mut lanes = [0; 8];
    for block in blocks {
        for (lane, byte) in lanes.iter_mut().zip(block) {
            *lane |= u8::from(is(*byte));
        }
    }
    lanes != [0; 8] || rest.iter().any(|byte| is(*byte))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes the byte if it is next, after white space.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, &'static str> {
        let depth = depth.checked_sub(1).ok_or("nested too deeply")?;
        self.skip_space();
        match self.rest.first() {
            Some(b'"') => self.text().map(Json::Text),
            Some(b'[') => self.array(depth),
            Some(b'{') => self.object(depth),
            Some(_) => self.literal(),
            None => Err("the JSON value is not complete"),
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, &'static str> {
        let mut items = Vec::new();
        self.take(b'[');
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err("a comma or ] is missing");
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, &'static str> {
        let mut members = Vec::new();
        self.take(b'{');
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            let name = self.text()?;
            if !self.take(b':') {
                return Err("a colon is missing");
            }
            members.push((name, self.value(depth)?));
            if self.take(b'}') {
                return Ok(Json::Object(members));
            }
            if !self.take(b',') {
                return Err("a comma or } is missing");
            }
        }
    }

    fn literal(&mut self) -> Result<Json, &'static str> {
        let length = self
            .rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        match word {
            b"null" => Ok(Json::Null),
            b"true" | b"false" => Ok(Json::Literal(String::from_utf8_lossy(word).into_owned())),
            [b'-' | b'0'..=b'9', ..] => {
                Ok(Json::Literal(String::from_utf8_lossy(word).into_owned()))
            }
            _ => Err("not a JSON value"),
        }
    }

    fn text(&mut self) -> Result<String, &'static str> {
        let [b'"', rest @ ..] = self.rest else { return Err("a JSON string is missing") };
        self.rest = rest;
        let mut text = Vec::new();
        loop {
            let end =
                memchr::memchr2(b'"', b'\\', self.rest).ok_or("a JSON string is not closed")?;
            let (plain, rest) = self.rest.split_at(end);
            text.extend_from_slice(plain);
            match rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return String::from_utf8(text).map_err(|_| "invalid UTF-8 in a JSON string");
                }
                [_, b'u', rest @ ..] => {
                    self.rest = rest;
                    let mut utf8 = [0; 4];
                    text.extend_from_slice(self.unicode()?.encode_utf8(&mut utf8).as_bytes());
                }
                [_, escape, rest @ ..] => {
                    self.rest = rest;
                    text.push(escaped(*escape).ok_or("an unknown escape in a JSON string")?);
                }
                _ => return Err("a JSON string is not closed"),
            }
        }
    }

    fn unicode(&mut self) -> Result<char, &'static str> {
        const WRONG: &str = "a wrong \\u escape in a JSON string";
        let first = self.hex4().ok_or(WRONG)?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(WRONG);
        }
        let [b'\\', b'u', rest @ ..] = self.rest else { return Err(WRONG) };
        self.rest = rest;
        let second = self.hex4().filter(|low| (0xdc00..0xe000).contains(low)).ok_or(WRONG)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(WRONG)
    }

    fn hex4(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        let mut value = 0;
        for digit in digits {
            value = value * 16 + char::from(*digit).to_digit(16)?;
        }
        Some(value)
    }
}

fn escaped(letter: u8) -> Option<u8> {
    Some(match letter {
        b'"' | b'\\' | b'/' => letter,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_order_repetitions_and_digits() {
        let value = parse(br#" {"a":[1.500,-2e3,null,true],"a":"x\u00e4\ud83d\ude00\n","b":{}} "#);
        assert_eq!(
            value.unwrap(),
            Json::Object(vec![
                (
                    "a".into(),
                    Json::Array(vec![
                        Json::Literal("1.500".into()),
                        Json::Literal("-2e3".into()),
                        Json::Null,
                        Json::Literal("true".into()),
                    ])
                ),
                ("a".into(), Json::Text("x\u{e4}\u{1f600}\n".into())),
                ("b".into(), Json::Object(vec![])),
            ])
        );
    }

    #[test]
    fn damaged_text_is_refused_without_exhausting_the_stack() {
        let deep = vec![b'['; 100_000];
        for text in [
            &b""[..],
            b"[",
            b"[1",
            b"[1,]",
            b"{\"a\"}",
            b"{a:1}",
            b"\"",
            b"\"\\",
            b"\"\\u12\"",
            b"nul",
            b"1 2",
            b"\"\\ud800\"",
            b"abc",
            &deep,
        ] {
            assert!(
                parse(text).is_err(),
                "{:?}",
                String::from_utf8_lossy(&text[..text.len().min(9)])
            );
        }
    }

    #[test]
    fn any_text_reads_back() {
        let text: String = (0..0x300).filter_map(char::from_u32).collect();
        let mut out = Vec::new();
        write_text(text.as_bytes(), &mut out);
        assert_eq!(parse(&out).unwrap(), Json::Text(text));
    }
}
