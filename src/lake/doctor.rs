//! What is wrong with the back ends and the machine, and what to do about it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Finding, Severity};
use crate::catalog::{self, Facts, RedisFacts};
use crate::clock::SharedClock;
use crate::config::Settings;
use crate::error::{Error, ErrorKind};
use crate::store;

/// Clocks that differ by more than this are worth a word.
const CLOCK_MS: i64 = 5_000;
/// Answers of the catalogue that take longer than this are felt in every `ls`.
const SLOW_US: u64 = 20_000;
/// Less free space than this will soon be none.
const FREE_BYTES: u64 = 1 << 30;

/// Findings under way.
struct Findings(Vec<Finding>);

impl Findings {
    fn say(
        &mut self,
        severity: Severity,
        check: &'static str,
        place: &str,
        what: impl Into<String>,
        remedy: &str,
    ) {
        self.0.push(Finding::new(severity, check, place, what, remedy));
    }

    fn failed(&mut self, check: &'static str, place: &str, error: &Error) {
        let remedy = match error.kind() {
            ErrorKind::Denied => "check the credentials and what they allow",
            ErrorKind::ReadOnly => "make it writable, or serve with --read-only",
            ErrorKind::Full => "free some space",
            ErrorKind::NotFound => "check the location, or make a lake with `mountable init`",
            ErrorKind::Unavailable | ErrorKind::Busy => "check that it runs and can be reached",
            _ => "check the setting: `mountable config show --origin`",
        };
        self.say(Severity::Error, check, place, error.to_string(), remedy);
    }
}

/// Looks at storage, catalogue and state directory. `mounts` is the table of mounts of this
/// machine (`/proc/mounts`).
pub async fn doctor(settings: &Settings, clock: SharedClock, mounts: &str) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    let stored = storage(settings, &clock, &mut findings).await;
    if !stored && super::catalog_is_in_lake(settings) {
        // Opening an embedded catalogue would make it, and the directory of the lake.
        state(&settings.state, &mut findings);
        mounted(mounts, settings.nfs.port(), &mut findings);
        return findings.0;
    }
    match catalog::examine(settings, clock).await {
        Ok(Facts::Redis(facts)) => redis(&facts, &mut findings),
        Ok(Facts::Embedded { file, integrity, latency_us }) => {
            embedded(file.as_deref(), &integrity, latency_us, &mut findings);
        }
        Err(error) => findings.failed("catalogue", "catalogue", &error),
    }
    state(&settings.state, &mut findings);
    mounted(mounts, settings.nfs.port(), &mut findings);
    findings.0
}

/// Whether there is a storage at all.
async fn storage(settings: &Settings, clock: &SharedClock, findings: &mut Findings) -> bool {
    let place = "storage";
    // Opening a directory would make it.
    let opened = store::check_present(&settings.lake, false)
        .and_then(|()| store::open(&settings.lake, &settings.storage));
    let objects = match opened {
        Ok(objects) => objects,
        Err(error) => {
            findings.failed("storage", place, &error);
            return false;
        }
    };
    let stored =
        match store::get(&objects, store::layout::LAKE_MARKER).await {
            Ok(marker) => Ok(marker.is_some()
                || super::check::holds_tables(&objects).await.is_ok_and(|holds| holds)),
            Err(error) => Err(error),
        };
    match stored {
        Ok(true) => {}
        // Nothing is written to a place that may be somebody else's.
        Ok(false) => {
            findings.failed("storage", place, &store::no_lake(&settings.lake));
            return false;
        }
        Err(error) => {
            findings.failed("storage", place, &error);
            return false;
        }
    }
    if let Some(directory) = store::local_directory(&settings.lake) {
        free_space(&directory, place, findings);
    }
    if settings.read_only {
        let what = "not tried whether it takes writes: the settings are read-only";
        findings.say(Severity::Note, "create-only", place, what, "");
        return true;
    }
    match store::probe(&objects, clock.as_ref()).await {
        Ok(probe) => probed(&probe, findings),
        Err(error) => findings.failed("create-only", place, &error),
    }
    true
}

fn probed(probe: &store::Probe, findings: &mut Findings) {
    let place = "storage";
    if probe.broken_rounds > 0 {
        let what = format!(
            "does not honour create-only puts: {} of {} competitions had not exactly one winner",
            probe.broken_rounds, probe.rounds
        );
        let remedy = "do not write to this lake from more than one process; use a store with \
                      conditional puts (S3 If-None-Match, GCS, Azure, a local disk)";
        findings.say(Severity::Error, "create-only", place, what, remedy);
    } else {
        let what = format!("create-only puts are honoured, {} us for four at once", probe.put_us);
        findings.say(Severity::Note, "create-only", place, what, "");
    }
    clock(probe.clock_ahead_ms, place, findings);
    for path in &probe.left {
        let finding = Finding::new(
            Severity::Warning,
            "permissions",
            place,
            "a probe could not be removed again",
            "remove it by hand, or allow deleting",
        );
        findings.0.push(finding.on(path.clone()));
    }
}

fn clock(ahead_ms: i64, place: &str, findings: &mut Findings) {
    if ahead_ms.abs() > CLOCK_MS {
        let what = format!("its clock is {ahead_ms} ms ahead of this machine's");
        let remedy = "set both clocks (NTP); times in histories are wrong until then, rows are not";
        findings.say(Severity::Warning, "clock", place, what, remedy);
    }
}

fn redis(facts: &RedisFacts, findings: &mut Findings) {
    let place = format!("redis at {}", facts.address);
    let mut say = |severity, check, what: String, remedy: &str| {
        findings.say(severity, check, &place, what, remedy);
    };
    if facts.version.is_empty() {
        let what = "state not known: this user may not ask".to_owned();
        say(Severity::Warning, "catalogue", what, "allow the command INFO");
    } else {
        let what = format!(
            "version {}, {}, {} replicas, {} us an answer",
            facts.version, facts.role, facts.replicas, facts.latency_us
        );
        say(Severity::Note, "catalogue", what, "");
        if facts.role != "master" {
            let what = format!("is a {} and takes no writes", facts.role);
            say(Severity::Error, "role", what, "name the master, or the Sentinels");
        }
        if facts.eviction.starts_with("allkeys") {
            let what = format!("may evict any key (maxmemory-policy {})", facts.eviction);
            say(Severity::Error, "eviction", what, "CONFIG SET maxmemory-policy noeviction");
        } else if facts.memory_max > 0 && facts.eviction.starts_with("volatile") {
            let what = format!("may evict locks (maxmemory-policy {})", facts.eviction);
            say(Severity::Note, "eviction", what, "harmless; noeviction is the clean setting");
        }
        let unsaved = facts.save.as_deref().is_some_and(str::is_empty);
        if !facts.append_only {
            let (severity, what) = if unsaved {
                (Severity::Warning, "keeps nothing on disk: a restart loses the catalogue")
            } else {
                (Severity::Note, "snapshots only: a crash loses the last minutes of pointers")
            };
            let remedy = "CONFIG SET appendonly yes; after a loss, `mountable fsck --rebuild`";
            say(severity, "persistence", what.to_owned(), remedy);
        }
        if !facts.last_save_ok {
            let what = "its last snapshot to disk failed".to_owned();
            say(Severity::Warning, "persistence", what, "look at its log; is its disk full?");
        }
    }
    if facts.latency_us > SLOW_US {
        let what = format!("answers take {} us", facts.latency_us);
        say(Severity::Warning, "latency", what, "bring gateway and Redis closer together");
    }
    clock(facts.clock_ahead_ms, &place, findings);
}

fn embedded(file: Option<&Path>, integrity: &str, latency_us: u64, findings: &mut Findings) {
    let place = file.map_or("in memory".to_owned(), |file| file.display().to_string());
    if integrity == "ok" {
        let what = format!("embedded catalogue, {latency_us} us an answer");
        findings.say(Severity::Note, "catalogue", &place, what, "");
    } else {
        let remedy = "stop all gateways, move the file away, run `mountable fsck --rebuild`";
        findings.say(Severity::Error, "catalogue", &place, integrity, remedy);
    }
    if let Some(file) = file {
        private(file, "chmod 600 the file: it holds the key of the file handles", findings);
        if let Some(folder) = file.parent() {
            free_space(folder, &place, findings);
        }
    }
}

/// The gateway's own directory: journal, scratch files, indexes.
fn state(directory: &Path, findings: &mut Findings) {
    if directory.as_os_str().is_empty() || !directory.exists() {
        // It is made when a gateway starts.
        return;
    }
    private(directory, "chmod 700 the directory: it holds texts of tables", findings);
    if rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_err() {
        let place = directory.display().to_string();
        let what = "state directory cannot be written by this user";
        let remedy = "run as the gateway's user, or give it another one with --state";
        findings.say(Severity::Warning, "permissions", &place, what, remedy);
    }
    free_space(directory, &directory.display().to_string(), findings);
}

fn private(path: &Path, remedy: &str, findings: &mut Findings) {
    let Ok(metadata) = std::fs::metadata(path) else { return };
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 {
        let what = format!("others may use it (mode {:03o})", mode & 0o777);
        let place = path.display().to_string();
        findings.say(Severity::Warning, "permissions", &place, what, remedy);
    }
}

fn free_space(directory: &Path, place: &str, findings: &mut Findings) {
    let Ok(stat) = rustix::fs::statvfs(directory) else { return };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < FREE_BYTES {
        let what = format!("{free} bytes are free below {}", directory.display());
        findings.say(Severity::Warning, "free-space", place, what, "free some space");
    }
}

/// Options of the mounts of this gateway.
fn mounted(mounts: &str, port: u16, findings: &mut Findings) {
    for line in mounts.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(_), Some(place), Some(kind), Some(options)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let options: Vec<&str> = options.split(',').collect();
        let ours = kind.starts_with("nfs") && options.contains(&format!("port={port}").as_str());
        if !ours {
            continue;
        }
        let mut say = |severity, what: &str, remedy: &str| {
            findings.say(severity, "mount-options", place, what, remedy);
        };
        if !options.contains(&"sync") {
            let what = "is mounted without sync: the shell's `echo >>` hears of no refusal";
            say(Severity::Warning, what, "mount with sync; refusals are in errors.csv");
        }
        if options.contains(&"soft") || options.contains(&"softerr") {
            let what = "is mounted soft: a slow save may seem to fail and be done all the same";
            say(Severity::Warning, what, "mount with hard");
        }
        let seconds = |name: &str| {
            let value = options.iter().find_map(|option| option.strip_prefix(name));
            value.and_then(|value| value.parse::<u64>().ok())
        };
        if seconds("acregmax=").is_none_or(|seconds| seconds > 10) {
            let what = "keeps sizes of files for long: what others save is seen late";
            say(Severity::Note, what, "mount with actimeo=1");
        }
        if !options.contains(&"nosuid") || !options.contains(&"nodev") {
            say(Severity::Note, "is mounted without nosuid,nodev", "mount with nosuid,nodev");
        }
        say(Severity::Note, "is a mount of this gateway", "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(findings: &Findings, least: Severity) -> Vec<&'static str> {
        let worth = findings.0.iter().filter(|finding| finding.severity >= least);
        worth.map(|finding| finding.check).collect()
    }

    #[test]
    fn mounts_are_judged_by_their_options_and_other_mounts_are_left_alone() {
        let good =
            "127.0.0.1:/ /mnt nfs rw,sync,nosuid,nodev,vers=3,acregmax=1,hard,port=12049 0 0";
        let soft = "127.0.0.1:/ /two nfs rw,vers=3,acregmax=60,soft,port=12049 0 0";
        let other = "server:/x /three nfs4 rw,vers=4.2,soft,port=2049 0 0";
        let mut findings = Findings(Vec::new());
        mounted(&[good, other].join("\n"), 12049, &mut findings);
        assert_eq!(checks(&findings, Severity::Warning), Vec::<&str>::new());
        assert_eq!(findings.0.len(), 1);
        mounted(soft, 12049, &mut findings);
        assert_eq!(checks(&findings, Severity::Warning), ["mount-options", "mount-options"]);
    }

    #[test]
    fn a_server_is_judged_by_role_eviction_persistence_and_latency() {
        let good = RedisFacts {
            version: "7.0.15".to_owned(),
            role: "master".to_owned(),
            append_only: true,
            save: Some("3600 1".to_owned()),
            last_save_ok: true,
            eviction: "noeviction".to_owned(),
            ..RedisFacts::default()
        };
        let judge = |facts: &RedisFacts| {
            let mut findings = Findings(Vec::new());
            redis(facts, &mut findings);
            checks(&findings, Severity::Warning)
        };
        assert_eq!(judge(&good), Vec::<&str>::new());
        assert_eq!(judge(&RedisFacts { role: "slave".into(), ..good.clone() }), ["role"]);
        let evicts = RedisFacts { eviction: "allkeys-lru".into(), ..good.clone() };
        assert_eq!(judge(&evicts), ["eviction"]);
        let forgets = RedisFacts { append_only: false, save: Some(String::new()), ..good.clone() };
        assert_eq!(judge(&forgets), ["persistence"]);
        let late = RedisFacts { latency_us: 1_000_000, clock_ahead_ms: -60_000, ..good };
        assert_eq!(judge(&late), ["latency", "clock"]);
    }

    #[test]
    fn a_store_without_create_only_is_an_error() {
        let mut findings = Findings(Vec::new());
        probed(&store::Probe { rounds: 6, broken_rounds: 1, ..Default::default() }, &mut findings);
        assert_eq!(checks(&findings, Severity::Error), ["create-only"]);
    }

    #[test]
    fn what_others_may_read_is_told() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(directory.path(), permissions).expect("chmod");
            let mut findings = Findings(Vec::new());
            private(directory.path(), "", &mut findings);
            checks(&findings, Severity::Warning)
        };
        assert_eq!(mode(0o700), Vec::<&str>::new());
        assert_eq!(mode(0o750), ["permissions"]);
    }
}
