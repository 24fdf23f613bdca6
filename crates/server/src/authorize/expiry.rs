//! Sessions that nobody refreshed in time end by themselves (S4-03).

use std::time::Duration;

use domain::Millis;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::registry::Registry;
use store::Store;

/// How often idle sessions are looked for.
const EVERY: Duration = Duration::from_secs(5);

/// Ends idle sessions until the server stops.
pub async fn end_idle(store: Store, registry: Registry, clock: Clock, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.changed() => return,
        }
        end_idle_now(&store, &registry, clock.now()).await;
    }
}

/// One round; how many were ended.
pub async fn end_idle_now(store: &Store, registry: &Registry, now: Millis) -> usize {
    let idle = match store.idle_sessions(now).await {
        Ok(idle) => idle,
        Err(why) => {
            tracing::warn!(%why, "idle sessions could not be looked for");
            return 0;
        }
    };
    let mut ended = 0;
    for (tenant, session) in idle {
        match registry.end_session(&tenant, &session, "idle").await {
            Ok(true) => ended += 1,
            Ok(false) => {}
            Err(why) => tracing::warn!(%session, %why, "an idle session could not be ended; it is tried again"),
        }
    }
    ended
}
