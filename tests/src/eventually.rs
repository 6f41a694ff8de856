//! Waiting for a condition that comes true by itself: the one place in the tests that polls.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// Time after which a condition counts as one that never comes true. Generous, because the machine may be busy: a test
/// that passes never waits that long.
const PATIENCE: Duration = Duration::from_secs(120);

/// The pause between two looks.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `is_so` says yes. Panics with `what` after two minutes.
pub async fn eventually(what: impl Display, mut is_so: impl AsyncFnMut() -> bool) {
    eventually_some(async || is_so().await.then_some(()).ok_or_else(|| what.to_string())).await;
}

/// Waits until `ask` answers with a value, and returns it. Panics after two minutes with the last thing `ask` saw instead.
pub async fn eventually_some<T>(mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(seen) => assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {seen}"),
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Runs `action`, which the product promises to finish within `bound`. Panics with `what` if it takes longer.
///
/// For promised time limits only (a refusal instead of a hang), with bounds far above what a busy machine needs.
pub async fn within<T>(bound: Duration, what: impl Display, action: impl Future<Output = T>) -> T {
    match tokio::time::timeout(bound, action).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within {bound:?}: {what}"),
    }
}
