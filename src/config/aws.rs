//! The files that Amazon's own tools keep below `~/.aws`: keys and region of a profile, for lakes
//! on S3. Their order holds: variables first, then these files, then the machine's own role.

use std::path::PathBuf;

use crate::config::load::Environment;
use crate::config::python::Found;

/// Keys of the credentials file, and those of the configuration file, that become options.
const CREDENTIALS: &[&str] = &["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
const CONFIGURATION: &[(&str, &str)] =
    &[("region", "aws_region"), ("endpoint_url", "aws_endpoint_url")];

/// Options of the object store from the profile `AWS_PROFILE` (else `default`). Keys are taken
/// only if no variable gives any, so that two identities are never mixed.
pub(super) fn profile(environment: &Environment) -> Vec<Found> {
    let profile = environment.get("AWS_PROFILE").unwrap_or("default");
    let mut found = Vec::new();
    let own_keys = ["AWS_ACCESS_KEY_ID", "STORAGE_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"];
    if own_keys.iter().all(|name| environment.get(name).is_none()) {
        let (origin, text) = read(environment, "AWS_SHARED_CREDENTIALS_FILE", "credentials");
        for (name, value) in section(&text, profile) {
            if CREDENTIALS.contains(&name.as_str()) {
                found.push((name, value, origin.clone()));
            }
        }
    }
    let (origin, text) = read(environment, "AWS_CONFIG_FILE", "config");
    let title =
        if profile == "default" { profile.to_owned() } else { format!("profile {profile}") };
    for (name, value) in section(&text, &title) {
        let option = CONFIGURATION.iter().find(|(theirs, _)| *theirs == name);
        if let Some((_, option)) = option {
            found.push(((*option).to_owned(), value, origin.clone()));
        }
    }
    found
}

/// Where a file is and what it holds; nothing if it cannot be read.
fn read(environment: &Environment, variable: &str, name: &str) -> (String, String) {
    let path = match (environment.get(variable), environment.get("HOME")) {
        (Some(path), _) => PathBuf::from(path),
        (None, Some(home)) => PathBuf::from(home).join(".aws").join(name),
        (None, None) => return Default::default(),
    };
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    (path.display().to_string(), text)
}

/// The assignments below a section's title. Nested ones (indented) belong to something else.
fn section(text: &str, title: &str) -> Vec<(String, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.trim().strip_prefix('[') {
            inside = rest.split(']').next().is_some_and(|name| name.trim() == title);
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let Some((name, value)) = line.split_once('=')
        {
            found.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    found.retain(|(_, value)| !value.is_empty());
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let text = "# x\n[default]\naws_access_key_id = A\n\n[work]\nAWS_ACCESS_KEY_ID=B=\n\
                    s3 =\n  region = no\nregion=r\n";
        assert_eq!(section(text, "default"), [("aws_access_key_id".into(), "A".into())]);
        let work = [("aws_access_key_id".into(), "B=".into()), ("region".into(), "r".into())];
        assert_eq!(section(text, "work"), work);
        assert_eq!(section(text, "other"), []);
    }
}
