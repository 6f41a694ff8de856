//! Upstream registries: the built-in one, and what an administrator may set.

use roadstead_proto::UpstreamHost;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use url::Url;

use crate::rules::violation::Violation;

/// The default URL of Docker Hub.
pub const DOCKER_HUB_URL: &str = "https://registry-1.docker.io";
/// The host of Docker Hub's token service.
pub const DOCKER_HUB_TOKEN_HOST: &str = "auth.docker.io";
/// Most token hosts, and most redirect hosts, of one upstream.
pub const MAX_HOSTS: usize = 20;
/// Share of a pull limit that is kept for what is not cached, in percent, unless an administrator says otherwise.
pub const DEFAULT_RESERVE_PERCENT: i64 = roadstead_proto::DEFAULT_RESERVE_PERCENT as i64;
/// Largest such share: something must be left to work with.
pub const MAX_RESERVE_PERCENT: i64 = 90;
/// Most bytes of certificates.
const MAX_CA_BYTES: usize = 256 * 1024;
/// Most characters in an upstream's URL.
const MAX_URL_CHARS: usize = 2000;

/// A registry that pulls are proxied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The host that image names use.
    pub host: UpstreamHost,
    /// Its URL, without a slash at the end.
    pub url: String,
    /// Hosts, besides the URL's own, whose token services may be given credentials for it.
    pub token_hosts: Vec<String>,
    /// Certificates, PEM, that are trusted for it besides the public ones.
    pub ca_pem: String,
    /// Hosts at private addresses that it may redirect to.
    pub redirect_hosts: Vec<String>,
    /// Share of the pull limit below which cached tags are not fetched anew, in percent.
    pub reserve_percent: i64,
    /// When it was last changed; `None` while it is as built in.
    pub updated_at_ms: Option<i64>,
}

/// The settings that an administrator asks for, not yet checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamRequest<'a> {
    /// See [`Upstream::host`].
    pub host: &'a str,
    /// See [`Upstream::url`].
    pub url: &'a str,
    /// See [`Upstream::token_hosts`].
    pub token_hosts: &'a [String],
    /// See [`Upstream::ca_pem`].
    pub ca_pem: &'a str,
    /// See [`Upstream::redirect_hosts`].
    pub redirect_hosts: &'a [String],
    /// See [`Upstream::reserve_percent`]; `None` means the default.
    pub reserve_percent: Option<i64>,
}

/// Changes to an upstream; settings that are `None` keep their value.
#[derive(Clone, Debug, Default)]
pub struct UpstreamChange {
    /// See [`Upstream::url`].
    pub url: Option<String>,
    /// See [`Upstream::token_hosts`].
    pub token_hosts: Option<Vec<String>>,
    /// See [`Upstream::ca_pem`].
    pub ca_pem: Option<String>,
    /// See [`Upstream::redirect_hosts`].
    pub redirect_hosts: Option<Vec<String>>,
    /// See [`Upstream::reserve_percent`].
    pub reserve_percent: Option<i64>,
}

impl UpstreamChange {
    /// Returns the upstream after the change, checked. Without `before` it is a new one, and the change must name its URL.
    pub fn apply(self, host: &str, before: Option<&Upstream>, now_ms: i64) -> Result<Upstream, Vec<Violation>> {
        let url = self.url.or_else(|| before.map(|it| it.url.clone()));
        let Some(url) = url else {
            let bad_host = host.parse::<UpstreamHost>().err().map(|error| Violation::new("host", error.to_string()));
            return Err(vec![bad_host.unwrap_or_else(|| Violation::new("url", "required to add an upstream"))]);
        };
        let kept = |hosts: fn(&Upstream) -> &Vec<String>| before.map(hosts).cloned().unwrap_or_default();
        let token_hosts = self.token_hosts.unwrap_or_else(|| kept(|it| &it.token_hosts));
        let redirect_hosts = self.redirect_hosts.unwrap_or_else(|| kept(|it| &it.redirect_hosts));
        let ca_pem = self.ca_pem.or_else(|| before.map(|it| it.ca_pem.clone())).unwrap_or_default();
        let request = UpstreamRequest {
            host,
            url: &url,
            token_hosts: &token_hosts,
            ca_pem: &ca_pem,
            redirect_hosts: &redirect_hosts,
            reserve_percent: self.reserve_percent.or_else(|| before.map(|it| it.reserve_percent)),
        };
        // This time is the etag too, so it must differ from that of the state before.
        let after = before.and_then(|it| it.updated_at_ms).unwrap_or_default();
        Upstream::parse(request, now_ms.max(after.saturating_add(1)))
    }
}

impl Upstream {
    /// Identifies this state of the upstream; 0 while it is as built in.
    pub fn etag(&self) -> i64 {
        self.updated_at_ms.unwrap_or_default()
    }

    /// Docker Hub as built in, or what is wrong with the constants above.
    pub fn docker_hub() -> Result<Self, roadstead_proto::InvalidImageName> {
        Ok(Self {
            host: UpstreamHost::DOCKER_HUB.parse()?,
            url: DOCKER_HUB_URL.into(),
            token_hosts: vec![DOCKER_HUB_TOKEN_HOST.into()],
            ca_pem: String::new(),
            redirect_hosts: Vec::new(),
            reserve_percent: DEFAULT_RESERVE_PERCENT,
            updated_at_ms: None,
        })
    }

    /// Checks what an administrator asks for, and names everything that is wrong with it.
    pub fn parse(request: UpstreamRequest<'_>, now_ms: i64) -> Result<Self, Vec<Violation>> {
        let mut found = Vec::new();
        let host =
            request.host.parse::<UpstreamHost>().map_err(|error| found.push(Violation::new("host", error.to_string())));
        let url = parse_url(request.url).map_err(|message| found.push(Violation::new("url", message)));
        let mut token_hosts = parse_hosts("token_hosts", request.token_hosts, &mut found);
        let redirect_hosts = parse_hosts("redirect_hosts", request.redirect_hosts, &mut found);
        let ca_pem = request.ca_pem.trim();
        if let Err(message) = check_certificates(ca_pem) {
            found.push(Violation::new("ca_pem", message));
        }
        let reserve_percent = request.reserve_percent.unwrap_or(DEFAULT_RESERVE_PERCENT);
        if !(0..=MAX_RESERVE_PERCENT).contains(&reserve_percent) {
            found.push(Violation::new("reserve_percent", format!("must be between 0 and {MAX_RESERVE_PERCENT}")));
        }
        let (Ok(host), Ok(url), true) = (host, url, found.is_empty()) else { return Err(found) };
        if let (Ok(hub), true) = (Self::docker_hub(), token_hosts.is_empty())
            && hub.host == host
            && hub.url == url
        {
            token_hosts = hub.token_hosts;
        }
        let ca_pem = ca_pem.to_owned();
        Ok(Self { host, url, token_hosts, ca_pem, redirect_hosts, reserve_percent, updated_at_ms: Some(now_ms) })
    }
}

fn parse_hosts(field: &str, texts: &[String], found: &mut Vec<Violation>) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::new();
    if texts.len() > MAX_HOSTS {
        found.push(Violation::new(field, format!("at most {MAX_HOSTS}")));
    }
    for text in texts.iter().take(MAX_HOSTS) {
        // Kept as written: these are places, not names of upstreams.
        match text.parse::<UpstreamHost>() {
            Ok(_) if hosts.contains(text) => {}
            Ok(_) => hosts.push(text.clone()),
            Err(error) => found.push(Violation::new(field, error.to_string())),
        }
    }
    hosts
}

/// Returns whether the text is empty, or certificates that can be trusted, all of it.
fn check_certificates(pem: &str) -> Result<(), String> {
    if pem.is_empty() {
        return Ok(());
    }
    if pem.len() > MAX_CA_BYTES {
        return Err(format!("at most {} KiB", MAX_CA_BYTES / 1024));
    }
    if pem.contains("PRIVATE KEY") {
        return Err("holds a private key; only certificates belong here".into());
    }
    let mut trusted = rustls::RootCertStore::empty();
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        count += 1;
        let certificate = certificate.map_err(|error| format!("certificate {count} is not PEM: {error}"))?;
        trusted.add(certificate).map_err(|error| format!("certificate {count} cannot be trusted: {error}"))?;
    }
    if count == 0 { Err("holds no certificate: -----BEGIN CERTIFICATE----- …".into()) } else { Ok(()) }
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
            let request = UpstreamRequest { host, url, token_hosts: &token_hosts, ..UpstreamRequest::default() };
            let got = Upstream::parse(request, 1).map(|u| format!("{} [{}]", u.url, u.token_hosts.join(",")));
            match expected {
                Ok(shown) => assert_eq!(got, Ok(shown.to_owned()), "{host} {url}"),
                Err(field) => assert_eq!(got.unwrap_err()[0].field, field, "{host} {url}"),
            }
        }
    }

    #[test]
    fn a_message_about_a_url_never_repeats_a_password() {
        let request = UpstreamRequest { host: "a.io", url: "https://me:hunter2@a.io", ..UpstreamRequest::default() };
        let found = Upstream::parse(request, 1).unwrap_err();
        assert!(!format!("{found:?}").contains("hunter2"));
    }

    #[test]
    fn the_reserve_redirects_and_certificates_are_checked_and_all_that_is_wrong_is_named() {
        let certificate = rcgen::generate_simple_self_signed(["a.io".to_owned()]).unwrap();
        let pem = certificate.cert.pem();
        let two = format!("{pem}\n# and another\n{pem}");
        let key = format!("{pem}{}", certificate.signing_key.serialize_pem());
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let base = UpstreamRequest { host: "a.io", url: "https://a.io", ..UpstreamRequest::default() };
        let host = ["10.0.0.1:5000".to_owned()];
        let bad_hosts = ["https://x".to_owned()];
        for (request, wrong) in [
            (UpstreamRequest { ca_pem: &pem, redirect_hosts: &host, reserve_percent: Some(0), ..base }, &[][..]),
            (UpstreamRequest { ca_pem: &two, reserve_percent: Some(90), ..base }, &[]),
            (UpstreamRequest { ca_pem: "nothing", ..base }, &["ca_pem"]),
            (UpstreamRequest { ca_pem: damaged, ..base }, &["ca_pem"]),
            (UpstreamRequest { ca_pem: &key, ..base }, &["ca_pem"]),
            (
                UpstreamRequest { ca_pem: "x", redirect_hosts: &bad_hosts, reserve_percent: Some(91), ..base },
                &["redirect_hosts", "ca_pem", "reserve_percent"],
            ),
        ] {
            let fields: Vec<_> = match Upstream::parse(request, 1) {
                Ok(upstream) => {
                    assert_eq!(Some(upstream.reserve_percent), request.reserve_percent);
                    assert_eq!(upstream.ca_pem, request.ca_pem.trim());
                    vec![]
                }
                Err(found) => found.into_iter().map(|violation| violation.field).collect(),
            };
            assert_eq!(fields, wrong, "{request:?}");
        }
        assert_eq!(Upstream::parse(base, 1).unwrap().reserve_percent, 10);
    }
}
