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

/// The subject of a request.
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
    /// The name as the client writes it, which is how the challenge's scope does: on a mirror it may be the image alone.
    pub asked: Arc<str>,
    /// The group.
    pub group: GroupPath,
    /// The image, with the host from the name or from `?ns=`, if any.
    pub image: ImageName,
    /// The manifest, blob or list that is asked for.
    pub resource: Resource,
}

/// A part of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Its manifest.
    Manifest(Reference),
    /// One of its blobs.
    Blob(Digest),
    /// The list of its tags.
    Tags(TagsPage),
    /// The manifests that refer to one of its manifests.
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
    /// The place that an earlier page led to, instead of both.
    pub cursor: Option<String>,
}

/// The request is for nothing that we have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// We only serve pulls.
    #[error("this is a pull-through cache: {0} is not supported, push to the registry that the image comes from")]
    Unsupported(Method),
    /// Does the same for a push that names an image.
    #[error("this is a pull-through cache: {method} is not supported, push to the registry that the image comes from", method = .0.method)]
    Push(Box<Push>),
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
    /// The reference is not a tag, so such a manifest cannot exist.
    #[error(transparent)]
    Tag(roadstead_proto::InvalidTag),
    /// A query parameter is not what it should be.
    #[error("query parameter {0} is invalid")]
    Query(&'static str),
}

/// A request that would change an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Its method.
    pub method: Method,
    /// The group that the image is in.
    pub group: GroupPath,
    /// The image as the client names it.
    pub asked: Arc<str>,
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
            let push = Self::parse_push(method, path, mirror);
            return Err(
                push.map_or_else(|| RouteError::Unsupported(method.clone()), |push| RouteError::Push(push.into()))
            );
        }
        Self::parse_image(path, uri.query().unwrap_or_default(), mirror)
    }

    fn parse_push(method: &Method, path: &str, mirror: Option<&GroupPath>) -> Option<Push> {
        let (name, _) = ["/blobs/", "/manifests/"].iter().find_map(|word| path.rsplit_once(word))?;
        let Named { asked, group, .. } = Named::parse(&decode_name(name).ok()?, mirror).ok()??;
        Some(Push { method: method.clone(), group, asked })
    }

    fn parse_image(path: &str, query: &str, mirror: Option<&GroupPath>) -> Result<Self, RouteError> {
        let (rest, last) = path.rsplit_once('/').ok_or(RouteError::UnknownPath)?;
        let (name, word) = rest.rsplit_once('/').ok_or(RouteError::UnknownPath)?;
        let (name, last) = (decode_name(name)?, decode(last)?);
        let query = Query(query);
        let resource = match (word, &*last) {
            ("manifests", reference) => Resource::Manifest(reference.parse()?),
            ("blobs", digest) => Resource::Blob(digest.parse().map_err(RouteError::Digest)?),
            ("tags", "list") => Resource::Tags(TagsPage {
                n: query.number("n")?,
                last: query.text("last")?,
                cursor: query.text("cursor")?,
            }),
            ("referrers", digest) => Resource::Referrers {
                subject: digest.parse().map_err(RouteError::Digest)?,
                artifact_type: query.text("artifactType")?,
            },
            _ => return Err(RouteError::UnknownPath),
        };
        let Named { name, asked, group, mut image } = Named::parse(&name, mirror)?.ok_or(RouteError::UnknownPath)?;
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

/// The upstream of a bare name on a mirror, whatever the group's default is: it is Docker Engine that
/// asks so, and it mirrors nothing else.
fn docker_hub() -> Result<UpstreamHost, InvalidImageName> {
    UpstreamHost::DOCKER_HUB.parse()
}

/// Decodes one segment: some clients write `sha256%3A…`. An encoded separator is refused.
fn decode(segment: &str) -> Result<Cow<'_, str>, RouteError> {
    let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| RouteError::UnknownPath)?;
    if decoded.contains(['/', '\\', '%', '\0']) { Err(RouteError::UnknownPath) } else { Ok(decoded) }
}

/// Decodes a name. Some clients encode separators within the image (`registry.corp%3A5055%2Fteam%2Fapp`); what comes of that
/// is parsed like any other name. The group's path has none that are encoded.
fn decode_name(name: &str) -> Result<Cow<'_, str>, RouteError> {
    if !name.contains('%') {
        return Ok(Cow::Borrowed(name));
    }
    let infix = format!("/{PROXY_INFIX}/");
    let (before, image) = name.split_once(&infix).map_or(("", name), |(group, image)| (group, image));
    let image = percent_decode_str(image).decode_utf8().map_err(|_| RouteError::UnknownPath)?;
    if image.contains(['\\', '%', '\0']) || image.contains(&*infix) {
        return Err(RouteError::UnknownPath);
    }
    let group = before.split('/').map(decode).collect::<Result<Vec<_>, _>>()?.join("/");
    Ok(if group.is_empty() { image } else { format!("{group}{infix}{image}").into() })
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

/// The group and the image that a token's `GROUP/dependency_proxy/containers/IMAGE` means.
pub fn named_image(name: &str) -> Option<(GroupPath, ImageName)> {
    let named = Named::parse(name, None).ok()??;
    Some((named.group, named.image))
}

/// A scope as the token service takes it: `repository:NAME:pull`, NAME holding a group's path, or meaning that of the
/// mirror. Other resource types and invalid names yield nothing.
pub fn group_of_scope(scope: &str, mirror: Option<&GroupPath>) -> Option<(Arc<str>, GroupPath)> {
    let rest = scope.strip_prefix("repository:")?;
    let (name, _actions) = rest.rsplit_once(':')?;
    let named = Named::parse(name, mirror).ok()??;
    Some((named.name, named.group))
}

#[cfg(test)]
mod tests;
