//! SQLite: connections as we want them.

use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _, any::AnyPoolOptions, migrate::Migrator};

use crate::store::{StoreError, StoreResult};

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

/// Opens the file, creating it where it does not exist, and brings its schema up to date.
pub(crate) async fn prepare(url: &str, migrator: &Migrator) -> StoreResult<()> {
    let path = url.strip_prefix("sqlite://").unwrap_or(url);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let unusable = |error: sqlx::Error| match error.as_database_error().and_then(|error| error.code()).as_deref() {
        Some("26") => StoreError::Unusable(format!("{path} is not a SQLite database")),
        Some("14") => StoreError::Unusable(format!(
            "{path} cannot be opened: it is a folder, its folder does not exist, or this user may not write there"
        )),
        _ => error.into(),
    };
    let mut connection = AnyConnection::connect(url).await.map_err(unusable)?;
    connection.execute(SETTINGS).await.map_err(unusable)?;
    migrator.run_direct(None, &mut connection, false).await?;
    connection.close().await?;
    Ok(())
}

/// Copies a database into the empty file `to`, as it is at one moment.
pub(crate) async fn copy(url: &str, to: &str) -> StoreResult<()> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await?;
    sqlx::query("PRAGMA busy_timeout = 10000").execute(&mut connection).await?;
    sqlx::query("VACUUM INTO $1").bind(to.to_owned()).execute(&mut connection).await?;
    Ok(connection.close().await?)
}

/// Returns what is wrong with a database, if anything is.
pub(crate) async fn fault_of(url: &str) -> StoreResult<Option<String>> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(url).await?;
    let verdict: String = sqlx::query("PRAGMA integrity_check").fetch_one(&mut connection).await?.try_get(0)?;
    connection.close().await?;
    Ok((verdict != "ok").then_some(verdict))
}
