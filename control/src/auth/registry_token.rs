//! Registry tokens: the JWTs that clients carry on the registry port. They name who may pull what, never a secret.

use roadstead_proto::REGISTRY_SERVICE;
use serde::{Deserialize, Serialize};

/// The issuer of registry tokens.
pub const ISSUER: &str = "roadstead";
/// The `sub` of somebody who did not sign in.
pub const ANONYMOUS: &str = "anonymous";

/// The claims of a registry token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// Always [`REGISTRY_SERVICE`].
    pub aud: String,
    /// The user name, or [`ANONYMOUS`].
    pub sub: String,
    /// Names this one JWT, for logs.
    pub jti: String,
    /// When it was issued, in seconds.
    pub iat: i64,
    /// From when it is good, in seconds.
    pub nbf: i64,
    /// Until when it is good, in seconds.
    pub exp: i64,
    /// The token that was signed in with; absent when anonymous.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub token_id: Option<String>,
    /// The user that signed in; absent when anonymous, and for tokens of groups.
    #[serde(flatten, skip_serializing_if = "Option::is_none", default)]
    pub user: Option<UserMark>,
    /// The repositories that may be pulled; empty after a `docker login`.
    pub access: Vec<Access>,
}

/// The user that a registry token was issued to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserMark {
    /// The user's id.
    #[serde(rename = "user_id")]
    pub id: String,
    /// The user's epoch then: void once the user's epoch is higher.
    #[serde(rename = "user_epoch")]
    pub epoch: i64,
}

/// One repository that may be pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Always "repository".
    #[serde(rename = "type")]
    pub kind: String,
    /// As clients name it: "acme/dependency_proxy/containers/alpine".
    pub name: String,
    /// Always `["pull"]`.
    pub actions: Vec<String>,
    /// Id of the group that this was decided for: a group that takes over the path later is another.
    pub group_id: String,
    /// The group's access epoch when this was decided: void once the group admits fewer.
    pub access_epoch: i64,
}

impl Access {
    /// The right to pull `name`, which belongs to that group, as decided in that epoch of its access.
    pub fn pull(name: String, group_id: String, access_epoch: i64) -> Self {
        Self { kind: "repository".into(), name, actions: vec!["pull".into()], group_id, access_epoch }
    }
}

impl Claims {
    /// Returns the claims of a token issued now.
    pub fn new(
        subject: String,
        token_id: Option<String>,
        user: Option<UserMark>,
        access: Vec<Access>,
        now_ms: i64,
        lifetime_seconds: i64,
    ) -> Self {
        let now = now_ms.div_euclid(1000);
        Self {
            iss: ISSUER.into(),
            aud: REGISTRY_SERVICE.into(),
            sub: subject,
            jti: uuid::Uuid::now_v7().to_string(),
            iat: now,
            nbf: now,
            exp: now + lifetime_seconds,
            token_id,
            user,
            access,
        }
    }
}
