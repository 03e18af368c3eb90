//! Every key of the catalogue: layouts v1 and v2 of the format (sections 1 and 6.1), and our own.
//!
//! The embedded catalogue stores under the same keys as Redis. Names are validated types, so no
//! key can reach into another organization and no pattern can hold a wildcard.

use std::fmt;
use std::str::FromStr;

use super::{DocKey, LogKey, Required};
use crate::error::{Error, Result};
use crate::ident::{OrgName, SimpleName, SuperId, SuperName, TableId};

/// Set of the organizations that were created explicitly.
pub(super) const ORGANIZATIONS: &str = "mountable:organizations";

/// The layout that a lake was made with.
pub(super) const LAYOUT: &str = "mountable:layout";

/// What every key begins with.
pub(super) const FIRST_WORD: &str = "supertable:";

/// What every key of ours begins with.
pub(super) const OWN_FIRST_WORD: &str = "mountable:";

/// Pattern of the roots of all SuperTables of all organizations, in both layouts.
pub(super) const ANY_ROOT: &str = "supertable:*:meta:root";

/// Segment that layout v2 has below an organization where layout v1 has the SuperTable.
const LAKES: &str = "lakes";

/// How the Python library spells keys. The two layouts do not see each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum KeyLayout {
    /// Releases 2.0.2 to 2.0.5: `supertable:{org}:{super}:...`.
    V1,
    /// Releases from 2.0.8 on: `supertable:{org}:lakes:{super}:...`.
    #[default]
    V2,
}

impl fmt::Display for KeyLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

impl FromStr for KeyLayout {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(Error::invalid("key layout is not known: use v1 or v2").with("layout", text)),
        }
    }
}

/// What every key of ours about a SuperTable begins with.
pub(super) fn own_prefix(id: &SuperId) -> String {
    let main = id.super_name.main();
    match id.branch() {
        None => format!("mountable:{}:lakes:{main}:", id.organization),
        // No prefix of the library's, so that it never sees a branch (adr/0013).
        Some(branch) => format!("mountable:{}:branches:{main}:{branch}:", id.organization),
    }
}

/// The hash of the branches of a SuperTable: name to document.
pub(super) fn branches(id: &SuperId) -> String {
    format!("{}branches", own_prefix(&id.main()))
}

/// Layout, organization and SuperTable of a root key.
pub(super) fn parse_root(key: &str) -> Option<(KeyLayout, SuperId)> {
    let parts: Vec<&str> = key.split(':').collect();
    let (layout, organization, super_name) = match parts[..] {
        // A library of layout v1 that is pointed at layout v2 makes a SuperTable of this name.
        ["supertable", _, LAKES, "meta", "root"] => return None,
        ["supertable", organization, name, "meta", "root"] => (KeyLayout::V1, organization, name),
        ["supertable", organization, LAKES, name, "meta", "root"] => {
            (KeyLayout::V2, organization, name)
        }
        _ => return None,
    };
    let organization = OrgName::new(organization).ok()?;
    let super_name = SuperName::new(super_name).ok()?;
    Some((layout, SuperId { organization, super_name }))
}

/// Table of a leaf key that begins with `prefix` ([`KeyLayout::leaf_prefix`]).
pub(super) fn parse_leaf(prefix: &str, key: &str) -> Option<SimpleName> {
    SimpleName::new(key.strip_prefix(prefix)?).ok()
}

/// Whether a key is that of an audit stream.
pub(super) fn is_audit(key: &str) -> bool {
    let rest = key.strip_prefix(FIRST_WORD).and_then(|rest| rest.split_once(':'));
    rest.is_some_and(|(_, rest)| matches!(rest, "audit:stream" | "system:audit:stream"))
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

impl KeyLayout {
    /// The other layout.
    pub(super) fn other(self) -> Self {
        match self {
            Self::V1 => Self::V2,
            Self::V2 => Self::V1,
        }
    }

    /// What the keys of all SuperTables of an organization begin with.
    pub(super) fn lakes_prefix(self, organization: &OrgName) -> String {
        match self {
            Self::V1 => format!("{FIRST_WORD}{organization}:"),
            Self::V2 => format!("{FIRST_WORD}{organization}:{LAKES}:"),
        }
    }

    /// What every key of a SuperTable begins with.
    pub(super) fn super_prefix(self, id: &SuperId) -> String {
        if id.branch().is_some() {
            return own_prefix(id);
        }
        format!("{}{}:", self.lakes_prefix(&id.organization), id.super_name)
    }

    /// A key of a SuperTable, `what` it is and whose.
    fn named(self, id: &SuperId, what: &str, name: &str) -> String {
        let doc = match self {
            Self::V1 => "",
            Self::V2 => "doc:",
        };
        format!("{}{what}:{doc}{name}", self.super_prefix(id))
    }

    /// The SuperTable's root: its existence is the SuperTable's existence.
    pub(super) fn root(self, id: &SuperId) -> String {
        format!("{}meta:root", self.super_prefix(id))
    }

    /// What the leaf keys of a SuperTable begin with.
    pub(super) fn leaf_prefix(self, id: &SuperId) -> String {
        self.named(id, "meta:leaf", "")
    }

    /// The table's pointer: its existence is the table's existence.
    pub(super) fn leaf(self, table: &TableId) -> String {
        self.named(&table.super_id(), "meta:leaf", table.simple_name.as_str())
    }

    /// Set of the SuperTable's table names.
    pub(super) fn table_names(self, id: &SuperId) -> String {
        let names = match self {
            Self::V1 => "table_names",
            Self::V2 => "meta:table_names",
        };
        format!("{}{names}", self.super_prefix(id))
    }

    /// The table's schema document.
    pub(super) fn schema(self, table: &TableId) -> String {
        self.named(&table.super_id(), "schema", table.simple_name.as_str())
    }

    /// The table's lock.
    pub(super) fn lock(self, table: &TableId) -> String {
        self.named(&table.super_id(), "lock:leaf", table.simple_name.as_str())
    }

    /// The table's counter of row ids. Layout v1 has none: there it is ours alone.
    pub(super) fn row_ids(self, table: &TableId) -> String {
        match self {
            Self::V1 => {
                format!("{}rowid_seq:doc:{}", own_prefix(&table.super_id()), table.simple_name)
            }
            Self::V2 => self.named(&table.super_id(), "meta:rowid_seq", table.simple_name.as_str()),
        }
    }

    /// The organization's audit stream.
    pub(super) fn audit(self, organization: &OrgName) -> String {
        match self {
            Self::V1 => format!("{FIRST_WORD}{organization}:audit:stream"),
            Self::V2 => format!("{FIRST_WORD}{organization}:system:audit:stream"),
        }
    }

    /// A key below the SuperTable's roles and users: `roles:index`, `users:doc:{id}`, ...
    pub(super) fn rbac(self, id: &SuperId, rest: &str) -> String {
        format!("{}rbac:{rest}", self.super_prefix(&id.main()))
    }

    /// The set of the roles of a type.
    pub(super) fn roles_of_type(self, id: &SuperId, role_type: &str) -> String {
        self.named(&id.main(), "rbac:roles:type", role_type)
    }

    /// Where a document is kept.
    pub(super) fn doc(self, key: &DocKey) -> Place {
        match key {
            DocKey::Layout => Place::Key(LAYOUT.to_owned()),
            DocKey::Secret(name) => Place::Key(format!("mountable:secret:{name}")),
            DocKey::Trash(id, name) => Place::Field(trash(id), name.clone()),
            DocKey::Views(id) => Place::Key(format!("{}views", own_prefix(id))),
            DocKey::TableConfig(table) => {
                let name = table.simple_name.as_str();
                Place::Key(self.named(&table.super_id(), "meta:table_config", name))
            }
            DocKey::SchemaDocument(table) => Place::Key(self.schema(table)),
            DocKey::RowIdCounter(table) => Place::Key(self.row_ids(table)),
            DocKey::Branch(id, name) => Place::Field(branches(id), name.clone()),
            DocKey::BranchRoot(id) => Place::Key(self.root(id)),
            DocKey::Merged(table) => {
                Place::Key(self.named(&table.super_id(), "merged", table.simple_name.as_str()))
            }
            DocKey::Mirrors(id) => Place::Key(format!("{}meta:mirrors", self.super_prefix(id))),
            DocKey::MirrorState(table) => {
                let name = &table.simple_name;
                Place::Key(format!("{}mirrors:doc:{name}", own_prefix(&table.super_id())))
            }
        }
    }

    /// Where that is kept on which a swap rests.
    pub(super) fn required(self, what: &Required) -> Place {
        match what {
            Required::Doc(key) => self.doc(key),
            Required::Leaf(table) => Place::Key(self.leaf(table)),
        }
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

    /// Keys of the table `acme/shop/orders`, in the order of the format spec's table.
    fn spelled(layout: KeyLayout) -> Vec<String> {
        let table = TableId::parse("acme/shop/orders").expect("valid id");
        let id = table.super_id();
        let Place::Key(config) = layout.doc(&DocKey::TableConfig(table.clone())) else {
            panic!("the configuration has a key of its own");
        };
        vec![
            layout.root(&id),
            layout.leaf(&table),
            config,
            layout.schema(&table),
            layout.table_names(&id),
            layout.lock(&table),
            layout.rbac(&id, "roles:index"),
            layout.roles_of_type(&id, "superadmin"),
            layout.audit(&id.organization),
            layout.row_ids(&table),
        ]
    }

    #[test]
    fn keys_are_those_of_layout_v2() {
        let base = "supertable:acme:lakes:shop";
        assert_eq!(
            spelled(KeyLayout::V2),
            [
                format!("{base}:meta:root"),
                format!("{base}:meta:leaf:doc:orders"),
                format!("{base}:meta:table_config:doc:orders"),
                format!("{base}:schema:doc:orders"),
                format!("{base}:meta:table_names"),
                format!("{base}:lock:leaf:doc:orders"),
                format!("{base}:rbac:roles:index"),
                format!("{base}:rbac:roles:type:doc:superadmin"),
                "supertable:acme:system:audit:stream".to_owned(),
                format!("{base}:meta:rowid_seq:doc:orders"),
            ]
        );
    }

    #[test]
    fn keys_are_those_of_layout_v1() {
        let base = "supertable:acme:shop";
        assert_eq!(
            spelled(KeyLayout::V1),
            [
                format!("{base}:meta:root"),
                format!("{base}:meta:leaf:orders"),
                format!("{base}:meta:table_config:orders"),
                format!("{base}:schema:orders"),
                format!("{base}:table_names"),
                format!("{base}:lock:leaf:orders"),
                format!("{base}:rbac:roles:index"),
                format!("{base}:rbac:roles:type:superadmin"),
                "supertable:acme:audit:stream".to_owned(),
                // The library has no such key: ours must not look like one of its own.
                "mountable:acme:lakes:shop:rowid_seq:doc:orders".to_owned(),
            ]
        );
    }

    #[test]
    fn roots_tell_their_layout_and_foreign_keys_are_none() {
        let id = SuperId::parse("acme/shop").expect("valid id");
        for layout in [KeyLayout::V1, KeyLayout::V2] {
            assert_eq!(parse_root(&layout.root(&id)), Some((layout, id.clone())));
        }
        for bad in [
            // What release 2.0.2 makes when it is pointed at a lake of layout v2.
            "supertable:acme:lakes:meta:root",
            "supertable:acme:lakes:Shop:meta:root",
            "supertable:acme:Shop:meta:root",
            "supertable:acme:lakes:shop:meta:root:x",
            "supertable:acme:lakes:shop:x:meta:root",
            "supertable:acme:x:shop:meta:root",
            "",
        ] {
            assert_eq!(parse_root(bad), None, "{bad}");
        }
    }

    #[test]
    fn audit_streams_of_both_layouts_are_known() {
        assert!(is_audit("supertable:acme:audit:stream"));
        assert!(is_audit("supertable:acme:system:audit:stream"));
        assert!(!is_audit("supertable:acme:lakes:audit:stream:x"));
    }
}
