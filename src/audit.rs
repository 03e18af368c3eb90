//! Audit events: what changed, by whom, chained by hash (format spec section 1.6, 3.x formula).
//!
//! A mutation's event is appended to the organization's stream in the same atomic step that moves
//! the table's pointer; the snapshot's lineage carries the same facts, so a committed change
//! without its record cannot exist.

use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::access::Principal;
use crate::catalog::AuditFields;
use crate::clock::{SharedClock, now_ms};
use crate::ident::TableId;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct AuditEvent {
    /// `data_write`, `table_create`, `table_drop`, `table_rename`, `table_restore`.
    pub action: &'static str,
    /// Compact JSON with the details.
    pub detail: Value,
}

/// Makes events of one process, each chained to the one before.
#[derive(Debug)]
pub struct AuditTrail {
    clock: SharedClock,
    instance: String,
    chain: Mutex<Chain>,
}

#[derive(Debug)]
struct Chain {
    head: String,
    counter: u16,
}

impl AuditTrail {
    /// Starts a chain of its own; `instance` tells it from those of other processes.
    pub fn new(clock: SharedClock, instance: String) -> Self {
        let chain = Mutex::new(Chain { head: "0".repeat(64), counter: 0 });
        Self { clock, instance, chain }
    }

    /// The stream fields of an event by `who` on `table`.
    pub fn fields(&self, who: &Principal, table: &TableId, event: &AuditEvent) -> AuditFields {
        let now = now_ms(&*self.clock);
        let random = format!("{:08x}", self.clock.random() & 0xffff_ffff);
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        chain.counter = chain.counter.wrapping_add(1);
        let id = format!("{now:012x}-{:04x}-{random}", chain.counter);
        let mut fields = vec![
            ("event_id", id.clone()),
            ("timestamp_ms", now.to_string()),
            ("category", "data_mutation".to_owned()),
            ("action", event.action.to_owned()),
            ("severity", "info".to_owned()),
            ("actor_type", "user".to_owned()),
            ("actor_id", who.uid.to_string()),
            ("actor_username", who.role.clone()),
            ("actor_ip", who.client.clone()),
            ("actor_user_agent", "mountable".to_owned()),
            ("organization", table.organization.to_string()),
            ("super_name", table.super_name.main().to_string()),
            ("correlation_id", id.clone()),
            ("session_id", String::new()),
            ("server", "mountable".to_owned()),
            ("resource_type", "table".to_owned()),
            ("resource_id", table.simple_name.to_string()),
            ("detail", event.detail.to_string()),
            ("outcome", "success".to_owned()),
            ("reason", String::new()),
        ];
        chain.head = next_head(&chain.head, &id, &fields, now);
        fields.push(("chain_hash", chain.head.clone()));
        fields.push(("instance_id", self.instance.clone()));
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// `sha256(previous_head + batch)` for a batch of one event.
fn next_head(previous: &str, id: &str, fields: &[(&str, String)], now: i64) -> String {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let mut object = Map::new();
    for (name, value) in sorted {
        let value = if *name == "timestamp_ms" { now.into() } else { value.clone().into() };
        object.insert((*name).to_owned(), value);
    }
    let event = sha256_hex(Value::Object(object).to_string().as_bytes());
    let batch = sha256_hex(format!("{id}\n{}", sha256_hex(event.as_bytes())).as_bytes());
    sha256_hex(format!("{previous}{batch}").as_bytes())
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn each_event_is_chained_to_the_one_before() {
        let clock: SharedClock = Arc::new(ManualClock::new(1_795_253_675_027, 7));
        let trail = AuditTrail::new(Arc::clone(&clock), "host-1".to_owned());
        let who = Principal {
            uid: 1000,
            client: "127.0.0.1/laptop".to_owned(),
            role: "writer".to_owned(),
            read_only: false,
        };
        let table = TableId::parse("acme/shop/orders").expect("valid");
        let event = AuditEvent { action: "data_write", detail: serde_json::json!({"inserted": 1}) };
        let head = |fields: &AuditFields| {
            fields.iter().find(|(name, _)| name == "chain_hash").map(|(_, value)| value.clone())
        };
        let first = trail.fields(&who, &table, &event);
        let second = trail.fields(&who, &table, &event);
        assert_eq!(first.len(), 22);
        assert_ne!(head(&first), head(&second));
        let again =
            AuditTrail::new(Arc::new(ManualClock::new(1_795_253_675_027, 7)), "host-1".to_owned());
        assert_eq!(head(&first), head(&again.fields(&who, &table, &event)));
    }
}
