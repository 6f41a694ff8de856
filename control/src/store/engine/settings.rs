//! Which database, and how to reach it: the URL told apart, and the bounds on connections and waiting.

use std::time::Duration;

use url::Url;

use crate::store::StoreError;

/// The settings of the store.
#[derive(Clone)]
pub struct StoreSettings {
    /// `sqlite://PATH` or `postgres://…`.
    pub url: String,
    /// Most connections to PostgreSQL that this process holds; at least three. SQLite needs no such bound.
    pub pool_size: u32,
    /// Longest wait of a transaction for a connection and for its turn; a database that is silent for longer counts as
    /// unavailable.
    pub timeout: Duration,
}

impl StoreSettings {
    /// Default number of a process's connections to PostgreSQL.
    pub const POOL_SIZE: u32 = 10;
    /// Default time limit.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// The defaults, for this database.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), pool_size: Self::POOL_SIZE, timeout: Self::TIMEOUT }
    }

    /// Which engine that is, with the URL as its driver wants it.
    pub(crate) fn engine(&self) -> Result<(Engine, String), StoreError> {
        match self.url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => {
                let url = if path.contains('?') { self.url.clone() } else { format!("{}?mode=rwc", self.url) };
                Ok((Engine::Sqlite, url))
            }
            Some(("postgres" | "postgresql", _)) => Ok((Engine::Postgres, self.postgres_url()?)),
            _ => Err(unsupported(&self.url)),
        }
    }

    fn postgres_url(&self) -> Result<String, StoreError> {
        let wrong = |what: &str| {
            StoreError::Url(format!(
                "--database-url postgres://…: {what}; write postgres://USER:PASSWORD@HOST/DATABASE"
            ))
        };
        let mut url = Url::parse(&self.url).map_err(|error| wrong(&error.to_string()))?;
        let has = |key: &str| url.query_pairs().any(|(name, _)| name == key);
        if url.path().trim_matches('/').is_empty() && !has("dbname") {
            return Err(wrong("names no database"));
        }
        if !has("application_name") {
            url.query_pairs_mut().append_pair("application_name", "roadstead");
        }
        Ok(url.into())
    }
}

impl std::fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.url.split_once(':').map_or("", |(scheme, _)| scheme);
        // The rest of the URL may hold a password.
        write!(f, "StoreSettings({scheme}, {} connections, {:?})", self.pool_size, self.timeout)
    }
}

/// The engines behind the seam.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A file that this process alone writes.
    Sqlite,
    /// A server that several replicas share.
    Postgres,
}

fn unsupported(url: &str) -> StoreError {
    let scheme = url.split_once(':').map_or("no scheme", |(scheme, _)| scheme);
    StoreError::Url(match scheme {
        "sqlite" => "--database-url: write sqlite://PATH, as in sqlite:///var/lib/roadstead/control.db".to_owned(),
        scheme => format!("--database-url: a URL with {scheme:?} is not supported; use sqlite://PATH or postgres://…"),
    })
}
