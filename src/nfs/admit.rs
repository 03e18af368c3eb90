//! Who may connect, with what rights, and how many at once.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Export, Settings, Squash};
use crate::error::{Error, Result};

/// Most refused addresses that are remembered so that each is logged once.
const REFUSED_KEPT: usize = 1024;

/// What a connection's callers may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    /// Refuses writes.
    pub(super) read_only: bool,
    /// Which callers become nobody.
    pub(super) squash: Squash,
}

/// The rules and the count of connections.
#[derive(Debug)]
pub(super) struct Door {
    exports: Vec<Export>,
    read_only: bool,
    total_max: usize,
    per_address_max: usize,
    state: Mutex<Occupied>,
}

#[derive(Debug, Default)]
struct Occupied {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
    refused: HashSet<IpAddr>,
}

/// A connection that was let in; leaving is dropping it.
#[derive(Debug)]
pub(super) struct Seat {
    door: Arc<Door>,
    peer: IpAddr,
    /// What its callers may do.
    pub(super) rights: Rights,
}

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No export rule matches.
    NotExported,
    /// The gateway is full.
    TooMany,
    /// The address has too many connections.
    TooManyFromAddress,
}

impl Door {
    /// Checks that the address to listen on fits the export rules.
    ///
    /// # Errors
    ///
    /// `Invalid` if others could reach the address and no rule says who may, or if a rule makes
    /// no sense.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        if !settings.nfs.ip().to_canonical().is_loopback() && settings.exports.is_empty() {
            return Err(Error::invalid(
                "listen on an address that other machines reach: list the networks that may \
                 connect under `exports`, or listen on 127.0.0.1",
            )
            .with("address", settings.nfs));
        }
        for export in &settings.exports {
            if export.prefix > bits(export.address) {
                return Err(Error::invalid("network prefix of an export is too long")
                    .with("export", format!("{}/{}", export.address, export.prefix)));
            }
        }
        Ok(Self {
            exports: settings.exports.clone(),
            read_only: settings.read_only,
            total_max: settings.limits.connections_max,
            per_address_max: settings.limits.connections_per_address_max,
            state: Mutex::default(),
        })
    }

    /// Lets a peer in or says why not.
    pub(super) fn enter(self: &Arc<Self>, peer: SocketAddr) -> Result<Seat, Refusal> {
        let peer = peer.ip().to_canonical();
        let rights = self.rights(peer).ok_or(Refusal::NotExported)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.total >= self.total_max {
            return Err(Refusal::TooMany);
        }
        let count = state.by_address.entry(peer).or_default();
        if *count >= self.per_address_max {
            return Err(Refusal::TooManyFromAddress);
        }
        *count += 1;
        state.total += 1;
        Ok(Seat { door: Arc::clone(self), peer, rights })
    }

    /// Whether this is the first refusal of the address, so that it is worth a line.
    pub(super) fn first_refusal(&self, peer: IpAddr) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.refused.len() >= REFUSED_KEPT {
            state.refused.clear();
        }
        state.refused.insert(peer.to_canonical())
    }

    /// Connections that are open now.
    pub(super) fn connections(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).total
    }

    /// The networks of the export list, for the EXPORT procedure.
    pub(super) fn networks(&self) -> Vec<String> {
        let rules = self.exports.iter().map(|rule| format!("{}/{}", rule.address, rule.prefix));
        std::iter::once("localhost".to_owned()).chain(rules).collect()
    }

    /// The longest matching rule decides; this machine itself needs none.
    fn rights(&self, peer: IpAddr) -> Option<Rights> {
        let matching = self.exports.iter().filter(|export| contains(export, peer));
        let rights = match matching.max_by_key(|export| export.prefix) {
            Some(rule) => Rights { read_only: rule.read_only, squash: rule.squash },
            None if peer.is_loopback() => Rights { read_only: false, squash: Squash::None },
            None => return None,
        };
        Some(Rights { read_only: rights.read_only || self.read_only, ..rights })
    }
}

impl Seat {
    /// The peer's address.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.door.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.total = state.total.saturating_sub(1);
        if let Some(count) = state.by_address.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.by_address.remove(&self.peer);
            }
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn contains(export: &Export, peer: IpAddr) -> bool {
    match (export.address, peer) {
        (IpAddr::V4(network), IpAddr::V4(peer)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(export.prefix)).unwrap_or(0);
            network.to_bits() & mask == peer.to_bits() & mask
        }
        (IpAddr::V6(network), IpAddr::V6(peer)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(export.prefix)).unwrap_or(0);
            network.to_bits() & mask == peer.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn export(network: &str, squash: Squash) -> Export {
        let (address, prefix) = network.split_once('/').unwrap();
        let address = address.parse().unwrap();
        Export { address, prefix: prefix.parse().unwrap(), read_only: false, squash }
    }

    fn door(exports: Vec<Export>) -> Arc<Door> {
        let mut settings = Settings { exports, ..Settings::default() };
        settings.limits.connections_max = 3;
        settings.limits.connections_per_address_max = 2;
        Arc::new(Door::new(&settings).unwrap())
    }

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 1000)
    }

    #[test]
    fn loopback_needs_no_rule_and_others_do() {
        let door = door(vec![export("10.1.0.0/16", Squash::Root), export("::/0", Squash::All)]);
        assert_eq!(door.enter(peer("127.0.0.1")).unwrap().rights.squash, Squash::None);
        assert_eq!(door.enter(peer("::ffff:127.0.0.9")).unwrap().rights.squash, Squash::None);
        assert_eq!(door.enter(peer("10.1.2.3")).unwrap().rights.squash, Squash::Root);
        assert_eq!(door.enter(peer("10.2.2.3")).unwrap_err(), Refusal::NotExported);
        assert_eq!(door.enter(peer("2001:db8::1")).unwrap().rights.squash, Squash::All);
        assert!(door.first_refusal(peer("10.2.2.3").ip()));
        assert!(!door.first_refusal(peer("10.2.2.3").ip()));
    }

    #[test]
    fn longest_prefix_decides() {
        let mut narrow = export("10.1.2.0/24", Squash::None);
        narrow.read_only = true;
        let door = door(vec![export("0.0.0.0/0", Squash::All), narrow]);
        let rights = door.enter(peer("10.1.2.3")).unwrap().rights;
        assert_eq!(rights, Rights { read_only: true, squash: Squash::None });
        assert_eq!(door.enter(peer("10.1.3.3")).unwrap().rights.squash, Squash::All);
    }

    #[test]
    fn connections_are_limited_per_address_and_in_all() {
        let door = door(vec![export("0.0.0.0/0", Squash::Root)]);
        let first = door.enter(peer("10.0.0.1")).unwrap();
        let _second = door.enter(peer("10.0.0.1")).unwrap();
        assert_eq!(door.enter(peer("10.0.0.1")).unwrap_err(), Refusal::TooManyFromAddress);
        let _third = door.enter(peer("10.0.0.2")).unwrap();
        assert_eq!(door.enter(peer("10.0.0.3")).unwrap_err(), Refusal::TooMany);
        drop(first);
        assert_eq!(door.connections(), 2);
        door.enter(peer("10.0.0.1")).unwrap();
    }

    #[test]
    fn open_address_without_exports_is_refused_with_the_remedy() {
        let settings = Settings { nfs: "0.0.0.0:0".parse().unwrap(), ..Settings::default() };
        let error = Door::new(&settings).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("`exports`"), "{error}");
        let exports = vec![export("10.0.0.0/33", Squash::Root)];
        assert!(Door::new(&Settings { exports, ..Settings::default() }).is_err());
    }
}
