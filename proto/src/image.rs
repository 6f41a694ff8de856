//! Names of images: the upstream's host and the repository there.
//! Grammar of repositories: OCI distribution-spec 1.1, "Pulling manifests"; the rule that tells a host from a
//! first path segment is Docker's (a dot, a colon, or `localhost`).

use std::{fmt, str::FromStr, sync::Arc};

/// Most characters in a repository's name, as in distribution's reference grammar.
const MAX_REPOSITORY_CHARS: usize = 255;
/// Most characters in an upstream's host with its port (a DNS name has at most 253).
const MAX_HOST_CHARS: usize = 259;

/// The text is not an image's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImageName {
    /// The repository breaks the grammar; carries its beginning.
    #[error(
        "{0:?} is not a repository name: lower-case letters and digits, separated by '/', '.', '_', '__' or '-', at most 255 characters"
    )]
    Repository(String),
    /// The host breaks the grammar; carries its beginning.
    #[error("{0:?} is not a registry host: a lower-case DNS name or IPv4 address, with an optional port")]
    Host(String),
}

fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The host by which image names refer to an upstream: `docker.io`, `registry.example:5000`.
/// It names the upstream; where that is reached is the administrator's setting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamHost(Arc<str>);

impl UpstreamHost {
    /// Docker Hub, the upstream meant by names without a host unless a group says otherwise.
    pub const DOCKER_HUB: &str = "docker.io";

    /// The host as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Docker Hub has its official images under `library/`, which names may leave out.
    fn has_library(&self) -> bool {
        &*self.0 == Self::DOCKER_HUB
    }
}

/// Docker's rule: the first segment of a name is a host if it could not be a segment, or is `localhost`.
pub(crate) fn is_host(segment: &str) -> bool {
    segment.contains(['.', ':']) || segment == "localhost"
}

impl FromStr for UpstreamHost {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let bad = || InvalidImageName::Host(beginning(text));
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        let good_port = port
            .is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0));
        if text.len() > MAX_HOST_CHARS || !good_port || !name.split('.').all(label) {
            return Err(bad());
        }
        // Docker's other two names for the same registry.
        Ok(Self(
            if matches!(text, "index.docker.io" | "registry-1.docker.io") { Self::DOCKER_HUB } else { text }.into(),
        ))
    }
}

impl fmt::Display for UpstreamHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A repository at an upstream: `library/alpine`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(Arc<str>);

impl RepositoryName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scope that an upstream's token service is asked for.
    pub fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.0)
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_component(component: &str) -> bool {
    let word = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_well = bytes.first().is_some_and(word) && bytes.last().is_some_and(word);
    ends_well
        && bytes
            .split(word)
            .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|b| *b == b'-'))
}

impl FromStr for RepositoryName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        if text.len() <= MAX_REPOSITORY_CHARS && text.split('/').all(is_component) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidImageName::Repository(beginning(text)))
        }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An image as people write it, with or without a host; the group's default upstream completes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    host: Option<UpstreamHost>,
    path: RepositoryName,
}

impl ImageName {
    /// The host, where the name has one.
    pub fn host(&self) -> Option<&UpstreamHost> {
        self.host.as_ref()
    }

    /// Returns the image at `host`, unless the name has a host of its own.
    pub fn or_host(mut self, host: UpstreamHost) -> Self {
        self.host.get_or_insert(host);
        self
    }

    /// The upstream and the repository there, `library/` added where Docker Hub leaves it out.
    pub fn resolve(&self, default: &UpstreamHost) -> (UpstreamHost, RepositoryName) {
        let host = self.host.as_ref().unwrap_or(default).clone();
        let repository = if host.has_library() && !self.path.0.contains('/') {
            RepositoryName(format!("library/{}", self.path).into())
        } else {
            self.path.clone()
        };
        (host, repository)
    }
}

impl FromStr for ImageName {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        match text.split_once('/') {
            Some((first, rest)) if is_host(first) => Ok(Self { host: Some(first.parse()?), path: rest.parse()? }),
            _ => Ok(Self { host: None, path: text.parse()? }),
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}/{}", self.path),
            None => self.path.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(text: &str) -> String {
        let hub = UpstreamHost::DOCKER_HUB.parse().unwrap();
        let (host, repository) = text.parse::<ImageName>().unwrap().resolve(&hub);
        format!("{host} {repository}")
    }

    #[test]
    fn names_resolve_as_docker_resolves_them() {
        for (text, expected) in [
            ("alpine", "docker.io library/alpine"),
            ("library/alpine", "docker.io library/alpine"),
            ("docker.io/alpine", "docker.io library/alpine"),
            ("index.docker.io/library/alpine", "docker.io library/alpine"),
            ("grafana/grafana", "docker.io grafana/grafana"),
            ("ghcr.io/org/app", "ghcr.io org/app"),
            ("quay.io/a/b/c", "quay.io a/b/c"),
            ("localhost/x", "localhost x"),
            ("registry:5000/x", "registry:5000 x"),
            ("my.image", "docker.io library/my.image"),
        ] {
            assert_eq!(resolved(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(256);
        for text in [
            "",
            "ru*by",
            "Alpine",
            "a//b",
            "/a",
            "a/",
            "../path_traversal",
            "a/..",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "ghcr.io/",
            "ghcr.io:0/a",
            "ghcr.io:99999/a",
            "-bad.io/a",
            "user@host.io/a",
            "host.io/a%2fb",
            "é",
            "a:b",
            &long,
        ] {
            assert!(text.parse::<ImageName>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_of_the_grammar_is_taken(text in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}(/[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,8}){0,3}){0,4}") {
            prop_assert_eq!(text.parse::<RepositoryName>().unwrap().to_string(), text);
        }

        #[test]
        fn nothing_that_is_taken_can_leave_a_folder(text in ".*") {
            if let Ok(name) = text.parse::<RepositoryName>() {
                prop_assert!(name.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with('.')));
            }
        }
    }
}
