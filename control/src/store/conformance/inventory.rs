//! Lists of what is cached, and what is kept beside the links for them.

use roadstead_proto::Descriptor;

use super::*;
use crate::store::{
    WriteTx,
    cache::list::{self, Filter, Order, Page, Position},
    engine::settings::Engine,
};

const ORDERS: [Order; 4] = [Order::Name, Order::Size, Order::LastPulled, Order::Pulls];
/// Blobs of the large list.
const MANY: i64 = 20_000;

async fn add(tx: &mut WriteTx, repository: &RepositoryRef, name: &str, kind: ContentKind, size_bytes: u64) {
    let link = Link { size_bytes, ..link(name, kind) };
    assert!(content::put(tx, &link, 0).await.unwrap());
    link::put(tx, repository, &link, NOW).await.unwrap();
}

async fn blobs(tx: &mut WriteTx, group: &Group, order: Order) -> Vec<(String, i64, i64)> {
    let page = Page { group_id: &group.id, order, after: None, limit: 100 };
    let found = list::blobs(tx, &page, &Filter::default()).await.unwrap();
    found.into_iter().map(|item| (item.digest.to_string(), item.size_bytes, item.links)).collect()
}

#[tokio::test]
async fn a_size_that_somebody_makes_up_changes_no_figure() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    add(&mut tx, &repository(&group), "b", ContentKind::Blob, 7).await;
    let elsewhere = RepositoryRef { repository: "library/other".parse().unwrap(), ..repository(&group) };
    add(&mut tx, &elsewhere, "b", ContentKind::Blob, 9_999).await;
    assert_eq!(inventory::figures(&mut tx, &group.id).await.unwrap().bytes, 7);
    link::delete(&mut tx, &repository(&group), &digest("b"), NOW).await.unwrap();
    link::delete(&mut tx, &repository(&group), &digest("b"), NOW).await.unwrap();
    link::delete(&mut tx, &elsewhere, &digest("b"), NOW).await.unwrap();
    assert_eq!(inventory::figures(&mut tx, &group.id).await.unwrap(), inventory::Figures::default());
}

#[tokio::test]
async fn a_blob_that_turns_out_to_be_a_manifest_is_counted_as_one() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let repository = repository(&group);
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    add(&mut tx, &repository, "m", ContentKind::Blob, 10).await;
    add(&mut tx, &repository, "b", ContentKind::Blob, 100).await;
    let reference =
        Descriptor { digest: digest("b"), kind: ContentKind::Blob, size_bytes: 100, platform: String::new() };
    content::put_references(&mut tx, &digest("m"), &[reference]).await.unwrap();
    add(&mut tx, &repository, "m", ContentKind::Manifest, 10).await;
    add(&mut tx, &repository, "m", ContentKind::Blob, 10).await;
    let figures = inventory::figures(&mut tx, &group.id).await.unwrap();
    assert_eq!((figures.manifests, figures.blobs, figures.bytes), (1, 1, 110));
    assert_eq!(blobs(&mut tx, &group, Order::Size).await, [(digest("b").to_string(), 100, 1)]);
    let page = Page { group_id: &group.id, order: Order::Size, after: None, limit: 10 };
    let manifests = list::manifests(&mut tx, &page, &Filter::default()).await.unwrap();
    assert_eq!(manifests.iter().map(|item| item.size_bytes).collect::<Vec<_>>(), [110]);
    let unique = list::unique_bytes(&mut tx, &group.id, &[(&repository, &digest("m"))]).await.unwrap();
    assert_eq!(unique, [110]);
}

#[tokio::test]
async fn both_ways_of_finding_what_refers_to_something_come_to_the_same() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let repository = repository(&group);
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    // More manifests than are gone through one by one.
    for n in 0..=210 {
        let name = format!("m{n}");
        let kind = ContentKind::Blob;
        let reference = Descriptor { digest: digest("base"), kind, size_bytes: 1, platform: String::new() };
        content::put_references(&mut tx, &digest(&name), &[reference]).await.unwrap();
        add(&mut tx, &repository, &name, ContentKind::Manifest, 1).await;
    }
    add(&mut tx, &repository, "base", ContentKind::Blob, 1000).await;
    assert_eq!(blobs(&mut tx, &group, Order::Name).await, [(digest("base").to_string(), 1000, 211)]);
    let sizes = async |tx: &mut WriteTx| {
        let page = Page { group_id: &group.id, order: Order::Size, after: None, limit: 1000 };
        let found = list::manifests(tx, &page, &Filter::default()).await.unwrap();
        found.iter().map(|item| item.size_bytes).sum::<i64>()
    };
    assert_eq!(sizes(&mut tx).await, 211 * 1001);
    link::delete(&mut tx, &repository, &digest("base"), NOW).await.unwrap();
    assert_eq!(sizes(&mut tx).await, 211);
}

#[tokio::test]
async fn many_blobs_are_walked_in_every_order_without_repeats_or_gaps() {
    let (_folder, store) = fresh().await;
    let group = group("acme");
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    fill(&mut tx, &group).await;
    for order in ORDERS {
        let (mut after, mut seen, mut last) = (None, std::collections::HashSet::new(), i64::MAX);
        loop {
            let page = Page { group_id: &group.id, order, after: after.as_ref(), limit: 1000 };
            let found = list::blobs(&mut tx, &page, &Filter::default()).await.unwrap();
            for item in &found {
                let position = item.position(order);
                assert!(order == Order::Name || position.rank <= last, "{order:?}");
                last = position.rank;
                assert!(seen.insert((position.repository.clone(), position.digest.clone())), "{order:?}: {position:?}");
            }
            let Some(end) = found.last() else { break };
            after = Some(end.position(order));
        }
        assert_eq!(seen.len() as i64, MANY, "{order:?}");
    }
}

/// Many blobs in many images, in few statements: what the store's functions would leave.
async fn fill(tx: &mut WriteTx, group: &Group) {
    let digits = "WITH RECURSIVE numbers (n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < $1) ";
    // Digests as they look, of the same length: a number with a tail of zeros.
    let name = "'sha512:' || CAST(1000000 + n AS TEXT) || $2";
    let tail = "0".repeat(128 - 7);
    for sql in [
        format!("{digits} INSERT INTO contents (digest, size_bytes) SELECT {name}, n % 97 FROM numbers"),
        format!(
            "{digits} INSERT INTO links (group_id, upstream, repository, digest, kind, media_type, cached_at,
                 held_bytes, pulled_at, last_pulled_at, pulls)
             SELECT $3, 'docker.io', 'team/app' || CAST(n % 50 AS TEXT), {name}, 'blob', '', 1, n % 97, n % 13,
                 NULLIF(n % 13, 0), n % 5
             FROM numbers"
        ),
    ] {
        let with_group = sql.contains("$3");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(MANY).bind(tail.clone());
        let query = if with_group { query.bind(group.id.clone()) } else { query };
        query.execute(&mut **tx).await.unwrap();
    }
}

/// The query plans of SQLite depend on the statement and the indexes alone, not on the content of the tables.
#[tokio::test]
async fn pages_are_found_in_indexes_not_by_going_through_or_sorting_everything() {
    let (_folder, store) = fresh().await;
    if ENGINE != Engine::Sqlite {
        return;
    }
    let group = group("acme");
    let mut tx = store.write().await.unwrap();
    group::insert(&mut tx, &group).await.unwrap();
    let after = Position {
        rank: 5,
        upstream: "docker.io".into(),
        repository: "team/app7".into(),
        digest: "sha512:1".into(),
        tag: "latest".into(),
    };
    let upstream = Filter { upstream: Some("docker.io".parse().unwrap()), ..Filter::default() };
    for order in ORDERS {
        for (named, filter) in [("all", &Filter::default()), ("an upstream's", &upstream)] {
            for (repository, after) in [("first", None), ("deep", Some(&after))] {
                let page = Page { group_id: &group.id, order, after, limit: 100 };
                for (list, plan) in list::plans(&mut tx, &page, filter).await {
                    let what = format!("{named} {list} by {order:?}, {repository} page: {plan:#?}");
                    // Beginning with a bound on the order's own columns, at least on the group.
                    assert!(!plan.iter().any(|step| step.starts_with("SCAN ")), "{what}");
                    assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE FOR ORDER BY")), "{what}");
                    let index = match order {
                        Order::Name => "",
                        Order::Size => "_by_size",
                        Order::LastPulled => "_by_pulled",
                        Order::Pulls => "_by_pulls",
                    };
                    assert!(plan[0].contains("SEARCH ") && plan[0].contains(index), "{what}");
                    // Where a page begins is looked up, not counted up to.
                    assert!(after.is_none() || plan[0].contains('>') || plan[0].contains('<'), "{what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_an_images_own_is_told_by_lookups_of_its_content_alone() {
    let (_folder, store) = fresh().await;
    if ENGINE != Engine::Sqlite {
        return;
    }
    let group = group("acme");
    let mut tx = store.write().await.unwrap();
    let plan = list::plan_of_shares(&mut tx, (&repository(&group), &digest("m"))).await;
    let of_links =
        |step: &&String| ["SEARCH links ", "SEARCH own ", "SEARCH other "].iter().any(|t| step.starts_with(t));
    let lookups: Vec<_> = plan.iter().filter(of_links).collect();
    assert_eq!(lookups.len(), 4, "{plan:#?}");
    // Begun with no more than the group, each would go through all that the group has.
    assert!(lookups.iter().all(|step| step.contains("digest=?")), "{plan:#?}");
}
