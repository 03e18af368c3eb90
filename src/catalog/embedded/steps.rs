//! What the embedded catalogue does within one transaction.

use std::time::Duration;

use rusqlite::Connection;

use super::super::keys::{self, KeyLayout, Place};
use super::super::{AuditFields, Leaf, LeafSwap, SwapOutcome, root, sqlite};
use crate::error::{Error, Result};
use crate::ident::{OrgName, SuperId, SuperName};

/// Audit events kept per organization.
const AUDIT_KEPT: usize = 100_000;
/// A lock that is to live longer than this was set by a clock that has been put back since.
const LOCK_MS_MAX: i64 = 600_000;

/// The next SuperTable of an organization at or after a key: its name, if the key is that of a
/// SuperTable, and where to go on.
pub(super) fn super_from(
    c: &Connection,
    keys: KeyLayout,
    organization: &OrgName,
    from: &str,
) -> Result<Option<(Option<SuperName>, String)>> {
    let prefix = keys.lakes_prefix(organization);
    let Some(key) = sqlite::key_from(c, from)? else {
        return Ok(None);
    };
    let Some(rest) = key.strip_prefix(&prefix) else {
        return Ok(None);
    };
    let name = rest.split(':').next().unwrap_or_default();
    let next = format!("{prefix}{name};");
    let Ok(super_name) = SuperName::new(name) else {
        return Ok(Some((None, next)));
    };
    let id = SuperId { organization: organization.clone(), super_name: super_name.clone() };
    let root = keys.root(&id);
    let exists = keys::parse_root(&root).is_some() && sqlite::value(c, &root)?.is_some();
    Ok(Some((exists.then_some(super_name), next)))
}

/// The first SuperTable of an organization.
pub(super) fn first_super(
    c: &Connection,
    keys: KeyLayout,
    organization: &OrgName,
) -> Result<Option<SuperName>> {
    let mut from = keys.lakes_prefix(organization);
    while let Some((super_name, next)) = super_from(c, keys, organization, &from)? {
        if super_name.is_some() {
            return Ok(super_name);
        }
        from = next;
    }
    Ok(None)
}

/// Compares and swaps a leaf with all that belongs to it.
pub(super) fn swap_leaf(c: &Connection, keys: KeyLayout, swap: &LeafSwap) -> Result<SwapOutcome> {
    let (leaf, id) = (keys.leaf(&swap.table), swap.table.super_id());
    let current = sqlite::value(c, &leaf)?;
    let there = match swap.requires.as_ref().map(|what| keys.required(what)) {
        None => true,
        Some(Place::Key(key)) => sqlite::value(c, &key)?.is_some(),
        Some(Place::Field(key, field)) => sqlite::field(c, &key, &field)?.is_some(),
    };
    if current.as_deref() != swap.expected.as_deref() || !there {
        let current = current.map(|raw| Leaf { raw: raw.into() });
        return Ok(SwapOutcome::Moved { current });
    }
    let (names, name) = (keys.table_names(&id), swap.table.simple_name.as_str());
    if let Some(new) = &swap.new {
        sqlite::set(c, &leaf, new, None)?;
        sqlite::add_member(c, &names, name)?;
        if let Some(schema) = &swap.schema {
            sqlite::set(c, &keys.schema(&swap.table), schema, None)?;
        }
    } else {
        sqlite::unset(c, &leaf)?;
        sqlite::remove_member(c, &names, name)?;
        for key in [keys.schema(&swap.table), keys.lock(&swap.table), keys.row_ids(&swap.table)] {
            sqlite::unset(c, &key)?;
        }
    }
    match swap.removes.as_ref().map(|key| keys.doc(key)) {
        None => {}
        Some(Place::Key(key)) => drop(sqlite::unset(c, &key)?),
        Some(Place::Field(key, field)) => drop(sqlite::remove_field(c, &key, &field)?),
    }
    let root_key = keys.root(&id);
    let old = sqlite::value(c, &root_key)?;
    let root_version = match &old {
        Some(raw) if !swap.bump_root => root::version(raw),
        _ => {
            let (raw, version) = root::raise(old.as_deref(), swap.now_ms);
            sqlite::set(c, &root_key, &raw, None)?;
            version
        }
    };
    append_audit(c, keys, &swap.table.organization, &swap.audit)?;
    Ok(SwapOutcome::Swapped { root_version })
}

/// Appends audit events as JSON lists of names and values.
pub(super) fn append_audit(
    c: &Connection,
    keys: KeyLayout,
    organization: &OrgName,
    events: &[AuditFields],
) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let key = keys.audit(organization);
    for event in events.iter().filter(|event| !event.is_empty()) {
        let text = serde_json::to_vec(event)
            .map_err(|e| Error::internal("render audit event").caused_by(e))?;
        sqlite::push(c, &key, [&text[..]])?;
    }
    sqlite::trim(c, &key, AUDIT_KEPT)
}

/// Who holds a lock now.
pub(super) fn holder(c: &Connection, key: &str, now: i64) -> Result<Option<Vec<u8>>> {
    Ok(sqlite::value_and_expiry(c, key)?.and_then(|(token, expires)| {
        let alive = expires.is_some_and(|at| at > now && at <= now.saturating_add(LOCK_MS_MAX));
        alive.then_some(token)
    }))
}

/// When a lock that is taken now ends.
pub(super) fn expiry(now: i64, ttl: Duration) -> i64 {
    let ttl = i64::try_from(ttl.as_millis()).unwrap_or(LOCK_MS_MAX).min(LOCK_MS_MAX);
    now.saturating_add(ttl)
}

/// The bytes of a document.
pub(super) fn stored(c: &Connection, place: &Place) -> Result<Option<Vec<u8>>> {
    match place {
        Place::Key(key) => sqlite::value(c, key),
        Place::Field(key, field) => sqlite::field(c, key, field),
    }
}
