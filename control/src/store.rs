//! The database seam: connections, transactions, and the order of changes.
//!
//! It guarantees that
//! - what one transaction writes is seen whole or not at all, and is on disk in its order;
//! - writing transactions see each other's results one after the other, so that read-check-write never loses an update;
//! - a reading transaction sees one moment;
//! - whoever reads revision N finds every change up to N.
//!
//! SQL lives in the modules below, one per table or two, as functions over a connection that both kinds of
//! transaction lend. It is written for SQLite and PostgreSQL alike.

pub mod audit;
pub mod changes;
pub mod conditions;
pub mod contents;
pub mod credentials;
pub mod garbage;
pub mod groups;
pub mod inventory;
pub mod keys;
pub mod leases;
pub mod links;
pub mod members;
pub mod nodes;
pub mod oidc;
pub mod schedules;
pub mod tag_history;
pub mod tag_rules;
pub mod tags;
pub mod tokens;
pub mod upstream_health;
pub mod upstreams;
pub mod usage;
pub mod users;

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use sqlx::{
    AnyConnection, AnyPool, Executor as _, Transaction,
    any::{Any, AnyPoolOptions},
    migrate::MigrateError,
};
use tokio::sync::watch;

/// Connections that read; one more writes.
const READERS: u32 = 4;
/// How long a transaction waits for its turn before it fails.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Set on every new SQLite connection. WAL lets readers go on while one writes; with `synchronous=NORMAL` a power cut
/// may lose the last transactions but never damages the file, and links lost so are proven again by a HEAD.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; \
     PRAGMA busy_timeout = 5000; PRAGMA cache_size = -16000;";

/// The database cannot be used, or holds what it must not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is of a database that is not supported.
    #[error("{0}")]
    Url(String),
    /// The schema cannot be brought up to date.
    #[error("cannot bring the database's schema up to date: {0}")]
    Migrate(#[from] MigrateError),
    /// The database fails.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A row holds what we would never write.
    #[error("the database holds an unreadable {what}: {value:?}")]
    Corrupt {
        /// What it should be.
        what: &'static str,
        /// What is there, never a secret.
        value: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Database(error) if error.as_database_error().is_none_or(|e| !e.is_unique_violation()))
    }
}

/// What every function of the store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// A query that is bound to a repository of a group so far: `$1` to `$3`.
type Query = sqlx::query::Query<'static, Any, sqlx::any::AnyArguments>;

fn at(repository: &crate::content::GroupRepository, sql: &'static str) -> Query {
    sqlx::query(sql)
        .bind(repository.group_id.clone())
        .bind(repository.upstream.as_str().to_owned())
        .bind(repository.repository.as_str().to_owned())
}

/// Reads a stored word.
fn parse<T: std::str::FromStr>(what: &'static str, value: String) -> StoreResult<T> {
    value.parse().map_err(|_| StoreError::Corrupt { what, value })
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    reader: AnyPool,
    /// One connection, so that writers queue here in order instead of contending for the file's lock.
    writer: AnyPool,
    revision: watch::Sender<i64>,
}

impl Store {
    /// Opens the database at `url` and brings its schema up to date.
    pub async fn open(url: &str, now_ms: i64) -> StoreResult<Self> {
        let path = url.strip_prefix("sqlite://").filter(|path| !path.is_empty()).ok_or_else(|| unsupported(url))?;
        sqlx::any::install_default_drivers();
        let url = if path.contains('?') { url.to_owned() } else { format!("{url}?mode=rwc") };
        let writer = pool(1).connect(&url).await?;
        sqlx::migrate!("./migrations").run(&writer).await?;
        let reader = pool(READERS).connect(&url).await?;
        let store = Self { reader, writer, revision: watch::Sender::new(0) };
        let mut tx = store.write().await?;
        changes::start_counter(&mut tx, now_ms).await?;
        tx.commit().await?;
        store.refresh_revision().await?;
        Ok(store)
    }

    /// A transaction that reads one moment.
    pub async fn read(&self) -> StoreResult<ReadTx> {
        Ok(ReadTx(self.reader.begin().await?))
    }

    /// A transaction that writes; waits until it is the only one.
    pub async fn write(&self) -> StoreResult<WriteTx> {
        // IMMEDIATE: a transaction that reads first and writes then must not find that somebody wrote in between.
        let tx = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok(WriteTx { tx, revision: None, announce: self.revision.clone() })
    }

    /// The latest revision that was announced; changes at once after a commit of this process.
    pub fn revisions(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }

    /// Announces revisions committed by others, or whose announcement was lost with a cancelled call.
    pub async fn refresh_revision(&self) -> StoreResult<()> {
        let mut tx = self.read().await?;
        let now = changes::current_revision(&mut tx).await?;
        announce(&self.revision, now);
        Ok(())
    }
}

fn unsupported(url: &str) -> StoreError {
    // The rest of the URL may hold a password.
    let scheme = url.split_once(':').map_or("no scheme", |(scheme, _)| scheme);
    StoreError::Url(match scheme {
        "postgres" | "postgresql" => {
            "--database-url: postgres:// is not supported by this version yet; use sqlite://PATH".to_owned()
        }
        "sqlite" => "--database-url: write sqlite://PATH, as in sqlite:///var/lib/roadstead/control.db".to_owned(),
        scheme => format!("--database-url: a URL with {scheme:?} is not supported; use sqlite://PATH"),
    })
}

fn pool(connections: u32) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SQLITE_SETTINGS).await.map(|_| ()) }))
}

fn announce(sender: &watch::Sender<i64>, revision: i64) {
    sender.send_if_modified(|known| {
        let newer = revision > *known;
        *known = revision.max(*known);
        newer
    });
}

/// A transaction that reads one moment. Dropping it ends it.
pub struct ReadTx(Transaction<'static, Any>);

impl Deref for ReadTx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.0
    }
}

impl DerefMut for ReadTx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.0
    }
}

/// A transaction that writes. Dropping it undoes everything.
pub struct WriteTx {
    tx: Transaction<'static, Any>,
    revision: Option<i64>,
    announce: watch::Sender<i64>,
}

impl WriteTx {
    /// Records that nodes must learn of the subject's new state, and answers the revision of that.
    pub async fn changed(&mut self, subject: &changes::Subject, now_ms: i64) -> StoreResult<i64> {
        let revision = changes::append(&mut self.tx, subject, now_ms).await?;
        self.revision = Some(revision);
        Ok(revision)
    }

    /// Makes everything durable, then tells the watchers.
    pub async fn commit(self) -> StoreResult<()> {
        self.tx.commit().await?;
        if let Some(revision) = self.revision {
            announce(&self.announce, revision);
        }
        Ok(())
    }
}

impl Deref for WriteTx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.tx
    }
}

impl DerefMut for WriteTx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.tx
    }
}

#[cfg(test)]
#[path = "store/conformance.rs"]
mod conformance;
