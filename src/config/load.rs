//! Puts the layers together: defaults < file < environment < flags; each value keeps its origin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::keys::{KEYS, Key, Kind, nearest};
use crate::config::values::url_has_secret;
use crate::config::{Secret, Settings, python};
use crate::error::{Error, ErrorKind, Result};

/// Storage options whose own name ends in `_file`; they are passed on, not read.
const STORAGE_FILE_OPTIONS: &[&str] = &[
    "web_identity_token_file",
    "aws_web_identity_token_file",
    "container_authorization_token_file",
    "aws_container_authorization_token_file",
    "federated_token_file",
    "azure_federated_token_file",
];

/// The process's environment, captured once.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Captures the process's environment. Variables that are not UTF-8 are left out.
    pub fn capture() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// An environment of exactly these variables.
    pub fn of<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self(variables.into_iter().map(own).collect())
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn mountable(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter(|(name, value)| name.starts_with("MOUNTABLE_") && !value.is_empty())
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// Setting, value, flag as typed; in order.
    pub settings: Vec<(String, String, String)>,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// Follows from another setting.
    Derived(&'static str),
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Derived(from) => write!(f, "derived from {from}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Settings with the origin of each.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// Things that were ignored and may be a slip, for a warning.
    pub notes: Vec<String>,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where the setting of that name came from.
    pub fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }
}

/// Loads the settings.
///
/// # Errors
/// `Invalid` for an unknown setting (with the nearest name), a value that does not fit or a
/// secret on the command line; `NotFound` if a file that was asked for does not exist.
pub fn load(flags: &Flags, environment: &Environment) -> Result<Loaded> {
    let mut loader = Loader {
        loaded: Loaded {
            settings: Settings::default(),
            notes: Vec::new(),
            origins: BTreeMap::new(),
        },
    };
    if let Some(path) = config_file(flags, environment) {
        loader.file(&path)?;
    }
    loader.environment(environment)?;
    for (name, value, flag) in &flags.settings {
        loader.flag(name, value, flag)?;
    }
    loader.finish(environment)
}

/// The file to read: the one asked for, else the first default one that exists.
fn config_file(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    if let Some(path) = &flags.config {
        return Some(path.clone());
    }
    if let Some(path) = environment.get("MOUNTABLE_CONFIG") {
        return Some(PathBuf::from(path));
    }
    let home = environment
        .get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".config")));
    let own = home.map(|home| home.join("mountable/config.toml"));
    let system = PathBuf::from("/etc/mountable/config.toml");
    own.into_iter().chain([system]).find(|path| path.is_file())
}

struct Loader {
    loaded: Loaded,
}

impl Loader {
    fn file(&mut self, path: &Path) -> Result<()> {
        let text = read_text(path)?;
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map(|span| {
                text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
            });
            // Only the message: the full display quotes the line, which may hold a secret.
            Error::invalid(format!("read configuration: {}", error.message().trim_end()))
                .with("file", path.display())
                .with("line", line.unwrap_or_default())
        })?;
        let origin = Origin::File(path.to_owned());
        self.table("", &table, &origin)
    }

    fn table(&mut self, prefix: &str, table: &toml::Table, origin: &Origin) -> Result<()> {
        for (name, value) in table {
            let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            match value {
                toml::Value::Table(inner) if Key::find(&name).is_none() => {
                    let group = format!("{name}.");
                    if name != "storage" && !KEYS.iter().any(|key| key.name.starts_with(&group)) {
                        return Err(unknown(&name, origin));
                    }
                    self.table(&name, inner, origin)?;
                }
                value => {
                    let text = toml_text(&name, value).ok_or_else(|| {
                        invalid(&name, "this kind of value fits no setting", origin)
                    })?;
                    self.set(&name, &text, origin)?;
                }
            }
        }
        Ok(())
    }

    fn environment(&mut self, environment: &Environment) -> Result<()> {
        for (name, value, variable) in python::settings(environment) {
            self.set(&name, &value, &Origin::Environment(variable))?;
        }
        if let Some(value) = environment.get("MOUNTABLE_LOG") {
            self.set("log.filter", value, &Origin::Environment("MOUNTABLE_LOG".to_owned()))?;
        }
        for (variable, value) in environment.mountable() {
            let origin = Origin::Environment(variable.to_owned());
            let tail = variable.trim_start_matches("MOUNTABLE_");
            if let Some(option) = tail.strip_prefix("STORAGE_") {
                self.set(&format!("storage.{}", option.to_ascii_lowercase()), value, &origin)?;
            } else if let Some(name) = name_of_variable(variable) {
                self.set(&name, value, &origin)?;
            } else if !matches!(tail, "CONFIG" | "LOG") {
                // Not an error: Kubernetes sets MOUNTABLE_SERVICE_HOST and the like by itself.
                self.loaded.notes.push(format!("environment variable {variable} names no setting"));
            }
        }
        Ok(())
    }

    fn flag(&mut self, name: &str, value: &str, flag: &str) -> Result<()> {
        let origin = Origin::Flag(flag.to_owned());
        let secret = match Key::find(name) {
            Some(key) => {
                key.kind == Kind::Secret || (key.kind == Kind::Url && url_has_secret(value))
            }
            None => name.starts_with("storage.") && !name.ends_with("_file"),
        };
        if secret {
            return Err(Error::invalid(
                "a secret on the command line can be read by everybody on this machine: put it \
                 into the configuration file, the environment or a file named by <name>_file",
            )
            .with("setting", name));
        }
        self.set(name, value, &origin)
    }

    fn set(&mut self, name: &str, text: &str, origin: &Origin) -> Result<()> {
        if let Some(option) = name.strip_prefix("storage.") {
            return self.storage(option, text, origin);
        }
        if let Some(key) = Key::find(name) {
            (key.set)(&mut self.loaded.settings, text)
                .map_err(|reason| invalid(name, &reason, origin))?;
            self.loaded.origins.insert(name.to_owned(), origin.clone());
            return Ok(());
        }
        let secret = name.strip_suffix("_file").and_then(Key::find);
        match secret.filter(|key| key.kind == Kind::Secret) {
            Some(key) => {
                let value = read_secret(Path::new(text))?;
                self.set(key.name, &value, origin)
            }
            None => Err(unknown(name, origin)),
        }
    }

    fn storage(&mut self, option: &str, text: &str, origin: &Origin) -> Result<()> {
        let named =
            option.strip_suffix("_file").filter(|_| !STORAGE_FILE_OPTIONS.contains(&option));
        let (option, value) = match named {
            Some(option) => (option, read_secret(Path::new(text))?),
            None => (option, text.to_owned()),
        };
        let option = option.to_ascii_lowercase();
        self.loaded.origins.insert(format!("storage.{option}"), origin.clone());
        self.loaded.settings.storage.insert(option, Secret::new(value));
        Ok(())
    }

    fn finish(mut self, environment: &Environment) -> Result<Loaded> {
        let lake = self.loaded.settings.lake.clone();
        for (option, value, variable) in python::storage(environment, &lake) {
            // Whatever is spelled out in the file or as MOUNTABLE_STORAGE_* goes first. Two
            // spellings of one option (`aws_region`, `region`) count as one.
            let bare = option.split_once('_').map_or(option.as_str(), |(_, bare)| bare);
            let name = format!("storage.{option}");
            let ours = |name: &str| match self.loaded.origin(name) {
                Origin::Environment(variable) => variable.starts_with("MOUNTABLE_"),
                origin => *origin != Origin::Default,
            };
            if !ours(&name) && !ours(&format!("storage.{bare}")) {
                self.storage(&option, &value, &Origin::Environment(variable))?;
            }
        }
        let settings = &mut self.loaded.settings;
        if is_local(&lake) && !lake.starts_with("file:") {
            settings.lake = std::path::absolute(&lake)?.display().to_string();
        }
        if settings.state.as_os_str().is_empty() && !settings.lake.is_empty() {
            settings.state = state_directory(&settings.lake, environment);
            self.loaded.origins.insert("state".to_owned(), Origin::Derived("lake"));
        }
        Ok(self.loaded)
    }
}

/// Whether the lake is a directory of this machine.
fn is_local(lake: &str) -> bool {
    !lake.is_empty() && !lake.contains("://") && !lake.starts_with("memory:")
}

/// `$XDG_STATE_HOME/mountable/<digest of the lake's URL>`.
fn state_directory(lake: &str, environment: &Environment) -> PathBuf {
    let base = environment
        .get("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| environment.get("HOME").map(|home| Path::new(home).join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"));
    let digest = blake3::hash(lake.as_bytes()).to_hex();
    base.join("mountable").join(digest.as_str().get(..16).unwrap_or_default())
}

/// The setting that the variable names; `<SECRET>_FILE` included.
fn name_of_variable(variable: &str) -> Option<String> {
    KEYS.iter().find_map(|key| {
        let own = key.variable();
        if variable == own {
            return Some(key.name.to_owned());
        }
        let file = key.kind == Kind::Secret && variable.strip_suffix("_FILE") == Some(&own);
        file.then(|| format!("{}_file", key.name))
    })
}

fn toml_text(name: &str, value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let parts: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
            Some(parts?.join(if name == "exports" { " " } else { "," }))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            _ => ErrorKind::Invalid,
        };
        Error::new(kind, "read file").with("file", path.display()).caused_by(error)
    })
}

fn read_secret(path: &Path) -> Result<String> {
    let text = read_text(path)?;
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |text| text.trim_end_matches('\r')).to_owned())
}

fn invalid(name: &str, reason: &str, origin: &Origin) -> Error {
    Error::invalid(format!("setting {name}: {reason}")).with("from", origin)
}

fn unknown(name: &str, origin: &Origin) -> Error {
    let error = Error::invalid(format!("unknown setting `{name}`")).with("from", origin);
    match nearest(name, KEYS.iter().map(|key| key.name)) {
        Some(near) => error.with("did you mean", near),
        None => error,
    }
}

#[cfg(test)]
mod tests;
