//! Who may change a slot.
//!
//! Content is changed by one call of a client at a time, and by several clients at the same time:
//! their commits are independent (`table::group`). Whoever moves the name itself, or finishes what
//! others have left, does so alone.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Turns of those who change a slot; readers do not take one.
#[derive(Debug, Default)]
pub(super) struct Changing {
    name: RwLock<()>,
    clients: Mutex<HashMap<Arc<str>, Arc<tokio::sync::Mutex<()>>>>,
}

/// The turn of one client; others may have theirs at the same time.
#[derive(Debug)]
pub(super) struct ClientTurn<'a> {
    // Dropped in this order.
    _client: OwnedMutexGuard<()>,
    _name: RwLockReadGuard<'a, ()>,
}

impl Changing {
    /// Waits until nobody else changes anything.
    pub(super) async fn lock(&self) -> RwLockWriteGuard<'_, ()> {
        self.name.write().await
    }

    /// Waits until no other call of the client changes content, and nobody the name.
    pub(super) async fn lock_client(&self, client: &Arc<str>) -> ClientTurn<'_> {
        let name = self.name.read().await;
        let turn = {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody holds or waits for are not worth keeping.
            clients.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(clients.entry(Arc::clone(client)).or_default())
        };
        ClientTurn { _client: turn.lock_owned().await, _name: name }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn clients_do_not_wait_for_each_other_but_for_themselves_and_for_the_name() {
        let changing = Changing::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let first = changing.lock_client(&a).await;
        let second = changing.lock_client(&b).now_or_never().expect("another client");
        assert!(changing.lock_client(&a).now_or_never().is_none(), "the same client");
        assert!(changing.lock().now_or_never().is_none(), "the name");
        drop(first);
        drop(changing.lock_client(&a).now_or_never().expect("its turn again"));
        assert!(changing.lock().now_or_never().is_none(), "the name");
        drop(second);
        let alone = changing.lock().now_or_never().expect("nobody left");
        assert!(changing.lock_client(&a).now_or_never().is_none(), "the name is moved");
        drop(alone);
        drop(changing.lock_client(&a).now_or_never().expect("free"));
        assert_eq!(changing.clients.lock().expect("lock").len(), 1, "only the last is kept");
    }
}
