//! Which catalogue a process uses.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{
    EmbeddedCatalog, KeyLayout, RedisCatalog, RedisOptions, SharedCatalog, SharedTransfer,
};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, Result};

/// Where the embedded catalogue lies in a lake's directory.
const FILE: &str = ".mountable/catalog.sqlite";

/// A kind of catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    Memory,
    File(PathBuf),
    Redis(String),
}

/// Opens the catalogue that the settings name: `redis://` or `rediss://` (with a database number
/// as its path), `memory:`, or a SQLite file. Without a setting: `.mountable/catalog.sqlite` in
/// the directory of a local lake, memory for a lake in memory.
///
/// # Errors
/// `Invalid` for a cloud lake without a setting and for an address that means nothing; else as
/// [`EmbeddedCatalog::open`] and [`RedisCatalog::connect`].
pub async fn open(settings: &Settings, clock: SharedClock) -> Result<SharedCatalog> {
    let wanted = settings.layout.as_deref().map(str::parse::<KeyLayout>).transpose()?;
    match choose(settings)? {
        Choice::Memory => Ok(Arc::new(EmbeddedCatalog::memory(clock)?.in_layout(wanted).await?)),
        Choice::File(path) => {
            Ok(Arc::new(EmbeddedCatalog::open(&path, clock).await?.in_layout(wanted).await?))
        }
        Choice::Redis(url) => {
            let options = RedisOptions { url, settings: settings.redis.clone() };
            let catalog = RedisCatalog::connect(&options, clock).await?;
            Ok(Arc::new(catalog.in_layout(wanted).await?))
        }
    }
}

/// The same, to read it out or to fill it in.
///
/// # Errors
/// As [`open`].
pub async fn open_transfer(settings: &Settings, clock: SharedClock) -> Result<SharedTransfer> {
    match choose(settings)? {
        Choice::Memory => Ok(Arc::new(EmbeddedCatalog::memory(clock)?)),
        Choice::File(path) => Ok(Arc::new(EmbeddedCatalog::open(&path, clock).await?)),
        Choice::Redis(url) => {
            let options = RedisOptions { url, settings: settings.redis.clone() };
            Ok(Arc::new(RedisCatalog::connect(&options, clock).await?))
        }
    }
}

pub(super) fn choose(settings: &Settings) -> Result<Choice> {
    if let Some(catalog) = settings.catalog.as_deref().filter(|text| !text.is_empty()) {
        return named(catalog);
    }
    if !settings.redis.sentinels.is_empty() {
        return Ok(Choice::Redis("redis://sentinel/0".to_owned()));
    }
    let lake = settings.lake.as_str();
    if lake.starts_with("memory:") {
        return Ok(Choice::Memory);
    }
    if let Some(directory) = local_directory(lake) {
        return Ok(Choice::File(directory.join(FILE)));
    }
    Err(Error::invalid(
        "a lake in a cloud needs a catalogue that its users share: set it to redis://HOST:6379/0, \
         or to a local file if only this machine uses the lake",
    )
    .with("lake", lake))
}

fn named(catalog: &str) -> Result<Choice> {
    if catalog.starts_with("memory:") {
        return Ok(Choice::Memory);
    }
    match catalog.split_once("://") {
        None => Ok(Choice::File(PathBuf::from(catalog))),
        Some(("redis" | "rediss" | "redis+unix" | "unix", _)) => {
            Ok(Choice::Redis(catalog.to_owned()))
        }
        Some(("file" | "sqlite", _)) => local_directory(&catalog.replacen("sqlite:", "file:", 1))
            .map(Choice::File)
            .ok_or_else(|| Error::invalid("catalogue file needs an absolute path")),
        // The rest may hold a password.
        Some((scheme, _)) => {
            Err(Error::invalid("kind of catalogue is not known: use redis://, rediss:// or a file")
                .with("scheme", scheme))
        }
    }
}

fn local_directory(lake: &str) -> Option<PathBuf> {
    match lake.split_once("://") {
        None if lake.is_empty() => None,
        None => Some(Path::new(lake).to_owned()),
        Some(("file", _)) => url::Url::parse(lake).ok()?.to_file_path().ok(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lake: &str, catalog: Option<&str>, expected: Option<Choice>) {
        let catalog = catalog.map(str::to_owned);
        let settings = Settings { lake: lake.to_owned(), catalog, ..Settings::default() };
        assert_eq!(choose(&settings).ok(), expected, "{settings:?}");
    }

    #[test]
    fn the_catalogue_follows_from_lake_and_setting() {
        let file = |path: &str| Some(Choice::File(path.into()));
        check("/srv/lake", None, file("/srv/lake/.mountable/catalog.sqlite"));
        check("file:///srv/a%20b", None, file("/srv/a b/.mountable/catalog.sqlite"));
        check("memory:", None, Some(Choice::Memory));
        check("s3://bucket", None, None);
        check("", None, None);
        check("s3://bucket", Some("/x.sqlite"), file("/x.sqlite"));
        check("s3://bucket", Some("sqlite:///x.sqlite"), file("/x.sqlite"));
        let url = "rediss://h:1/2".to_owned();
        check("s3://bucket", Some(&url.clone()), Some(Choice::Redis(url)));
        check("s3://bucket", Some("mysql://h"), None);
    }
}
