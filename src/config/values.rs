//! Text of one value: the same spelling in the file, the environment and on the command line.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Export, Squash};

/// What is wrong with a value, without naming the setting.
pub(crate) type ValueResult<T> = Result<T, String>;

/// Units of [`bytes`], largest first.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("TIB", 1 << 40),
    ("GIB", 1 << 30),
    ("MIB", 1 << 20),
    ("KIB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Units of [`duration`] in milliseconds; `ms` before `m` and `s`.
const TIME_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Parses `true`, `false`, `yes`, `no`, `on`, `off`, `1`, `0`.
pub(super) fn boolean(text: &str) -> ValueResult<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Parses a decimal number that fits `T`.
pub(crate) fn count<T: TryFrom<u64>>(text: &str) -> ValueResult<T> {
    let digits: String = text.chars().filter(|c| *c != '_').collect();
    let number: u64 = digits.parse().map_err(|_| "expected a whole number".to_owned())?;
    T::try_from(number).map_err(|_| "the number is too large".to_owned())
}

/// Parses a number of bytes with an optional unit (`128MiB`, `1 GB`, `4096`).
pub(crate) fn bytes<T: TryFrom<u64>>(text: &str) -> ValueResult<T> {
    let upper = text.trim().to_ascii_uppercase();
    let (number, unit) = BYTE_UNITS
        .iter()
        .find_map(|(name, size)| upper.strip_suffix(name).map(|rest| (rest.trim(), *size)))
        .unwrap_or((upper.as_str(), 1));
    let number: u64 =
        count(number).map_err(|_| "expected a size such as 128MiB or 4096".to_owned())?;
    let total = number.checked_mul(unit).ok_or_else(|| "the size is too large".to_owned())?;
    T::try_from(total).map_err(|_| "the size is too large".to_owned())
}

/// Parses a time with its unit (`100ms`, `35s`, `10m`, `24h`, `7d`); a bare number is seconds.
pub(crate) fn duration(text: &str) -> ValueResult<Duration> {
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = TIME_UNITS
        .iter()
        .find_map(|(name, size)| lower.strip_suffix(name).map(|rest| (rest.trim(), *size)))
        .unwrap_or((lower.as_str(), 1_000));
    let wrong = || "expected a time such as 100ms, 35s, 10m or 24h".to_owned();
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(unit).map(Duration::from_millis).ok_or_else(wrong);
    }
    let unit_seconds = Duration::from_millis(unit).as_secs_f64();
    number
        .parse::<f64>()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number * unit_seconds).ok())
        .ok_or_else(wrong)
}

/// The text that [`bytes`] reads back, in the largest unit that leaves a whole number.
pub(super) fn show_bytes(bytes: u64) -> String {
    let unit = BYTE_UNITS
        .iter()
        .filter(|(name, _)| name.ends_with("IB"))
        .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size));
    match unit {
        Some((name, size)) => format!("{}{}", bytes / size, name.replace("IB", "iB")),
        None => bytes.to_string(),
    }
}

/// The text that [`duration`] reads back.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis.is_multiple_of(1_000) {
        format!("{}s", millis / 1_000)
    } else {
        format!("{millis}ms")
    }
}

/// Parses a comma-separated list; blanks around the parts are dropped.
pub(super) fn list(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// Parses exports in the manner of exports(5): `10.0.0.0/8(ro,all_squash) 192.168.1.7`.
pub(super) fn exports(text: &str) -> ValueResult<Vec<Export>> {
    text.split_whitespace().map(export).collect()
}

fn export(text: &str) -> ValueResult<Export> {
    let (network, options) = match text.split_once('(') {
        Some((network, rest)) => {
            let inner = rest.strip_suffix(')').ok_or("an export's options end with )")?;
            (network, inner)
        }
        None => (text, ""),
    };
    let (address, prefix) = match network.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (network, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("expected a network such as 10.0.0.0/8, got `{network}`"))?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => count::<u8>(prefix)?,
        None => longest,
    };
    if prefix > longest {
        return Err(format!("a network prefix has at most {longest} bits"));
    }
    let mut export = Export { address, prefix, read_only: false, squash: Squash::default() };
    for option in list(options) {
        match option.as_str() {
            "ro" => export.read_only = true,
            "rw" => export.read_only = false,
            "root_squash" => export.squash = Squash::Root,
            "no_root_squash" => export.squash = Squash::None,
            "all_squash" => export.squash = Squash::All,
            other => {
                return Err(format!(
                    "unknown export option `{other}`; there are ro, rw, root_squash, \
                     no_root_squash, all_squash"
                ));
            }
        }
    }
    Ok(export)
}

/// The text that [`exports`] reads back.
pub(super) fn show_exports(exports: &[Export]) -> String {
    let one = |export: &Export| {
        let access = if export.read_only { "ro" } else { "rw" };
        let squash = match export.squash {
            Squash::None => "no_root_squash",
            Squash::Root => "root_squash",
            Squash::All => "all_squash",
        };
        format!("{}/{}({access},{squash})", export.address, export.prefix)
    };
    exports.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// The URL with the password (or a lone user part, which may be a token) taken out.
pub fn redact_url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = match path.split_once('?') {
        Some((before, _)) => format!("{before}?<redacted>"),
        None => path.to_owned(),
    };
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:<redacted>@{host}"),
            None => format!("<redacted>@{host}"),
        },
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{path}")
}

/// Whether the URL carries a secret: user part or query.
pub(super) fn url_has_secret(text: &str) -> bool {
    redact_url(text) != text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_round_trip_through_their_text() {
        for text in ["128MiB", "16GiB", "4097", "1KiB"] {
            assert_eq!(show_bytes(bytes::<u64>(text).unwrap()), text);
        }
        assert_eq!(bytes::<u64>("1 gb").unwrap(), 1_000_000_000);
        assert!(bytes::<u32>("16GiB").is_err());
        assert!(bytes::<u64>("lots").is_err());
        assert!(bytes::<u64>("99999999TiB").is_err());
        for text in ["100ms", "35s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        assert_eq!(duration("1.5s").unwrap(), Duration::from_millis(1500));
        assert_eq!(duration("24h").unwrap(), Duration::from_secs(86_400));
        assert_eq!(duration("7").unwrap(), Duration::from_secs(7));
        assert!(duration("-1s").is_err());
        assert!(duration("nans").is_err());
    }

    #[test]
    fn exports_round_trip_and_refuse_unknown_options() {
        let text = "10.0.0.0/8(ro,all_squash) fd00::1/128(rw,root_squash)";
        assert_eq!(show_exports(&exports(text).unwrap()), text);
        assert_eq!(exports("192.168.1.7").unwrap()[0].prefix, 32);
        assert!(exports("10.0.0.0/33").is_err());
        assert!(exports("10.0.0.0/8(rx)").unwrap_err().contains("rx"));
        assert!(exports("10.0.0.0/8(ro").is_err());
    }

    #[test]
    fn urls_lose_their_secrets_and_nothing_else() {
        assert_eq!(redact_url("redis://:pw@h:6379/0"), "redis://:<redacted>@h:6379/0");
        assert_eq!(redact_url("redis://u:p@w@h/0"), "redis://u:<redacted>@h/0");
        assert_eq!(redact_url("az://token@h/x?sig=abc"), "az://<redacted>@h/x?<redacted>");
        assert_eq!(redact_url("s3://bucket/a@b"), "s3://bucket/a@b");
        assert_eq!(redact_url("/data/lake"), "/data/lake");
    }
}
