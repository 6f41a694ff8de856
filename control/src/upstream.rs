//! Upstream registries: the built-in one, and what an administrator may set.

use roadstead_proto::UpstreamHost;
use url::Url;

use crate::violation::Violation;

/// Where Docker Hub is, unless an administrator says otherwise.
pub const DOCKER_HUB_URL: &str = "https://registry-1.docker.io";
/// The host of Docker Hub's token service.
pub const DOCKER_HUB_TOKEN_HOST: &str = "auth.docker.io";
/// Most token hosts of one upstream.
pub const MAX_TOKEN_HOSTS: usize = 20;
/// Most characters in an upstream's URL.
const MAX_URL_CHARS: usize = 2000;

/// A registry that pulls are proxied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// How image names refer to it.
    pub host: UpstreamHost,
    /// Where it is, without a slash at the end.
    pub url: String,
    /// Hosts, besides the URL's own, whose token services may be given credentials for it.
    pub token_hosts: Vec<String>,
    /// When it was last changed; `None` while it is as built in.
    pub updated_at_ms: Option<i64>,
}

impl Upstream {
    /// Docker Hub as built in, or what is wrong with the constants above.
    pub fn docker_hub() -> Result<Self, roadstead_proto::InvalidImageName> {
        Ok(Self {
            host: UpstreamHost::DOCKER_HUB.parse()?,
            url: DOCKER_HUB_URL.into(),
            token_hosts: vec![DOCKER_HUB_TOKEN_HOST.into()],
            updated_at_ms: None,
        })
    }

    /// Checks what an administrator asks for.
    pub fn parse(host: &str, url: &str, token_hosts: &[String], now_ms: i64) -> Result<Self, Vec<Violation>> {
        let mut found = Vec::new();
        let host = host.parse::<UpstreamHost>().map_err(|error| found.push(Violation::new("host", error.to_string())));
        let url = parse_url(url).map_err(|message| found.push(Violation::new("url", message)));
        let mut hosts: Vec<String> = Vec::new();
        if token_hosts.len() > MAX_TOKEN_HOSTS {
            found.push(Violation::new("token_hosts", format!("at most {MAX_TOKEN_HOSTS}")));
        }
        for text in token_hosts.iter().take(MAX_TOKEN_HOSTS) {
            // Kept as written: a token host is a place, not the name of an upstream.
            match text.parse::<UpstreamHost>() {
                Ok(_) if hosts.contains(text) => {}
                Ok(_) => hosts.push(text.clone()),
                Err(error) => found.push(Violation::new("token_hosts", error.to_string())),
            }
        }
        let (Ok(host), Ok(url), true) = (host, url, found.is_empty()) else { return Err(found) };
        if let (Ok(hub), true) = (Self::docker_hub(), hosts.is_empty())
            && hub.host == host
            && hub.url == url
        {
            hosts = hub.token_hosts;
        }
        Ok(Self { host, url, token_hosts: hosts, updated_at_ms: Some(now_ms) })
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    if text.len() > MAX_URL_CHARS {
        return Err(format!("at most {MAX_URL_CHARS} characters"));
    }
    let url: Url = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return Err("must be https://HOST[:PORT][/PATH], or http:// for a registry without TLS".into());
    }
    // The text itself is not repeated: it may hold a password.
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold credentials; store them per group with `upstream login`".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must have neither query nor fragment".into());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_administrator_sets_is_checked() {
        for (host, url, token_hosts, expected) in [
            ("ghcr.io", "https://ghcr.io", &[][..], Ok("https://ghcr.io []")),
            ("ghcr.io", "https://ghcr.io/", &["a.io", "a.io"][..], Ok("https://ghcr.io [a.io]")),
            ("docker.io", "https://registry-1.docker.io/", &[], Ok("https://registry-1.docker.io [auth.docker.io]")),
            ("docker.io", "http://127.0.0.1:5000", &[], Ok("http://127.0.0.1:5000 []")),
            ("reg:5000", "http://reg:5000/mirror/", &[], Ok("http://reg:5000/mirror []")),
            ("GHCR.io", "https://ghcr.io", &[], Err("host")),
            ("", "https://ghcr.io", &[], Err("host")),
            ("ghcr.io", "", &[], Err("url")),
            ("ghcr.io", "ftp://ghcr.io", &[], Err("url")),
            ("ghcr.io", "https://u:p@ghcr.io", &[], Err("url")),
            ("ghcr.io", "https://ghcr.io/?a=b", &[], Err("url")),
            ("ghcr.io", "https://ghcr.io/#a", &[], Err("url")),
            ("ghcr.io", "https://ghcr.io", &["a/b"][..], Err("token_hosts")),
        ] {
            let token_hosts: Vec<String> = token_hosts.iter().map(ToString::to_string).collect();
            let got =
                Upstream::parse(host, url, &token_hosts, 1).map(|u| format!("{} [{}]", u.url, u.token_hosts.join(",")));
            match expected {
                Ok(shown) => assert_eq!(got, Ok(shown.to_owned()), "{host} {url}"),
                Err(field) => assert_eq!(got.unwrap_err()[0].field, field, "{host} {url}"),
            }
        }
    }

    #[test]
    fn a_message_about_a_url_never_repeats_a_password() {
        let found = Upstream::parse("a.io", "https://me:hunter2@a.io", &[], 1).unwrap_err();
        assert!(!format!("{found:?}").contains("hunter2"));
    }
}
