use http::{HeaderValue, Uri};

use super::*;

fn trail(log: AccessLog, path: &'static str) -> Trail {
    Trail::begin(log, &Method::GET, &Route::parse(&Method::GET, &Uri::from_static(path), None))
}

const MANIFEST: &str = "/v2/acme/dependency_proxy/containers/app/manifests/1";

#[test]
fn each_level_of_the_log_has_lines_for_its_requests() {
    // Path, status, `X-Cache`, a challenge only, broken off: whether there is a line at `errors`, `pulls` and `all`.
    for (path, status, cache, is_challenge, is_broken, expected) in [
        (MANIFEST, 200, "hit", false, false, [false, true, true]),
        (MANIFEST, 200, "stale", false, false, [true, true, true]),
        (MANIFEST, 200, "fill", false, true, [true, true, true]),
        (MANIFEST, 401, "", true, false, [false, false, true]),
        (MANIFEST, 401, "", false, false, [true, true, true]),
        (MANIFEST, 404, "", false, false, [true, true, true]),
        (MANIFEST, 503, "", false, false, [true, true, true]),
        (MANIFEST, 499, "", false, false, [false, true, true]),
        ("/v2/", 200, "", false, false, [false, false, true]),
        ("/v2/", 401, "", true, false, [false, false, true]),
        ("/jwt/auth", 200, "", false, false, [false, false, true]),
        ("/jwt/auth", 401, "", false, false, [true, true, true]),
        ("/elsewhere", 404, "", false, false, [true, true, true]),
    ] {
        let written = |log| {
            let mut trail = trail(log, path);
            let cache = (!cache.is_empty()).then(|| HeaderValue::from_static(cache));
            trail.answered(status, cache.as_ref(), Contents::default());
            if status >= 400 {
                trail.failed("because", is_challenge);
            }
            trail.is_written(is_broken)
        };
        let found = [AccessLog::Errors, AccessLog::Pulls, AccessLog::All].map(written);
        assert_eq!(found, expected, "{path} {status} {cache}");
        assert!(!written(AccessLog::Off), "{path} {status}");
    }
}
