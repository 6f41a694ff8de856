//! The suite on PostgreSQL, and what that has of its own.

use super::{Home, private_postgres as server};
use crate::{
    clock::Clock,
    store::{Store, StoreError, StoreSettings, changes::Subject, engine::settings::Engine},
};

#[allow(clippy::duplicate_mod)]
#[path = "../conformance.rs"]
mod conformance;

const ENGINE: Engine = Engine::Postgres;
/// The moment at which the databases are made.
const NOW: i64 = 1_000_000;

#[tokio::test]
async fn replicas_that_start_at_once_on_an_empty_database_all_come_up() {
    let home = Home::new(Engine::Postgres);
    let start = || {
        let settings = home.settings.clone();
        tokio::spawn(async move { Store::open(&settings, &Clock::standing_at(NOW)).await.map(|_| ()) })
    };
    let all = [start(), start(), start(), start(), start()];
    for started in all {
        started.await.unwrap().unwrap();
    }
    let twice = "SELECT count(*) - count(DISTINCT version) FROM _sqlx_migrations WHERE success";
    assert_eq!(server::query(&home.settings.url, twice), "0");
}

#[tokio::test]
async fn every_text_column_sorts_by_its_bytes_whatever_the_database_does() {
    let home = Home::new(Engine::Postgres);
    Store::open(&home.settings, &Clock::standing_at(NOW)).await.unwrap();
    let provider = "SELECT datlocprovider FROM pg_database WHERE datname = current_database()";
    assert_eq!(server::query(&home.settings.url, provider), "i", "or this test tests nothing");
    let others = "SELECT table_name || '.' || column_name FROM information_schema.columns
        WHERE table_schema = 'public' AND data_type = 'text' AND collation_name IS DISTINCT FROM 'BINARY'
            AND table_name <> '_sqlx_migrations'";
    assert_eq!(server::query(&home.settings.url, others), "");
    let sorted = "SELECT string_agg(word, ' ' ORDER BY word COLLATE \"BINARY\")
        FROM (VALUES ('a'), ('B'), ('a-b'), ('ab'), ('a/b')) AS words (word)";
    assert_eq!(server::query(&home.settings.url, sorted), "B a a-b a/b ab");
}

#[tokio::test]
async fn a_start_says_what_is_wrong_with_the_database_and_shows_no_password() {
    let home = Home::new(Engine::Postgres);
    let url = home.settings.url.clone();
    for (url, expected) in [
        (url.replace("user=roadstead", "user=guarded&password=hunter3"), "password authentication failed"),
        (url.replace("postgres:///", "postgres:///not_"), "does not exist"),
    ] {
        let settings = StoreSettings { url, ..home.settings.clone() };
        let Err(error) = Store::open(&settings, &Clock::standing_at(NOW)).await else { panic!("it was opened") };
        assert!(matches!(&error, StoreError::Unusable(said) if said.contains(expected)), "{error}");
        assert!(!error.to_string().contains("hunter"), "{error}");
    }
}

#[tokio::test]
async fn only_what_would_be_brought_again_does_not_wait_for_the_disk() {
    use sqlx::Row as _;
    let home = Home::new(Engine::Postgres);
    let store = Store::open(&home.settings, &Clock::standing_at(NOW)).await.unwrap();
    let setting = async |mut tx: crate::store::WriteTx| {
        let row = sqlx::query("SHOW synchronous_commit").fetch_one(&mut *tx).await.unwrap();
        row.try_get::<String, _>(0).unwrap()
    };
    for _ in 0..3 {
        assert_eq!(setting(store.write().await.unwrap()).await, "on");
        assert_eq!(setting(store.write_soon().await.unwrap()).await, "off");
        let mut told = store.write_soon().await.unwrap();
        told.changed(&Subject::Keys, NOW).await.unwrap();
        assert_eq!(setting(told).await, "on", "nodes build on what they are told");
    }
}

#[tokio::test]
async fn a_writer_that_falls_silent_loses_its_turn_before_others_give_up() {
    let home = Home::new(Engine::Postgres);
    let open = || async { Store::open(&home.settings, &Clock::standing_at(NOW)).await.unwrap() };
    let (silent, other) = (open().await, open().await);
    let mut held = silent.write().await.unwrap();
    held.changed(&Subject::Keys, NOW).await.unwrap();
    // It waits for its turn, and no longer than a call may take.
    let mut tx = other.write().await.unwrap();
    tx.changed(&Subject::Keys, NOW).await.unwrap();
    tx.commit().await.unwrap();
    let lost = held.commit().await.unwrap_err();
    assert!(lost.retryable(), "{lost}");
    // Nothing of it is kept, and the replica goes on with another connection.
    assert_eq!(server::query(&home.settings.url, "SELECT count(*) FROM changes WHERE kind = 'keys'"), "2");
    silent.write().await.unwrap().commit().await.unwrap();
}

#[tokio::test]
async fn every_connection_has_the_server_watch_its_client() {
    use sqlx::Row as _;
    let home = Home::new(Engine::Postgres);
    let store = Store::open(&home.settings, &Clock::standing_at(NOW)).await.unwrap();
    let (mut reader, mut writer) = (store.read().await.unwrap(), store.write().await.unwrap());
    for db in [&mut *reader, &mut *writer] {
        for (setting, expected) in
            [("idle_in_transaction_session_timeout", "1500ms"), ("lock_timeout", "5s"), ("statement_timeout", "1min")]
        {
            let row = sqlx::query("SELECT current_setting($1)").bind(setting).fetch_one(&mut *db).await.unwrap();
            assert_eq!(row.try_get::<String, _>(0).unwrap(), expected, "{setting}");
        }
    }
}

#[tokio::test]
async fn the_time_is_the_server_s() {
    let home = Home::new(Engine::Postgres);
    let clock = Clock::system();
    let store = Store::open(&home.settings, &clock).await.unwrap();
    // As if this machine's clock were wrong by hours.
    let moment = std::time::Instant::now();
    clock.follow(NOW, moment, moment);
    store.refresh_revision().await.unwrap();
    let theirs = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)";
    let before: i64 = server::query(&home.settings.url, theirs).parse().unwrap();
    let ours = clock.now_ms();
    let after: i64 = server::query(&home.settings.url, theirs).parse().unwrap();
    assert!((before - 1_000..=after + 1_000).contains(&ours), "{before} {ours} {after}");
}
