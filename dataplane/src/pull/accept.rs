//! The media types that a client accepts: all its `Accept` lines together.

use http::{HeaderMap, HeaderValue, header};

/// A client's `Accept` lines, as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ClientAccept(Vec<HeaderValue>);

impl ClientAccept {
    /// Reads all lines.
    pub fn of(headers: &HeaderMap) -> Self {
        Self(headers.get_all(header::ACCEPT).iter().cloned().collect())
    }

    /// The lines as they were sent.
    pub fn lines(&self) -> &[HeaderValue] {
        &self.0
    }

    /// The lines as they were sent, to keep.
    pub fn into_lines(self) -> Vec<HeaderValue> {
        self.0
    }

    /// Checks whether the client accepts `media_type`. A client that names no type takes all.
    pub fn takes(&self, media_type: &str) -> bool {
        let wanted = essence(media_type);
        let mut ranges =
            self.0.iter().filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(',')).peekable();
        if ranges.peek().is_none() {
            return true;
        }
        ranges.any(|range| {
            let refused = range.split(';').skip(1).any(|parameter| {
                parameter.trim().strip_prefix("q=").is_some_and(|q| q.parse::<f32>().is_ok_and(|q| q == 0.0))
            });
            let range = essence(range);
            let matches = range == "*/*"
                || range.eq_ignore_ascii_case(wanted)
                || range.strip_suffix("/*").is_some_and(|kind| wanted.split('/').next() == Some(kind));
            matches && !refused
        })
    }
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_counts() {
        let accept =
            |lines: &[&'static str]| ClientAccept(lines.iter().map(|line| HeaderValue::from_static(line)).collect());
        let index = "application/vnd.oci.image.index.v1+json";
        for (lines, takes) in [
            (vec![], true),
            (vec!["*/*"], true),
            (vec!["application/*;q=0.5"], true),
            (vec!["text/html", "application/vnd.oci.image.index.v1+json"], true),
            (vec!["text/html, application/vnd.oci.image.index.v1+json;q=0.1"], true),
            (vec!["application/vnd.oci.image.manifest.v1+json"], false),
            (vec!["text/*"], false),
            (vec!["application/vnd.oci.image.index.v1+json;q=0"], false),
        ] {
            assert_eq!(accept(&lines).takes(index), takes, "{lines:?}");
        }
    }
}
