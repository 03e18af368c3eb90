//! Expressions over the columns of a schema, by recursive descent:
//!
//! ```text
//! either    = both { OR both }
//! both      = negated { AND negated }
//! negated   = NOT negated | predicate
//! predicate = "(" either ")"
//!           | operand ( "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" ) operand
//!           | column [ NOT ] IN "(" literal { "," literal } ")"
//!           | column [ NOT ] BETWEEN literal AND literal
//!           | column [ NOT ] LIKE 'pattern'
//!           | column IS [ NOT ] NULL
//!           | column                                  of type bool
//!           | TRUE | FALSE
//! operand   = column | literal
//! literal   = [ "-" ] number | 'text' | TRUE | FALSE
//! ```

use arrow::array::{ArrayRef, StringArray};
use arrow::datatypes::{DataType, FieldRef, SchemaRef};

use super::node::{Node, Operand, Test};
use super::token::{Token, Word, misplaced, tokens};
use crate::config::nearest;
use crate::csv;
use crate::error::{Error, Result};

/// Deepest nesting: deeper ones are no person's.
const DEPTH_MAX: usize = 64;
/// Names that are never columns unless they stand in double quotes.
const KEYWORDS: [&str; 10] =
    ["AND", "OR", "NOT", "IN", "IS", "NULL", "LIKE", "BETWEEN", "TRUE", "FALSE"];

/// A value as it was written; its type follows from the column that it is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Literal {
    Number(String),
    Text(String),
    Bool(bool),
    Null,
}

/// One side of a comparison before its type is known.
enum Side {
    Column(FieldRef),
    Literal(Literal, usize),
}

/// Reads words one after the other.
pub(super) struct Parser<'a> {
    words: Vec<Token>,
    next: usize,
    schema: &'a SchemaRef,
    depth: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &str, schema: &'a SchemaRef) -> Result<Self> {
        Ok(Self { words: tokens(text)?, next: 0, schema, depth: 0 })
    }

    /// The whole text as one condition.
    pub(super) fn condition(mut self) -> Result<Node> {
        let node = self.either()?;
        self.finish()?;
        Ok(node)
    }

    /// The whole text as `column = value`.
    pub(super) fn assignment(mut self) -> Result<(FieldRef, Operand)> {
        let field = match self.operand()? {
            Side::Column(field) => field,
            Side::Literal(_, at) => return Err(misplaced("a column is expected", at)),
        };
        if !self.take_symbol("=") {
            return Err(self.unexpected("`=` is expected"));
        }
        let value = match self.operand_or_null()? {
            Side::Literal(literal, at) => Operand::Literal(typed(&literal, &field, at)?),
            Side::Column(other) if other.data_type() == field.data_type() => {
                Operand::Column(other.name().clone())
            }
            Side::Column(other) => return Err(other_types(&field, &other)),
        };
        self.finish()?;
        Ok((field, value))
    }

    fn finish(&self) -> Result<()> {
        match self.peek() {
            Word::End => Ok(()),
            _ => Err(self.unexpected("AND, OR or the end is expected")),
        }
    }

    fn either(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.unexpected("too many parentheses"));
        }
        let mut all = vec![self.both()?];
        while self.take_keyword("OR") {
            all.push(self.both()?);
        }
        self.depth -= 1;
        Ok(Node::any(all))
    }

    fn both(&mut self) -> Result<Node> {
        let mut all = vec![self.negated()?];
        while self.take_keyword("AND") {
            all.push(self.negated()?);
        }
        Ok(Node::all(all))
    }

    fn negated(&mut self) -> Result<Node> {
        let mut negated = false;
        while self.take_keyword("NOT") {
            negated = !negated;
        }
        let node = self.predicate()?;
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn predicate(&mut self) -> Result<Node> {
        if self.take_symbol("(") {
            let node = self.either()?;
            return if self.take_symbol(")") {
                Ok(node)
            } else {
                Err(self.unexpected("`)` is expected"))
            };
        }
        let left = self.operand()?;
        if let Some(test) = self.comparison() {
            let right = self.operand()?;
            return compare(left, test, right);
        }
        let field = match left {
            Side::Column(field) => field,
            Side::Literal(Literal::Bool(value), _) => return Ok(Node::Constant(value)),
            Side::Literal(..) => return Err(self.unexpected("a comparison is expected")),
        };
        self.about(field)
    }

    /// What is said about a column other than by comparing it.
    fn about(&mut self, field: FieldRef) -> Result<Node> {
        let column = field.name().clone();
        if self.take_keyword("IS") {
            let negated = self.take_keyword("NOT");
            if !self.take_keyword("NULL") {
                return Err(self.unexpected("NULL is expected"));
            }
            return Ok(negate(Node::IsNull(column), negated));
        }
        let negated = self.take_keyword("NOT");
        if self.take_keyword("IN") {
            return Ok(negate(self.list(&field)?, negated));
        }
        if self.take_keyword("BETWEEN") {
            let mut bound = |test| -> Result<Node> {
                let (literal, at) = self.literal()?;
                let value = Operand::Literal(typed(&literal, &field, at)?);
                Ok(Node::Compare(Operand::Column(column.clone()), test, value))
            };
            let low = bound(Test::GreaterOrEqual)?;
            if !self.take_keyword("AND") {
                return Err(self.unexpected("AND is expected"));
            }
            let (literal, at) = self.literal()?;
            let value = Operand::Literal(typed(&literal, &field, at)?);
            let high = Node::Compare(Operand::Column(column), Test::LessOrEqual, value);
            return Ok(negate(Node::All(vec![low, high]), negated));
        }
        if self.take_keyword("LIKE") {
            if !is_text(field.data_type()) {
                return Err(Error::invalid("LIKE is for columns of text").with("column", column));
            }
            return match self.take() {
                Token { word: Word::Text(pattern), .. } => {
                    Ok(negate(Node::Like(column, pattern), negated))
                }
                Token { at, .. } => Err(misplaced("a pattern in single quotes is expected", at)),
            };
        }
        if !negated && field.data_type() == &DataType::Boolean {
            return Ok(Node::Bool(column));
        }
        Err(self.unexpected("a comparison, IN, BETWEEN, LIKE or IS NULL is expected"))
    }

    fn list(&mut self, field: &FieldRef) -> Result<Node> {
        if !self.take_symbol("(") {
            return Err(self.unexpected("`(` is expected"));
        }
        let mut any = Vec::new();
        loop {
            let (literal, at) = self.literal()?;
            let value = Operand::Literal(typed(&literal, field, at)?);
            any.push(Node::Compare(Operand::Column(field.name().clone()), Test::Equal, value));
            if self.take_symbol(")") {
                return Ok(Node::any(any));
            }
            if !self.take_symbol(",") {
                return Err(self.unexpected("`,` or `)` is expected"));
            }
        }
    }

    fn comparison(&mut self) -> Option<Test> {
        let Word::Symbol(symbol) = self.peek() else { return None };
        let test = match *symbol {
            "=" | "==" => Test::Equal,
            "<>" | "!=" => Test::Different,
            "<" => Test::Less,
            "<=" => Test::LessOrEqual,
            ">" => Test::Greater,
            ">=" => Test::GreaterOrEqual,
            _ => return None,
        };
        self.next += 1;
        Some(test)
    }

    fn operand(&mut self) -> Result<Side> {
        match self.operand_or_null()? {
            Side::Literal(Literal::Null, at) => {
                Err(misplaced("NULL equals nothing, also not NULL: use IS NULL instead", at))
            }
            side => Ok(side),
        }
    }

    fn operand_or_null(&mut self) -> Result<Side> {
        let at = self.at();
        let name = match self.peek() {
            Word::Quoted(name) => name.clone(),
            Word::Name(name) if !is_keyword(name) => name.clone(),
            Word::Name(name) if name.eq_ignore_ascii_case("NULL") => {
                self.next += 1;
                return Ok(Side::Literal(Literal::Null, at));
            }
            _ => {
                let (literal, at) = self.literal()?;
                return Ok(Side::Literal(literal, at));
            }
        };
        self.next += 1;
        match self.schema.fields().find(&name) {
            Some((_, field)) => Ok(Side::Column(FieldRef::clone(field))),
            None => Err(self.no_column(&name)),
        }
    }

    fn no_column(&self, name: &str) -> Error {
        let names = || self.schema.fields().iter().map(|field| field.name().as_str());
        let error = Error::invalid(format!(
            "the table has no column `{name}` (text stands in single quotes: '{name}')"
        ));
        match nearest(name, names()) {
            Some(near) => error.with("did you mean", near),
            None => error.with("columns", names().collect::<Vec<_>>().join(", ")),
        }
    }

    fn literal(&mut self) -> Result<(Literal, usize)> {
        let minus = self.take_symbol("-");
        let Token { word, at } = self.take();
        let literal = match word {
            Word::Number(number) if minus => Literal::Number(format!("-{number}")),
            Word::Number(number) => Literal::Number(number),
            Word::Text(text) if !minus => Literal::Text(text),
            Word::Name(name) if !minus && name.eq_ignore_ascii_case("TRUE") => Literal::Bool(true),
            Word::Name(name) if !minus && name.eq_ignore_ascii_case("FALSE") => {
                Literal::Bool(false)
            }
            _ => return Err(misplaced("a number, or a text in single quotes, is expected", at)),
        };
        Ok((literal, at))
    }

    fn peek(&self) -> &Word {
        self.words.get(self.next).map_or(&Word::End, |token| &token.word)
    }

    fn at(&self) -> usize {
        self.words.get(self.next).or(self.words.last()).map_or(1, |token| token.at)
    }

    fn take(&mut self) -> Token {
        let token = Token { word: self.peek().clone(), at: self.at() };
        self.next += 1;
        token
    }

    fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Word::Symbol(found) if *found == symbol);
        self.next += usize::from(found);
        found
    }

    fn take_keyword(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Word::Name(name) if name.eq_ignore_ascii_case(keyword));
        self.next += usize::from(found);
        found
    }

    fn unexpected(&self, what: &str) -> Error {
        misplaced(what, self.at())
    }
}

fn is_keyword(name: &str) -> bool {
    KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(name))
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

fn negate(node: Node, negated: bool) -> Node {
    if negated { Node::Not(Box::new(node)) } else { node }
}

fn compare(left: Side, test: Test, right: Side) -> Result<Node> {
    let node = |field: &FieldRef, test, other| {
        Node::Compare(Operand::Column(field.name().clone()), test, other)
    };
    match (left, right) {
        (Side::Column(field), Side::Literal(literal, at)) => {
            Ok(node(&field, test, Operand::Literal(typed(&literal, &field, at)?)))
        }
        (Side::Literal(literal, at), Side::Column(field)) => {
            Ok(node(&field, test.mirrored(), Operand::Literal(typed(&literal, &field, at)?)))
        }
        (Side::Column(one), Side::Column(other)) if one.data_type() == other.data_type() => {
            comparable(&one)?;
            Ok(node(&one, test, Operand::Column(other.name().clone())))
        }
        (Side::Column(one), Side::Column(other)) => Err(other_types(&one, &other)),
        (Side::Literal(..), Side::Literal(_, at)) => {
            Err(misplaced("a comparison needs a column on one side; there is none", at))
        }
    }
}

fn other_types(one: &FieldRef, other: &FieldRef) -> Error {
    Error::invalid("the columns have different types")
        .with("column", format_args!("{}: {}", one.name(), one.data_type()))
        .with("column", format_args!("{}: {}", other.name(), other.data_type()))
}

fn comparable(field: &FieldRef) -> Result<()> {
    if field.data_type().is_nested() {
        return Err(Error::invalid("lists and structures can only be tested with IS NULL")
            .with("column", field.name()));
    }
    Ok(())
}

/// The literal as a value of the column's type: what a cell of this text would be.
fn typed(literal: &Literal, field: &FieldRef, at: usize) -> Result<ArrayRef> {
    let data_type = field.data_type();
    let text = match literal {
        Literal::Null => None,
        Literal::Number(number) if is_text(data_type) => {
            return Err(Error::invalid(format!("text stands in single quotes: '{number}'"))
                .with("column", field.name())
                .with("character", at));
        }
        Literal::Number(text) | Literal::Text(text) => Some(text.clone()),
        Literal::Bool(value) if data_type == &DataType::Boolean => Some(value.to_string()),
        Literal::Bool(_) => {
            return Err(Error::invalid("only columns of type bool are TRUE or FALSE")
                .with("column", field.name())
                .with("character", at));
        }
    };
    if text.is_some() {
        comparable(field)?;
    }
    csv::convert(&StringArray::from(vec![text.clone()]), data_type).map_err(|(_, reason)| {
        Error::invalid("the value does not fit the column's type")
            .with("column", field.name())
            .with("type", data_type)
            .with("value", text.unwrap_or_default())
            .with("reason", reason)
    })
}
