use proptest::prelude::*;
use roadstead_proto::Algorithm;

use super::*;

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

/// Names beginning with `b` are blobs; an inventory is written `links`, `tag=digest`, `parent>child`.
fn inventory(links: &[(&str, i64)], tags: &[(&str, &str)], references: &[(&str, &str)]) -> Inventory {
    let held = |name: &str, last_used_ms| Held {
        kind: if name.starts_with('b') { ContentKind::Blob } else { ContentKind::Manifest },
        last_used_ms,
    };
    Inventory {
        links: links.iter().map(|(name, at)| (digest(name), held(name, *at))).collect(),
        tags: tags.iter().map(|(tag, name)| ((*tag).to_owned(), digest(name))).collect(),
        references: references.iter().map(|(parent, child)| (digest(parent), digest(child))).collect(),
    }
}

/// An index of two platforms under tag `multi`, an image that shares a layer with one of them under `one` and
/// `same`, one platform also tagged by itself, a blob without a manifest.
fn shop() -> Inventory {
    inventory(
        &[
            ("index", 50),
            ("m-amd", 10),
            ("m-arm", 10),
            ("m-one", 20),
            ("b-amd", 10),
            ("b-arm", 10),
            ("b-shared", 5),
            ("b-lone", 7),
        ],
        &[("multi", "index"), ("arm", "m-arm"), ("one", "m-one"), ("same", "m-one")],
        &[
            ("index", "m-amd"),
            ("index", "m-arm"),
            ("index", "m-never-pulled"),
            ("m-amd", "b-amd"),
            ("m-amd", "b-shared"),
            ("m-arm", "b-arm"),
            ("m-one", "b-shared"),
        ],
    )
}

fn taken(filter: Filter) -> (Vec<&'static str>, Vec<String>) {
    let selection = select(&shop(), &filter);
    let names = ["index", "m-amd", "m-arm", "m-one", "b-amd", "b-arm", "b-shared", "b-lone"];
    let digests = names.into_iter().filter(|name| selection.digests.contains(&digest(name))).collect::<Vec<_>>();
    assert_eq!(digests.len(), selection.digests.len());
    (digests, selection.tags.into_iter().collect())
}

#[test]
fn filters_take_exactly_this() {
    let by_tag = |tag: &str| Filter { tag: Some(tag.into()), ..Filter::default() };
    let by_digest = |name| Filter { digest: Some(digest(name)), ..Filter::default() };
    let before = |ms| Filter { used_before_ms: Some(ms), ..Filter::default() };
    for (filter, digests, tags) in [
        // The tagged platform and the layer that another image needs stay.
        (by_tag("multi"), vec!["index", "m-amd", "b-amd"], vec!["multi"]),
        (by_tag("one"), vec!["m-one"], vec!["one", "same"]),
        (by_tag("arm"), vec!["m-arm", "b-arm"], vec!["arm"]),
        (by_tag("missing"), vec![], vec![]),
        (by_digest("m-amd"), vec!["m-amd", "b-amd"], vec![]),
        (by_digest("b-shared"), vec!["b-shared"], vec![]),
        (by_digest("unknown"), vec![], vec![]),
        (Filter { digest: Some(digest("index")), ..by_tag("one") }, vec![], vec![]),
        (Filter { digest: Some(digest("m-one")), ..by_tag("one") }, vec!["m-one"], vec!["one", "same"]),
        (Filter { used_before_ms: Some(20), ..by_tag("one") }, vec![], vec![]),
        (Filter { used_before_ms: Some(21), ..by_tag("one") }, vec!["m-one"], vec!["one", "same"]),
        // The platforms were pulled through their index at 50; blobs follow their manifests whatever their own age.
        (before(7), vec![], vec![]),
        (before(8), vec!["b-lone"], vec![]),
        (before(21), vec!["m-one", "b-lone"], vec!["one", "same"]),
        (
            before(51),
            vec!["index", "m-amd", "m-arm", "m-one", "b-amd", "b-arm", "b-shared", "b-lone"],
            vec!["arm", "multi", "one", "same"],
        ),
    ] {
        assert_eq!(taken(filter.clone()), (digests, tags.into_iter().map(String::from).collect()), "{filter:?}");
    }
}

#[test]
fn a_platform_that_is_pulled_by_itself_outlives_its_index() {
    let have = inventory(
        &[("index", 1), ("m-amd", 9), ("m-old", 1), ("b-amd", 1), ("b-old", 1)],
        &[],
        &[("index", "m-amd"), ("index", "m-old"), ("m-amd", "b-amd"), ("m-old", "b-old")],
    );
    let old = Filter { used_before_ms: Some(5), ..Filter::default() };
    let taken = |filter: &Filter| select(&have, filter).digests;
    assert_eq!(taken(&old), BTreeSet::from(["index", "m-old", "b-old"].map(digest)));
    assert_eq!(taken(&Filter { digest: Some(digest("index")), ..Filter::default() }).len(), 5);
}

#[test]
fn references_in_a_circle_end() {
    let circle = inventory(&[("a", 1), ("c", 2)], &[], &[("a", "c"), ("c", "a"), ("a", "a")]);
    let selection = select(&circle, &Filter { digest: Some(digest("a")), ..Filter::default() });
    assert_eq!(selection.digests.len(), 2);
}

fn any_inventory() -> impl Strategy<Value = Inventory> {
    let links = prop::collection::btree_map(0..12u8, 0..100i64, 0..12);
    let tags = prop::collection::vec((0..4u8, 0..6u8), 0..4);
    let references = prop::collection::vec((0..6u8, 0..12u8), 0..20);
    (links, tags, references).prop_map(|(links, tags, references)| {
        let name = |n: u8| digest(&n.to_string());
        let kind = |n| if n < 6 { ContentKind::Manifest } else { ContentKind::Blob };
        let held: BTreeMap<_, _> =
            links.into_iter().map(|(n, last_used_ms)| (name(n), Held { kind: kind(n), last_used_ms })).collect();
        Inventory {
            tags: tags
                .into_iter()
                .map(|(tag, n)| (tag.to_string(), name(n)))
                .filter(|(_, digest)| held.contains_key(digest))
                .collect(),
            // Only downwards: digests cannot form circles.
            references: references.into_iter().filter(|(p, c)| p < c).map(|(p, c)| (name(p), name(c))).collect(),
            links: held,
        }
    })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    (prop::option::of(0..4u8), prop::option::of(0..12u8), prop::option::of(0..100i64)).prop_map(|(tag, n, before)| {
        Filter {
            tag: tag.map(|tag| tag.to_string()),
            digest: n.map(|n| digest(&n.to_string())),
            used_before_ms: before,
        }
    })
}

proptest! {
    #[test]
    fn no_tag_is_left_without_its_manifest_and_no_other_tag_goes(have in any_inventory(), filter in any_filter()) {
        let gone = select(&have, &filter);
        for (tag, meant) in &have.tags {
            prop_assert_eq!(gone.tags.contains(tag), gone.digests.contains(meant));
        }
    }

    #[test]
    fn what_a_kept_manifest_needs_is_only_taken_by_name(have in any_inventory(), filter in any_filter()) {
        let gone = select(&have, &filter);
        for (parent, child) in &have.references {
            let kept = have.links.contains_key(parent) && !gone.digests.contains(parent);
            if kept && gone.digests.contains(child) && have.links[child].kind == ContentKind::Blob {
                prop_assert_eq!(filter.digest, Some(*child));
            }
        }
    }

    #[test]
    fn a_purge_without_filters_takes_everything(have in any_inventory()) {
        let gone = select(&have, &Filter::default());
        prop_assert_eq!(gone.digests.len(), have.links.len());
        prop_assert_eq!(gone.tags.len(), have.tags.len());
    }

    #[test]
    fn purging_again_takes_nothing(have in any_inventory(), filter in any_filter()) {
        let gone = select(&have, &filter);
        let mut left = have;
        left.links.retain(|digest, _| !gone.digests.contains(digest));
        left.tags.retain(|tag, _| !gone.tags.contains(tag));
        let again = select(&left, &filter);
        // Blobs whose last manifest was taken by digest alone may now be picked by age; nothing else.
        let only_lone = again.digests.iter().all(|digest| left.links[digest].kind == ContentKind::Blob);
        prop_assert!(again.digests.is_empty() || only_lone);
    }
}
