//! SQLite: connections as we want them.

use std::time::Duration;

use sqlx::{Executor as _, any::AnyPoolOptions};

/// Connections that read; one more writes.
pub(crate) const READERS: u32 = 4;
/// Set on every new connection. WAL lets readers go on while one writes; with `synchronous=NORMAL` a power cut may lose
/// the last transactions but never damages the file, and links lost so are proven again by a HEAD.
const SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16000;";

/// As many connections, which live as long as the pool.
pub(crate) fn pool(connections: u32, timeout: Duration) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SETTINGS).await.map(|_| ()) }))
}
