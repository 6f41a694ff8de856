//! The media types that upstream is told we take.

use http::{HeaderMap, HeaderValue, header};

/// Manifest types that we serve as they are, the usual ones first. Docker's schema 1 is left out: its digest is not
/// that of its bytes.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";
/// Whatever else there is, rather than nothing.
const ANYTHING_ELSE: HeaderValue = HeaderValue::from_static("*/*;q=0.1");

/// The `Accept` lines to send.
#[derive(Clone, Copy, Debug)]
pub enum Accept<'a> {
    /// All manifest types we know, what the client sent, and anything else rather than nothing: for content that is
    /// kept for others too.
    Widened(&'a [HeaderValue]),
    /// Exactly what the client sent.
    Exactly(&'a [HeaderValue]),
}

impl Accept<'_> {
    pub(super) fn write(self, headers: &mut HeaderMap) {
        let (widen, client) = match self {
            Self::Widened(client) => (true, client),
            Self::Exactly(client) => (false, client),
        };
        if widen {
            headers.append(header::ACCEPT, HeaderValue::from_static(MANIFEST_TYPES));
        }
        for line in client {
            headers.append(header::ACCEPT, line.clone());
        }
        if widen {
            headers.append(header::ACCEPT, ANYTHING_ELSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(accept: Accept<'_>) -> Vec<String> {
        let mut headers = HeaderMap::new();
        accept.write(&mut headers);
        headers.get_all(header::ACCEPT).iter().map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_line_of_the_client_is_sent_on() {
        let client = ["application/x", "text/y;q=0.2"].map(HeaderValue::from_static);
        assert_eq!(lines(Accept::Exactly(&client)), ["application/x", "text/y;q=0.2"]);
        let widened = lines(Accept::Widened(&client));
        assert_eq!(widened[1..], ["application/x", "text/y;q=0.2", "*/*;q=0.1"]);
        assert_eq!(widened[0].split(", ").count(), 4);
    }
}
