//! Revisions, and what changed at each. A change names its subject only; its state is read when it is told.

use sqlx::{AnyConnection, Row as _};

use super::{StoreError, StoreResult};

/// The subject of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The group with this id.
    Group(String),
    /// The upstream with this host.
    Upstream(String),
    /// The set of signing keys.
    Keys,
    /// The token with this id, which was revoked, or the user with this id, whose registry tokens were.
    Revocation(String),
    /// The condition of an upstream, by its key.
    Condition(String),
}

impl Subject {
    fn columns(&self) -> (&'static str, &str) {
        match self {
            Self::Group(id) => ("group", id),
            Self::Upstream(host) => ("upstream", host),
            Self::Keys => ("keys", ""),
            Self::Revocation(id) => ("revocation", id),
            Self::Condition(key) => ("condition", key),
        }
    }
}

/// Starts counting at the present time, so that revisions of two databases never look like each other's.
pub(super) async fn start_counter(db: &mut AnyConnection, now_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO revision_counter (id, revision, pruned_through) VALUES (1, $1, $1) ON CONFLICT (id) DO NOTHING",
    )
    .bind(now_ms.max(1))
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn append(db: &mut AnyConnection, subject: &Subject, now_ms: i64) -> StoreResult<i64> {
    // The row's lock is held until commit: a later revision cannot be seen before this one.
    let row = sqlx::query("UPDATE revision_counter SET revision = revision + 1 WHERE id = 1 RETURNING revision")
        .fetch_one(&mut *db)
        .await?;
    let revision = row.try_get(0)?;
    let (kind, name) = subject.columns();
    sqlx::query("INSERT INTO changes (revision, kind, subject, changed_at) VALUES ($1, $2, $3, $4)")
        .bind(revision)
        .bind(kind)
        .bind(name)
        .bind(now_ms)
        .execute(db)
        .await?;
    Ok(revision)
}

/// The revision of this transaction's moment.
pub async fn current_revision(db: &mut AnyConnection) -> StoreResult<i64> {
    Ok(sqlx::query("SELECT revision FROM revision_counter WHERE id = 1").fetch_one(db).await?.try_get(0)?)
}

/// Returns the subjects that changed after `revision`, each once, in the order of their last changes. `None` if that is
/// not known (any more), which is so for revisions of other databases too.
pub async fn since(db: &mut AnyConnection, revision: i64) -> StoreResult<Option<Vec<Subject>>> {
    let counter =
        sqlx::query("SELECT revision, pruned_through FROM revision_counter WHERE id = 1").fetch_one(&mut *db).await?;
    let (current, pruned): (i64, i64) = (counter.try_get(0)?, counter.try_get(1)?);
    if revision < pruned || revision > current {
        return Ok(None);
    }
    let rows = sqlx::query(
        "SELECT kind, subject FROM changes WHERE revision > $1 GROUP BY kind, subject ORDER BY MAX(revision)",
    )
    .bind(revision)
    .fetch_all(db)
    .await?;
    rows.iter()
        .map(|row| {
            let (kind, subject): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            match kind.as_str() {
                "group" => Ok(Subject::Group(subject)),
                "upstream" => Ok(Subject::Upstream(subject)),
                "keys" => Ok(Subject::Keys),
                "revocation" => Ok(Subject::Revocation(subject)),
                "condition" => Ok(Subject::Condition(subject)),
                _ => Err(StoreError::Corrupt { what: "kind of change", value: kind }),
            }
        })
        .collect::<StoreResult<_>>()
        .map(Some)
}

/// Counts the changes after `revision`, with the time of the first of them; those that are forgotten do not count.
pub async fn behind(db: &mut AnyConnection, revision: i64) -> StoreResult<(i64, Option<i64>)> {
    let row = sqlx::query("SELECT COUNT(*), MIN(changed_at) FROM changes WHERE revision > $1")
        .bind(revision)
        .fetch_one(db)
        .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Forgets changes from before that time; who has not heard them gets a snapshot.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "UPDATE revision_counter SET pruned_through =
             COALESCE((SELECT MAX(revision) FROM changes WHERE changed_at < $1), pruned_through) WHERE id = 1",
    )
    .bind(before_ms)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM changes WHERE revision <= (SELECT pruned_through FROM revision_counter WHERE id = 1)")
        .execute(db)
        .await?;
    Ok(())
}
