use clap::Parser;
use roadstead_proto::v1::purge_cache_request::Scope;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    purge: Purge,
}

fn parse(line: &str) -> Purge {
    Line::try_parse_from(["x"].into_iter().chain(line.split(' '))).unwrap().purge
}

/// The filter of the request that the command sends, or `None` if it asks for everything.
fn filter(purge: Purge) -> Option<PurgeFilter> {
    match PurgeCacheRequest::from(purge).scope.unwrap() {
        Scope::Filter(filter) => Some(filter),
        Scope::WholeGroup(_) | Scope::AllGroups(_) => None,
    }
}

#[test]
fn an_image_may_bring_its_tag_or_digest() {
    let digest = format!("sha256:{}", "0".repeat(64));
    for (line, image, tag, by_digest) in [
        ("acme --image alpine".to_owned(), "alpine", "", ""),
        ("acme --image alpine:3.20".to_owned(), "alpine", "3.20", ""),
        ("acme --image alpine --tag 3.20".to_owned(), "alpine", "3.20", ""),
        ("acme --image registry.example:5000/a:v1".to_owned(), "registry.example:5000/a", "v1", ""),
        (format!("acme --image alpine@{digest}"), "alpine", "", digest.as_str()),
        (format!("acme --digest {digest}"), "", "", digest.as_str()),
    ] {
        let purge = parse(&line);
        assert_eq!(purge.check(), Ok(()), "{line}");
        let filter = filter(purge).unwrap();
        let found = (filter.image.as_str(), filter.tag.as_str(), filter.digest.as_str());
        assert_eq!(found, (image, tag, by_digest), "{line}");
    }
    let refused = parse("acme --image alpine:3.20 --tag 3.21").check().unwrap_err();
    assert_eq!(refused, Failure::usage(&refused));
}

#[test]
fn only_a_purge_without_filters_needs_a_confirmation() {
    for (line, needs) in [
        ("acme", true),
        ("--all-groups", true),
        ("acme --yes", false),
        ("acme --dry-run", false),
        ("acme --older-than 30d", false),
        ("--all-groups --upstream ghcr.io", false),
        ("acme --image alpine", false),
    ] {
        assert_eq!(parse(line).needs_confirmation(), needs, "{line}");
    }
}

#[test]
fn only_a_purge_without_filters_asks_for_everything() {
    let upstream = |line| filter(parse(line)).map(|filter| (filter.group_path, filter.all_groups, filter.upstream));
    assert_eq!(upstream("acme --yes"), None);
    assert_eq!(upstream("--all-groups --yes"), None);
    assert_eq!(upstream("acme --upstream ghcr.io"), Some(("acme".into(), false, "ghcr.io".into())));
    assert_eq!(upstream("--all-groups --upstream ghcr.io"), Some((String::new(), true, "ghcr.io".into())));
    let whole = PurgeCacheRequest::from(parse("acme --dry-run"));
    assert_eq!(whole, PurgeCacheRequest::whole_group("acme").dry_run(true));
}
