//! The suite on SQLite, and what that has of its own.

use super::Home;
use crate::{
    clock::Clock,
    store::{Store, engine::settings::Engine},
};

#[allow(clippy::duplicate_mod)]
#[path = "../conformance.rs"]
mod conformance;

const ENGINE: Engine = Engine::Sqlite;

#[tokio::test]
async fn every_sqlite_connection_has_our_settings() {
    use sqlx::Row as _;
    let home = Home::new(Engine::Sqlite);
    let store = Store::open(&home.settings, &Clock::standing_at(1)).await.unwrap();
    let (mut reader, mut writer) = (store.read().await.unwrap(), store.write().await.unwrap());
    for db in [&mut *reader, &mut *writer] {
        let mode: String = sqlx::query("PRAGMA journal_mode").fetch_one(&mut *db).await.unwrap().try_get(0).unwrap();
        assert_eq!(mode, "wal");
        for (setting, expected) in
            [("PRAGMA foreign_keys", 1), ("PRAGMA synchronous", 1), ("PRAGMA busy_timeout", 5000)]
        {
            let row = sqlx::query(setting).fetch_one(&mut *db).await.unwrap();
            assert_eq!(row.try_get::<i64, _>(0).unwrap(), expected, "{setting}");
        }
    }
}
