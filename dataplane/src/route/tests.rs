use proptest::prelude::*;

use super::*;

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn get(target: &str) -> Result<Route, RouteError> {
    Route::parse(&Method::GET, &target.parse().expect("a target that http takes"), None)
}

fn image(target: &str) -> ImageRoute {
    match get(target) {
        Ok(Route::Image(image)) => image,
        other => panic!("{target}: {other:?}"),
    }
}

#[test]
fn every_route_of_the_contract_is_known() {
    assert_eq!(get("/v2/"), Ok(Route::Ping));
    assert_eq!(get("/jwt/auth?service=dependency_proxy"), Ok(Route::SignIn));
    let prefix = "/v2/Acme/backend/dependency_proxy/containers";
    let route = image(&format!("{prefix}/ghcr.io/org/app/manifests/v1.0"));
    assert_eq!(&*route.name, "acme/backend/dependency_proxy/containers/ghcr.io/org/app");
    assert_eq!(route.group.as_str(), "acme/backend");
    assert_eq!(route.image.to_string(), "ghcr.io/org/app");
    assert!(matches!(route.resource, Resource::Manifest(Reference::Tag(_))));
    for written in ["registry.corp:5055/team/app", "registry.corp%3A5055/team/app", "registry.corp%3a5055%2Fteam%2fapp"]
    {
        let route = image(&format!("{prefix}/{written}/manifests/v1.0"));
        assert_eq!(route.image.to_string(), "registry.corp:5055/team/app");
        assert_eq!(&*route.name, "acme/backend/dependency_proxy/containers/registry.corp:5055/team/app");
    }
    for (rest, label) in [
        (format!("alpine/manifests/{DIGEST}"), "manifest"),
        (format!("alpine/blobs/{DIGEST}"), "blob"),
        (format!("alpine/blobs/{}", DIGEST.replace(':', "%3A")), "blob"),
        ("alpine/tags/list?n=2&last=a".to_owned(), "tags"),
        (format!("alpine/referrers/{DIGEST}?artifactType=a%2Fb"), "referrers"),
    ] {
        assert_eq!(get(&format!("{prefix}/{rest}")).expect("a route").label(), label);
    }
}

#[test]
fn ns_names_the_upstream_unless_the_image_does() {
    let route = image("/v2/g/dependency_proxy/containers/org/app/manifests/1?ns=ghcr.io");
    assert_eq!(route.image.to_string(), "ghcr.io/org/app");
    assert_eq!(&*route.name, "g/dependency_proxy/containers/org/app");
    let route = image("/v2/g/dependency_proxy/containers/quay.io/a/manifests/1?ns=ghcr.io");
    assert_eq!(route.image.to_string(), "quay.io/a");
}

#[test]
fn pushes_are_told_that_they_are_unsupported() {
    for method in [Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
        let uri = "/v2/g/dependency_proxy/containers/alpine/blobs/uploads/".parse().unwrap();
        let push = Push {
            method: method.clone(),
            group: "g".parse().unwrap(),
            asked: "g/dependency_proxy/containers/alpine".into(),
        };
        assert_eq!(Route::parse(&method, &uri, None), Err(RouteError::Push(push.into())));
        let nowhere = "/v2/alpine/blobs/uploads/".parse().unwrap();
        assert_eq!(Route::parse(&method, &nowhere, None), Err(RouteError::Unsupported(method)));
    }
}

#[test]
fn what_is_malformed_is_refused_by_kind() {
    let at = |rest: &str| get(&format!("/v2/g/dependency_proxy/containers/{rest}")).unwrap_err();
    assert!(matches!(at("ru*by/manifests/latest"), RouteError::Image(_)));
    assert!(matches!(at("../path_traversal/manifests/latest"), RouteError::Image(_)));
    assert_eq!(at("alpine/manifests/latest%2f..%2f.."), RouteError::UnknownPath);
    assert!(matches!(at("alpine/manifests/.hidden"), RouteError::Tag(_)));
    assert!(matches!(at("alpine/manifests/sha256:12"), RouteError::Digest(_)));
    assert_eq!(at(&format!("alpine/blobs/{DIGEST}%2f%2e%2e")), RouteError::UnknownPath);
    assert!(matches!(at("alpine/blobs/sha256:xx"), RouteError::Digest(_)));
    assert_eq!(at("alpine/tags/list?n=-1"), RouteError::Query("n"));
    assert_eq!(at("alpine/what/ever"), RouteError::UnknownPath);
    assert!(matches!(at("a%2F..%2Fb/manifests/latest"), RouteError::Image(_)));
    assert!(matches!(at("a%2F%2Fb/manifests/latest"), RouteError::Image(_)));
    assert_eq!(at("a%252Fb/manifests/latest"), RouteError::UnknownPath);
    assert_eq!(at("a%2Fdependency_proxy%2Fcontainers%2Fb/manifests/latest"), RouteError::UnknownPath);
    let encoded = "/v2/a%2Fb/dependency_proxy/containers/alpine/manifests/latest";
    assert_eq!(get(encoded), Err(RouteError::UnknownPath));
    assert!(matches!(get("/v2/-bad/dependency_proxy/containers/a/manifests/1"), Err(RouteError::Group(_))));
    assert_eq!(get(&format!("/v2/{}", "a/".repeat(3000))), Err(RouteError::TooLong));
    assert_eq!(get("/"), Err(RouteError::UnknownPath));
}

#[test]
fn scopes_yield_their_group() {
    let (name, group) =
        group_of_scope("repository:Acme/x/dependency_proxy/containers/h:5000/a:pull,push", None).unwrap();
    assert_eq!((&*name, group.as_str()), ("acme/x/dependency_proxy/containers/h:5000/a", "acme/x"));
    for scope in ["", "repository:alpine:pull", "registry:catalog:*", "repository:a/dependency_proxy/containers/:pull"]
    {
        assert_eq!(group_of_scope(scope, None), None, "{scope}");
    }
}

#[test]
fn a_mirror_gives_bare_names_its_group() {
    let mirror: GroupPath = "acme/hub".parse().unwrap();
    let parse = |target: &str| match Route::parse(&Method::GET, &target.parse().unwrap(), Some(&mirror)) {
        Ok(Route::Image(route)) => route,
        other => panic!("{target}: {other:?}"),
    };
    let infix = "dependency_proxy/containers";
    for (target, asked, group, image) in [
        ("library/alpine/manifests/3".to_owned(), "library/alpine", "acme/hub", "docker.io/library/alpine"),
        ("alpine/tags/list".to_owned(), "alpine", "acme/hub", "docker.io/alpine"),
        (format!("a/b/blobs/{DIGEST}"), "a/b", "acme/hub", "docker.io/a/b"),
        ("ghcr.io/org/app/manifests/1".to_owned(), "ghcr.io/org/app", "acme/hub", "ghcr.io/org/app"),
        ("org/app/manifests/1?ns=ghcr.io".to_owned(), "org/app", "acme/hub", "ghcr.io/org/app"),
        (format!("other/{infix}/alpine/manifests/1"), "other/dependency_proxy/containers/alpine", "other", "alpine"),
    ] {
        let route = parse(&format!("/v2/{target}"));
        assert_eq!((&*route.asked, route.group.as_str(), &*route.image.to_string()), (asked, group, image));
        assert!(
            route.name.starts_with(&format!("{group}/{infix}/"))
                && route.name.ends_with(asked.rsplit('/').next().unwrap())
        );
        // The scope that the challenge names leads to a token that is good for the route.
        let scope = format!("repository:{}:pull", route.asked);
        assert_eq!(group_of_scope(&scope, Some(&mirror)), Some((route.name, route.group)));
    }
    assert_eq!(get("/v2/library/alpine/manifests/3"), Err(RouteError::UnknownPath), "no mirror");
    for bad in ["/v2/manifests/3", "/v2//manifests/3", "/v2/Up/manifests/3"] {
        assert!(Route::parse(&Method::GET, &bad.parse().unwrap(), Some(&mirror)).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn no_target_panics_and_no_name_escapes(target in "/[ -~]{0,120}") {
        if let Ok(uri) = target.parse::<Uri>()
            && let Ok(Route::Image(route)) = Route::parse(&Method::GET, &uri, None)
        {
            prop_assert!(!route.name.contains("..") && !route.name.contains('%'));
        }
    }
}
