//! `/groups/{id}/dependency_proxy/settings`

use axum::{
    Extension, Form, Json, RequestExt as _,
    extract::{FromRequest, Path, Request, State},
    response::{IntoResponse as _, Response},
};
use http::header::CONTENT_TYPE;
use prost_types::Duration;
use roadstead_proto::v1::{
    DeleteCredentialRequest, UpdateCredentialRequest, UpdateGroupRequest, group_service_server::GroupService as _,
    upstream_service_server::UpstreamService as _,
};
use serde::{Deserialize, Serialize};
use tonic::Status;
use utoipa::ToSchema;

use super::{
    Shim,
    refusal::{Refusal, Refused},
};
use crate::{
    api::errors::{allow_on, from_use_case, internal, invalid_field},
    rules::{
        access::{Action, Actor},
        groups::group::RETENTION_MS,
    },
    usecases::{groups, upstreams},
};

/// The upstream that `identity` and `secret` are for: GitLab knows no other.
const DOCKER_HUB: &str = "docker.io";
/// Days that images are kept where retention is switched on without a number, as GitLab has it.
const DEFAULT_TTL_DAYS: i64 = 90;
const SECONDS_A_DAY: i64 = 24 * 3600;
const DAY_MS: i64 = SECONDS_A_DAY * 1000;

/// A group's settings, as GitLab names them.
#[derive(Serialize, ToSchema)]
pub struct Settings {
    /// True if images can be pulled.
    enabled: bool,
    /// The user name at Docker Hub; null if the group has none.
    identity: Option<String>,
    /// True if images that nobody has pulled for `ttl` days are removed.
    ttl_enabled: bool,
    /// Days.
    #[schema(example = 90)]
    ttl: i64,
}

/// Changes; what is absent stays.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Change {
    /// True if images can be pulled.
    enabled: Option<bool>,
    /// The user name at Docker Hub, with `secret`. Both empty: the group's credentials are forgotten.
    #[schema(max_length = 255)]
    identity: Option<String>,
    /// The password or token at Docker Hub; never returned.
    #[schema(max_length = 255, write_only)]
    secret: Option<String>,
    /// False stores `identity` and `secret` without trying them at Docker Hub.
    verify: Option<bool>,
    /// True if images that nobody has pulled for `ttl` days are removed.
    ttl_enabled: Option<bool>,
    /// Days, 1 to 3650; switches the removal on unless `ttl_enabled` says otherwise.
    ttl: Option<i64>,
}

/// Reads a group's settings.
#[utoipa::path(
    get,
    path = "/api/v4/groups/{id}/dependency_proxy/settings",
    operation_id = "getSettings",
    params(("id" = String, Path, description = "Id or URL-encoded path of the group", example = "acme%2Fbackend")),
    responses(
        (status = 200, description = "The settings; the secret is not among them", body = Settings),
        (status = 401, description = "No token, or one that is no good", body = Refusal),
        (status = 403, description = "The token may not read this group", body = Refusal),
        (status = 404, description = "There is no such group, as far as the caller may know", body = Refusal),
        (status = 429, description = "Too many calls with wrong tokens; Retry-After says how long to wait", body = Refusal),
    ),
)]
pub async fn read(
    State(shim): State<Shim>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
) -> Result<Json<Settings>, Refused> {
    let path = shim.group_path(&id).await?;
    Ok(Json(settings(&shim, &actor, &path).await?))
}

/// Changes a group's settings. All of it is checked first; credentials that Docker Hub refuses change nothing.
#[utoipa::path(
    put,
    path = "/api/v4/groups/{id}/dependency_proxy/settings",
    operation_id = "changeSettings",
    params(("id" = String, Path, description = "Id or URL-encoded path of the group", example = "acme%2Fbackend")),
    request_body(content(
        (Change = "application/json"),
        (Change = "application/x-www-form-urlencoded"),
    )),
    responses(
        (status = 200, description = "The settings as they are now", body = Settings),
        (status = 400, description = "Something in the request cannot be as it is", body = Refusal),
        (status = 401, description = "No token, or one that is no good", body = Refusal),
        (status = 403, description = "The token may not change this group", body = Refusal),
        (status = 404, description = "There is no such group, as far as the caller may know", body = Refusal),
        (status = 422, description = "Docker Hub refuses identity and secret, or no node could try them", body = Refusal),
        (status = 429, description = "Too many calls with wrong tokens; Retry-After says how long to wait", body = Refusal),
        (status = 503, description = "Docker Hub could not be asked", body = Refusal),
    ),
)]
pub async fn change(
    State(shim): State<Shim>,
    Extension(actor): Extension<Actor>,
    Path(id): Path<String>,
    Given(change): Given,
) -> Result<Json<Settings>, Refused> {
    let path = shim.group_path(&id).await?;
    let before = settings(&shim, &actor, &path).await?;
    let credential = credential(&change)?;
    let retention = retention(&change, &before)?;
    match credential {
        Credential::Stays => {}
        Credential::Is { username, password } => {
            let request = UpdateCredentialRequest {
                group_path: path.clone(),
                host: DOCKER_HUB.to_owned(),
                username,
                password,
                skip_verification: change.verify == Some(false),
                allow_missing: true,
            };
            let call = shim.0.upstreams.update_credential(Shim::request(&actor, request));
            shim.changing(&actor, "credential.update", call).await?;
        }
        Credential::Goes if before.identity.is_some() => {
            let request = DeleteCredentialRequest { group_path: path.clone(), host: DOCKER_HUB.to_owned() };
            let call = shim.0.upstreams.delete_credential(Shim::request(&actor, request));
            shim.changing(&actor, "credential.delete", call).await?;
        }
        Credential::Goes => {}
    }
    if change.enabled.is_some() || retention.is_some() {
        let request =
            UpdateGroupRequest { path: path.clone(), enabled: change.enabled, retention, ..Default::default() };
        let call = shim.0.groups.update_group(Shim::request(&actor, request));
        shim.changing(&actor, "group.update", call).await?;
    }
    Ok(Json(settings(&shim, &actor, &path).await?))
}

async fn settings(shim: &Shim, actor: &Actor, path: &str) -> Result<Settings, Status> {
    let store = &shim.0.store;
    let path = allow_on(store, actor, Action::ReviewGroup, "id", path).await?;
    let group = groups::group::get(store, &path).await.map_err(from_use_case)?;
    let hub = DOCKER_HUB.parse().map_err(|_| internal("docker.io is no upstream"))?;
    let identity = upstreams::credential::username(store, &group.id, &hub).await.map_err(from_use_case)?;
    // Rounded up: what is kept for an hour is not kept for no day at all.
    let days = group.settings.retention_ms.div_euclid(DAY_MS) + i64::from(group.settings.retention_ms % DAY_MS > 0);
    Ok(Settings {
        enabled: group.settings.enabled,
        identity,
        ttl_enabled: days > 0,
        ttl: if days > 0 { days } else { DEFAULT_TTL_DAYS },
    })
}

/// The change of the credentials. Not `Debug`: it holds a secret.
#[derive(PartialEq, Eq)]
enum Credential {
    Stays,
    Goes,
    Is { username: String, password: String },
}

fn credential(change: &Change) -> Result<Credential, Status> {
    const MAX_CHARS: usize = 255;
    let both = "identity and secret go together: give both, or both empty to forget them";
    match (change.identity.as_deref(), change.secret.as_deref()) {
        (None, None) => Ok(Credential::Stays),
        (Some(""), Some("")) => Ok(Credential::Goes),
        (None | Some(""), Some(_)) => Err(invalid_field("identity", both)),
        (Some(_), None | Some("")) => Err(invalid_field("secret", both)),
        (Some(username), Some(_)) if username.chars().count() > MAX_CHARS => {
            Err(invalid_field("identity", "at most 255 characters"))
        }
        (Some(_), Some(secret)) if secret.chars().count() > MAX_CHARS => {
            Err(invalid_field("secret", "at most 255 characters"))
        }
        (Some(username), Some(secret)) => {
            Ok(Credential::Is { username: username.to_owned(), password: secret.to_owned() })
        }
    }
}

/// Returns the new retention; `None` leaves it as it is.
fn retention(change: &Change, before: &Settings) -> Result<Option<Duration>, Status> {
    if change.ttl.is_some_and(|days| !(1..=RETENTION_MS.end() / DAY_MS).contains(&days)) {
        return Err(invalid_field("ttl", "days, 1 to 3650; ttl_enabled false switches the removal off"));
    }
    let days = match (change.ttl_enabled, change.ttl) {
        (None, None) => return Ok(None),
        (Some(false), _) => 0,
        (_, Some(days)) => days,
        (Some(true), None) => before.ttl,
    };
    Ok(Some(Duration { seconds: days * SECONDS_A_DAY, nanos: 0 }))
}

/// A change, as JSON or as a form.
pub struct Given(Change);

impl<S: Send + Sync> FromRequest<S> for Given {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<Self, Response> {
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let wrong = |why: String| Refused::from(Status::invalid_argument(why)).into_response();
        if is_form {
            let Form(change) = request
                .extract()
                .await
                .map_err(|error: axum::extract::rejection::FormRejection| wrong(error.body_text()))?;
            return Ok(Self(change));
        }
        let Json(change) = request
            .extract()
            .await
            .map_err(|error: axum::extract::rejection::JsonRejection| wrong(error.body_text()))?;
        Ok(Self(change))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(ttl_enabled: bool, ttl: i64) -> Settings {
        Settings { enabled: true, identity: None, ttl_enabled, ttl }
    }

    #[test]
    fn identity_and_secret_go_together() {
        let long = "x".repeat(256);
        let of = |identity: Option<&str>, secret: Option<&str>| {
            let text = |text: Option<&str>| text.map(ToOwned::to_owned);
            credential(&Change { identity: text(identity), secret: text(secret), ..Default::default() })
        };
        assert!(of(None, None).is_ok_and(|found| found == Credential::Stays));
        assert!(of(Some(""), Some("")).is_ok_and(|found| found == Credential::Goes));
        let is = Credential::Is { username: "me".into(), password: "secret".into() };
        assert!(of(Some("me"), Some("secret")).is_ok_and(|found| found == is));
        for (identity, secret) in [
            (Some("me"), None),
            (None, Some("secret")),
            (Some("me"), Some("")),
            (Some(""), Some("secret")),
            (Some(&*long), Some("secret")),
            (Some("me"), Some(&*long)),
        ] {
            assert_eq!(of(identity, secret).err().unwrap().code(), tonic::Code::InvalidArgument);
        }
    }

    #[test]
    fn the_time_to_live_is_switched_and_set() {
        let of = |ttl_enabled, ttl, before: Settings| {
            let days = retention(&Change { ttl_enabled, ttl, ..Default::default() }, &before);
            days.map(|days| days.map(|days| days.seconds / SECONDS_A_DAY)).map_err(|status| status.code())
        };
        let off = || before(false, DEFAULT_TTL_DAYS);
        assert_eq!(of(None, None, off()), Ok(None));
        assert_eq!(of(Some(true), None, off()), Ok(Some(90)));
        assert_eq!(of(Some(true), None, before(true, 7)), Ok(Some(7)));
        assert_eq!(of(None, Some(30), off()), Ok(Some(30)));
        assert_eq!(of(Some(true), Some(30), off()), Ok(Some(30)));
        assert_eq!(of(Some(false), Some(30), before(true, 7)), Ok(Some(0)));
        assert_eq!(of(None, Some(0), off()), Err(tonic::Code::InvalidArgument));
        assert_eq!(of(None, Some(3651), off()), Err(tonic::Code::InvalidArgument));
        assert_eq!(of(None, Some(-1), off()), Err(tonic::Code::InvalidArgument));
    }
}
