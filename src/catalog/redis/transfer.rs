//! The catalogue in Redis, read out and filled in key by key.

use async_trait::async_trait;
use bytes::Bytes;

use super::RedisCatalog;
use super::link::{Answer, Request};
use crate::catalog::transfer::{Entry, Held, Transfer};
use crate::catalog::{AuditFields, keys, scripts};
use crate::error::Result;

/// Elements written by one call.
const ELEMENTS_PER_CALL: usize = 500;

#[async_trait]
impl Transfer for RedisCatalog {
    async fn keys(&self) -> Result<Vec<String>> {
        let mut found = self.scan("list keys", &format!("{}*", keys::FIRST_WORD)).await?;
        found.extend(self.scan("list keys", &format!("{}*", keys::OWN_FIRST_WORD)).await?);
        Ok(found.into_iter().collect())
    }

    async fn held(&self, key: &str) -> Result<Option<Held>> {
        let ttl: Answer<i64> = self.call("read expiry", Request::command("PTTL").arg(key)).await?;
        if ttl.value != -1 {
            // -2: gone; else it expires.
            return Ok(None);
        }
        let kind: Answer<String> =
            self.call("read type", Request::command("TYPE").arg(key)).await?;
        let action = "read key";
        Ok(match kind.value.as_str() {
            "string" => self.value(action, key).await?.map(|value| Held::Value(value.into())),
            "set" => {
                let request = Request::command("SMEMBERS").arg(key);
                let mut members: Vec<String> = self.call(action, request).await?.value;
                members.sort();
                Some(Held::Members(members))
            }
            "hash" => {
                let request = Request::command("HGETALL").arg(key);
                let fields: Vec<(String, Vec<u8>)> = self.call(action, request).await?.value;
                let mut fields: Vec<(String, Bytes)> =
                    fields.into_iter().map(|(name, value)| (name, value.into())).collect();
                fields.sort();
                Some(Held::Fields(fields))
            }
            "list" => {
                let request = Request::command("LRANGE").arg(key).arg(0).arg(-1);
                let list: Vec<Vec<u8>> = self.call(action, request).await?.value;
                Some(Held::List(list.into_iter().map(Bytes::from).collect()))
            }
            "stream" => {
                let request = Request::command("XRANGE").arg(key).arg("-").arg("+");
                let events: Vec<(String, AuditFields)> = self.call(action, request).await?.value;
                let events = events.into_iter().map(|(id, fields)| (Some(id), fields));
                Some(Held::Events(events.collect()))
            }
            other => {
                tracing::warn!(key, kind = other, "key of an unknown kind is left behind");
                None
            }
        })
    }

    async fn hold(&self, entry: &Entry) -> Result<()> {
        let (action, key) = ("write key", entry.key.as_str());
        self.call::<i64>(action, Request::command("DEL").arg(key)).await?;
        match &entry.held {
            Held::Value(value) => {
                let request = Request::command("SET").arg(key).arg(&value[..]);
                self.call::<::redis::Value>(action, request).await?;
            }
            Held::Members(members) => {
                for page in members.chunks(ELEMENTS_PER_CALL) {
                    let request = Request::command("SADD").arg(key).arg(page);
                    self.call::<i64>(action, request).await?;
                }
            }
            Held::Fields(fields) => {
                for page in fields.chunks(ELEMENTS_PER_CALL) {
                    let mut request = Request::command("HSET").arg(key);
                    for (name, value) in page {
                        request = request.arg(name).arg(&value[..]);
                    }
                    self.call::<i64>(action, request).await?;
                }
            }
            Held::List(list) => {
                for (number, page) in list.chunks(ELEMENTS_PER_CALL).enumerate() {
                    let keys = std::slice::from_ref(&entry.key);
                    let request = Request::script(scripts::RESTORE_LIST, keys);
                    let mut request = request.arg(number.saturating_mul(ELEMENTS_PER_CALL));
                    for value in page {
                        request = request.arg(&value[..]);
                    }
                    self.call::<i64>(action, request).await?;
                }
            }
            Held::Events(events) => {
                self.hold_events(std::slice::from_ref(&entry.key), events).await?
            }
        }
        Ok(())
    }
}

impl RedisCatalog {
    async fn hold_events(
        &self,
        keys: &[String],
        events: &[(Option<String>, AuditFields)],
    ) -> Result<()> {
        let mut number = 0_u64;
        for page in events.chunks(ELEMENTS_PER_CALL) {
            let request = Request::script(scripts::RESTORE_STREAM, keys);
            let mut request = request.arg(page.len());
            for (id, fields) in page {
                number = number.saturating_add(1);
                // Events of a catalogue without ids get those of the time before all others.
                let id = id.clone().unwrap_or_else(|| format!("0-{number}"));
                request = request.arg(id).arg(fields.len().saturating_mul(2));
                for (name, value) in fields {
                    request = request.arg(name).arg(value);
                }
            }
            self.call::<i64>("write key", request).await?;
        }
        Ok(())
    }
}
