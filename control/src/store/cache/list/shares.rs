//! The unique bytes of each image: the bytes that a purge of its manifest would free.

use std::collections::{HashMap, HashSet};

use roadstead_proto::{ContentKind, Digest, RepositoryRef};
use sqlx::{AnyConnection, Row as _};

use crate::store::{
    StoreResult,
    engine::sql::{Sql, Value},
    parse,
};

/// Content of an image.
#[derive(Clone, Copy, Debug)]
struct Member {
    size_bytes: i64,
    kind: ContentKind,
    /// Manifests beside it that refer to it.
    parents: i64,
    /// The group has it in another repository too, or a tag means it: it stays when the image goes.
    elsewhere: bool,
    tagged: bool,
}

/// Members of an image, by digest.
type Image = HashMap<String, Member>;

/// For each manifest, in the order given: bytes of what it refers to, directly or through manifests that nothing else
/// needs, and that no other manifest of the group refers to.
pub async fn unique_bytes(
    db: &mut AnyConnection,
    group_id: &str,
    manifests: &[(&RepositoryRef, &Digest)],
) -> StoreResult<Vec<i64>> {
    if manifests.is_empty() {
        return Ok(Vec::new());
    }
    let key = |repository: &RepositoryRef, digest: &str| (repository.to_string(), digest.to_owned());
    let mut images: HashMap<(String, String), Image> = HashMap::new();
    for row in members_sql(group_id, manifests).fetch_all(&mut *db).await? {
        let (upstream, repository): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let member = Member {
            size_bytes: row.try_get(4)?,
            kind: parse("kind of content", row.try_get(5)?)?,
            parents: row.try_get(6)?,
            elsewhere: row.try_get::<i64, _>(7)? != 0,
            tagged: row.try_get::<i64, _>(8)? != 0,
        };
        let image = images.entry((format!("{upstream}/{repository}"), row.try_get(2)?)).or_default();
        image.insert(row.try_get(3)?, member);
    }
    let mut children: HashMap<String, Vec<String>> = HashMap::new();
    let parents: HashSet<&str> = images
        .values()
        .flatten()
        .filter(|(_, member)| member.kind == ContentKind::Manifest)
        .map(|(digest, _)| digest.as_str())
        .collect();
    let parents: Vec<_> = parents.into_iter().collect();
    for some in parents.chunks(1000) {
        for row in references_sql(some).fetch_all(&mut *db).await? {
            children.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
        }
    }
    let own = manifests.iter().map(|(repository, digest)| {
        let digest = digest.to_string();
        images.get(&key(repository, &digest)).map_or(0, |image| unique(&digest, image, &children))
    });
    Ok(own.collect())
}

/// Takes the manifest away, and then again and again what nothing is left to need, as a purge does.
fn unique(root: &str, image: &Image, children: &HashMap<String, Vec<String>>) -> i64 {
    let mut left: HashMap<&str, i64> = image.iter().map(|(digest, member)| (digest.as_str(), member.parents)).collect();
    let mut gone = vec![root];
    let mut bytes = match image.get(root) {
        Some(own) if own.parents == 0 && !own.elsewhere => own.size_bytes,
        _ => 0,
    };
    while let Some(parent) = gone.pop() {
        for child in children.get(parent).into_iter().flatten() {
            let (Some(member), Some(parents)) = (image.get(child), left.get_mut(child.as_str())) else { continue };
            if child == root || child == parent {
                continue;
            }
            *parents -= 1;
            if *parents > 0 || (member.kind == ContentKind::Manifest && member.tagged) {
                continue;
            }
            bytes += if member.elsewhere { 0 } else { member.size_bytes };
            if member.kind == ContentKind::Manifest {
                gone.push(child);
            }
        }
    }
    bytes
}

pub(super) fn members_sql(group_id: &str, manifests: &[(&RepositoryRef, &Digest)]) -> Sql {
    let mut sql = Sql::new("WITH RECURSIVE named (group_id) AS (SELECT id FROM groups WHERE id = ");
    sql.bind(group_id).push("), page (upstream, repository, digest) AS (VALUES ");
    sql.rows(manifests.iter().map(|(repository, digest)| {
        [Value::from(repository.upstream.as_str()), repository.repository.as_str().into(), digest.to_string().into()]
    }));
    sql.push(
        "), held (root, upstream, repository, digest, kind) AS (
             SELECT links.digest, links.upstream, links.repository, links.digest, links.kind
             FROM named CROSS JOIN page CROSS JOIN links
             WHERE links.group_id = named.group_id AND links.upstream = page.upstream
                 AND links.repository = page.repository AND links.digest = page.digest
             UNION
             SELECT held.root, held.upstream, held.repository, links.digest, links.kind FROM held
             CROSS JOIN manifest_references CROSS JOIN links
             WHERE manifest_references.manifest = held.digest AND held.kind = 'manifest' AND links.group_id = $1
                 AND links.upstream = held.upstream AND links.repository = held.repository
                 AND links.digest = manifest_references.child)
         SELECT held.upstream, held.repository, held.root, held.digest, contents.size_bytes, own.kind, own.parents,
             CAST(CASE WHEN EXISTS (SELECT 1 FROM links AS other WHERE other.digest = held.digest AND other.group_id = $1
                     AND (other.upstream <> held.upstream OR other.repository <> held.repository))
                 THEN 1 ELSE 0 END AS BIGINT),
             CAST(CASE WHEN EXISTS (SELECT 1 FROM tags WHERE tags.group_id = $1 AND tags.upstream = held.upstream
                     AND tags.repository = held.repository AND tags.digest = held.digest)
                 THEN 1 ELSE 0 END AS BIGINT)
         FROM held CROSS JOIN links AS own CROSS JOIN contents
         WHERE own.group_id = $1 AND own.upstream = held.upstream AND own.repository = held.repository
             AND own.digest = held.digest AND contents.digest = held.digest",
    );
    sql
}

fn references_sql(manifests: &[&str]) -> Sql {
    let mut sql = Sql::new("SELECT manifest, child FROM manifest_references WHERE manifest IN (VALUES ");
    sql.rows(manifests.iter().map(|digest| [Value::from(*digest)]));
    sql.push(")");
    sql
}
