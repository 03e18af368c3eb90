//! Precedence, origins, unknown names, secrets.

use super::*;
use crate::config::{OriginColumn, render_json, render_text};

fn file(text: &str) -> (tempfile::TempDir, Flags) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    (dir, Flags { config: Some(path), settings: Vec::new() })
}

fn env(variables: &[(&str, &str)]) -> Environment {
    Environment::of(variables.iter().copied())
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let (_dir, mut flags) =
        file("role = \"reader\"\nnfs = \"127.0.0.1:1\"\n[timing]\nsettle = \"2s\"\n");
    let environment = env(&[("MOUNTABLE_ROLE", "writer"), ("MOUNTABLE_NFS", "127.0.0.1:2")]);
    flags.settings.push(("nfs".into(), "127.0.0.1:3".into(), "--nfs".into()));
    let loaded = load(&flags, &environment).unwrap();
    assert_eq!(loaded.settings.nfs.port(), 3);
    assert_eq!(*loaded.origin("nfs"), Origin::Flag("--nfs".into()));
    assert_eq!(loaded.settings.role, "writer");
    assert_eq!(*loaded.origin("role"), Origin::Environment("MOUNTABLE_ROLE".into()));
    assert_eq!(loaded.settings.timing.settle.as_secs(), 2);
    assert!(matches!(loaded.origin("timing.settle"), Origin::File(_)));
    assert_eq!(*loaded.origin("cache_bytes"), Origin::Default);
}

#[test]
fn every_setting_can_be_set_by_environment() {
    for key in KEYS {
        let text = match key.kind {
            Kind::Address => "127.0.0.1:7",
            Kind::Boolean => "true",
            Kind::Count => "7",
            Kind::Bytes => "7KiB",
            Kind::Duration => "7s",
            Kind::List if key.name == "exports" => "10.0.0.0/8(ro,all_squash)",
            _ if key.name == "layout" => "v1",
            _ if key.name == "log.format" => "json",
            _ => "/seven",
        };
        let loaded = load(&Flags::default(), &env(&[(&key.variable(), text)])).unwrap();
        assert_eq!((key.get)(&loaded.settings), text, "{}", key.name);
        assert!(matches!(loaded.origin(key.name), Origin::Environment(_)));
        assert!(loaded.notes.is_empty());
    }
}

#[test]
fn unknown_toml_keys_are_refused_with_the_nearest_name() {
    for (text, near) in [
        ("read-only = true", "read_only"),
        ("[timing]\nsetle = 1", "timing.settle"),
        ("[limit]\nconnections_max = 1", "limit"),
        ("nfs = 2026-11-21", "nfs"),
    ] {
        let (_dir, flags) = file(text);
        let error = load(&flags, &Environment::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains(near), "{error}");
    }
    let (_dir, flags) = file("a = \n");
    assert!(load(&flags, &Environment::default()).unwrap_err().to_string().contains("line: 1"));
}

#[test]
fn unknown_environment_variables_are_noted_not_refused() {
    let loaded = load(&Flags::default(), &env(&[("MOUNTABLE_SERVICE_HOST", "10.0.0.1")])).unwrap();
    assert_eq!(loaded.notes.len(), 1);
}

#[test]
fn missing_configuration_file_is_not_found() {
    let environment = env(&[("MOUNTABLE_CONFIG", "/nonexistent/mountable.toml")]);
    let error = load(&Flags::default(), &environment).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn secrets_come_from_file_environment_or_named_file_but_never_from_a_flag() {
    let (dir, flags) = file("[redis]\npassword_file = \"PATH\"\n");
    let secret = dir.path().join("pw");
    std::fs::write(&secret, "canary-1\n").unwrap();
    let config = flags.config.clone().unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("PATH", secret.to_str().unwrap())).unwrap();
    let environment = env(&[
        ("MOUNTABLE_STORAGE_AWS_SECRET_ACCESS_KEY", "canary-2"),
        ("MOUNTABLE_STORAGE_REGION", "eu-1"),
        ("MOUNTABLE_CATALOG", "redis://user:canary-3@h:1/0"),
    ]);
    let loaded = load(&flags, &environment).unwrap();
    assert_eq!(loaded.settings.redis.password.as_ref().unwrap().reveal(), "canary-1");
    let storage = &loaded.settings.storage;
    assert_eq!(storage["aws_secret_access_key"].reveal(), "canary-2");

    let mut shown = render_text(&loaded, OriginColumn::Shown);
    shown.push_str(&serde_json::to_string(&render_json(&loaded)).unwrap());
    shown.push_str(&format!("{environment:?}"));
    assert!(!shown.contains("canary"), "{shown}");
    assert!(shown.contains("storage.region = eu-1"));
    assert!(shown.contains("redis.password = <redacted>"));

    for (name, value) in
        [("redis.password", "x"), ("storage.secret_access_key", "x"), ("catalog", "redis://:x@h/0")]
    {
        let flags =
            Flags { config: None, settings: vec![(name.into(), value.into(), "--set".into())] };
        let error = load(&flags, &Environment::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{name}");
        assert!(!error.to_string().contains(value) || value == "x", "{error}");
    }
}

#[test]
fn names_of_the_python_library_are_understood_and_yield_to_our_own() {
    let environment = env(&[
        ("STORAGE_TYPE", "MINIO"),
        ("STORAGE_BUCKET", "lake"),
        ("STORAGE_ENDPOINT_URL", "http://127.0.0.1:9000"),
        ("STORAGE_ACCESS_KEY", "key"),
        ("STORAGE_SECRET_KEY", "canary"),
        ("STORAGE_FORCE_PATH_STYLE", "true"),
        ("SUPERTABLE_PREFIX", "/a/b/"),
        ("SUPERTABLE_ORGANIZATION", "acme"),
        ("SUPERTABLE_REDIS_HOST", "redis1"),
        ("REDIS_PORT", "6380"),
        ("SUPERTABLE_REDIS_SSL", "true"),
        ("SUPERTABLE_REDIS_PASSWORD", "canary"),
        ("MOUNTABLE_STORAGE_ACCESS_KEY_ID", "ours"),
    ]);
    let settings = load(&Flags::default(), &environment).unwrap().settings;
    assert_eq!(settings.lake, "s3://lake/a/b");
    assert_eq!(settings.catalog.as_deref(), Some("rediss://redis1:6380/0"));
    assert_eq!(settings.organization.as_deref(), Some("acme"));
    assert_eq!(settings.redis.password.as_ref().unwrap().reveal(), "canary");
    assert_eq!(settings.storage["aws_allow_http"].reveal(), "true");
    assert_eq!(settings.storage["aws_virtual_hosted_style_request"].reveal(), "false");
    assert_eq!(settings.storage["access_key_id"].reveal(), "ours");
    assert!(!settings.storage.contains_key("aws_access_key_id"));

    let local = env(&[("SUPERTABLE_HOME", "~/lake"), ("HOME", "/h"), ("AWS_REGION", "x")]);
    let loaded = load(&Flags::default(), &local).unwrap();
    assert_eq!(loaded.settings.lake, "/h/lake");
    assert!(loaded.settings.storage.is_empty());
    assert!(loaded.settings.state.starts_with("/h/.local/state/mountable"));
    assert_eq!(*loaded.origin("state"), Origin::Derived("lake"));
}

#[test]
fn documentation_lists_exactly_the_settings_that_exist() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CONFIGURATION.md");
    let text = std::fs::read_to_string(path).unwrap();
    let defaults = Settings::default();
    let mut expected = Vec::new();
    for key in KEYS {
        let default = (key.get)(&defaults);
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        expected.push(format!(
            "| `{}` | {} | {default} | {} |",
            key.name,
            key.kind.name(),
            key.doc
        ));
    }
    let found: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| `") && line.matches('|').count() == 5)
        .collect();
    assert_eq!(found, expected, "docs/CONFIGURATION.md; it should have:\n{}", expected.join("\n"));
}
