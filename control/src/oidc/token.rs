//! ID tokens: what they claim, and whether to believe it. Plain data and a time in, a verdict out.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::key_set::{KeySet, Verdict};

/// Longest ID token that is looked at, in bytes; those of GitLab and GitHub have two or three thousand.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// Largest lead of an issuer's clock over ours, in seconds. The end of a token is taken exactly: it must be good for a
/// moment yet, so that nothing issued for it outlives it.
const LEEWAY_SECONDS: i64 = 30;

/// The reason for which a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// Too long to look at.
    #[error("it is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// Not three parts of base64url, or no JSON in them.
    #[error("it is not a JWT")]
    NotAJwt,
    /// Signed in a way that is not accepted: not at all, with a shared secret, or with something unknown.
    #[error("it must be signed with RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA")]
    Algorithm,
    /// Signed with an algorithm that the key is not for.
    #[error("it was signed with an algorithm that the issuer's key is not for")]
    WrongAlgorithm,
    /// The issuer has no such key.
    #[error("its issuer has no such key")]
    UnknownKey,
    /// The signature is wrong.
    #[error("its signature is wrong")]
    Signature,
    /// A claim that every ID token has is missing, or is not what it must be.
    #[error("its claim {0} is missing or malformed")]
    Claim(&'static str),
    /// Past its end.
    #[error("it has expired")]
    Expired,
    /// Before its begin.
    #[error("it is not valid yet; is a clock wrong?")]
    NotYet,
}

/// The header of a token.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood; none is.
    #[serde(default)]
    crit: Option<Value>,
}

/// A token as it came. Nothing in it is to be believed, but it says whose keys to ask for.
pub struct Unverified<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    issuer: String,
    claims: Map<String, Value>,
    message: &'a str,
    signature: &'a str,
}

/// A token that its issuer signed, and that is good now.
#[derive(Clone, Debug, PartialEq)]
pub struct IdToken {
    /// The issuer, as it names itself.
    pub issuer: String,
    /// For whom it is.
    pub audiences: Vec<String>,
    /// Until when it is good.
    pub expires_at_ms: i64,
    /// Everything that it claims.
    pub claims: Map<String, Value>,
}

impl<'a> Unverified<'a> {
    /// Reads a token.
    pub fn parse(text: &'a str) -> Result<Self, TokenProblem> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenProblem::TooLong);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(TokenProblem::NotAJwt)?;
        let (header, claims) = message.split_once('.').ok_or(TokenProblem::NotAJwt)?;
        let header: Header = part(header)?;
        let claims: Map<String, Value> = part(claims)?;
        let typed = header.typ.as_deref().is_none_or(|typ| typ.eq_ignore_ascii_case("JWT"));
        if !typed || header.crit.is_some() {
            return Err(TokenProblem::NotAJwt);
        }
        let issuer = claims.get("iss").and_then(Value::as_str).ok_or(TokenProblem::Claim("iss"))?.to_owned();
        let algorithm = header.alg.parse().map_err(|_| TokenProblem::Algorithm)?;
        if matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) {
            return Err(TokenProblem::Algorithm);
        }
        Ok(Self { algorithm, key_id: header.kid, issuer, claims, message, signature })
    }

    /// Returns the claimed issuer.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Which key is said to have signed it.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Believes it, or says why not. The keys must be those of its issuer.
    pub fn verify(self, keys: &KeySet, now_ms: i64) -> Result<IdToken, TokenProblem> {
        match keys.verify(self.key_id.as_deref(), self.algorithm, self.message, self.signature) {
            Verdict::Good => {}
            Verdict::Bad => return Err(TokenProblem::Signature),
            Verdict::WrongAlgorithm => return Err(TokenProblem::WrongAlgorithm),
            Verdict::UnknownKey => return Err(TokenProblem::UnknownKey),
        }
        let now = now_ms.div_euclid(1000);
        let expires = time(&self.claims, "exp")?.ok_or(TokenProblem::Claim("exp"))?;
        if expires <= now {
            return Err(TokenProblem::Expired);
        }
        for claim in ["nbf", "iat"] {
            if time(&self.claims, claim)?.is_some_and(|from| from > now + LEEWAY_SECONDS) {
                return Err(TokenProblem::NotYet);
            }
        }
        let audiences = audiences(self.claims.get("aud")).ok_or(TokenProblem::Claim("aud"))?;
        Ok(IdToken { issuer: self.issuer, audiences, expires_at_ms: expires.saturating_mul(1000), claims: self.claims })
    }
}

fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Result<T, TokenProblem> {
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenProblem::NotAJwt)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenProblem::NotAJwt)
}

/// A time in seconds, which may have a fraction (RFC 7519, "NumericDate").
fn time(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<i64>, TokenProblem> {
    /// Far beyond every date, and well within an `i64` of milliseconds.
    const MOST: f64 = 1e12;
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "bounded, and a fraction of a second does not matter")]
            Some(seconds) if (0.0..MOST).contains(&seconds) => Ok(Some(seconds as i64)),
            _ => Err(TokenProblem::Claim(claim)),
        },
    }
}

fn audiences(claim: Option<&Value>) -> Option<Vec<String>> {
    match claim? {
        Value::String(audience) => Some(vec![audience.clone()]),
        Value::Array(list) => list.iter().map(|audience| audience.as_str().map(ToOwned::to_owned)).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
