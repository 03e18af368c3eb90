//! Every key of the catalogue: layout v2 of the format (sections 1 and 6.1), and our own.
//!
//! The embedded catalogue stores under the same keys as Redis. Names are validated types, so no
//! key can reach into another organization and no pattern can hold a wildcard.

use super::{DocKey, LogKey, Required};
use crate::ident::{OrgName, SimpleName, SuperId, SuperName, TableId};

/// Set of the organizations that were created explicitly.
pub(super) const ORGANIZATIONS: &str = "mountable:organizations";

/// What every key begins with.
pub(super) const FIRST_WORD: &str = "supertable:";

/// What every key of ours begins with.
pub(super) const OWN_FIRST_WORD: &str = "mountable:";

/// Pattern of the roots of all SuperTables of all organizations.
pub(super) const ANY_ROOT: &str = "supertable:*:lakes:*:meta:root";

/// What every key of a SuperTable begins with.
pub(super) fn super_prefix(id: &SuperId) -> String {
    format!("supertable:{}:lakes:{}:", id.organization, id.super_name)
}

/// What every key of ours about a SuperTable begins with.
pub(super) fn own_prefix(id: &SuperId) -> String {
    format!("mountable:{}:lakes:{}:", id.organization, id.super_name)
}

/// What the keys of all SuperTables of an organization begin with.
pub(super) fn lakes_prefix(organization: &OrgName) -> String {
    format!("supertable:{organization}:lakes:")
}

/// The SuperTable's root: its existence is the SuperTable's existence.
pub(super) fn root(id: &SuperId) -> String {
    format!("{}meta:root", super_prefix(id))
}

/// Organization and SuperTable of a root key.
pub(super) fn parse_root(key: &str) -> Option<(OrgName, SuperName)> {
    let mut parts = key.split(':');
    let mut next = || parts.next();
    let (head, organization, lakes, super_name) = (next()?, next()?, next()?, next()?);
    let (meta, root, end) = (next()?, next()?, next());
    if (head, lakes, meta, root, end) != ("supertable", "lakes", "meta", "root", None) {
        return None;
    }
    Some((OrgName::new(organization).ok()?, SuperName::new(super_name).ok()?))
}

/// What the leaf keys of a SuperTable begin with.
pub(super) fn leaf_prefix(id: &SuperId) -> String {
    format!("{}meta:leaf:doc:", super_prefix(id))
}

/// Table of a leaf key that begins with `prefix` ([`leaf_prefix`]).
pub(super) fn parse_leaf(prefix: &str, key: &str) -> Option<SimpleName> {
    SimpleName::new(key.strip_prefix(prefix)?).ok()
}

/// The table's pointer: its existence is the table's existence.
pub(super) fn leaf(table: &TableId) -> String {
    format!("{}{}", leaf_prefix(&table.super_id()), table.simple_name)
}

/// Set of the SuperTable's table names.
pub(super) fn table_names(id: &SuperId) -> String {
    format!("{}meta:table_names", super_prefix(id))
}

/// The table's schema document.
pub(super) fn schema(table: &TableId) -> String {
    format!("{}schema:doc:{}", super_prefix(&table.super_id()), table.simple_name)
}

/// The table's lock.
pub(super) fn lock(table: &TableId) -> String {
    format!("{}lock:leaf:doc:{}", super_prefix(&table.super_id()), table.simple_name)
}

/// The table's counter of row ids.
pub(super) fn row_ids(table: &TableId) -> String {
    format!("{}meta:rowid_seq:doc:{}", super_prefix(&table.super_id()), table.simple_name)
}

/// The organization's audit stream.
pub(super) fn audit(organization: &OrgName) -> String {
    format!("supertable:{organization}:system:audit:stream")
}

/// Whether a key is that of an audit stream.
pub(super) fn is_audit(key: &str) -> bool {
    key.starts_with(FIRST_WORD) && key.ends_with(":system:audit:stream")
}

/// A key below the SuperTable's roles and users: `roles:index`, `users:doc:{id}`, ...
pub(super) fn rbac(id: &SuperId, rest: &str) -> String {
    format!("{}rbac:{rest}", super_prefix(id))
}

/// The hash of the dropped tables of a SuperTable: trash name to document.
pub(super) fn trash(id: &SuperId) -> String {
    format!("{}trash", own_prefix(id))
}

/// Where a document is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Under a key of its own.
    Key(String),
    /// As a field of a hash.
    Field(String, String),
}

/// Where a document is kept.
pub(super) fn doc(key: &DocKey) -> Place {
    match key {
        DocKey::Secret(name) => Place::Key(format!("mountable:secret:{name}")),
        DocKey::Trash(id, name) => Place::Field(trash(id), name.clone()),
        DocKey::TableConfig(table) => Place::Key(format!(
            "{}meta:table_config:doc:{}",
            super_prefix(&table.super_id()),
            table.simple_name
        )),
        DocKey::SchemaDocument(table) => Place::Key(schema(table)),
        DocKey::RowIdCounter(table) => Place::Key(row_ids(table)),
    }
}

/// Where that is kept on which a swap rests.
pub(super) fn required(what: &Required) -> Place {
    match what {
        Required::Doc(key) => doc(key),
        Required::Leaf(table) => Place::Key(leaf(table)),
    }
}

/// Where a bounded list is kept.
pub(super) fn log(key: &LogKey) -> String {
    match key {
        LogKey::TableRefusals(table) => {
            format!("{}refusals:doc:{}", own_prefix(&table.super_id()), table.simple_name)
        }
        LogKey::SuperRefusals(id) => format!("{}refusals:super", own_prefix(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_layout_v2() {
        let table = TableId::parse("acme/shop/orders").expect("valid id");
        let id = table.super_id();
        let base = "supertable:acme:lakes:shop";
        assert_eq!(root(&id), format!("{base}:meta:root"));
        assert_eq!(leaf(&table), format!("{base}:meta:leaf:doc:orders"));
        assert_eq!(schema(&table), format!("{base}:schema:doc:orders"));
        assert_eq!(table_names(&id), format!("{base}:meta:table_names"));
        assert_eq!(lock(&table), format!("{base}:lock:leaf:doc:orders"));
        assert_eq!(row_ids(&table), format!("{base}:meta:rowid_seq:doc:orders"));
        assert_eq!(rbac(&id, "roles:index"), format!("{base}:rbac:roles:index"));
        assert_eq!(audit(&id.organization), "supertable:acme:system:audit:stream");
        let config = Place::Key(format!("{base}:meta:table_config:doc:orders"));
        assert_eq!(doc(&DocKey::TableConfig(table)), config);
    }

    #[test]
    fn foreign_keys_are_not_taken_for_roots() {
        let id = SuperId::parse("acme/shop").expect("valid id");
        assert_eq!(parse_root(&root(&id)), Some((id.organization, id.super_name)));
        for bad in [
            "supertable:acme:shop:meta:root",
            "supertable:acme:lakes:Shop:meta:root",
            "supertable:acme:lakes:shop:meta:root:x",
            "supertable:acme:lakes:shop:x:meta:root",
            "",
        ] {
            assert_eq!(parse_root(bad), None, "{bad}");
        }
    }
}
