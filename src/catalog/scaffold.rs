//! What a new SuperTable holds: the root, the role `superadmin` and the user `superuser` (format
//! spec sections 1.5 and 4.1), so that the Python library can use it at once.

use md5::{Digest, Md5};

use super::keys::KeyLayout;
use super::root;
use crate::clock::Clock;
use crate::ident::SuperId;

/// Tables and columns of the role, as the Python library stores them.
const TABLES: &str = r#"{"*": {"columns": ["*"], "filters": ["*"]}}"#;

/// One value to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// A member of a set.
    Member(String, String),
    /// A field of a hash.
    Field(String, String, String),
}

impl Entry {
    /// Where it goes.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Member(key, _) | Self::Field(key, _, _) => key,
        }
    }
}

/// The root, to be stored only if there is none.
pub(super) fn root_entry(keys: KeyLayout, id: &SuperId, now_ms: i64) -> (String, String) {
    (keys.root(id), root::fresh(0, now_ms))
}

/// Everything else.
pub(super) fn entries(keys: KeyLayout, id: &SuperId, now_ms: i64, clock: &dyn Clock) -> Vec<Entry> {
    let now = now_ms.to_string();
    let (role_id, user_id) = (uuid4(clock), uuid4(clock));
    let roles = format!("[\"{role_id}\"]");
    let role = [
        ("role_id", role_id.as_str()),
        ("role", "superadmin"),
        ("role_name", "superadmin"),
        ("tables", TABLES),
        ("content_hash", &content_hash("superadmin", TABLES)),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let user = [
        ("user_id", user_id.as_str()),
        ("username", "superuser"),
        ("roles", &roles),
        ("created_ms", &now),
        ("modified_ms", &now),
    ]
    .map(|(name, value)| (name, value.to_owned()));
    let mut out = Vec::new();
    let of = |kind: &str, rest: &str| keys.rbac(id, &format!("{kind}:{rest}"));
    kind(&mut out, &|rest| of("roles", rest), &role_id, "superadmin", &role, &now);
    kind(&mut out, &|rest| of("users", rest), &user_id, "superuser", &user, &now);
    out.push(Entry::Member(keys.roles_of_type(id, "superadmin"), role_id));
    out
}

/// Document, index, name table and bookkeeping of one role or user.
fn kind(
    out: &mut Vec<Entry>,
    key: &dyn Fn(&str) -> String,
    own_id: &str,
    name: &str,
    document: &[(&str, String)],
    now: &str,
) {
    for (field, value) in document {
        out.push(Entry::Field(key(&format!("doc:{own_id}")), (*field).to_owned(), value.clone()));
    }
    out.push(Entry::Member(key("index"), own_id.to_owned()));
    out.push(Entry::Field(key("name_to_id"), name.to_owned(), own_id.to_owned()));
    for (field, value) in [("version", "1"), ("last_updated_ms", now), ("initialized", "true")] {
        out.push(Entry::Field(key("meta"), field.to_owned(), value.to_owned()));
    }
}

/// Md5 of the role in the Python library's JSON form with sorted keys; `tables` is in that form
/// already.
fn content_hash(role: &str, tables: &str) -> String {
    let text = format!("{{\"role\": \"{role}\", \"tables\": {tables}}}");
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// 32 hexadecimal digits of a random (version 4) UUID.
pub(super) fn uuid4(clock: &dyn Clock) -> String {
    let high = (clock.random() & !0xf000) | 0x4000;
    let low = (clock.random() & !(0b11 << 62)) | (0b10 << 62);
    format!("{high:016x}{low:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn content_hash_is_that_of_the_python_library() {
        // Check value of format spec section 1.5.
        assert_eq!(content_hash("superadmin", TABLES), "3607ae233e71442cbd554939c6be54cf");
    }

    #[test]
    fn ids_are_version_4_uuids() {
        let clock = ManualClock::new(0, 7);
        for _ in 0..100 {
            let id = uuid4(&clock);
            assert_eq!(id.len(), 32);
            assert_eq!(id.as_bytes().get(12), Some(&b'4'));
            assert!(matches!(id.as_bytes().get(16), Some(b'8' | b'9' | b'a' | b'b')), "{id}");
        }
    }
}
