//! Data-plane nodes, as they last reported.

use sqlx::{AnyConnection, Row as _, any::AnyRow};

use crate::rules::cluster::node::{Figures, Node};
use crate::store::StoreResult;

/// A `SELECT` of whole nodes.
macro_rules! select {
    ($rest:literal) => {
        sqlx::query(concat!(
            "SELECT id, name, version, started_at, heard_at, applied_revision, max_outage_ms, fills, served_bytes, \
             fetched_bytes, peer_bytes, peer_url, store_id, store_total_bytes, store_available_bytes, stopped_at FROM nodes ",
            $rest
        ))
    };
}

fn read(row: &AnyRow) -> StoreResult<Node> {
    Ok(Node {
        id: row.try_get("id")?,
        name: row.try_get("name")?,
        version: row.try_get("version")?,
        started_at_ms: row.try_get("started_at")?,
        has_stopped: row.try_get::<i64, _>("stopped_at")? > 0,
        heard_at_ms: row.try_get("heard_at")?,
        applied_revision: row.try_get("applied_revision")?,
        max_outage_ms: row.try_get("max_outage_ms")?,
        figures: Figures {
            fills: row.try_get("fills")?,
            served_bytes: row.try_get("served_bytes")?,
            fetched_bytes: row.try_get("fetched_bytes")?,
            peer_bytes: row.try_get("peer_bytes")?,
            store_total_bytes: row.try_get("store_total_bytes")?,
            store_available_bytes: row.try_get("store_available_bytes")?,
        },
        peer_url: row.try_get("peer_url")?,
        store_id: row.try_get("store_id")?,
    })
}

/// Records a report. Reports of one node come to several replicas, whose clocks differ and which do not write in the
/// order of arrival: the latest time and the highest revision stay.
pub async fn put(db: &mut AnyConnection, node: &Node) -> StoreResult<()> {
    let figures = &node.figures;
    sqlx::query(
        "INSERT INTO nodes (id, name, version, started_at, heard_at, applied_revision, max_outage_ms, fills,
             served_bytes, fetched_bytes, peer_bytes, peer_url, store_id, store_total_bytes, store_available_bytes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
         ON CONFLICT (id) DO UPDATE SET stopped_at = 0, name = $2, version = $3, started_at = $4,
             heard_at = CASE WHEN nodes.heard_at > $5 THEN nodes.heard_at ELSE $5 END,
             applied_revision = CASE WHEN nodes.applied_revision > $6 THEN nodes.applied_revision ELSE $6 END,
             max_outage_ms = $7, fills = $8, served_bytes = $9, fetched_bytes = $10, peer_bytes = $11, peer_url = $12,
             store_id = $13, store_total_bytes = $14, store_available_bytes = $15",
    )
    .bind(node.id.clone())
    .bind(node.name.clone())
    .bind(node.version.clone())
    .bind(node.started_at_ms)
    .bind(node.heard_at_ms)
    .bind(node.applied_revision)
    .bind(node.max_outage_ms)
    .bind(figures.fills)
    .bind(figures.served_bytes)
    .bind(figures.fetched_bytes)
    .bind(figures.peer_bytes)
    .bind(node.peer_url.clone())
    .bind(node.store_id.clone())
    .bind(figures.store_total_bytes)
    .bind(figures.store_available_bytes)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a node begins to watch, and what it serves by; what it reported before stays.
pub async fn put_watching(db: &mut AnyConnection, node: &Node) -> StoreResult<()> {
    sqlx::query(
        "INSERT INTO nodes (id, name, version, started_at, heard_at, applied_revision, max_outage_ms, fills,
             served_bytes, fetched_bytes, peer_bytes, peer_url, store_id, store_total_bytes, store_available_bytes)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0, '', '', 0, 0)
         ON CONFLICT (id) DO UPDATE SET stopped_at = 0, name = $2, version = $3, heard_at = $5,
             applied_revision = $6",
    )
    .bind(node.id.clone())
    .bind(node.name.clone())
    .bind(node.version.clone())
    .bind(node.started_at_ms)
    .bind(node.heard_at_ms)
    .bind(node.applied_revision)
    .bind(node.max_outage_ms)
    .execute(db)
    .await?;
    Ok(())
}

/// Notes that a node has stopped in order: it is not listed, and remembered for what it may serve if it starts again.
pub async fn stop(db: &mut AnyConnection, id: &str, now_ms: i64) -> StoreResult<()> {
    sqlx::query("UPDATE nodes SET stopped_at = $2 WHERE id = $1").bind(id.to_owned()).bind(now_ms).execute(db).await?;
    Ok(())
}

/// Forgets nodes that were last heard before that time; answers their ids.
pub async fn prune(db: &mut AnyConnection, before_ms: i64) -> StoreResult<Vec<String>> {
    let rows = sqlx::query("DELETE FROM nodes WHERE heard_at < $1 RETURNING id").bind(before_ms).fetch_all(db).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The node with this id, if it was heard since that time and has not stopped.
pub async fn by_id(db: &mut AnyConnection, id: &str, heard_since_ms: i64) -> StoreResult<Option<Node>> {
    let row = select!("WHERE id = $1 AND heard_at >= $2 AND stopped_at = 0")
        .bind(id.to_owned())
        .bind(heard_since_ms)
        .fetch_optional(db)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Nodes after an id, in the order of their ids, that were heard since that time and have not stopped.
pub async fn page(db: &mut AnyConnection, after: &str, heard_since_ms: i64, limit: i64) -> StoreResult<Vec<Node>> {
    let rows = select!("WHERE id > $1 AND heard_at >= $2 AND stopped_at = 0 ORDER BY id LIMIT $3")
        .bind(after.to_owned())
        .bind(heard_since_ms)
        .bind(limit)
        .fetch_all(db)
        .await?;
    rows.iter().map(read).collect()
}

/// Nodes that have not said that they serve by this revision, in the order of their names.
pub async fn before_revision(db: &mut AnyConnection, revision: i64) -> StoreResult<Vec<Node>> {
    let rows = select!("WHERE applied_revision < $1 ORDER BY name, id").bind(revision).fetch_all(db).await?;
    rows.iter().map(read).collect()
}

/// The id of the only node that was heard after that time and has not stopped; `None` if there are several, or none.
pub async fn sole(db: &mut AnyConnection, heard_after_ms: i64) -> StoreResult<Option<String>> {
    let rows = sqlx::query("SELECT id FROM nodes WHERE heard_at > $1 AND stopped_at = 0 LIMIT 2")
        .bind(heard_after_ms)
        .fetch_all(db)
        .await?;
    match &rows[..] {
        [only] => Ok(Some(only.try_get(0)?)),
        _ => Ok(None),
    }
}
