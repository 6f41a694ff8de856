use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::{
    clock::Clock,
    store::{Store, StoreSettings, changes},
};

async fn source() -> (tempfile::TempDir, BackupSource, Store) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data # 1");
    fs::create_dir(&data_dir).unwrap();
    fs::write(data_dir.join(KEY_FILE), "key").unwrap();
    let store = Store::open(&StoreSettings::new(sqlite_url(&data_dir.join(DATABASE)).unwrap()), &Clock::standing_at(1))
        .await
        .unwrap();
    (folder, BackupSource { data_dir, database_url: None, secret_key: SecretKey::DataDir }, store)
}

#[tokio::test]
async fn a_backup_is_of_one_moment_and_its_owners_only() {
    let (folder, source, store) = source().await;
    let mut before = store.write().await.unwrap();
    before.changed(&changes::Subject::Keys, 1).await.unwrap();
    before.commit().await.unwrap();
    let revision =
        async |store: &Store| changes::current_revision(&mut store.read().await.unwrap()).await.unwrap().number;
    let then = revision(&store).await;
    // Somebody is just writing.
    let mut writing = store.write().await.unwrap();
    writing.changed(&changes::Subject::Keys, 1).await.unwrap();
    let target = folder.path().join("backup");
    let files = back_up(&source, &target).await.unwrap();
    writing.commit().await.unwrap();
    assert_eq!(files, [target.join(KEY_FILE), target.join(DATABASE)]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&target), mode(&files[0]), mode(&files[1])), (0o700, 0o600, 0o600));
    let copy = Store::open(&StoreSettings::new(sqlite_url(&files[1]).unwrap()), &Clock::standing_at(1)).await.unwrap();
    assert_eq!((revision(&copy).await, revision(&store).await), (then, then + 1));
}

#[tokio::test]
async fn a_key_that_has_no_file_is_backed_up_as_the_file_to_restore_from() {
    let (folder, source, _store) = source().await;
    let source = BackupSource { secret_key: SecretKey::Value("AAAA".into()), ..source };
    let files = back_up(&source, &folder.path().join("backup")).await.unwrap();
    assert_eq!(fs::read_to_string(&files[0]).unwrap(), "AAAA\n");
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn what_cannot_be_backed_up_leaves_nothing_that_looks_like_a_backup() {
    let (folder, source, _store) = source().await;
    let target = folder.path().join("backup");
    fs::remove_file(source.data_dir.join(KEY_FILE)).unwrap();
    assert!(matches!(back_up(&source, &target).await, Err(BackupError::SourceMissing { .. })));
    fs::write(source.data_dir.join(KEY_FILE), "key").unwrap();
    fs::write(source.data_dir.join(DATABASE), "no database, and long enough not to be taken for an empty one").unwrap();
    fs::remove_file(source.data_dir.join("control.db-wal")).unwrap();
    assert!(matches!(back_up(&source, &target).await, Err(BackupError::Database(_))));
    fs::create_dir(&target).unwrap();
    assert!(matches!(back_up(&source, &target).await, Err(BackupError::TargetExists(_))));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn pg_dump_is_told_by_the_environment_what_the_servers_url_says() {
    let of = |url: &str| {
        let mut all: Vec<_> =
            libpq_environment(url).unwrap().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        all.sort();
        all.join(" ")
    };
    for (url, expected) in [
        (
            "postgres://me:p%40ss@db:6432/roadstead",
            "PGDATABASE=roadstead PGHOST=db PGPASSWORD=p@ss PGPORT=6432 PGUSER=me",
        ),
        ("postgres://me@[::1]:5433/db", "PGDATABASE=db PGHOST=::1 PGPORT=5433 PGUSER=me"),
        ("postgres:///roadstead?host=/run/postgresql&user=me", "PGDATABASE=roadstead PGHOST=/run/postgresql PGUSER=me"),
        (
            "postgresql://db/roadstead?password=secret&ssl-mode=require&statement-cache-capacity=5",
            "PGDATABASE=roadstead PGHOST=db PGPASSWORD=secret PGSSLMODE=require",
        ),
    ] {
        assert_eq!(of(url), expected);
    }
}
