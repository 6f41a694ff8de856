//! Which group is meant by clients that cannot name one: Docker Engine's `registry-mirrors` takes no path, and asks for
//! `/v2/library/alpine/…`. A listener, or a host name that leads to it, stands for one group then.
//!
//! Names that do name a group mean that, here as everywhere. The group's rules are checked later, as for every pull.

use std::collections::HashMap;

use http::{HeaderMap, Uri, header};
use roadstead_proto::GroupPath;

/// Groups that bare image names mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirrors {
    group: Option<GroupPath>,
    by_host: HashMap<Box<str>, GroupPath>,
}

impl Mirrors {
    /// `group` for every host name that has no group of its own in `hosts`. A name with a port is only for that port.
    pub fn new(group: Option<GroupPath>, hosts: impl IntoIterator<Item = (String, GroupPath)>) -> Self {
        let by_host = hosts.into_iter().map(|(host, group)| (host.to_ascii_lowercase().into(), group)).collect();
        Self { group, by_host }
    }

    /// The group that a request's bare names mean, by the host name that it was sent to.
    pub fn group_of(&self, uri: &Uri, headers: &HeaderMap) -> Option<&GroupPath> {
        if self.by_host.is_empty() {
            return self.group.as_ref();
        }
        let host = match uri.authority() {
            Some(authority) => authority.as_str(),
            None => headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
        };
        self.group_of_host(host)
    }

    /// Does the same where a proxy names the host that the client asked.
    pub fn group_of_host(&self, host: &str) -> Option<&GroupPath> {
        let host = host.to_ascii_lowercase();
        let without_port = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        self.by_host.get(&*host).or_else(|| self.by_host.get(without_port?.0)).or(self.group.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn meant(mirrors: &Mirrors, host: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
        let by_header = mirrors.group_of(&"/v2/".parse().unwrap(), &headers).map(ToString::to_string);
        // HTTP/2 has it in the URI.
        let by_uri = mirrors.group_of(&format!("http://{host}/v2/").parse().unwrap(), &HeaderMap::new());
        assert_eq!(by_uri.map(ToString::to_string), by_header);
        by_header
    }

    #[test]
    fn the_host_name_decides_before_the_listener() {
        let hosts = [("Mirror.Test", "a"), ("mirror.test:5000", "b/c"), ("[::1]", "six")];
        let hosts = hosts.map(|(host, group)| (host.to_owned(), group.parse().unwrap()));
        let mirrors = Mirrors::new(None, hosts.clone());
        for (host, group) in [
            ("mirror.test", Some("a")),
            ("MIRROR.test:80", Some("a")),
            ("mirror.test:5000", Some("b/c")),
            ("[::1]:7070", Some("six")),
            ("[::1]", Some("six")),
            ("other.test", None),
        ] {
            assert_eq!(meant(&mirrors, host).as_deref(), group, "{host}");
        }
        let mirrors = Mirrors::new(Some("all".parse().unwrap()), hosts);
        assert_eq!(meant(&mirrors, "other.test").as_deref(), Some("all"));
        assert_eq!(meant(&Mirrors::default(), "mirror.test"), None);
    }
}
