//! Revisions, and what changed at each. A change names its subject only; its state is read when it is told.

use sqlx::{AnyConnection, Row as _};
use uuid::Uuid;

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

/// A revision. Its number alone does not identify it: a database that was put back to an earlier state gives the same
/// numbers again to other changes. The mark is random, so that both together name one change of one history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Revision {
    /// Goes up by one with each change.
    pub number: i64,
    /// Random; empty if it is not known.
    pub mark: String,
}

/// The relation of a revision that somebody has seen to the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The log has it: all changes after it are known.
    Continues,
    /// It is older than the log, or has no mark.
    Unknown,
    /// The log has another change in its place, or has not come so far: the database was put back to an earlier state.
    Foreign,
}

fn new_mark() -> String {
    Uuid::now_v7().to_string()
}

/// Starts counting at the present time, so that revisions of two databases never look like each other's.
pub(super) async fn start_counter(db: &mut AnyConnection, now_ms: i64) -> StoreResult<()> {
    let (number, mark) = (now_ms.max(1), new_mark());
    let made = sqlx::query(
        "INSERT INTO revision_counter (id, revision, pruned_through, mark, timeline) VALUES (1, $1, $1, $2, $3)
         ON CONFLICT (id) DO NOTHING",
    )
    .bind(number)
    .bind(mark.clone())
    .bind(Uuid::now_v7().to_string())
    .execute(&mut *db)
    .await?;
    if made.rows_affected() > 0 {
        log(db, &Revision { number, mark }, &Subject::Keys, now_ms).await?;
    }
    Ok(())
}

async fn log(db: &mut AnyConnection, at: &Revision, subject: &Subject, now_ms: i64) -> StoreResult<()> {
    let (kind, name) = subject.columns();
    sqlx::query("INSERT INTO changes (revision, kind, subject, changed_at, mark) VALUES ($1, $2, $3, $4, $5)")
        .bind(at.number)
        .bind(kind)
        .bind(name)
        .bind(now_ms)
        .bind(at.mark.clone())
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn append(db: &mut AnyConnection, subject: &Subject, now_ms: i64) -> StoreResult<Revision> {
    let mark = new_mark();
    // The row's lock is held until commit: a later revision cannot be seen before this one.
    let row =
        sqlx::query("UPDATE revision_counter SET revision = revision + 1, mark = $1 WHERE id = 1 RETURNING revision")
            .bind(mark.clone())
            .fetch_one(&mut *db)
            .await?;
    let revision = Revision { number: row.try_get(0)?, mark };
    log(db, &revision, subject, now_ms).await?;
    Ok(revision)
}

/// Begins a new timeline after revision number `past`: forgets all changes, so that every node takes a whole snapshot, and
/// raises all epochs of all groups, so that nothing holds that was remembered of an earlier timeline, on any node.
pub(super) async fn begin_timeline(db: &mut AnyConnection, past: i64, now_ms: i64) -> StoreResult<Revision> {
    let current = current_revision(db).await?.number;
    let revision = Revision { number: now_ms.max(current + 1).max(past.saturating_add(1)), mark: new_mark() };
    sqlx::query(
        "UPDATE revision_counter SET revision = $1, pruned_through = $1, mark = $2, timeline = $3 WHERE id = 1",
    )
    .bind(revision.number)
    .bind(revision.mark.clone())
    .bind(Uuid::now_v7().to_string())
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM changes").execute(&mut *db).await?;
    log(db, &revision, &Subject::Keys, now_ms).await?;
    sqlx::query("UPDATE groups SET etag = $1, link_epoch = $1, credential_epoch = $1, access_epoch = $1")
        .bind(revision.number)
        .execute(&mut *db)
        .await?;
    // They may serve what they know of the other timeline: a purge reckons with each for as long as that can be.
    sqlx::query("UPDATE nodes SET applied_revision = 0, heard_at = $1").bind(now_ms).execute(db).await?;
    Ok(revision)
}

/// Counts one more change of jobs.
pub(super) async fn count_jobs(db: &mut AnyConnection) -> StoreResult<i64> {
    let row =
        sqlx::query("UPDATE revision_counter SET jobs = jobs + 1 WHERE id = 1 RETURNING jobs").fetch_one(db).await?;
    Ok(row.try_get(0)?)
}

/// The revision of this transaction's moment.
pub async fn current_revision(db: &mut AnyConnection) -> StoreResult<Revision> {
    let row = sqlx::query("SELECT revision, mark FROM revision_counter WHERE id = 1").fetch_one(db).await?;
    Ok(Revision { number: row.try_get(0)?, mark: row.try_get(1)? })
}

/// The name of the timeline that the database is on.
pub async fn timeline(db: &mut AnyConnection) -> StoreResult<String> {
    Ok(sqlx::query("SELECT timeline FROM revision_counter WHERE id = 1").fetch_one(db).await?.try_get(0)?)
}

/// Looks up a revision that somebody has seen.
pub async fn standing(db: &mut AnyConnection, seen: &Revision) -> StoreResult<Standing> {
    let counter =
        sqlx::query("SELECT revision, pruned_through FROM revision_counter WHERE id = 1").fetch_one(&mut *db).await?;
    let (current, pruned): (i64, i64) = (counter.try_get(0)?, counter.try_get(1)?);
    if seen.mark.is_empty() || seen.number < pruned {
        return Ok(Standing::Unknown);
    }
    if seen.number > current {
        return Ok(Standing::Foreign);
    }
    let row =
        sqlx::query("SELECT mark FROM changes WHERE revision = $1").bind(seen.number).fetch_optional(&mut *db).await?;
    let mark: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
    Ok(if mark.as_ref() == Some(&seen.mark) { Standing::Continues } else { Standing::Foreign })
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

/// Forgets changes from before that time, but for the last of them: its mark tells those that have it from those of another
/// timeline. Nodes that have not heard the others get a snapshot.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query(
        "UPDATE revision_counter SET pruned_through =
             COALESCE((SELECT MAX(revision) FROM changes WHERE changed_at < $1), pruned_through) WHERE id = 1",
    )
    .bind(before_ms)
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM changes WHERE revision < (SELECT pruned_through FROM revision_counter WHERE id = 1)")
        .execute(db)
        .await?;
    Ok(())
}
