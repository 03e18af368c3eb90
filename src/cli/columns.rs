//! `--columns name:type,...`: the types by the names that people know.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};

use crate::csv::type_named;
use crate::error::{Error, Result};

/// Parses `id:int64,price:decimal(10,2),name` (a column without a type is text).
///
/// # Errors
/// `Invalid` for an unknown type (with the nearest one), an empty or a repeated name.
pub(super) fn parse(text: &str) -> Result<SchemaRef> {
    let mut seen = HashSet::new();
    let mut fields = Vec::new();
    for part in split(text) {
        let (name, kind) = part.rsplit_once(':').unwrap_or((part, "text"));
        let name = name.trim();
        if name.is_empty() || name.starts_with("__") {
            return Err(Error::invalid(
                "a column needs a name, and one that does not begin with __",
            )
            .with("columns", text));
        }
        if !seen.insert(name.to_lowercase()) {
            return Err(Error::invalid("column named twice").with("column", name));
        }
        fields.push(Field::new(name, type_named(kind)?, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Splits at commas that stand outside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;
    use crate::csv::type_name;

    #[test]
    fn types_read_back_from_their_names() {
        let text = "a:int64,b:decimal(10,2),c:timestamptz,d:timestamp,e:text,f:bool,g:date";
        let schema = parse(text).unwrap();
        let back: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| format!("{}:{}", field.name(), type_name(field.data_type())))
            .collect();
        assert_eq!(back.join(","), text);
        assert_eq!(*parse("plain").unwrap().field(0).data_type(), DataType::Utf8);
    }

    #[test]
    fn wrong_columns_are_refused_with_a_hint() {
        let message = |text: &str| parse(text).unwrap_err().to_string();
        assert!(message("a:int46").contains("int64") || message("a:int46").contains("int16"));
        assert!(message("a:decimal(40,2)").contains("38"));
        assert!(message("a:decimal(4,5)").contains("38"));
        assert!(message("a,A").contains("twice"));
        assert!(message(":int64").contains("name"));
        assert!(message("__rowid__:int64").contains("__"));
    }
}
