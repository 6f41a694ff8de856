//! The URL that names an issuer.

use std::{fmt, str::FromStr};

use url::{Origin, Url};

/// Most characters in an issuer's URL.
const MAX_CHARS: usize = 255;
/// Path of an issuer's description, after its URL without a closing slash (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// An issuer's URL, kept exactly as tokens write it: "https://gitlab.example.com".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerUrl {
    text: String,
    url: Url,
}

/// The text is not the URL of an issuer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be the issuer's URL as its tokens name it in `iss`, like https://gitlab.example.com: http or https, \
     at most {MAX_CHARS} characters, without user name, query and fragment"
)]
pub struct BadIssuer;

impl IssuerUrl {
    /// As tokens write it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the URL of its description.
    pub(super) fn discovery(&self) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{DISCOVERY}", self.url.path().trim_end_matches('/')));
        url
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> Origin {
        self.url.origin()
    }
}

impl FromStr for IssuerUrl {
    type Err = BadIssuer;

    fn from_str(text: &str) -> Result<Self, BadIssuer> {
        // The parser forgives blanks and line breaks; a token's `iss` with them is another text.
        if text.len() > MAX_CHARS || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(BadIssuer);
        }
        let url = Url::parse(text).map_err(|_| BadIssuer)?;
        let plain = url.username().is_empty() && url.password().is_none() && !text.contains(['?', '#', '@', '\\']);
        if plain && matches!(url.scheme(), "http" | "https") && url.has_host() {
            Ok(Self { text: text.to_owned(), url })
        } else {
            Err(BadIssuer)
        }
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_plain_url_and_stays_as_written() {
        for (text, discovery) in [
            ("https://gitlab.com", Some("https://gitlab.com/.well-known/openid-configuration")),
            ("https://idp.example/", Some("https://idp.example/.well-known/openid-configuration")),
            ("https://idp.example/realms/ci", Some("https://idp.example/realms/ci/.well-known/openid-configuration")),
            ("https://idp.example/realms/ci/", Some("https://idp.example/realms/ci/.well-known/openid-configuration")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080/.well-known/openid-configuration")),
            ("", None),
            ("gitlab.com", None),
            ("ftp://gitlab.com", None),
            ("file:///etc/passwd", None),
            ("https://", None),
            ("https://user@gitlab.com", None),
            ("https://user:word@gitlab.com", None),
            ("https://gitlab.com?x=1", None),
            ("https://gitlab.com/#a", None),
            (" https://gitlab.com", None),
            ("https://git\nlab.com", None),
            (&format!("https://{}.example", "a".repeat(250)), None),
        ] {
            let parsed = text.parse::<IssuerUrl>();
            assert_eq!(
                parsed.as_ref().ok().map(|issuer| issuer.discovery().to_string()).as_deref(),
                discovery,
                "{text}"
            );
            assert!(parsed.is_err() || parsed.is_ok_and(|issuer| issuer.as_str() == text));
        }
    }
}
