//! The trusts of a group: tokens of an issuer, for an audience, with claims that match rules.

use std::fmt;

use roadstead_proto::{GroupPath, glob};
use serde_json::{Map, Value};

use super::{IssuerUrl, token::IdToken};
use crate::rules::violation::Violation;

/// Most characters in an audience, and in the name of a claim.
const MAX_NAME_CHARS: usize = 255;
/// Most characters in a pattern.
const MAX_PATTERN_CHARS: usize = 1024;
/// Most rules of one trust.
const MAX_RULES: usize = 20;

/// A claim that a token must carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRule {
    /// The claim's name.
    pub claim: String,
    /// The pattern of its whole value; "*" stands for any characters.
    pub pattern: String,
}

/// A trust that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Names it in registry tokens issued for it, so that these end with it.
    pub id: String,
    /// The group; its subgroups are within reach.
    pub group: GroupPath,
    /// The issuer's URL.
    pub issuer: String,
    /// The required value of a token's `aud`.
    pub audience: String,
    /// All must fit.
    pub claims: Vec<ClaimRule>,
    /// When it was created.
    pub created_at_ms: i64,
}

/// A trust to be created.
#[derive(Clone, Debug)]
pub struct NewTrust {
    /// The group.
    pub group: GroupPath,
    /// The issuer.
    pub issuer: IssuerUrl,
    /// See [`Trust::audience`].
    pub audience: String,
    /// See [`Trust::claims`].
    pub claims: Vec<ClaimRule>,
}

impl NewTrust {
    /// Everything that is wrong with it.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        if !is_name(&self.audience) {
            found.push(Violation::new("audience", format!("required: at most {MAX_NAME_CHARS} characters")));
        }
        if self.claims.is_empty() || self.claims.len() > MAX_RULES {
            found.push(Violation::new(
                "claims",
                format!("1 to {MAX_RULES} rules: without one, everybody with an account at the issuer could pull"),
            ));
        }
        for rule in &self.claims {
            if !is_name(&rule.claim) {
                let message = format!("the name of a claim has 1 to {MAX_NAME_CHARS} characters");
                found.push(Violation::new("claims", message));
            }
            if rule.pattern.is_empty() || rule.pattern.chars().count() > MAX_PATTERN_CHARS {
                let message = format!("a pattern has 1 to {MAX_PATTERN_CHARS} characters");
                found.push(Violation::new("claims", message));
            } else if rule.pattern.chars().all(|character| character == '*') {
                found.push(Violation::new("claims", "a pattern of nothing but * lets everybody in; say more"));
            }
        }
        found
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= MAX_NAME_CHARS && !text.chars().any(char::is_control)
}

impl Trust {
    /// Checks whether this trust accepts the verified token.
    pub fn takes(&self, token: &IdToken) -> bool {
        self.issuer == token.issuer
            && token.audiences.contains(&self.audience)
            // Never without a rule, even if the database should say so.
            && !self.claims.is_empty()
            && self.claims.iter().all(|rule| rule.fits(&token.claims))
    }
}

impl fmt::Display for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "issuer {}, audience {}", self.issuer, self.audience)?;
        self.claims.iter().try_for_each(|rule| write!(f, ", {} = {}", rule.claim, rule.pattern))
    }
}

impl ClaimRule {
    fn fits(&self, claims: &Map<String, Value>) -> bool {
        match claims.get(&self.claim) {
            Some(Value::String(text)) => glob(&self.pattern, text),
            Some(Value::Number(number)) => glob(&self.pattern, &number.to_string()),
            Some(Value::Bool(value)) => glob(&self.pattern, if *value { "true" } else { "false" }),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_are_anchored_and_stars_take_anything() {
        for (pattern, text, expected) in [
            ("acme/app", "acme/app", true),
            ("acme/app", "acme/app2", false),
            ("acme/app", "xacme/app", false),
            ("acme/*", "acme/app", true),
            ("acme/*", "acme/a/b", true),
            ("acme/*", "acme/", true),
            ("acme/*", "acme", false),
            ("acme/*", "evil/acme/app", false),
            ("acme/*", "acme-evil/app", false),
            ("*/app", "acme/app", true),
            ("*/app", "acme/app/x", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("repo:acme/app:*", "repo:acme/app:ref:refs/heads/main", true),
            ("a?c", "abc", false),
            ("a.c", "abc", false),
            ("[a]", "a", false),
            ("Acme/*", "acme/app", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_as_the_plain_definition_says(pattern in "[ab*]{0,6}", text in "[ab]{0,8}") {
            fn plain(pattern: &[u8], text: &[u8]) -> bool {
                match pattern.split_first() {
                    None => text.is_empty(),
                    Some((b'*', rest)) => (0..=text.len()).any(|taken| plain(rest, &text[taken..])),
                    Some((first, rest)) => text.split_first().is_some_and(|(c, text)| c == first && plain(rest, text)),
                }
            }
            prop_assert_eq!(glob(&pattern, &text), plain(pattern.as_bytes(), text.as_bytes()));
        }
    }

    fn rules(rules: &[(&str, &str)]) -> Vec<ClaimRule> {
        rules.iter().map(|(claim, pattern)| ClaimRule { claim: (*claim).into(), pattern: (*pattern).into() }).collect()
    }

    #[test]
    fn a_trust_takes_a_token_of_its_issuer_for_its_audience_if_all_rules_fit() {
        let Value::Object(claims) = json!({
            "project_path": "acme/app", "project_id": 42, "protected": true, "ref": null, "groups": ["acme/app"],
        }) else {
            unreachable!()
        };
        let token = IdToken {
            issuer: "https://idp".into(),
            audiences: vec!["other".into(), "roadstead".into()],
            expires_at_ms: 0,
            claims,
        };
        for (issuer, audience, claims, expected) in [
            ("https://idp", "roadstead", &[("project_path", "acme/*")][..], true),
            ("https://idp", "roadstead", &[("project_path", "acme/*"), ("project_id", "42")], true),
            ("https://idp", "roadstead", &[("project_path", "acme/*"), ("protected", "true")], true),
            ("https://idp", "roadstead", &[("project_path", "acme/*"), ("project_id", "43")], false),
            ("https://idp", "roadstead", &[("project_path", "other/*")], false),
            ("https://idp", "roadstead", &[("nothing", "a*")], false),
            ("https://idp", "roadstead", &[("ref", "null")], false),
            ("https://idp", "roadstead", &[("groups", "*acme/app*")], false),
            ("https://idp", "roadstead", &[], false),
            ("https://idp", "Roadstead", &[("project_path", "acme/*")], false),
            ("https://idp/", "roadstead", &[("project_path", "acme/*")], false),
        ] {
            let trust = Trust {
                id: "t".into(),
                group: "acme".parse().unwrap(),
                issuer: issuer.into(),
                audience: audience.into(),
                claims: rules(claims),
                created_at_ms: 0,
            };
            assert_eq!(trust.takes(&token), expected, "{issuer} {audience} {claims:?}");
        }
    }

    #[test]
    fn a_new_trust_says_who_is_meant() {
        let long = "x".repeat(1025);
        for (audience, claims, wrong) in [
            ("roadstead", rules(&[("sub", "a*")]), None),
            ("", rules(&[("sub", "a*")]), Some("audience")),
            (&long[..256], rules(&[("sub", "a*")]), Some("audience")),
            ("roadstead", rules(&[]), Some("claims")),
            ("roadstead", rules(&[("sub", "*")]), Some("claims")),
            ("roadstead", rules(&[("sub", "***")]), Some("claims")),
            ("roadstead", rules(&[("sub", "")]), Some("claims")),
            ("roadstead", rules(&[("", "a")]), Some("claims")),
            ("roadstead", rules(&[("sub", &long)]), Some("claims")),
            ("roadstead", rules(&[("sub", "a"); 20]), None),
            ("roadstead", rules(&[("sub", "a"); 21]), Some("claims")),
        ] {
            let new = NewTrust {
                group: "acme".parse().unwrap(),
                issuer: "https://idp.example".parse().unwrap(),
                audience: audience.into(),
                claims,
            };
            assert_eq!(new.violations().first().map(|found| found.field.as_str()), wrong, "{new:?}");
        }
    }
}
