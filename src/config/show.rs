//! `mountable config show`: every setting as it is in force, secrets redacted.

use serde::Serialize;

use crate::config::{KEYS, Loaded};

/// Storage options that are no secret; everything else in `storage` is redacted.
const STORAGE_OPEN: &[&str] = &[
    "region",
    "default_region",
    "endpoint",
    "endpoint_url",
    "endpoint_url_s3",
    "allow_http",
    "virtual_hosted_style_request",
    "timeout",
    "connect_timeout",
    "retries",
    "retry_timeout",
    "part_bytes",
    "conditional_put",
    "copy_if_not_exists",
    "skip_signature",
    "role_arn",
    "storage_account_name",
    "account_name",
    "storage_endpoint",
    "application_credentials",
    "web_identity_token_file",
    "federated_token_file",
];

/// One setting as shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Name.
    pub name: String,
    /// Value as text; empty = not set.
    pub value: String,
    /// Where it came from.
    pub origin: String,
}

/// Every setting in the order of the table, then the storage options by name.
fn rows(loaded: &Loaded) -> Vec<Shown> {
    let origin = |name: &str| loaded.origin(name).to_string();
    let mut rows: Vec<Shown> = KEYS
        .iter()
        .map(|key| Shown {
            name: key.name.to_owned(),
            value: key.shown(&loaded.settings),
            origin: origin(key.name),
        })
        .collect();
    rows.extend(loaded.settings.storage.iter().map(|(option, value)| {
        let name = format!("storage.{option}");
        let bare = option.split_once('_').map_or(option.as_str(), |(family, rest)| match family {
            "aws" | "azure" | "google" => rest,
            _ => option.as_str(),
        });
        let open = STORAGE_OPEN.contains(&bare);
        let value = if open { super::redact_url(value.reveal()) } else { "<redacted>".to_owned() };
        Shown { origin: origin(&name), name, value }
    }));
    rows
}

/// One line a setting: `name = value`, with `  # origin` if asked for.
pub fn render_text(loaded: &Loaded, with_origin: OriginColumn) -> String {
    let rows = rows(loaded);
    let width = rows.iter().map(|row| row.name.len() + row.value.len()).max().unwrap_or_default();
    let width = width.min(70);
    let mut text = String::new();
    for row in rows {
        let line = format!("{} = {}", row.name, row.value);
        match with_origin {
            OriginColumn::Hidden => text.push_str(line.trim_end()),
            OriginColumn::Shown => {
                let width = width + 3;
                text.push_str(&format!("{line:width$}  # {}", row.origin));
            }
        }
        text.push('\n');
    }
    text
}

/// Whether the origin of each value is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginColumn {
    /// No.
    Hidden,
    /// Yes.
    Shown,
}

/// A JSON array of `{name, value, origin}`.
pub fn render_json(loaded: &Loaded) -> Vec<Shown> {
    rows(loaded)
}
