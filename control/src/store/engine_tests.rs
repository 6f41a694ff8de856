//! Both engines behind the seam: one suite for both, and what each has of its own.

use tempfile::TempDir;

use super::{Store, StoreError, StoreSettings};
use crate::{clock::Clock, store::engine::settings::Engine};

#[path = "../../tests/fixtures/private_postgres.rs"]
mod private_postgres;

/// The moment at which the databases are made.
const NOW: i64 = 1_000_000;

mod postgres;
mod sqlite;

/// A database that lives as long as a test.
struct Home {
    settings: StoreSettings,
    _folder: TempDir,
}

impl Home {
    fn new(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = match engine {
            Engine::Sqlite => format!("sqlite://{}", folder.path().join("control.db").display()),
            Engine::Postgres => private_postgres::url_for(folder.path()),
        };
        Self { settings: StoreSettings { pool_size: 6, ..StoreSettings::new(url) }, _folder: folder }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.settings.url.starts_with("postgres") {
            private_postgres::drop_for(&self.settings.url);
        }
    }
}

#[tokio::test]
async fn other_databases_are_refused_without_showing_their_password() {
    for url in
        ["postgres://me:hunter2@db/", "postgres://me:hunter2@:x/y", "mysql://me:hunter2@db/x", "hunter2", "sqlite://"]
    {
        let Err(error) = Store::open(&StoreSettings::new(url), &Clock::standing_at(NOW)).await else {
            panic!("{url} was opened")
        };
        assert!(matches!(&error, StoreError::Url(message) if !message.contains("hunter2")), "{error}");
    }
}
