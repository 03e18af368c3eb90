//! The embedded catalogue, read out and filled in key by key.

use async_trait::async_trait;
use rusqlite::Connection;

use super::{EmbeddedCatalog, Flush};
use crate::catalog::transfer::{Entry, Held, Transfer};
use crate::catalog::{keys, sqlite};
use crate::error::{Error, Result};

#[async_trait]
impl Transfer for EmbeddedCatalog {
    async fn keys(&self) -> Result<Vec<String>> {
        self.read(sqlite::lasting_keys).await
    }

    async fn held(&self, key: &str) -> Result<Option<Held>> {
        let key = key.to_owned();
        self.read(move |c| held(c, &key)).await
    }

    async fn hold(&self, entry: &Entry) -> Result<()> {
        let entry = entry.clone();
        self.write(Flush::Yes, move |c| hold(c, &entry)).await
    }
}

fn held(c: &Connection, key: &str) -> Result<Option<Held>> {
    if let Some((value, expires)) = sqlite::value_and_expiry(c, key)? {
        return Ok(expires.is_none().then(|| Held::Value(value.into())));
    }
    let members = sqlite::members(c, key)?;
    if !members.is_empty() {
        return Ok(Some(Held::Members(members)));
    }
    let fields = sqlite::fields(c, key)?;
    if !fields.is_empty() {
        let fields = fields.into_iter().map(|(name, value)| (name, value.into()));
        return Ok(Some(Held::Fields(fields.collect())));
    }
    let list = sqlite::newest(c, key, usize::MAX)?;
    if list.is_empty() {
        return Ok(None);
    }
    if !keys::is_audit(key) {
        return Ok(Some(Held::List(list.into_iter().map(Into::into).collect())));
    }
    let event = |raw: Vec<u8>| {
        let fields = serde_json::from_slice(&raw)
            .map_err(|error| Error::corrupt("read audit event").caused_by(error))?;
        Ok((None, fields))
    };
    Ok(Some(Held::Events(list.into_iter().map(event).collect::<Result<_>>()?)))
}

fn hold(c: &Connection, entry: &Entry) -> Result<()> {
    let key = entry.key.as_str();
    sqlite::remove_key(c, key)?;
    match &entry.held {
        Held::Value(value) => sqlite::set(c, key, value, None),
        Held::Members(members) => {
            members.iter().try_for_each(|member| sqlite::add_member(c, key, member).map(|_| ()))
        }
        Held::Fields(fields) => {
            fields.iter().try_for_each(|(name, value)| sqlite::set_field(c, key, name, value))
        }
        Held::List(list) => sqlite::push(c, key, list.iter().map(|value| &value[..])),
        Held::Events(events) => events.iter().try_for_each(|(_, fields)| {
            let text = serde_json::to_vec(fields)
                .map_err(|error| Error::internal("render audit event").caused_by(error))?;
            sqlite::push(c, key, [&text[..]])
        }),
    }
}
