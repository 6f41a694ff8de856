//! Upstreams.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::rules::upstreams::upstream::Upstream;
use crate::store::{StoreResult, parse};

/// A `SELECT` of whole upstreams.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT host, url, token_hosts, ca_pem, redirect_hosts, reserve_percent, updated_at FROM upstreams ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<Upstream> {
    let hosts = |column: &str| -> StoreResult<Vec<String>> {
        let list: String = row.try_get(column)?;
        Ok(list.split_ascii_whitespace().map(ToOwned::to_owned).collect())
    };
    Ok(Upstream {
        host: parse("upstream host", row.try_get("host")?)?,
        url: row.try_get("url")?,
        token_hosts: hosts("token_hosts")?,
        ca_pem: row.try_get("ca_pem")?,
        redirect_hosts: hosts("redirect_hosts")?,
        reserve_percent: row.try_get("reserve_percent")?,
        updated_at_ms: row.try_get("updated_at")?,
    })
}

/// All upstreams.
pub async fn all(db: &mut AnyConnection) -> StoreResult<Vec<Upstream>> {
    select!("ORDER BY host").fetch_all(db).await?.iter().map(read).collect()
}

/// Upstreams after the host `after`, in the order of their hosts.
pub async fn page(db: &mut AnyConnection, after: &str, limit: i64) -> StoreResult<Vec<Upstream>> {
    let rows =
        select!("WHERE host > $1 ORDER BY host LIMIT $2").bind(after.to_owned()).bind(limit).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// The upstream with this host.
pub async fn by_host(db: &mut AnyConnection, host: &str) -> StoreResult<Option<Upstream>> {
    select!("WHERE host = $1").bind(host.to_owned()).fetch_optional(db).await?.as_ref().map(read).transpose()
}

/// Adds an upstream or replaces its settings.
pub async fn put(db: &mut AnyConnection, upstream: &Upstream) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO upstreams (host, url, token_hosts, ca_pem, redirect_hosts, reserve_percent, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (host) DO UPDATE SET
             url = $2, token_hosts = $3, ca_pem = $4, redirect_hosts = $5, reserve_percent = $6, updated_at = $7",
    )
    .bind(upstream.host.as_str().to_owned())
    .bind(upstream.url.clone())
    .bind(upstream.token_hosts.join(" "))
    .bind(upstream.ca_pem.clone())
    .bind(upstream.redirect_hosts.join(" "))
    .bind(upstream.reserve_percent)
    .bind(upstream.updated_at_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Removes an upstream.
pub async fn delete(db: &mut AnyConnection, host: &str) -> StoreResult<()> {
    sqlx::query("DELETE FROM upstreams WHERE host = $1").bind(host.to_owned()).execute(db).await?;
    Ok(())
}
