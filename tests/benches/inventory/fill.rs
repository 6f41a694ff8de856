//! A group with many blobs: what pulls of as many images would have left, in few statements.
//!
//! Images have 20 manifests with a tag and 10 blobs each, of which two are a base that all of the image share; so there
//! are 8 blobs and a bit for each manifest.

use std::time::Instant;

use anyhow::Result;
use roadstead_proto::v1::CreateGroupRequest;
use sqlx::{AnyConnection, Connection as _};

use crate::replica::Replica;

/// Blobs of one image.
pub const BLOBS: i64 = 162;
/// Manifests of one image.
pub const MANIFESTS: i64 = 20;

/// The group's path.
pub const GROUP: &str = "large";

/// A digest, made of a letter and the number of the image (`n`) and of what it is (`m`).
fn digest(letter: char, number: &str) -> String {
    // Hash digits enough: a letter and fifteen digits, then zeros.
    format!("'sha256:{letter}' || CAST(100000000000000 + {number} AS TEXT) || '{}'", "0".repeat(48))
}

/// The digest of a manifest, as text.
pub fn manifest_digest(number: i64) -> String {
    format!("sha256:a{}{}", 100_000_000_000_000 + number, "0".repeat(48))
}

/// The digest of a blob, as text.
pub fn blob_digest(number: i64) -> String {
    format!("sha256:b{}{}", 100_000_000_000_000 + number, "0".repeat(48))
}

/// The repository of an image.
pub fn repository(image: i64) -> String {
    format!("team{}/app{image}", image % 97)
}

/// Fills the replica's database; answers the group's id.
pub async fn fill(replica: &Replica, blobs: i64) -> Result<String> {
    let request = CreateGroupRequest { path: GROUP.into(), ..Default::default() };
    let group = replica.admin().groups.create_group(request).await?.into_inner().group.unwrap().id;
    let images = (blobs + BLOBS - 1) / BLOBS;
    sqlx::any::install_default_drivers();
    let mut db = AnyConnection::connect(&replica.database_url()).await?;
    let started = Instant::now();
    let (a, b) = (digest('a', "n"), digest('b', "n"));
    let image = |per: i64| format!("'team' || CAST((n / {per}) % 97 AS TEXT) || '/app' || CAST(n / {per} AS TEXT)");
    let numbers = |count: i64| {
        format!(
            "WITH RECURSIVE numbers (n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers
             WHERE n + 1 < {count})"
        )
    };
    let (manifests, blobs) = (images * MANIFESTS, images * BLOBS);
    // Blob 0 and 1 of an image are its base; the others go to its manifests by turns.
    let statements = [
        format!(
            "{} INSERT INTO contents (digest, size_bytes) SELECT {b}, 1000 + (n * 7919) % 100000 FROM numbers",
            numbers(blobs)
        ),
        format!("{} INSERT INTO contents (digest, size_bytes) SELECT {a}, 1500 FROM numbers", numbers(manifests)),
        format!(
            "{} INSERT INTO links (group_id, upstream, repository, digest, kind, media_type, cached_at, last_pulled_at,
                 held_bytes, parents, pulled_at, pulls)
             SELECT '{group}', 'docker.io', {}, {b}, 'blob', '', 1700000000000 + n, 1700000001000 + n % 100000,
                 1000 + (n * 7919) % 100000, CASE WHEN n % {BLOBS} < 2 THEN {MANIFESTS} ELSE 1 END,
                 1700000001000 + n % 100000, n % 1000 FROM numbers",
            numbers(blobs),
            image(BLOBS)
        ),
        format!(
            "{} INSERT INTO links (group_id, upstream, repository, digest, kind, media_type, cached_at, last_pulled_at,
                 held_bytes, parents, pulled_at, pulls)
             SELECT '{group}', 'docker.io', {}, {a}, 'manifest', 'application/vnd.oci.image.manifest.v1+json',
                 1700000000000 + n, 1700000001000 + n % 100000, 1500 + (n * 104729) % 1000000, 0,
                 1700000001000 + n % 100000, n % 1000 FROM numbers",
            numbers(manifests),
            image(MANIFESTS)
        ),
        // Ten for each manifest: the base of its image, and eight of its own.
        format!(
            "{} INSERT INTO manifest_references (manifest, child, kind, size_bytes, platform)
             SELECT {}, {}, 'blob', 1000, '' FROM numbers",
            numbers(manifests * 10),
            digest('a', "n / 10"),
            digest(
                'b',
                &format!(
                    "((n / 10) / {MANIFESTS}) * {BLOBS} + CASE WHEN n % 10 < 2 THEN n % 10
                         ELSE 2 + ((n / 10) % {MANIFESTS}) * 8 + n % 10 - 2 END"
                )
            )
        ),
        format!(
            "{} INSERT INTO tags (group_id, upstream, repository, tag, digest, confirmed_at, seen_digest, seen_at,
                 created_at, checked_at, served)
             SELECT '{group}', 'docker.io', {}, 'v' || CAST(n % {MANIFESTS} AS TEXT), {a}, 1700000000000, {a},
                 1700000000000, 1700000000000, 1700000000000, {a} FROM numbers",
            numbers(manifests),
            image(MANIFESTS)
        ),
        format!(
            "INSERT INTO images (group_id, upstream, repository, manifests, blobs, size_bytes, pulls, pulled_at, cached_at)
             SELECT group_id, upstream, repository, CAST(SUM(CASE WHEN kind = 'manifest' THEN 1 ELSE 0 END) AS BIGINT),
                 CAST(SUM(CASE WHEN kind = 'blob' THEN 1 ELSE 0 END) AS BIGINT),
                 CAST(SUM(contents.size_bytes) AS BIGINT), CAST(SUM(pulls) AS BIGINT), MAX(pulled_at), MIN(cached_at)
             FROM links JOIN contents ON contents.digest = links.digest WHERE group_id = '{group}'
             GROUP BY group_id, upstream, repository"
        ),
        format!(
            "INSERT INTO group_totals (group_id, blobs, bytes)
             SELECT '{group}', {blobs}, CAST(SUM(size_bytes) AS BIGINT) FROM contents"
        ),
        "ANALYZE".to_owned(),
    ];
    for statement in statements {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut db).await?;
    }
    db.close().await?;
    println!(
        "filled in {:.0} s: {images} images, {manifests} manifests and tags, {blobs} blobs",
        started.elapsed().as_secs_f64()
    );
    Ok(group)
}
