//! Words of an expression.

use crate::error::{Error, Result};

/// A word and where it begins, counted in characters from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) word: Word,
    pub(super) at: usize,
}

/// What can stand in an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// A bare name: a keyword or a column.
    Name(String),
    /// A name in double quotes: always a column.
    Quoted(String),
    /// A number, as it was written.
    Number(String),
    /// A text in single quotes.
    Text(String),
    /// Punctuation or a comparison.
    Symbol(&'static str),
    /// Behind the last word.
    End,
}

/// Longer ones first: `<` is the beginning of `<=`.
const SYMBOLS: [&str; 12] = ["<>", "!=", "<=", ">=", "==", "=", "<", ">", "(", ")", ",", "-"];

/// Cuts an expression into words.
///
/// # Errors
/// `Invalid` with the place of what is no word.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>> {
    let chars: Vec<char> = text.chars().collect();
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(&first) = chars.get(at) {
        let start = at;
        let word = match first {
            c if c.is_whitespace() => {
                at += 1;
                continue;
            }
            '\'' => Word::Text(quoted(&chars, &mut at)?),
            '"' => Word::Quoted(quoted(&chars, &mut at)?),
            c if c.is_ascii_digit() || (c == '.' && digit(&chars, at + 1)) => {
                Word::Number(number(&chars, &mut at))
            }
            c if c.is_alphabetic() || c == '_' => {
                let end = run(&chars, at, |c| c.is_alphanumeric() || c == '_');
                let name = chars.get(at..end).unwrap_or_default().iter().collect();
                at = end;
                Word::Name(name)
            }
            _ => {
                let rest: String = chars.iter().skip(at).take(2).collect();
                let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(*symbol));
                let symbol = symbol.ok_or_else(|| misplaced(&format!("`{first}`"), at + 1))?;
                at += symbol.len();
                Word::Symbol(symbol)
            }
        };
        out.push(Token { word, at: start + 1 });
    }
    out.push(Token { word: Word::End, at: chars.len() + 1 });
    Ok(out)
}

/// The error about something that does not belong where it stands.
pub(super) fn misplaced(what: &str, at: usize) -> Error {
    Error::invalid(format!("the expression cannot be read: {what} at character {at}"))
}

/// A text between two quotes; two of them in a row stand for one.
fn quoted(chars: &[char], at: &mut usize) -> Result<String> {
    let start = *at;
    let quote = chars.get(start).copied().unwrap_or('\'');
    let mut text = String::new();
    *at += 1;
    while let Some(&c) = chars.get(*at) {
        *at += 1;
        if c != quote {
            text.push(c);
        } else if chars.get(*at) == Some(&quote) {
            text.push(quote);
            *at += 1;
        } else {
            return Ok(text);
        }
    }
    Err(misplaced("the quote is not closed that begins", start + 1))
}

fn number(chars: &[char], at: &mut usize) -> String {
    let digits = |from: usize| run(chars, from, |c| c.is_ascii_digit());
    let mut end = digits(*at);
    if chars.get(end) == Some(&'.') {
        end = digits(end + 1);
    }
    if matches!(chars.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(chars.get(end + 1), Some('+' | '-')));
        if digit(chars, end + 1 + sign) {
            end = digits(end + 1 + sign);
        }
    }
    // `12ab` is no number followed by a name: it is read as one word, which is then refused.
    end = run(chars, end, |c| c.is_alphanumeric() || c == '_');
    let text = chars.get(*at..end).unwrap_or_default().iter().collect();
    *at = end;
    text
}

fn digit(chars: &[char], at: usize) -> bool {
    chars.get(at).is_some_and(char::is_ascii_digit)
}

fn run(chars: &[char], from: usize, belongs: impl Fn(char) -> bool) -> usize {
    from + chars.iter().skip(from).take_while(|c| belongs(**c)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let words = |text: &str| -> Vec<Word> {
            tokens(text).unwrap().into_iter().map(|token| token.word).collect()
        };
        use Word::{End, Name, Number, Quoted, Symbol, Text};
        assert_eq!(
            words("a<=1.5e-3 AND\"b \"\"c\"<>'it''s'"),
            [
                Name("a".into()),
                Symbol("<="),
                Number("1.5e-3".into()),
                Name("AND".into()),
                Quoted("b \"c".into()),
                Symbol("<>"),
                Text("it's".into()),
                End
            ]
        );
        assert_eq!(words("12ab"), [Number("12ab".into()), End]);
        assert_eq!(words(""), [End]);
        for bad in ["'open", "\"open", "a ; b", "a = $1", "a & b", "a -- b;"] {
            assert!(tokens(bad).is_err(), "{bad}");
        }
    }
}
