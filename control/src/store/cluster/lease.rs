//! Leases: what only one may do at a time, and who does it.
//!
//! At any time at most one holder has a lease that has not expired. A holder that was replaced cannot renew or release,
//! because each grant has a higher epoch.

use sqlx::{AnyConnection, Row as _};

use crate::store::StoreResult;

/// The request.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The exclusive task: "retention", "fill/sha256:…".
    pub name: &'a str,
    /// The asking holder.
    pub holder: &'a str,
    /// Time for which it is valid without a renewal, in milliseconds.
    pub lifetime_ms: i64,
    /// Whatever others should know of it.
    pub detail: &'a str,
}

/// The outcome of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Granted: with a higher epoch than ever before.
    Granted {
        /// Its epoch.
        epoch: i64,
    },
    /// Somebody else has it.
    HeldBy {
        /// The holder.
        holder: String,
        /// Its epoch.
        epoch: i64,
        /// The holder's note.
        detail: String,
        /// When it expires, unless it is renewed.
        expires_at_ms: i64,
    },
}

/// Grants the lease, unless somebody else has it and it has not expired. A holder that asks again (it was restarted) is
/// granted anew.
pub async fn acquire(db: &mut AnyConnection, wanted: &Wanted<'_>, now_ms: i64) -> StoreResult<Lease> {
    let granted = sqlx::query(
        "INSERT INTO leases (name, holder, epoch, expires_at, detail) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE SET holder = $2, expires_at = $4, detail = $5,
             epoch = CASE WHEN leases.epoch >= $3 THEN leases.epoch + 1 ELSE $3 END
         WHERE leases.expires_at <= $3 OR leases.holder = $2
         RETURNING epoch",
    )
    .bind(wanted.name.to_owned())
    .bind(wanted.holder.to_owned())
    .bind(now_ms)
    .bind(now_ms.saturating_add(wanted.lifetime_ms))
    .bind(wanted.detail.to_owned())
    .fetch_optional(&mut *db)
    .await?;
    if let Some(row) = granted {
        return Ok(Lease::Granted { epoch: row.try_get(0)? });
    }
    let row = sqlx::query("SELECT holder, epoch, detail, expires_at FROM leases WHERE name = $1")
        .bind(wanted.name.to_owned())
        .fetch_one(db)
        .await?;
    Ok(Lease::HeldBy {
        holder: row.try_get(0)?,
        epoch: row.try_get(1)?,
        detail: row.try_get(2)?,
        expires_at_ms: row.try_get(3)?,
    })
}

/// Keeps a lease for as long again. False if it is somebody else's by now, or was released; one that has expired and
/// that nobody took is kept.
pub async fn renew(
    db: &mut AnyConnection,
    name: &str,
    holder: &str,
    epoch: i64,
    lifetime_ms: i64,
    now_ms: i64,
) -> StoreResult<bool> {
    let done = sqlx::query(
        "UPDATE leases SET expires_at = $4 WHERE name = $1 AND holder = $2 AND epoch = $3 AND expires_at > 0",
    )
    .bind(name.to_owned())
    .bind(holder.to_owned())
    .bind(epoch)
    .bind(now_ms.saturating_add(lifetime_ms))
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Gives a lease back; does nothing if it is somebody else's by now.
pub async fn release(db: &mut AnyConnection, name: &str, holder: &str, epoch: i64) -> StoreResult<()> {
    sqlx::query("UPDATE leases SET expires_at = 0 WHERE name = $1 AND holder = $2 AND epoch = $3")
        .bind(name.to_owned())
        .bind(holder.to_owned())
        .bind(epoch)
        .execute(db)
        .await?;
    Ok(())
}

/// Ends a lease, whoever has it, and leaves word for those who wait for it to end.
pub async fn finish(db: &mut AnyConnection, name: &str, word: &str) -> StoreResult<()> {
    sqlx::query("UPDATE leases SET expires_at = 0, detail = $2 WHERE name = $1 AND expires_at > 0")
        .bind(name.to_owned())
        .bind(word.to_owned())
        .execute(db)
        .await?;
    Ok(())
}

/// The word that was left by [`finish`], if the lease was ended so under that epoch or a later one; `None` while it
/// runs, or if it is not known any more.
pub async fn finished(db: &mut AnyConnection, name: &str, epoch: i64) -> StoreResult<Option<String>> {
    let row = sqlx::query("SELECT detail FROM leases WHERE name = $1 AND epoch >= $2 AND expires_at = 0")
        .bind(name.to_owned())
        .bind(epoch)
        .fetch_optional(db)
        .await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Returns the holder and the epoch of a lease that has not expired.
pub async fn holder(db: &mut AnyConnection, name: &str, now_ms: i64) -> StoreResult<Option<(String, i64)>> {
    let row = sqlx::query("SELECT holder, epoch FROM leases WHERE name = $1 AND expires_at > $2")
        .bind(name.to_owned())
        .bind(now_ms)
        .fetch_optional(db)
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// Forgets leases that were released, or that expired before that time.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<()> {
    sqlx::query("DELETE FROM leases WHERE expires_at < $1").bind(before_ms).execute(db).await?;
    Ok(())
}
