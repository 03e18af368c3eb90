//! What a Redis server tells about itself.

use std::collections::BTreeMap;

use super::RedisCatalog;
use super::link::Request;
use crate::catalog::examine::{LATENCY_CALLS, RedisFacts, median};
use crate::clock::now_ms;
use crate::error::Result;

impl RedisCatalog {
    /// Asks the server. What this user may not ask is left empty.
    pub(in crate::catalog) async fn facts(&self) -> Result<RedisFacts> {
        let info = self.info().await?;
        let text = |name: &str| info.get(name).cloned().unwrap_or_default();
        let number = |name: &str| text(name).parse::<u64>().unwrap_or_default();
        let mut times = Vec::with_capacity(LATENCY_CALLS);
        for _ in 0..LATENCY_CALLS {
            let start = self.clock.monotonic_ns();
            self.call::<String>("ask for an answer", Request::command("PING")).await?;
            times.push(self.clock.monotonic_ns().saturating_sub(start) / 1_000);
        }
        let before = now_ms(self.clock.as_ref());
        let time = self.call::<(String, String)>("ask for the time", Request::command("TIME"));
        let clock_ahead_ms = match time.await {
            Ok(answer) => {
                let (seconds, micros) = answer.value;
                let part = |text: &str| text.parse::<i64>().unwrap_or_default();
                let there = part(&seconds).saturating_mul(1000) + part(&micros) / 1000;
                // Anything between sending and receiving is as good as equal.
                let after = now_ms(self.clock.as_ref());
                there - there.clamp(before, after)
            }
            Err(_) => 0,
        };
        Ok(RedisFacts {
            address: self.link.address().to_owned(),
            version: text("redis_version"),
            role: text("role"),
            append_only: text("aof_enabled") == "1",
            save: self.setting("save").await,
            last_save_ok: text("rdb_last_bgsave_status") == "ok",
            eviction: text("maxmemory_policy"),
            memory_max: number("maxmemory"),
            replicas: number("connected_slaves"),
            clock_ahead_ms,
            latency_us: median(times),
        })
    }

    /// A setting of the server; managed services refuse to tell.
    async fn setting(&self, name: &str) -> Option<String> {
        let request = Request::command("CONFIG").arg("GET").arg(name);
        let answer = self.call::<BTreeMap<String, String>>("read setting", request).await;
        answer.ok()?.value.remove(name)
    }
}
