use std::{collections::BTreeSet, fmt::Debug, str::FromStr};

use super::*;
use crate::{Algorithm, Digest, node, v1};

/// Every word of a kind survives the way over the wire and the way through a database.
fn go_round<W>(all: &[W])
where
    W: Copy + Debug + PartialEq + ToString + FromStr<Err = UnknownWord> + TryFrom<i32, Error = UnknownWord> + Into<i32>,
{
    let words: BTreeSet<_> = all.iter().map(ToString::to_string).collect();
    assert_eq!(words.len(), all.len(), "two words are spelt alike: {all:?}");
    for word in all {
        assert_eq!(word.to_string().parse::<W>().as_ref(), Ok(word));
        assert_eq!(W::try_from((*word).into()).as_ref(), Ok(word));
    }
    for nonsense in [0, -1, 1000] {
        assert!(W::try_from(nonsense).is_err(), "{nonsense} of {all:?}");
    }
    assert!("nonsense".parse::<W>().is_err());
}

#[test]
fn every_word_survives_the_wire_and_the_database() {
    go_round(Visibility::ALL);
    go_round(Role::ALL);
    go_round(TokenKind::ALL);
    go_round(MissingTag::ALL);
    go_round(AuditOutcome::ALL);
    go_round(UpstreamHealth::ALL);
    go_round(ContentKind::ALL);
    go_round(CorruptionKind::ALL);
    go_round(StaleReason::ALL);
    go_round(RefusalReason::ALL);
    go_round(ErrorReason::ALL);
}

#[test]
fn an_enum_that_says_nothing_is_none_and_an_unknown_one_is_an_error() {
    assert_eq!(Visibility::from_wire(v1::Visibility::Unspecified.into()), Ok(None));
    assert_eq!(Visibility::from_wire(v1::Visibility::Internal.into()), Ok(Some(Visibility::Internal)));
    let error = Visibility::from_wire(99).unwrap_err();
    assert_eq!(error.to_string(), "99 is not a visibility: private, internal, public");
    assert_eq!("secret".parse::<Visibility>().unwrap_err().given, "\"secret\"");
}

#[test]
fn links_repositories_and_descriptors_survive_the_wire() {
    let digest = Digest::of(Algorithm::Sha256, b"x");
    let link = Link { digest, kind: ContentKind::Manifest, size_bytes: 1 << 40, media_type: "a/b".into() };
    assert_eq!(Link::try_from(node::v1::Link::from(&link)), Ok(link));
    let descriptor = Descriptor { digest, kind: ContentKind::Blob, size_bytes: 7, platform: "linux/arm64/v8".into() };
    assert_eq!(Descriptor::try_from(node::v1::Reference::from(&descriptor)), Ok(descriptor));
    let repository = RepositoryRef {
        group: GroupId::from("g1"),
        upstream: "docker.io".parse().unwrap(),
        repository: "library/alpine".parse().unwrap(),
    };
    assert_eq!(repository.to_string(), "docker.io/library/alpine");
    assert_eq!(RepositoryRef::try_from(node::v1::RepositoryRef::from(&repository)), Ok(repository));
}

#[test]
fn a_field_that_cannot_be_used_is_named_with_its_path() {
    let good = node::v1::Link {
        digest: Digest::of(Algorithm::Sha256, b"x").to_string(),
        kind: node::v1::ContentKind::Blob.into(),
        size_bytes: 1,
        media_type: String::new(),
    };
    let field = |link: node::v1::Link| Link::try_from(link).unwrap_err().within("link").field;
    assert_eq!(field(node::v1::Link { digest: "sha256:x".into(), ..good.clone() }), "link.digest");
    assert_eq!(field(node::v1::Link { kind: 0, ..good.clone() }), "link.kind");
    assert_eq!(field(node::v1::Link { size_bytes: -1, ..good }), "link.size_bytes");
}

#[test]
fn the_reason_of_an_error_is_the_name_in_the_contract() {
    for reason in ErrorReason::ALL {
        let name = v1::ErrorReason::from(*reason).as_str_name();
        assert_eq!(name, format!("ERROR_REASON_{reason}"));
    }
}
