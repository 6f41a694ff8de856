//! From a request to an answer.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Response, header};
use hyper::body::Incoming;
use serde_json::json;

use super::{
    Shared,
    auth::Verdict,
    body::{self, Body, full},
    content::ReferrersApi,
    fault::Fault,
    listener::Role,
    record::{Kind, Request},
};
use crate::image::{OCI_INDEX, gzip};

/// Answers a request; `None` resets the connection.
pub(super) async fn answer(
    shared: &Arc<Shared>,
    role: Role,
    request: http::Request<Incoming>,
) -> Option<Response<Body>> {
    let request = note(shared, role, &request);
    let faults = shared.faults_for(&request);
    let mut early = None;
    for fault in &faults {
        match fault {
            Fault::Reset => return None,
            Fault::Hang => std::future::pending().await,
            Fault::HoldAnswer(gate) => {
                gate.past(0).await;
            }
            Fault::Delay(delay) => tokio::time::sleep(*delay).await,
            fault => early = early.or_else(|| instead(fault, &request)),
        }
    }
    let mut response = early.unwrap_or_else(|| match request.kind {
        Kind::Token => token(shared, &request, &faults),
        Kind::Cdn => cdn(shared, &request, &faults),
        Kind::Other => error(404, "UNSUPPORTED", "no such path"),
        _ => match shared.check(&request.headers, &request.repository) {
            Verdict::Allowed => registry(shared, &request, &faults),
            Verdict::Challenged(challenge) => challenged(&challenge),
        },
    });
    for fault in &faults {
        match fault {
            Fault::WithHeader(name, value) => drop(response.headers_mut().insert(*name, value.parse().unwrap())),
            Fault::WithoutHeader(name) => drop(response.headers_mut().remove(*name)),
            _ => {}
        }
    }
    request.status.store(response.status().as_u16(), Ordering::SeqCst);
    shared.changed.send_modify(|changes| *changes += 1);
    Some(response)
}

/// Puts the request on record.
fn note(shared: &Shared, role: Role, request: &http::Request<Incoming>) -> Request {
    let (kind, repository, reference) = classify(role, request.uri().path());
    let noted = Request {
        kind,
        method: request.method().clone(),
        repository,
        reference,
        target: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
        headers: request.headers().clone(),
        at: Instant::now(),
        status: Arc::default(),
        sent: Arc::default(),
    };
    shared.requests.lock().unwrap().push(noted.clone());
    shared.changed.send_modify(|changes| *changes += 1);
    noted
}

fn classify(role: Role, path: &str) -> (Kind, String, String) {
    let none = || (String::new(), String::new());
    let (kind, (repository, reference)) = match (role, path) {
        (_, "/token") => (Kind::Token, none()),
        (Role::Registry, "/v2/" | "/v2") => (Kind::Ping, none()),
        (Role::Registry, path) => {
            let parts: Vec<&str> = path.strip_prefix("/v2/").unwrap_or_default().rsplitn(3, '/').collect();
            match parts[..] {
                [reference, word, repository] => {
                    let kind = match (word, reference) {
                        ("manifests", _) => Kind::Manifest,
                        ("blobs", _) => Kind::Blob,
                        ("tags", "list") => Kind::Tags,
                        ("referrers", _) => Kind::Referrers,
                        _ => Kind::Other,
                    };
                    (kind, (repository.to_owned(), reference.to_owned()))
                }
                _ => (Kind::Other, none()),
            }
        }
        (Role::Cdn, path) => match path.strip_prefix("/cdn/").and_then(|path| path.rsplit_once('/')) {
            Some((repository, reference)) => (Kind::Cdn, (repository.to_owned(), reference.to_owned())),
            None => (Kind::Other, none()),
        },
        (Role::TokenService, _) => (Kind::Other, none()),
    };
    (kind, repository, reference)
}

/// The answers of some faults in place of the real ones.
fn instead(fault: &Fault, request: &Request) -> Option<Response<Body>> {
    let builder = Response::builder();
    Some(match fault {
        Fault::Status(status) => error(*status, "UNKNOWN", "the test wants it so"),
        Fault::RateLimited(seconds) => too_many(*seconds),
        Fault::WebPage => builder
            .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
            .body(full("<!doctype html><title>Sign in to the hotel's network</title>"))
            .unwrap(),
        Fault::Answer(content_type, bytes) => {
            builder.header(header::CONTENT_TYPE, *content_type).body(full(bytes.clone())).unwrap()
        }
        Fault::Redirect(status, to) => builder.status(*status).header(header::LOCATION, to).body(full("")).unwrap(),
        Fault::RedirectTo(status, origin) => {
            let to = format!("{origin}{}", request.target);
            builder.status(*status).header(header::LOCATION, to).body(full("")).unwrap()
        }
        Fault::Challenge(challenge) => challenged(challenge),
        Fault::Reply(status, headers, bytes) => {
            let builder =
                headers.iter().fold(builder.status(*status), |builder, (name, value)| builder.header(*name, value));
            builder.body(full(bytes.clone())).unwrap()
        }
        _ => return None,
    })
}

fn registry(shared: &Arc<Shared>, request: &Request, faults: &[Fault]) -> Response<Body> {
    if !matches!(request.method, Method::GET | Method::HEAD) {
        return error(405, "UNSUPPORTED", "this hub takes no pushes");
    }
    match request.kind {
        Kind::Manifest => manifest(shared, request, faults),
        Kind::Blob => blob(shared, request, faults),
        Kind::Tags => tags(shared, request),
        Kind::Referrers => referrers(shared, request),
        _ => Response::builder().header(header::CONTENT_TYPE, "application/json").body(full("{}")).unwrap(),
    }
}

fn manifest(shared: &Shared, request: &Request, faults: &[Fault]) -> Response<Body> {
    if request.method == Method::GET {
        let pull = shared.pulls_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            0 => None,
            left => Some(left - i64::from(left > 0)),
        });
        if pull.is_err() {
            return too_many(60);
        }
    }
    let mut content = shared.content.lock().unwrap();
    let Some(repository) = content.repositories.get_mut(&request.repository) else {
        return error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let found = repository.manifest(&request.reference);
    let Some((digest, artifact)) = found.filter(|(_, artifact)| accepts(&request.headers, &artifact.media_type)) else {
        return error(404, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let body = faults.iter().find_map(|fault| match fault {
        Fault::Instead(other) => Some(other.clone()),
        Fault::Corrupt(at) => Some(body::corrupted(&artifact.body, *at)),
        _ => None,
    });
    let body = body.unwrap_or(artifact.body);
    let is_gzip = faults.iter().any(|fault| matches!(fault, Fault::Gzip));
    let body = if is_gzip { gzip(&body) } else { body };
    let mut builder = Response::builder()
        .header(header::CONTENT_TYPE, artifact.media_type)
        .header(header::CONTENT_LENGTH, body.len())
        .header("docker-distribution-api-version", "registry/2.0")
        .header(header::ETAG, format!("\"{digest}\""));
    if is_gzip {
        builder = builder.header(header::CONTENT_ENCODING, "gzip");
    }
    if !faults.iter().any(|fault| matches!(fault, Fault::NoDigestHeader)) {
        builder = builder.header("docker-content-digest", digest);
    }
    let left = shared.pulls_left.load(Ordering::SeqCst);
    if left >= 0 {
        builder =
            builder.header("ratelimit-limit", "100;w=21600").header("ratelimit-remaining", format!("{left};w=21600"));
    }
    builder.body(body::whole(shared, request, body, faults)).unwrap()
}

/// True if one of all `Accept` lines matches; without any line everything matches.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).peekable();
    if lines.peek().is_none() {
        return true;
    }
    lines
        .flat_map(|line| line.split(','))
        .map(|entry| entry.split(';').next().unwrap_or_default().trim())
        .any(|entry| entry == media_type || entry == "*/*" || entry == "application/*")
}

fn blob(shared: &Arc<Shared>, request: &Request, faults: &[Fault]) -> Response<Body> {
    let Some(bytes) = find_blob(shared, request) else { return error(404, "BLOB_UNKNOWN", "blob unknown to registry") };
    if shared.options.cdn {
        let Request { repository, reference, .. } = request;
        let to = format!("http://{}/cdn/{repository}/{reference}?signature=granted", shared.cdn);
        return Response::builder().status(307).header(header::LOCATION, to).body(full("")).unwrap();
    }
    let mut response = body::content(shared, request, bytes, faults);
    response.headers_mut().insert("docker-content-digest", request.reference.parse().unwrap());
    response
}

fn cdn(shared: &Arc<Shared>, request: &Request, faults: &[Fault]) -> Response<Body> {
    if request.headers.contains_key(header::AUTHORIZATION) {
        return error(400, "InvalidArgument", "only one auth mechanism allowed");
    }
    if !request.target.ends_with("?signature=granted") {
        return error(403, "AccessDenied", "no signature");
    }
    match find_blob(shared, request) {
        Some(bytes) => body::content(shared, request, bytes, faults),
        None => error(404, "NoSuchKey", "no such key"),
    }
}

fn find_blob(shared: &Shared, request: &Request) -> Option<Bytes> {
    let content = shared.content.lock().unwrap();
    content.repositories.get(&request.repository)?.blob(&request.reference)
}

fn tags(shared: &Shared, request: &Request) -> Response<Body> {
    let mut content = shared.content.lock().unwrap();
    let Some(repository) = content.repositories.get_mut(&request.repository) else {
        return error(404, "NAME_UNKNOWN", "repository name not known to registry");
    };
    let n = query(&request.target, "n").and_then(|n| n.parse().ok());
    let (tags, more) = repository.tags_page(n, &query(&request.target, "last").unwrap_or_default());
    let mut builder = Response::builder().header(header::CONTENT_TYPE, "application/json");
    if let (Some(n), true, Some(last)) = (n, more, tags.last()) {
        let name = &request.repository;
        builder = builder.header(header::LINK, format!("</v2/{name}/tags/list?last={last}&n={n}>; rel=\"next\""));
    }
    builder.body(full(json!({"name": request.repository, "tags": tags}).to_string())).unwrap()
}

fn referrers(shared: &Shared, request: &Request) -> Response<Body> {
    let api = shared.options.referrers;
    let mut content = shared.content.lock().unwrap();
    let Some(repository) = content.repositories.get_mut(&request.repository).filter(|_| api != ReferrersApi::Absent)
    else {
        return error(404, "NAME_UNKNOWN", "no such repository, or no referrers API");
    };
    let asked = query(&request.target, "artifactType").filter(|_| api == ReferrersApi::Filtering);
    let index = repository.referrers(&request.reference, asked.as_deref());
    let mut builder = Response::builder().header(header::CONTENT_TYPE, OCI_INDEX);
    if asked.is_some() {
        builder = builder.header("oci-filters-applied", "artifactType");
    }
    builder.body(full(index)).unwrap()
}

fn token(shared: &Shared, request: &Request, faults: &[Fault]) -> Response<Body> {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let (status, mut answer) = shared.grant(&request.headers, query);
    for fault in faults {
        if let Fault::ExpiresIn(json) = fault {
            answer["expires_in"] = serde_json::from_str(json).unwrap();
        }
    }
    let builder = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    builder.body(full(answer.to_string())).unwrap()
}

fn query(target: &str, name: &str) -> Option<String> {
    let (_, query) = target.split_once('?')?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

fn challenged(challenge: &str) -> Response<Body> {
    let mut response = error(401, "UNAUTHORIZED", "authentication required");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    response
}

fn too_many(seconds: u64) -> Response<Body> {
    let mut response = error(429, "TOOMANYREQUESTS", "You have reached your pull rate limit.");
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

fn error(status: u16, code: &str, message: &str) -> Response<Body> {
    let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
    Response::builder().status(status).header(header::CONTENT_TYPE, "application/json").body(full(body)).unwrap()
}
