//! Who may do what: the gateway acts in one SuperTable role per process (`Settings::role`).
//!
//! Roles are the Python library's documents (format spec section 1.5). A role that shows only
//! some columns or rows cannot be served truthfully by a plain table file, so it is refused
//! rather than shown unfiltered.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::catalog::SharedCatalog;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{SuperId, TableId};

/// Who asks, and in which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// User id as the protocol gave it.
    pub uid: u32,
    /// Where the user comes from: `192.168.1.5/laptop`, `fuse`, `cli`.
    pub client: String,
    /// SuperTable role.
    pub role: String,
    /// Refuses every write.
    pub read_only: bool,
}

impl Principal {
    /// One line that names the caller in histories and refusals.
    pub fn describe(&self) -> String {
        format!("uid={} {}", self.uid, self.client)
    }
}

/// What a principal wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Read a table.
    Read,
    /// Change a table or its place in the lake.
    Write,
}

/// Checks that `who` may do `permission` on `table` (or on the SuperTable as a whole).
///
/// # Errors
/// `ReadOnly` for a write by a read-only principal, `Denied` if the role does not exist, is
/// disabled or does not allow it, `Unsupported` if it filters rows or columns.
pub async fn check(
    catalog: &SharedCatalog,
    who: &Principal,
    super_id: &SuperId,
    table: Option<&TableId>,
    permission: Permission,
) -> Result<()> {
    if permission == Permission::Write && who.read_only {
        return Err(Error::new(ErrorKind::ReadOnly, "this export is read-only"));
    }
    if who.role == "superadmin" {
        // Bootstrap role of every SuperTable; asking the catalogue would cost a round trip per
        // call and could only answer yes.
        return Ok(());
    }
    let role = catalog.role(super_id, &who.role).await?.ok_or_else(|| {
        Error::new(ErrorKind::Denied, "the role does not exist in this SuperTable")
            .with("role", &who.role)
            .with("super", super_id)
    })?;
    allows(&role, table, permission).map_err(|error| error.with("role", &who.role))
}

fn allows(
    role: &BTreeMap<String, String>,
    table: Option<&TableId>,
    permission: Permission,
) -> Result<()> {
    let denied = |message| Err(Error::new(ErrorKind::Denied, message));
    if role.get("enabled").is_some_and(|text| text == "false" || text == "0") {
        return denied("the role is disabled");
    }
    let kind = role.get("role").map_or("", String::as_str);
    match (kind, permission) {
        ("superadmin" | "admin" | "writer", _) | ("reader", Permission::Read) => {}
        _ => return denied("the role does not allow this"),
    }
    let Some(table) = table else { return Ok(()) };
    let tables = role.get("tables").map_or("{}", String::as_str);
    let tables: Value = serde_json::from_str(tables)
        .map_err(|error| Error::corrupt("read the tables of a role").caused_by(error))?;
    let name = table.simple_name.as_str();
    match &tables {
        Value::Array(names) => {
            let listed = names.iter().filter_map(Value::as_str).any(|n| n == "*" || n == name);
            if listed { Ok(()) } else { denied("the role does not allow this table") }
        }
        Value::Object(map) => match map.get(name).or_else(|| map.get("*")) {
            None => denied("the role does not allow this table"),
            Some(rule) if is_unfiltered(rule) => Ok(()),
            Some(_) => Err(Error::unsupported(
                "the role filters rows or columns of this table; choose a role that does not",
            )),
        },
        _ => denied("the role lists no tables"),
    }
}

/// Whether a table rule shows all columns and all rows.
fn is_unfiltered(rule: &Value) -> bool {
    let open = |member: &str| match rule.get(member) {
        None => true,
        Some(Value::Array(list)) => list.is_empty() || list.iter().any(|item| item == "*"),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    open("columns") && open("filters")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(kind: &str, tables: &str) -> BTreeMap<String, String> {
        [("role", kind), ("tables", tables)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    fn table() -> TableId {
        TableId::parse("acme/shop/orders").expect("valid")
    }

    #[test]
    fn reader_reads_but_does_not_write() {
        let reader = role("reader", r#"{"*":{"columns":["*"],"filters":["*"]}}"#);
        assert!(allows(&reader, Some(&table()), Permission::Read).is_ok());
        let refused = allows(&reader, Some(&table()), Permission::Write).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Denied);
    }

    #[test]
    fn a_role_that_filters_columns_is_refused_not_shown_unfiltered() {
        let masked = role("reader", r#"{"orders":{"columns":["id"],"filters":["*"]}}"#);
        let refused = allows(&masked, Some(&table()), Permission::Read).expect_err("refused");
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_role_without_the_table_or_disabled_is_denied() {
        let other = role("writer", r#"{"customers":{"columns":["*"],"filters":["*"]}}"#);
        assert!(allows(&other, Some(&table()), Permission::Read).is_err());
        let mut disabled = role("admin", r#"["*"]"#);
        assert!(allows(&disabled, Some(&table()), Permission::Write).is_ok());
        disabled.insert("enabled".to_owned(), "false".to_owned());
        assert!(allows(&disabled, Some(&table()), Permission::Write).is_err());
    }
}
