//! Leases over real catalogues.

use std::time::Duration;

use std::sync::Arc;

use mountable::catalog::{LeaseSettings, TableLease};
use mountable::clock::{Clock, SharedClock, SystemClock};
use mountable::error::ErrorKind;

use crate::catalog_suite::table;
use crate::catalogs::{Pair, in_file, in_redis};

fn short() -> LeaseSettings {
    LeaseSettings {
        ttl: Duration::from_secs(3),
        wait: Duration::from_millis(200),
        poll: Duration::from_millis(20),
        owner: None,
    }
}

fn patient() -> LeaseSettings {
    LeaseSettings { wait: Duration::from_secs(30), ..short() }
}

async fn sleep(ms: u64) {
    SystemClock.sleep(Duration::from_millis(ms)).await;
}

async fn check(pair: Pair) {
    let clock: SharedClock = Arc::new(SystemClock);
    let id = table("acme/shop/orders");
    let first = TableLease::acquire(&pair.one, &clock, &id, &short()).await.expect("free");
    let busy = TableLease::acquire(&pair.two, &clock, &id, &short()).await.expect_err("held");
    assert_eq!(busy.kind(), ErrorKind::Busy);
    sleep(4_000).await;
    assert!(!first.is_lost(), "it is renewed beyond its time to live");
    assert!(first.release().await.expect("release"));

    // Somebody removes the lock and takes it: the holder learns of it.
    let second = TableLease::acquire(&pair.one, &clock, &id, &short()).await.expect("free");
    assert!(pair.two.release(&id, second.token()).await.expect("release"));
    assert!(pair.two.acquire(&id, "thief", Duration::from_millis(600)).await.expect("lock"));
    for _ in 0..300 {
        if second.is_lost() {
            break;
        }
        sleep(100).await;
    }
    assert!(second.is_lost());
    assert!(!second.release().await.expect("release"));

    // A lease that is dropped is released soon.
    let third = TableLease::acquire(&pair.one, &clock, &id, &patient()).await.expect("free");
    drop(third);
    let fourth = TableLease::acquire(&pair.two, &clock, &id, &patient()).await.expect("released");
    assert!(fourth.release().await.expect("release"));
}

#[tokio::test]
async fn a_lease_is_exclusive_renewed_and_released_in_a_file() {
    check(in_file().await).await;
}

#[tokio::test]
async fn a_lease_is_exclusive_renewed_and_released_in_redis() {
    check(in_redis().await).await;
}
