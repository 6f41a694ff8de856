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
pub mod cache;
pub mod changes;
pub mod cluster;
pub mod copy;
pub mod engine;
pub mod groups;
pub mod identity;
pub mod jobs;
pub mod request;
pub mod tags;
pub mod upstreams;
mod version;

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex},
    time::Duration,
};

use roadstead_proto::RepositoryRef;
use sqlx::{AnyConnection, AnyPool, Transaction, any::Any, migrate::MigrateError};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tracing::debug;

use self::engine::settings::Engine;
pub use self::engine::settings::StoreSettings;
use crate::clock::Clock;

/// Pause before a transaction that could not begin is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// The database cannot be used, or holds what it must not.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL is of a database that is not supported.
    #[error("{0}")]
    Url(String),
    /// The database is there, or should be, and will not do.
    #[error("--database-url: the database {0}")]
    Unusable(String),
    /// The database does not answer.
    #[error("the database does not answer")]
    Silent,
    /// The schema cannot be brought up to date.
    #[error("cannot bring the database's schema up to date: {0}")]
    Migrate(#[from] MigrateError),
    /// The database fails.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// A row holds what we would never write.
    #[error("the database holds an unreadable {what}: {value:?}")]
    Corrupt {
        /// The expected kind of value.
        what: &'static str,
        /// The stored value, never a secret.
        value: String,
    },
}

impl StoreError {
    /// Returns whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            // 22: a value that cannot be stored; 23: one that must not be; 42: SQL that is not understood.
            Self::Database(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default();
                !error.is_unique_violation()
                    && !["22", "23", "42"].iter().any(|class| code.len() == 5 && code.starts_with(class))
            }
            Self::Database(_) | Self::Silent => true,
            _ => false,
        }
    }
}

/// A connection that a transaction lends to the functions of the store.
pub type Connection = AnyConnection;

/// The result of every function of the store.
pub type StoreResult<T> = Result<T, StoreError>;

/// A query that is bound to a repository of a group so far: `$1` to `$3`.
type Query = sqlx::query::Query<'static, Any, sqlx::any::AnyArguments>;

fn query_for(repository: &RepositoryRef, sql: &'static str) -> Query {
    sqlx::query(sql)
        .bind(repository.group.to_string())
        .bind(repository.upstream.as_str().to_owned())
        .bind(repository.repository.as_str().to_owned())
}

/// Reads a stored word.
fn parse<T: std::str::FromStr>(what: &'static str, value: String) -> StoreResult<T> {
    value.parse().map_err(|_| StoreError::Corrupt { what, value })
}

/// Reads a stored size.
fn size(value: i64) -> StoreResult<u64> {
    u64::try_from(value).map_err(|_| StoreError::Corrupt { what: "size", value: value.to_string() })
}

/// The database. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    engine: Engine,
    reader: AnyPool,
    /// SQLite: one connection, so that writers queue here in order instead of contending for the file's lock.
    /// PostgreSQL: a few, so that the next writer waits at the server for its turn while one commits.
    writer: AnyPool,
    /// PostgreSQL: one connection for [looking](engine::liveness), so that it never waits for calls.
    watcher: AnyPool,
    timeout: Duration,
    clock: Clock,
    known: Arc<Known>,
}

/// The state of the database as this process knows it.
#[derive(Default)]
struct Known {
    news: watch::Sender<News>,
    /// The count of changes of jobs.
    jobs: watch::Sender<i64>,
    /// It does not answer.
    lost: watch::Sender<bool>,
    /// When the last look that found it began.
    looked_at: Mutex<Option<std::time::Instant>>,
}

/// The latest revision that is known here.
#[derive(Clone, Debug, Default)]
pub struct News {
    /// Goes up with each announcement, whatever happens to the revisions.
    pub count: u64,
    /// The revision.
    pub revision: changes::Revision,
}

impl Store {
    /// Opens the database and brings its schema up to date. From then on `clock` goes by the clock of the server, if there
    /// is one.
    pub async fn open(settings: &StoreSettings, clock: &Clock) -> StoreResult<Self> {
        let (engine, url) = settings.engine()?;
        sqlx::any::install_default_drivers();
        let migrator = sqlx::migrate!("./migrations");
        let prepared = match engine {
            Engine::Sqlite => engine::sqlite::prepare(&url, &migrator).await,
            Engine::Postgres => engine::postgres::prepare(&url, &migrator, clock).await,
        };
        if let Err(error) = prepared {
            return Err(version::explain(error, &url).await);
        }
        let (reader, writer, watcher) = match engine {
            Engine::Sqlite => {
                let writer = engine::sqlite::pool(1, settings.timeout).connect(&url).await?;
                let reader = engine::sqlite::pool(engine::sqlite::READERS, settings.timeout).connect(&url).await?;
                (reader.clone(), writer, reader)
            }
            Engine::Postgres => {
                let writers = (settings.pool_size / 3).max(1);
                let readers = settings.pool_size.saturating_sub(writers + 1).max(1);
                let pool = |connections| engine::postgres::pool(settings, connections).connect(&url);
                (pool(readers).await?, pool(writers).await?, pool(1).await?)
            }
        };
        let (clock, timeout) = (clock.clone(), settings.timeout);
        let store = Self { engine, reader, writer, watcher, timeout, clock, known: Arc::default() };
        let mut tx = store.write().await?;
        version::note(&mut tx).await?;
        changes::start_counter(&mut tx, store.clock.now_ms()).await?;
        tx.commit().await?;
        store.refresh_revision().await?;
        Ok(store)
    }

    /// Closes all connections, and writes what SQLite keeps in its log into its file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.watcher.close().await;
        self.writer.close().await;
    }

    /// Returns whether several replicas may use the database.
    pub fn serves_replicas(&self) -> bool {
        self.engine == Engine::Postgres
    }

    /// A transaction that reads one moment.
    pub async fn read(&self) -> StoreResult<ReadTx> {
        self.must_be_there()?;
        self.begin_read(&self.reader).await
    }

    async fn begin_read(&self, pool: &AnyPool) -> StoreResult<ReadTx> {
        Ok(ReadTx(match self.engine {
            Engine::Sqlite => pool.begin().await?,
            Engine::Postgres => self.begin(pool, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?,
        }))
    }

    /// A transaction that writes; waits until it is the only one.
    pub async fn write(&self) -> StoreResult<WriteTx> {
        self.begin_write("SELECT pg_advisory_xact_lock($1)").await
    }

    /// As [`Store::write`], for what nodes bring by the thousand and would bring, or prove, again: its commit does not
    /// wait for the disk, so that the next writer's turn comes at once. A crash of the server may lose the last of
    /// these, but none that a later [`Store::write`] builds on, and none that nodes are told of: [`WriteTx::changed`]
    /// has the commit wait. SQLite's commits are all like this.
    pub async fn write_soon(&self) -> StoreResult<WriteTx> {
        let mut tx =
            self.begin_write("SELECT pg_advisory_xact_lock($1), set_config('synchronous_commit', 'off', true)").await?;
        tx.hurries = self.engine == Engine::Postgres;
        Ok(tx)
    }

    async fn begin_write(&self, take_turn: &'static str) -> StoreResult<WriteTx> {
        self.must_be_there()?;
        let tx = match self.engine {
            // IMMEDIATE: a transaction that reads first and writes then must not find that somebody wrote in between.
            Engine::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await?,
            Engine::Postgres => {
                // READ COMMITTED: what is read after the lock was given is what the last writer left.
                let mut tx = self.begin(&self.writer, "BEGIN ISOLATION LEVEL READ COMMITTED").await?;
                sqlx::query(take_turn).bind(engine::postgres::WRITERS_LOCK).execute(&mut *tx).await?;
                tx
            }
        };
        Ok(WriteTx { tx, hurries: false, revision: None, jobs: None, known: self.known.clone() })
    }

    /// Begins on a connection that works: nothing has happened in a transaction that has not begun, so another is
    /// tried.
    async fn begin(&self, pool: &AnyPool, statement: &'static str) -> StoreResult<Transaction<'static, Any>> {
        let until = Instant::now() + self.timeout;
        loop {
            let pool = pool.clone();
            // A task of its own: a caller that goes away must not leave a transaction that nobody knows of.
            let begun = tokio::spawn(async move { pool.begin_with(statement).await });
            let begun = timeout_at(until, begun).await.map_err(|_| sqlx::Error::PoolTimedOut)?;
            match begun.map_err(|_| sqlx::Error::WorkerCrashed)? {
                Err(error) if engine::postgres::is_lost(&error) && Instant::now() < until => {
                    debug!(%error, "a connection to the database was lost; taking another");
                }
                begun => return Ok(begun?),
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    /// The latest revision that was announced; changes at once after a commit of this process.
    pub fn revisions(&self) -> watch::Receiver<News> {
        self.known.news.subscribe()
    }

    /// A count that moves whenever jobs change, at once after a commit of this process.
    pub fn job_changes(&self) -> watch::Receiver<i64> {
        self.known.jobs.subscribe()
    }
}

/// Tells all watchers of a revision. A commit that others have overtaken leaves the latest revision as it is.
fn announce(news: &watch::Sender<News>, revision: changes::Revision) {
    news.send_modify(|known| {
        known.count += 1;
        if revision.number > known.revision.number {
            known.revision = revision;
        }
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
    /// Its commit would not wait for the disk.
    hurries: bool,
    revision: Option<changes::Revision>,
    jobs: Option<i64>,
    known: Arc<Known>,
}

impl WriteTx {
    /// Records that nodes must learn of the subject's new state, and answers the revision of that.
    pub async fn changed(&mut self, subject: &changes::Subject, now_ms: i64) -> StoreResult<i64> {
        self.wait_for_the_disk().await?;
        let revision = changes::append(&mut self.tx, subject, now_ms).await?;
        let number = revision.number;
        self.revision = Some(revision);
        Ok(number)
    }

    /// Begins a new timeline, after revision number `past` of the one that somebody has seen; see
    /// [`changes::Revision`]. Answers its first revision.
    pub async fn begin_timeline(&mut self, past: i64, now_ms: i64) -> StoreResult<i64> {
        self.wait_for_the_disk().await?;
        let revision = changes::begin_timeline(&mut self.tx, past, now_ms).await?;
        let number = revision.number;
        self.revision = Some(revision);
        Ok(number)
    }

    async fn wait_for_the_disk(&mut self) -> StoreResult<()> {
        if std::mem::take(&mut self.hurries) {
            // A revision that a crash takes back would be given again to something else.
            sqlx::query("SELECT set_config('synchronous_commit', 'on', true)").execute(&mut *self.tx).await?;
        }
        Ok(())
    }

    /// Records that jobs have changed, so that every replica reads them again.
    pub async fn jobs_changed(&mut self) -> StoreResult<()> {
        self.jobs = Some(changes::count_jobs(&mut self.tx).await?);
        Ok(())
    }

    /// Makes everything durable, then tells the watchers.
    pub async fn commit(self) -> StoreResult<()> {
        self.tx.commit().await?;
        if let Some(revision) = self.revision {
            announce(&self.known.news, revision);
        }
        if let Some(jobs) = self.jobs {
            self.known.announce_jobs(jobs);
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
mod engine_tests;
