//! From method and path to a [`Route`], before any I/O. After this nobody handles a raw path.

use std::{borrow::Cow, sync::Arc};

use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use roadstead_proto::{
    Digest, GroupPath, ImageName, InvalidDigest, InvalidGroupPath, InvalidImageName, InvalidReference, PROXY_INFIX,
    Reference, UpstreamHost,
};

/// Longest path and query we look at, in bytes: a group path (255), a repository (255), a digest (135) and the
/// words between, with room for percent-encoding.
const MAX_TARGET_BYTES: usize = 4096;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /v2/`: whether we speak the protocol and the credentials are good.
    Ping,
    /// `/jwt/auth`: the token service.
    SignIn,
    /// Something of one image.
    Image(ImageRoute),
}

impl Route {
    /// A stable word for metrics and spans.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::SignIn => "sign_in",
            Self::Image(image) => match image.resource {
                Resource::Manifest(_) => "manifest",
                Resource::Blob(_) => "blob",
                Resource::Tags(_) => "tags",
                Resource::Referrers { .. } => "referrers",
            },
        }
    }
}

/// Something of one image: who holds it, and what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRoute {
    /// `GROUP/dependency_proxy/containers/IMAGE`, as tokens name it: the group lower-case, the image without what `?ns=`
    /// added.
    pub name: Arc<str>,
    /// The same as the client names it, which is how the challenge's scope does: on a mirror it may be the image alone.
    pub asked: Arc<str>,
    /// The group.
    pub group: GroupPath,
    /// The image, with the host from the name or from `?ns=`, if any.
    pub image: ImageName,
    /// What is wanted of it.
    pub resource: Resource,
}

/// What is wanted of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Its manifest.
    Manifest(Reference),
    /// One of its blobs.
    Blob(Digest),
    /// The list of its tags.
    Tags(TagsPage),
    /// What refers to a manifest of it.
    Referrers {
        /// The manifest referred to.
        subject: Digest,
        /// Only referrers of this artifact type.
        artifact_type: Option<String>,
    },
}

/// Which part of the list of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagsPage {
    /// At most so many.
    pub n: Option<u32>,
    /// Those after this one.
    pub last: Option<String>,
}

/// The request is for nothing that we have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// We only serve pulls.
    #[error("this is a pull-through cache: {0} is not supported, push to the registry that the image comes from")]
    Unsupported(Method),
    /// The path and query are longer than any of ours can be.
    #[error("the request target is longer than {MAX_TARGET_BYTES} bytes")]
    TooLong,
    /// No such path.
    #[error("no such path; images are at HOST/GROUP/{PROXY_INFIX}/IMAGE")]
    UnknownPath,
    /// The group's path is not one.
    #[error(transparent)]
    Group(#[from] InvalidGroupPath),
    /// The image's name is not one.
    #[error(transparent)]
    Image(#[from] InvalidImageName),
    /// The digest is not one.
    #[error(transparent)]
    Digest(InvalidDigest),
    /// The reference is no tag; there can be no such manifest.
    #[error(transparent)]
    Tag(roadstead_proto::InvalidTag),
    /// A query parameter is not what it should be.
    #[error("query parameter {0} is invalid")]
    Query(&'static str),
}

impl From<InvalidReference> for RouteError {
    fn from(error: InvalidReference) -> Self {
        match error {
            InvalidReference::Tag(error) => Self::Tag(error),
            InvalidReference::Digest(error) => Self::Digest(error),
        }
    }
}

impl Route {
    /// Parses method and target. `POST` is good for the token service only. `mirror` is the group that names without
    /// one mean, if there is one.
    pub fn parse(method: &Method, uri: &Uri, mirror: Option<&GroupPath>) -> Result<Self, RouteError> {
        if uri.path_and_query().is_some_and(|target| target.as_str().len() > MAX_TARGET_BYTES) {
            return Err(RouteError::TooLong);
        }
        let read = matches!(*method, Method::GET | Method::HEAD);
        match uri.path() {
            "/v2/" | "/v2" if read => return Ok(Self::Ping),
            "/jwt/auth" if read || *method == Method::POST => return Ok(Self::SignIn),
            _ => {}
        }
        let path = uri.path().strip_prefix("/v2/").ok_or(RouteError::UnknownPath)?;
        if !read {
            return Err(RouteError::Unsupported(method.clone()));
        }
        Self::parse_image(path, uri.query().unwrap_or_default(), mirror)
    }

    fn parse_image(path: &str, query: &str, mirror: Option<&GroupPath>) -> Result<Self, RouteError> {
        let path = decode(path)?;
        let (rest, last) = path.rsplit_once('/').ok_or(RouteError::UnknownPath)?;
        let (name, word) = rest.rsplit_once('/').ok_or(RouteError::UnknownPath)?;
        let query = Query(query);
        let resource = match (word, last) {
            ("manifests", reference) => Resource::Manifest(reference.parse()?),
            ("blobs", digest) => Resource::Blob(digest.parse().map_err(RouteError::Digest)?),
            ("tags", "list") => Resource::Tags(TagsPage { n: query.number("n")?, last: query.text("last")? }),
            ("referrers", digest) => Resource::Referrers {
                subject: digest.parse().map_err(RouteError::Digest)?,
                artifact_type: query.text("artifactType")?,
            },
            _ => return Err(RouteError::UnknownPath),
        };
        let Named { name, asked, group, mut image } = Named::parse(name, mirror)?.ok_or(RouteError::UnknownPath)?;
        if let Some(host) = query.text("ns")? {
            image = image.or_host(host.parse::<UpstreamHost>()?);
        }
        if asked != name {
            image = image.or_host(docker_hub()?);
        }
        Ok(Self::Image(ImageRoute { name, asked, group, image, resource }))
    }
}

/// An image as a path or a scope names it.
struct Named {
    name: Arc<str>,
    asked: Arc<str>,
    group: GroupPath,
    image: ImageName,
}

impl Named {
    /// `None` if the name has no group and no mirror's group stands in for it.
    fn parse(text: &str, mirror: Option<&GroupPath>) -> Result<Option<Self>, RouteError> {
        let (group, image, is_bare) = match (text.split_once(&format!("/{PROXY_INFIX}/")), mirror) {
            (Some((group, image)), _) => (group.parse()?, image, false),
            (None, Some(group)) => (group.clone(), text, true),
            (None, None) => return Ok(None),
        };
        let name: Arc<str> = format!("{group}/{PROXY_INFIX}/{image}").into();
        let asked = if is_bare { image.into() } else { Arc::clone(&name) };
        Ok(Some(Self { name, asked, group, image: image.parse()? }))
    }
}

/// What a bare name on a mirror means unless it says otherwise, whatever the group's default is: it is Docker Engine that
/// asks so, and it mirrors nothing else.
fn docker_hub() -> Result<UpstreamHost, InvalidImageName> {
    UpstreamHost::DOCKER_HUB.parse()
}

/// Some clients write `sha256%3A…`. A separator that was encoded is none of ours, whatever it hides.
fn decode(path: &str) -> Result<Cow<'_, str>, RouteError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(path.len());
    for (index, segment) in path.split('/').enumerate() {
        let segment = percent_decode_str(segment).decode_utf8().map_err(|_| RouteError::UnknownPath)?;
        if segment.contains(['/', '\\', '%', '\0']) {
            return Err(RouteError::UnknownPath);
        }
        if index > 0 {
            decoded.push(b'/');
        }
        decoded.extend_from_slice(segment.as_bytes());
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| RouteError::UnknownPath)
}

struct Query<'a>(&'a str);

impl Query<'_> {
    /// The first value of `name`, unless it is empty.
    fn text(&self, name: &'static str) -> Result<Option<String>, RouteError> {
        let found = url::form_urlencoded::parse(self.0.as_bytes()).find(|(key, _)| key == name);
        match found {
            Some((_, value)) if value.len() > 255 || value.contains(char::is_control) => Err(RouteError::Query(name)),
            Some((_, value)) if !value.is_empty() => Ok(Some(value.into_owned())),
            _ => Ok(None),
        }
    }

    fn number(&self, name: &'static str) -> Result<Option<u32>, RouteError> {
        let text = self.text(name)?;
        text.map(|text| text.parse().map_err(|_| RouteError::Query(name))).transpose()
    }
}

/// A scope as the token service takes it: `repository:NAME:pull`, NAME holding a group's path, or meaning that of the
/// mirror. Other resource types and names that are none of ours yield nothing.
pub fn group_of_scope(scope: &str, mirror: Option<&GroupPath>) -> Option<(Arc<str>, GroupPath)> {
    let rest = scope.strip_prefix("repository:")?;
    let (name, _actions) = rest.rsplit_once(':')?;
    let named = Named::parse(name, mirror).ok()??;
    Some((named.name, named.group))
}

#[cfg(test)]
mod tests {
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
            assert_eq!(Route::parse(&method, &uri, None), Err(RouteError::Unsupported(method)));
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
        assert!(matches!(get("/v2/-bad/dependency_proxy/containers/a/manifests/1"), Err(RouteError::Group(_))));
        assert_eq!(get(&format!("/v2/{}", "a/".repeat(3000))), Err(RouteError::TooLong));
        assert_eq!(get("/"), Err(RouteError::UnknownPath));
    }

    #[test]
    fn scopes_yield_their_group() {
        let (name, group) =
            group_of_scope("repository:Acme/x/dependency_proxy/containers/h:5000/a:pull,push", None).unwrap();
        assert_eq!((&*name, group.as_str()), ("acme/x/dependency_proxy/containers/h:5000/a", "acme/x"));
        for scope in
            ["", "repository:alpine:pull", "registry:catalog:*", "repository:a/dependency_proxy/containers/:pull"]
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
            (
                format!("other/{infix}/alpine/manifests/1"),
                "other/dependency_proxy/containers/alpine",
                "other",
                "alpine",
            ),
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
}
