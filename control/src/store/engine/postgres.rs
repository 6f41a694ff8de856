//! PostgreSQL: connections that notice when the other end is gone, and a collation that sorts text as SQLite does.

use std::time::Duration;

use sqlx::{
    AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, any::AnyPoolOptions, migrate::Migrator,
};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use super::settings::StoreSettings;
use crate::{
    clock::Clock,
    store::{StoreError, StoreResult},
};

/// Oldest server that is supported, as `server_version_num` counts.
const OLDEST_SERVER: i64 = 150_000;
/// Longest wait of a start for an unreachable server.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// Pause between tries to reach it.
const START_PAUSE: Duration = Duration::from_millis(500);
/// Timeout for the liveness check of an idle connection.
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// From how long idle on a connection is asked whether it is alive before it is used.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// Longest that one statement may take, as a multiple of the time that is waited for a turn.
const STATEMENT_TIMES: u128 = 12;
/// Longest use of a connection, so that a server that moved is found again.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 60);
/// Time for which an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Key of the lock that makes writing transactions take turns: "roadstea" in ASCII. Locks are a database's own.
pub(crate) const WRITERS_LOCK: i64 = 0x726f_6164_7374_6561;

/// The settings of every connection. A replica that falls silent while it holds locks loses them before a pull that waits
/// for them gives up, and statements of one that is gone end; where the server's system cannot watch its clients, it does
/// without.
fn session(settings: &StoreSettings) -> String {
    let turn_ms = settings.timeout.as_millis().max(1);
    format!(
        "SET lock_timeout = {turn_ms};
         SET statement_timeout = {statement_ms};
         SET jit = off;
         {SILENT_CLIENTS}",
        statement_ms = STATEMENT_TIMES * turn_ms,
    )
}

/// Has the server end transactions whose client is silent or gone. A node gives a call up after four seconds.
const SILENT_CLIENTS: &str = "SET idle_in_transaction_session_timeout = 1500;
     DO $$ BEGIN
         PERFORM set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
             set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '5000', false),
             set_config('client_connection_check_interval', '1000', false);
     EXCEPTION WHEN OTHERS THEN NULL; END $$;";

/// As many connections at most. None is used, or kept, that does not answer.
pub(crate) fn pool(settings: &StoreSettings, connections: u32) -> AnyPoolOptions {
    let session = session(settings);
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(settings.timeout)
        .idle_timeout(IDLE_TIMEOUT)
        .max_lifetime(MAX_LIFETIME)
        .after_connect(move |connection, _| {
            let session = session.clone();
            Box::pin(async move { connection.execute(AssertSqlSafe(session)).await.map(|_| ()) })
        })
        // Not before every use, which would be a round trip each: only where it has been idle.
        .test_before_acquire(false)
        .before_acquire(|connection, seen| {
            Box::pin(async move {
                if seen.idle_for >= ASK_AFTER {
                    ping(connection).await?;
                }
                Ok(true)
            })
        })
        // A call that was given up leaves its connection waiting for an answer that may never come.
        .after_release(|connection, _| Box::pin(async move { ping(connection).await.map(|()| true) }))
}

async fn ping(connection: &mut AnyConnection) -> sqlx::Result<()> {
    let silent = || sqlx::Error::Io(std::io::Error::from(std::io::ErrorKind::TimedOut));
    timeout(PING_TIMEOUT, connection.ping()).await.map_err(|_| silent())?
}

/// Waits for the server, checks that it will do, has `clock` go by the server's, and brings the schema up to date. Several
/// replicas may do so at once: they take turns by an advisory lock of the database's.
pub(crate) async fn prepare(url: &str, migrator: &Migrator, clock: &Clock) -> StoreResult<()> {
    let mut connection = connect(url).await?;
    connection.execute(SILENT_CLIENTS).await?;
    let asked = std::time::Instant::now();
    let row = sqlx::query(
        "SELECT CAST(current_setting('server_version_num') AS BIGINT), current_setting('server_version'),
             current_setting('server_encoding'), CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
    )
    .fetch_one(&mut connection)
    .await?;
    clock.follow(row.try_get(3)?, asked, std::time::Instant::now());
    let (version, name, encoding): (i64, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if version < OLDEST_SERVER {
        return Err(StoreError::Unusable(format!("is PostgreSQL {name}; Roadstead needs 15 or later")));
    }
    if encoding != "UTF8" {
        return Err(StoreError::Unusable(format!(
            "has the encoding {encoding}; make one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )));
    }
    connection.execute(AssertSqlSafe(binary_collation())).await?;
    migrator.run_direct(None, &mut connection, false).await?;
    connection.close().await?;
    Ok(())
}

/// Makes the collation that the schema's columns have and that SQLite has built in: it compares bytes, whatever the
/// database's own order is.
fn binary_collation() -> String {
    format!(
        "DO $$ BEGIN
             PERFORM pg_advisory_xact_lock({WRITERS_LOCK});
             IF to_regcollation('\"BINARY\"') IS NULL THEN CREATE COLLATION \"BINARY\" FROM \"C\"; END IF;
         END $$"
    )
}

/// A server that is starting, or that cannot be reached yet, is waited for; one that refuses is not.
async fn connect(url: &str) -> StoreResult<AnyConnection> {
    let until = Instant::now() + START_PATIENCE;
    let mut told = false;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let error = match timeout(left, AnyConnection::connect(url)).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) => error,
            Err(_) => return Err(StoreError::Unusable("does not answer".to_owned())),
        };
        let refusal = match &error {
            sqlx::Error::Io(_) => false,
            // 57P03: it is starting; 53300: it has no connection to spare.
            sqlx::Error::Database(told) => !matches!(told.code().as_deref(), Some("57P03" | "53300")),
            _ => true,
        };
        if refusal || Instant::now() + START_PAUSE >= until {
            return Err(StoreError::Unusable(format!("cannot be used: {}", plain(&error))));
        }
        if !std::mem::replace(&mut told, true) {
            warn!(error = %plain(&error), "cannot reach the database yet; trying again");
        }
        sleep(START_PAUSE).await;
    }
}

/// Returns the message of the server or the system, without the driver's words around it.
fn plain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

/// True if the error means that the connection is lost, and with it the transaction.
pub(crate) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        // 08: connection; 57P01 to 57P05: shut down, crashed, starting, dropped, idle for too long.
        sqlx::Error::Database(told) => {
            told.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P") || code == "25P03")
        }
        _ => false,
    }
}
