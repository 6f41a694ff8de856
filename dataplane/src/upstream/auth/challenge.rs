//! The demands of an upstream: `WWW-Authenticate`. Grammar: RFC 9110, section 11; the parameters of Bearer are those of
//! Docker's "Token Authentication Specification".

use std::fmt;

use http::{HeaderMap, header};

/// Longest header line we look at, in bytes; real ones have some 200.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// A challenge that we can meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Challenge {
    /// A token of this service.
    Bearer(Bearer),
    /// User name and password.
    Basic,
}

/// The token service of a challenge, and the access to ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bearer {
    /// The token service's address.
    pub(crate) realm: String,
    /// The service that the token is for.
    pub(crate) service: Option<String>,
    /// The access that it is to grant.
    pub(crate) scope: Option<String>,
}

impl Challenge {
    /// The challenge to meet: Bearer, if that is among them, otherwise Basic.
    pub(crate) fn choose(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        let mut basic = None;
        for challenge in lines.flat_map(parse) {
            match challenge {
                Self::Bearer(_) => return Some(challenge),
                Self::Basic => basic = Some(challenge),
            }
        }
        basic
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Bearer(Bearer { realm, service, scope }) = self else { return f.write_str("Basic") };
        write!(f, "Bearer realm={}", Quoted(realm))?;
        for (name, value) in [("service", service), ("scope", scope)] {
            if let Some(value) = value {
                write!(f, ",{name}={}", Quoted(value))?;
            }
        }
        Ok(())
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

/// The challenges of one line that we can meet. A line may hold several, separated by commas like their parameters:
/// a word that is not followed by `=` begins the next one.
fn parse(line: &str) -> Vec<Challenge> {
    let mut rest = if line.len() > MAX_LINE_BYTES { "" } else { line };
    let mut found: Vec<(&str, Bearer)> = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            break;
        }
        match after.trim_start_matches([' ', '\t']).strip_prefix('=') {
            // `token68` credentials (RFC 9110) end in `=`; no scheme we know has them, and they are no parameter.
            Some(value) if !value.is_empty() && !value.starts_with(['=', ',']) => {
                let Some((value, after)) = parameter_value(value.trim_start_matches([' ', '\t'])) else { break };
                if let Some((_, bearer)) = found.last_mut() {
                    bearer.take(word, value);
                }
                rest = after;
            }
            Some(value) => rest = value.trim_start_matches('='),
            None => {
                found.push((word, Bearer::default()));
                rest = after;
            }
        }
    }
    let known = found.into_iter().filter_map(|(scheme, bearer)| {
        if scheme.eq_ignore_ascii_case("bearer") {
            (!bearer.realm.is_empty()).then_some(Challenge::Bearer(bearer))
        } else {
            scheme.eq_ignore_ascii_case("basic").then_some(Challenge::Basic)
        }
    });
    known.collect()
}

impl Bearer {
    fn take(&mut self, name: &str, value: String) {
        if name.eq_ignore_ascii_case("realm") {
            self.realm = value;
        } else if name.eq_ignore_ascii_case("service") {
            self.service = Some(value);
        } else if name.eq_ignore_ascii_case("scope") {
            self.scope = Some(value);
        }
    }
}

/// A leading token (RFC 9110, section 5.6.2), with the characters of `token68` besides, and what follows.
fn token(text: &str) -> (&str, &str) {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    text.split_at(text.find(|c| !is_token(c)).unwrap_or(text.len()))
}

/// A parameter's value, quoted or not, and what follows; `None` if a quoted one does not end.
fn parameter_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        // Some registries leave URLs unquoted.
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn chosen(lines: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap());
        }
        Challenge::choose(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        let [service, scope] = [service, scope].map(|text| text.map(str::to_owned));
        Some(Challenge::Bearer(Bearer { realm: realm.to_owned(), service, scope }))
    }

    #[test]
    fn challenges_of_real_registries_are_understood() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull""#;
        let hub_is =
            bearer("https://auth.docker.io/token", Some("registry.docker.io"), Some("repository:library/alpine:pull"));
        assert_eq!(chosen(&[hub]), hub_is);
        assert_eq!(chosen(&["Basic realm=\"Registry\"", hub]), hub_is, "Bearer on a line of its own");
        assert_eq!(chosen(&[&format!("Basic realm=\"a, b\", {hub}")]), hub_is, "Bearer on the same line");
        assert_eq!(chosen(&["BEARER Realm = \"r\" , SERVICE=s"]), bearer("r", Some("s"), None));
        assert_eq!(chosen(&[r#"Bearer realm="a\"b\\c,d",scope="x y,z""#]), bearer("a\"b\\c,d", None, Some("x y,z")));
        assert_eq!(chosen(&["Bearer realm=https://x/t,service=s"]), bearer("https://x/t", Some("s"), None));
        assert_eq!(chosen(&["Negotiate dG9rZW4=, Basic realm=x"]), Some(Challenge::Basic));
        assert_eq!(chosen(&["Negotiate dG9rZW4==", "basic"]), Some(Challenge::Basic));
        for line in [
            "",
            ",",
            "Bearer",
            "Bearer realm=\"\"",
            "Bearer realm=\"open",
            "Digest realm=\"x\"",
            "=",
            "\"",
            "Bearer service=s",
        ] {
            assert_eq!(chosen(&[line]), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "\\PC*") {
            parse(&line);
        }

        #[test]
        fn no_line_of_the_grammars_characters_panics(line in "[Bearrlm=\",\\\\ a-c]*") {
            parse(&line);
        }

        #[test]
        fn printing_and_parsing_are_inverse(
            realm in "[ -~]{1,40}",
            service in proptest::option::of("[ -~]{0,20}"),
            scope in proptest::option::of("[ -~]{0,20}"),
        ) {
            let challenge = Challenge::Bearer(Bearer { realm, service, scope });
            prop_assert_eq!(parse(&challenge.to_string()), vec![challenge.clone()]);
            prop_assert_eq!(parse(&format!("Basic realm=\"x\", {challenge}")), vec![Challenge::Basic, challenge]);
        }
    }
}
