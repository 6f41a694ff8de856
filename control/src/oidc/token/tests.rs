//! Attacks on ID tokens, one a line.

use std::sync::LazyLock;

use jsonwebtoken::{EncodingKey, jwk::Jwk};
use serde_json::json;

use super::*;

const NOW: i64 = 1_800_000_000;
/// Made for these tests, and used nowhere else.
const RSA_PEM: &[u8] = include_bytes!("../../../tests/control/rsa_test_key.pem");

/// A key that signs: its id in the key set, and what it signs with.
struct Signer(&'static str, Algorithm, EncodingKey);

static RSA: LazyLock<Signer> =
    LazyLock::new(|| Signer("rsa", Algorithm::RS256, EncodingKey::from_rsa_pem(RSA_PEM).unwrap()));
static P256: LazyLock<Signer> = LazyLock::new(|| ec("p256", Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256));
static P384: LazyLock<Signer> = LazyLock::new(|| ec("p384", Algorithm::ES384, &rcgen::PKCS_ECDSA_P384_SHA384));
static STRANGER: LazyLock<Signer> = LazyLock::new(|| ec("p256", Algorithm::ES256, &rcgen::PKCS_ECDSA_P256_SHA256));
static ED: LazyLock<Signer> = LazyLock::new(|| {
    use ed25519_dalek::pkcs8::{EncodePrivateKey as _, KeypairBytes};
    let key = KeypairBytes { secret_key: [7; 32], public_key: None }.to_pkcs8_der().unwrap();
    Signer("ed", Algorithm::EdDSA, EncodingKey::from_ed_der(key.as_bytes()))
});

fn ec(id: &'static str, algorithm: Algorithm, kind: &'static rcgen::SignatureAlgorithm) -> Signer {
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    Signer(id, algorithm, EncodingKey::from_ec_der(&key.serialize_der()))
}

impl Signer {
    fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.2, self.1).unwrap()).unwrap();
        jwk["kid"] = self.0.into();
        jwk
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_as(self.1, header, claims)
    }

    fn sign_as(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.2, algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn keys(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn good() -> Value {
    json!({ "iss": "https://idp", "aud": "roadstead", "sub": "s", "exp": NOW + 60, "iat": NOW, "nbf": NOW })
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = good();
    claims[claim] = value;
    claims
}

fn verify(token: &str, keys: &KeySet) -> Result<IdToken, TokenProblem> {
    Unverified::parse(token)?.verify(keys, NOW * 1000)
}

#[test]
fn each_accepted_algorithm_verifies_with_its_key() {
    let set = keys(&[RSA.jwk(), P256.jwk(), P384.jwk(), ED.jwk()].map(|mut jwk| {
        jwk.as_object_mut().unwrap().remove("alg");
        jwk
    }));
    for (signer, algorithm, name) in [
        (&RSA, Algorithm::RS256, "RS256"),
        (&RSA, Algorithm::RS384, "RS384"),
        (&RSA, Algorithm::RS512, "RS512"),
        (&RSA, Algorithm::PS256, "PS256"),
        (&RSA, Algorithm::PS384, "PS384"),
        (&RSA, Algorithm::PS512, "PS512"),
        (&P256, Algorithm::ES256, "ES256"),
        (&P384, Algorithm::ES384, "ES384"),
        (&ED, Algorithm::EdDSA, "EdDSA"),
    ] {
        let token = signer.sign_as(algorithm, &json!({ "alg": name, "kid": signer.0, "typ": "JWT" }), &good());
        let id = verify(&token, &set).unwrap();
        assert_eq!((id.issuer.as_str(), id.expires_at_ms), ("https://idp", (NOW + 60) * 1000), "{name}");
        let mut broken = token.clone();
        let at = broken.len() - 3..broken.len() - 2;
        let other = if &broken[at.clone()] == "A" { "Q" } else { "A" };
        broken.replace_range(at, other);
        assert_eq!(verify(&broken, &set), Err(TokenProblem::Signature), "{name}");
        let (header, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let forged = URL_SAFE_NO_PAD.encode(with("sub", "admin".into()).to_string());
        assert_eq!(verify(&format!("{header}.{forged}.{signature}"), &set), Err(TokenProblem::Signature), "{name}");
    }
}

#[test]
fn attacks_on_the_signature_fail() {
    use TokenProblem::{Algorithm as Refused, NotAJwt, Signature, UnknownKey, WrongAlgorithm};
    let set = keys(&[RSA.jwk(), P256.jwk(), ED.jwk()]);
    // What an attacker could take for the secret of an HMAC: the public key, in each form that is public.
    let public_keys = [
        RSA.jwk().to_string(),
        RSA.jwk()["n"].as_str().unwrap().to_owned(),
        P256.jwk()["x"].as_str().unwrap().to_owned(),
    ];
    for secret in public_keys {
        let message = unsigned(&json!({ "alg": "HS256", "kid": "rsa" }), &good());
        let key = EncodingKey::from_secret(secret.as_bytes());
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        assert_eq!(verify(&format!("{message}.{signature}"), &set), Err(Refused));
    }
    let none = |alg: &str| format!("{}.", unsigned(&json!({ "alg": alg, "kid": "rsa" }), &good()));
    let header = |alg: &str, kid: &str| json!({ "alg": alg, "kid": kid });
    for (what, token, expected) in [
        ("alg none", none("none"), Refused),
        ("alg None", none("None"), Refused),
        ("alg empty", none(""), Refused),
        ("no signature", none("RS256"), Signature),
        ("HS512", none("HS512"), Refused),
        ("stranger's key under a known name", STRANGER.sign(&header("ES256", "p256"), &good()), Signature),
        ("unknown key", STRANGER.sign(&header("ES256", "other"), &good()), UnknownKey),
        ("no key named, none of them", STRANGER.sign(&json!({ "alg": "ES256" }), &good()), Signature),
        ("RSA token, EC key named", RSA.sign(&header("RS256", "p256"), &good()), WrongAlgorithm),
        ("EC token, RSA key named", P256.sign(&header("ES256", "rsa"), &good()), WrongAlgorithm),
        ("EdDSA said of an RSA key", RSA.sign(&header("EdDSA", "rsa"), &good()), WrongAlgorithm),
        ("ES384 said of a P-256 key", P256.sign(&header("ES384", "p256"), &good()), WrongAlgorithm),
        (
            "PS256 by a key that is for RS256 only",
            RSA.sign_as(Algorithm::PS256, &header("PS256", "rsa"), &good()),
            WrongAlgorithm,
        ),
        (
            "key in the header",
            STRANGER.sign(&json!({ "alg": "ES256", "kid": "x", "jwk": STRANGER.jwk() }), &good()),
            UnknownKey,
        ),
        (
            "unknown critical extension",
            RSA.sign(&json!({ "alg": "RS256", "kid": "rsa", "crit": ["x"] }), &good()),
            NotAJwt,
        ),
        ("an access token", RSA.sign(&json!({ "alg": "RS256", "kid": "rsa", "typ": "at+jwt" }), &good()), NotAJwt),
        ("four parts", format!("{}.x", RSA.sign(&header("RS256", "rsa"), &good())), NotAJwt),
        ("one part", "abc".into(), NotAJwt),
        ("nothing", String::new(), NotAJwt),
        ("no JSON", "YQ.YQ.YQ".into(), NotAJwt),
        ("a list", format!("{}.W10.YQ", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#)), NotAJwt),
        (
            "oversized",
            RSA.sign(&header("RS256", "rsa"), &with("x", "y".repeat(MAX_TOKEN_BYTES).into())),
            TokenProblem::TooLong,
        ),
    ] {
        assert_eq!(verify(&token, &set), Err(expected), "{what}");
    }
    assert!(verify(&P256.sign(&json!({ "alg": "ES256" }), &good()), &set).is_ok(), "no key named, one of them");
}

#[test]
fn times_and_audiences_are_looked_at() {
    use TokenProblem::{Claim, Expired, NotYet};
    let set = keys(&[ED.jwk()]);
    let mut without_exp = good();
    without_exp.as_object_mut().unwrap().remove("exp");
    let mut without_aud = good();
    without_aud.as_object_mut().unwrap().remove("aud");
    for (claims, expected) in [
        (good(), Ok(())),
        (with("exp", (NOW + 1).into()), Ok(())),
        (with("exp", NOW.into()), Err(Expired)),
        (with("exp", (NOW - 3600).into()), Err(Expired)),
        (with("exp", json!(1_800_000_060.5)), Ok(())),
        (with("exp", "1800000060".into()), Err(Claim("exp"))),
        (with("exp", json!(1e300)), Err(Claim("exp"))),
        (with("exp", json!(-1)), Err(Claim("exp"))),
        (without_exp, Err(Claim("exp"))),
        (with("nbf", (NOW + 30).into()), Ok(())),
        (with("nbf", (NOW + 31).into()), Err(NotYet)),
        (with("nbf", "x".into()), Err(Claim("nbf"))),
        (with("iat", (NOW + 31).into()), Err(NotYet)),
        (with("aud", json!(["a", "roadstead"])), Ok(())),
        (with("aud", json!([1])), Err(Claim("aud"))),
        (without_aud, Err(Claim("aud"))),
        (with("iss", json!(["https://idp"])), Err(Claim("iss"))),
    ] {
        let token = ED.sign(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims);
        assert_eq!(verify(&token, &set).map(|_| ()), expected, "{claims}");
    }
}

#[test]
fn keys_that_are_of_no_use_are_left_out_and_the_rest_stays() {
    let mut encryption = P256.jwk();
    encryption["use"] = "enc".into();
    let mut short = RSA.jwk();
    short["n"] = URL_SAFE_NO_PAD.encode([0xff; 128]).into();
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "rsa" });
    for useless in [encryption, short, secret, json!({ "kty": "new" }), json!({}), json!(1)] {
        let set = keys(&[useless.clone(), ED.jwk()]);
        assert!(set.has(Some("ed")) && !set.has(Some("p256")) && !set.has(Some("rsa")), "{useless}");
    }
    for bad in ["", "[]", "{}", r#"{"keys":{}}"#] {
        assert!(KeySet::parse(bad.as_bytes()).is_err(), "{bad}");
    }
    assert!(!keys(&[]).has(None));
}
