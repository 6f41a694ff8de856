//! Patterns of images, by which groups allow and deny pulls and make rules for tags.
//!
//! `*` stands for any characters, `/` among them, or none; everything else for itself; the whole name must fit. Names
//! are matched in full, with their host: `docker.io/library/alpine`. A pattern is completed as an image's name is, so
//! that `alpine` means `docker.io/library/alpine` and `grafana/*` means `docker.io/grafana/*`; one that begins with `*`
//! is left as it is. A colon behind the last `/` begins a pattern of tags: `docker.io/library/*:3.*`.

use std::{fmt, str::FromStr};

use crate::{RepositoryName, Tag, UpstreamHost, image::is_host};

/// Most characters in a pattern: an image's name, and a tag.
const MAX_CHARS: usize = 512;

/// The text is not a pattern of images.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImagePattern {
    /// Nothing would fit it.
    #[error("a pattern must not be empty; \"*\" fits every image")]
    Empty,
    /// It is too long.
    #[error("a pattern has at most {MAX_CHARS} characters")]
    TooLong,
    /// No name has such a character.
    #[error(
        "{0:?} cannot be in a pattern of images: lower-case letters, digits and . _ - / : *, in the tag upper-case too"
    )]
    Character(char),
}

/// A pattern that names of images fit or do not. Shown as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImagePattern {
    text: Box<str>,
    /// The pattern of host and repository, completed.
    image: Box<str>,
    /// The start of the tag pattern in the text, if it has one.
    tag_from: Option<usize>,
}

impl ImagePattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True if it restricts tags.
    pub fn names_tags(&self) -> bool {
        self.tag_from.is_some()
    }

    /// True if the image matches, whatever its tag.
    pub fn fits(&self, host: &UpstreamHost, repository: &RepositoryName) -> bool {
        glob(&self.image, &format!("{host}/{repository}"))
    }

    /// True if the image matches, and the tag too if the pattern has one for tags.
    pub fn fits_tag(&self, host: &UpstreamHost, repository: &RepositoryName, tag: &Tag) -> bool {
        let tag_fits = self.tag_from.is_none_or(|from| glob(&self.text[from..], tag.as_str()));
        tag_fits && self.fits(host, repository)
    }
}

/// Host and library are added where they are left out, as Docker does with names.
fn completed(image: &str) -> String {
    if image.starts_with('*') {
        return image.to_owned();
    }
    let hub = UpstreamHost::DOCKER_HUB;
    let rest = match image.split_once('/') {
        Some((host, rest)) if is_host(host) => match host.parse::<UpstreamHost>() {
            // Docker Hub has more than one name.
            Ok(host) if host.as_str() == hub => rest,
            _ => return image.to_owned(),
        },
        // A host's pattern without a repository, as in "ghcr.io*".
        None if image.contains('*') && image.contains('.') => return image.to_owned(),
        _ => image,
    };
    if rest.contains('/') || rest.starts_with('*') { format!("{hub}/{rest}") } else { format!("{hub}/library/{rest}") }
}

/// Returns whether `pattern` matches the whole text: `*` stands for any characters. Takes at most the product of both lengths
/// in steps.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // The last star, and how far the text was when it stood for nothing yet.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(byte) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

impl FromStr for ImagePattern {
    type Err = InvalidImagePattern;

    fn from_str(text: &str) -> Result<Self, InvalidImagePattern> {
        if text.is_empty() {
            return Err(InvalidImagePattern::Empty);
        }
        if text.len() > MAX_CHARS {
            return Err(InvalidImagePattern::TooLong);
        }
        let name_from = text.rfind('/').map_or(0, |slash| slash + 1);
        let colon = text[name_from..].find(':').map(|colon| name_from + colon);
        let (image, tag) = colon.map_or((text, ""), |colon| (&text[..colon], &text[colon + 1..]));
        let in_both = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | '*');
        let bad = image
            .chars()
            .find(|c| !in_both(*c) && !matches!(c, '/' | ':'))
            .or_else(|| tag.chars().find(|c| !in_both(*c) && !c.is_ascii_uppercase()));
        if let Some(bad) = bad {
            return Err(InvalidImagePattern::Character(bad));
        }
        if image.is_empty() || (colon.is_some() && tag.is_empty()) {
            return Err(InvalidImagePattern::Empty);
        }
        Ok(Self { text: text.into(), image: completed(image).into(), tag_from: colon.map(|colon| colon + 1) })
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The reason for which a group's rules refuse an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefused {
    /// A deny rule fits it.
    #[error("image {image} is denied in this group by the rule \"{rule}\"")]
    Denied {
        /// With its host.
        image: String,
        /// The rule, as it was written.
        rule: String,
    },
    /// There are allow rules, and none fits it.
    #[error("image {image} is not among the images that this group allows ({rules})")]
    NotAllowed {
        /// With its host.
        image: String,
        /// The first rules, as they were written.
        rules: String,
    },
}

/// Rules that a message shows.
const RULES_SHOWN: usize = 5;

/// Decides whether a group's rules allow an image: a matching deny rule wins, and if there are allow rules, one must match.
pub fn may_pull_image(
    allowed: &[ImagePattern],
    denied: &[ImagePattern],
    host: &UpstreamHost,
    repository: &RepositoryName,
) -> Result<(), ImageRefused> {
    let image = || format!("{host}/{repository}");
    if let Some(rule) = denied.iter().find(|rule| rule.fits(host, repository)) {
        return Err(ImageRefused::Denied { image: image(), rule: rule.to_string() });
    }
    if allowed.is_empty() || allowed.iter().any(|rule| rule.fits(host, repository)) {
        return Ok(());
    }
    let mut rules = allowed.iter().take(RULES_SHOWN).map(ImagePattern::as_str).collect::<Vec<_>>().join(", ");
    if allowed.len() > RULES_SHOWN {
        rules.push_str(", …");
    }
    Err(ImageRefused::NotAllowed { image: image(), rules })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ImageName;

    fn pattern(text: &str) -> ImagePattern {
        text.parse().unwrap()
    }

    fn image(text: &str) -> (UpstreamHost, RepositoryName) {
        text.parse::<ImageName>().unwrap().resolve(&UpstreamHost::DOCKER_HUB.parse().unwrap())
    }

    #[test]
    fn names_fit_as_they_are_pulled() {
        for (text, fitting, others) in [
            ("*", &["alpine", "ghcr.io/a/b", "localhost/x"][..], &[][..]),
            ("alpine", &["alpine", "docker.io/library/alpine"], &["alpine/git", "my/alpine", "quay.io/library/alpine"]),
            ("alp*", &["alpine"], &["alpaca/x", "my/alpine"]),
            ("library/*", &["alpine", "nginx"], &["grafana/grafana", "quay.io/library/alpine"]),
            ("docker.io/*", &["alpine", "a/b"], &["quay.io/a/b"]),
            ("docker.io/alpine", &["alpine"], &["my/alpine"]),
            ("index.docker.io/alpine", &["alpine"], &["my/alpine"]),
            ("docker.io/*miner*", &["a/xminer", "miner", "miners/a"], &["quay.io/miner", "mine/r"]),
            ("*miner*", &["a/xminer", "quay.io/a/miner/b"], &["mine/r"]),
            ("ghcr.io/org/*", &["ghcr.io/org/app", "ghcr.io/org/a/b"], &["ghcr.io/organ/app", "org/app"]),
            ("ghcr.io*", &["ghcr.io/a"], &["docker.io/a"]),
            ("*.example/*", &["reg.example/a"], &["reg.example.com/a"]),
            ("registry:5000/*", &["registry:5000/a"], &["registry:5001/a"]),
            ("localhost/x", &["localhost/x"], &["x"]),
            ("*/app", &["quay.io/app", "a/app"], &["quay.io/app2"]),
            ("a*b*c/d", &["axbyc/d", "abc/d", "a/b/bc/d"], &["ab/d"]),
        ] {
            for name in fitting {
                let (host, repository) = image(name);
                assert!(pattern(text).fits(&host, &repository), "{text} {name}");
            }
            for name in others {
                let (host, repository) = image(name);
                assert!(!pattern(text).fits(&host, &repository), "{text} {name}");
            }
        }
    }

    #[test]
    fn a_colon_behind_the_last_slash_begins_the_tag() {
        for (text, name, tag, expected) in [
            ("alpine", "alpine", "3.20", true),
            ("alpine:3*", "alpine", "3.20", true),
            ("alpine:3*", "alpine", "2", false),
            ("alpine:3*", "nginx", "3", false),
            ("*:latest", "quay.io/a/b", "latest", true),
            ("*:latest", "quay.io/a/b", "latest-1", false),
            ("registry:5000/app", "registry:5000/app", "anything", true),
            ("registry:5000/app:v*", "registry:5000/app", "v1", true),
            ("registry:5000/app:v*", "registry:5000/app", "1", false),
            ("docker.io/library/*:*-RC*", "alpine", "3-RC1", true),
        ] {
            let (host, repository) = image(name);
            assert_eq!(
                pattern(text).fits_tag(&host, &repository, &tag.parse().unwrap()),
                expected,
                "{text} {name}:{tag}"
            );
            assert_eq!(pattern(text).names_tags(), text.rsplit('/').next().unwrap().contains(':'), "{text}");
        }
    }

    #[test]
    fn what_no_name_could_fit_is_refused() {
        for text in
            ["", ":x", "a:", "Alpine", "a b", "a?", "docker.io/[ab]", "a:b/c:d e", "ü", "a:x:y", &"a".repeat(513)]
        {
            assert!(text.parse::<ImagePattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn deny_is_stronger_than_allow() {
        let rules = |texts: &[&str]| texts.iter().map(|text| pattern(text)).collect::<Vec<_>>();
        for (allowed, denied, name, expected) in [
            (&[][..], &[][..], "alpine", None),
            (
                &[],
                &["*miner*"],
                "a/miner",
                Some("image docker.io/a/miner is denied in this group by the rule \"*miner*\""),
            ),
            (&["library/*"], &["alpine"], "nginx", None),
            (
                &["library/*"],
                &["alpine"],
                "alpine",
                Some("image docker.io/library/alpine is denied in this group by the rule \"alpine\""),
            ),
            (
                &["library/*", "ghcr.io/*"],
                &[],
                "a/b",
                Some("image docker.io/a/b is not among the images that this group allows (library/*, ghcr.io/*)"),
            ),
        ] {
            let (host, repository) = image(name);
            let got = may_pull_image(&rules(allowed), &rules(denied), &host, &repository);
            assert_eq!(got.err().map(|refused| refused.to_string()).as_deref(), expected, "{name}");
        }
    }

    /// An independent statement of a pattern's meaning.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => (0..=text.len()).any(|skipped| slow(rest, &text[skipped..])),
            Some((byte, rest)) => text.split_first().is_some_and(|(first, text)| first == byte && slow(rest, text)),
        }
    }

    proptest! {
        #[test]
        fn stars_stand_for_any_characters(pattern in "[ab*]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(glob(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn every_name_fits_itself(text in "[a-z0-9]{1,5}(/[a-z0-9]{1,5}){0,3}") {
            let (host, repository) = image(&text);
            prop_assert!(pattern(&text).fits(&host, &repository));
        }
    }
}
