//! The rule of retention as a table, and what holds whatever a group has.

use proptest::prelude::*;
use roadstead_proto::Algorithm;

use super::*;
use crate::rules::cache::purge::Held;

fn digest(name: &str) -> Digest {
    Digest::of(Algorithm::Sha256, name.as_bytes())
}

/// `m…` are manifests, all else blobs; `uses` by name, 0 if not said.
fn held(references: &[(&str, &[&str])], loose: &[&str], tags: &[(&str, &str)], uses: &[(&str, i64)]) -> Inventory {
    let mut inventory = Inventory::default();
    let names = references.iter().flat_map(|(parent, children)| std::iter::once(parent).chain(*children)).chain(loose);
    for name in names {
        let kind = if name.starts_with('m') { ContentKind::Manifest } else { ContentKind::Blob };
        let last_used_ms = uses.iter().find(|(used, _)| used == name).map_or(0, |(_, at)| *at);
        inventory.links.insert(digest(name), Held { kind, last_used_ms });
    }
    for (parent, children) in references {
        inventory.references.extend(children.iter().map(|child| (digest(parent), digest(child))));
    }
    inventory.tags = tags.iter().map(|(tag, name)| ((*tag).to_owned(), digest(name))).collect();
    inventory
}

fn contents(inventory: &Inventory, size_bytes: i64) -> HashMap<Digest, Content> {
    let content = |held: &Held| Content { size_bytes, kind: held.kind, last_pulled_ms: None };
    inventory.links.iter().map(|(digest, held)| (*digest, content(held))).collect()
}

fn none(_: &str) -> bool {
    false
}

#[test]
fn the_least_recently_pulled_go_whole_until_there_is_room_and_not_further() {
    // a and b share "base"; the index i has two platforms.
    let repository = || {
        held(
            &[("m-a", &["base", "a"]), ("m-b", &["base", "b"]), ("m-i", &["m-p", "m-q"]), ("m-p", &["p"])],
            &["m-q", "loose"],
            &[("a", "m-a"), ("i", "m-i"), ("p", "m-p")],
            &[("m-a", 10), ("m-b", 20), ("m-i", 5), ("m-q", 30), ("loose", 40), ("base", 99)],
        )
    };
    // Ten contents of ten bytes each.
    for (name, used_before_ms, most_bytes, expected) in [
        ("enough room", None, Some(100), vec![]),
        ("a byte too much", None, Some(99), vec![("m-a", 20, Reason::Room)]),
        ("still a byte too much", None, Some(79), vec![("m-a", 20, Reason::Room), ("m-b", 30, Reason::Room)]),
        (
            "an index counts as pulled with its manifests",
            Some(30),
            None,
            vec![("m-a", 20, Reason::Age), ("m-b", 30, Reason::Age)],
        ),
        ("age and room", Some(20), Some(60), vec![("m-a", 20, Reason::Age), ("m-b", 30, Reason::Room)]),
        ("age makes room", Some(21), Some(50), vec![("m-a", 20, Reason::Age), ("m-b", 30, Reason::Age)]),
        ("no bound", None, None, vec![]),
        (
            "nothing may be",
            None,
            Some(0),
            vec![
                ("m-a", 20, Reason::Room),
                ("m-b", 30, Reason::Room),
                ("m-i", 40, Reason::Room),
                ("loose", 10, Reason::Room),
            ],
        ),
    ] {
        let inventory = repository();
        let mut planner = Planner::new();
        planner.add(1, images(&inventory, none, &BTreeSet::new()), &contents(&inventory, 10));
        assert_eq!(planner.bytes(), 100, "{name}");
        let evictions = planner.evict(Bounds { used_before_ms, most_bytes });
        let got: Vec<_> = evictions.iter().map(|gone| (gone.root, gone.bytes, gone.reason)).collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(root, bytes, reason)| (digest(root), bytes, reason)).collect();
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn what_is_protected_or_pinned_stays_with_all_that_it_needs() {
    let inventory = held(
        &[("m-i", &["m-p", "m-q"]), ("m-p", &["p", "base"]), ("m-q", &["q", "base"]), ("m-old", &["base", "old"])],
        &["m-pin"],
        &[("release-1", "m-p"), ("latest", "m-i")],
        &[],
    );
    let found = images(&inventory, |tag| tag.starts_with("release-"), &BTreeSet::from([digest("m-pin")]));
    let kept: BTreeSet<_> = found.iter().filter(|image| image.is_kept).map(|image| image.root).collect();
    assert_eq!(kept, BTreeSet::from([digest("m-p"), digest("m-pin")]));
    let index = found.iter().find(|image| image.root == digest("m-i")).unwrap();
    let gone = Shelf::new(found.clone()).take(&index.root).unwrap();
    assert_eq!(gone.digests, ["m-i", "m-q", "q"].map(digest).into_iter().collect());
    assert_eq!(gone.tags, BTreeSet::from(["latest".to_owned()]));
    let mut planner = Planner::new();
    planner.add((), found, &contents(&inventory, 1));
    let evictions = planner.evict(Bounds { most_bytes: Some(0), ..Bounds::default() });
    assert_eq!(evictions.iter().map(|gone| gone.bytes).sum::<i64>(), 5, "m-i, m-q, q, m-old, old");
}

#[test]
fn content_of_two_repositories_goes_with_the_second_of_them() {
    let inventory = held(&[("m-a", &["base"])], &[], &[], &[]);
    let mut planner = Planner::new();
    for repository in ["one", "two"] {
        planner.add(repository, images(&inventory, none, &BTreeSet::new()), &contents(&inventory, 10));
    }
    assert_eq!(planner.bytes(), 20);
    let evictions = planner.evict(Bounds { most_bytes: Some(0), ..Bounds::default() });
    let got: Vec<_> = evictions.iter().map(|gone| (gone.repository, gone.bytes, gone.manifests)).collect();
    assert_eq!(got, [("one", 0, 1), ("two", 20, 1)]);
}

#[test]
fn a_pattern_without_an_image_is_of_every_image() {
    let (hub, ghcr): (UpstreamHost, UpstreamHost) = ("docker.io".parse().unwrap(), "ghcr.io".parse().unwrap());
    for (pattern, host, repository, tag, expected) in [
        ("release-*", &hub, "library/alpine", "release-1", true),
        ("release-*", &ghcr, "org/app", "release-", true),
        ("release-*", &hub, "library/alpine", "prerelease-1", false),
        ("*", &hub, "library/alpine", "x", true),
        ("alpine:3*", &hub, "library/alpine", "3.20", true),
        ("alpine:3*", &hub, "library/debian", "3.20", false),
        ("ghcr.io/org/*", &ghcr, "org/app", "x", true),
        ("ghcr.io/org/*", &hub, "org/app", "x", false),
    ] {
        let pattern: TagPattern = pattern.parse().unwrap();
        let fits = pattern.fits(host, &repository.parse().unwrap(), &tag.parse().unwrap());
        assert_eq!(fits, expected, "{pattern} {repository}:{tag}");
    }
    for bad in ["", "a b", "x:", "Ä"] {
        assert!(bad.parse::<TagPattern>().is_err(), "{bad:?}");
    }
}

/// A repository of up to eight manifests and eight blobs, where manifests refer to blobs and to manifests before them.
fn any_repository() -> impl Strategy<Value = (Inventory, BTreeSet<String>, BTreeSet<Digest>)> {
    let name = |n: usize| if n < 8 { format!("m{n}") } else { format!("b{n}") };
    let links = prop::collection::btree_map(0_usize..16, 0_i64..5, 0..16);
    let references = prop::collection::btree_set((0_usize..8, 0_usize..16), 0..30);
    let tags = prop::collection::btree_map(0_u8..4, 0_usize..8, 0..4);
    let protected = prop::collection::btree_set(0_u8..4, 0..3);
    let pins = prop::collection::btree_set(0_usize..8, 0..2);
    (links, references, tags, protected, pins).prop_map(move |(links, references, tags, protected, pins)| {
        let kind = |n: usize| if n < 8 { ContentKind::Manifest } else { ContentKind::Blob };
        let inventory = Inventory {
            links: links
                .iter()
                .map(|(n, at)| (digest(&name(*n)), Held { kind: kind(*n), last_used_ms: *at }))
                .collect(),
            tags: tags
                .iter()
                .filter(|(_, n)| links.contains_key(n))
                .map(|(tag, n)| (format!("t{tag}"), digest(&name(*n))))
                .collect(),
            references: references
                .iter()
                .filter(|(parent, child)| links.contains_key(parent) && (*child >= 8 || child < parent))
                .map(|(parent, child)| (digest(&name(*parent)), digest(&name(*child))))
                .collect(),
        };
        let protected = protected.iter().map(|tag| format!("t{tag}")).collect();
        (inventory, protected, pins.iter().map(|n| digest(&name(*n))).collect())
    })
}

proptest! {
    #[test]
    fn whatever_a_group_has_retention_takes_what_it_must_and_nothing_else(
        repositories in prop::collection::vec(any_repository(), 1..4),
        used_before in prop::option::of(0_i64..6),
        most_bytes in prop::option::of(0_i64..40),
    ) {
        let mut planner = Planner::new();
        let mut left: Vec<Inventory> = Vec::new();
        for (repository, (inventory, protected, pins)) in repositories.iter().enumerate() {
            let found = images(inventory, |tag| protected.contains(tag), pins);
            planner.add(repository, found, &contents(inventory, 1));
            left.push(inventory.clone());
        }
        let bytes_of = |all: &[Inventory]| {
            all.iter().flat_map(|one| one.links.keys()).collect::<BTreeSet<_>>().len() as i64
        };
        let before = bytes_of(&left);
        prop_assert_eq!(planner.bytes(), before);
        let evictions = planner.evict(Bounds { used_before_ms: used_before, most_bytes });
        let mut contents: Vec<_> = repositories
            .iter()
            .map(|(inventory, protected, pins)| Shelf::new(images(inventory, |tag| protected.contains(tag), pins)))
            .collect();
        for (position, gone) in evictions.iter().enumerate() {
            let needed = most_bytes.is_some_and(|most| bytes_of(&left) > most);
            prop_assert!(gone.reason == Reason::Age || needed, "goes on beyond the need at {position}");
            // As it is carried out: one image at a time, by what there is then.
            let (_, protected, pins) = &repositories[gone.repository];
            let now = images(&left[gone.repository], |tag| protected.contains(tag), pins);
            let image = now.iter().find(|image| image.root == gone.root);
            prop_assert!(image.is_some_and(|image| !image.is_kept), "{:?} is not there to take", gone.root);
            let root = image.unwrap().root;
            let selection = Shelf::new(now).take(&root).unwrap();
            let in_turn = contents[gone.repository].take(&root);
            prop_assert_eq!(in_turn.as_ref(), Some(&selection), "one after the other is the same");
            let held = bytes_of(&left);
            let inventory = &mut left[gone.repository];
            inventory.links.retain(|digest, _| !selection.digests.contains(digest));
            inventory.tags.retain(|tag, _| !selection.tags.contains(tag));
            prop_assert_eq!(held - bytes_of(&left), gone.bytes, "planned and done agree");
        }
        for ((inventory, protected, pins), left) in repositories.iter().zip(&left) {
            for (tag, digest) in &inventory.tags {
                prop_assert!(!protected.contains(tag) || left.links.contains_key(digest), "protected {}", tag);
                prop_assert!(left.links.contains_key(digest) || !left.tags.contains_key(tag), "a tag of nothing");
            }
            for pin in pins {
                prop_assert_eq!(inventory.links.contains_key(pin), left.links.contains_key(pin), "pinned");
            }
            for (parent, child) in &inventory.references {
                let was_there = inventory.links.contains_key(child);
                prop_assert!(
                    !was_there || !left.links.contains_key(parent) || left.links.contains_key(child),
                    "what a manifest that stays needs"
                );
            }
            for (digest, held) in &left.links {
                let old = used_before.is_some_and(|before| held.last_used_ms < before);
                let is_root = !inventory.references.iter().any(|(_, child)| child == digest);
                if old && is_root && held.kind == ContentKind::Blob && !pins.contains(digest) {
                    prop_assert!(false, "an old loose blob stays");
                }
            }
        }
        if let Some(most) = most_bytes {
            let evictable = repositories.iter().zip(&left).any(|((_, protected, pins), left)| {
                images(left, |tag| protected.contains(tag), pins).iter().any(|image| !image.is_kept)
            });
            prop_assert!(bytes_of(&left) <= most || !evictable, "there is still too much");
        }
    }
}
