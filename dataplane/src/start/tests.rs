//! The registry port of a whole node, by HTTP, in front of a control plane that does as told and whose signing key the
//! tests have: what tokens are taken, and how answers of the token service read.

use roadstead_proto::time::{seconds, timestamp};
use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use roadstead_proto::node::v1::{self as pb, policy_change::Change, sign_in_response, watch_response::Event};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    control::fake::{Fake, FakeWatch, changes, group, snapshot},
    listener::Handler as _,
};

const ACCESS_TO: &str = "acme/dependency_proxy/containers/app";

/// A running node; gone when dropped.
struct Node {
    fake: Fake,
    tell: mpsc::UnboundedSender<pb::WatchResponse>,
    control: Arc<Control>,
    address: SocketAddr,
    http: reqwest::Client,
    stop: CancellationToken,
    _folder: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn first_snapshot() -> pb::WatchResponse {
    let mut first = snapshot(1, vec![group("g1", "acme", 1, 1), group("g2", "other", 1, 1)]);
    if let Some(Event::Snapshot(snapshot)) = &mut first.event {
        snapshot.groups[0].anonymous_pull = false;
        snapshot.groups[0].old_paths = vec!["acme-before".to_owned()];
        snapshot.keys[0].ed25519 = signing_key().verifying_key().to_bytes().to_vec();
    }
    first
}

impl Node {
    /// A node that has heard its first snapshot.
    async fn start(config: DataplaneConfig) -> Self {
        let node = Self::begin(config).await;
        node.tell.send(first_snapshot()).unwrap();
        node.control.policy.wait_for_snapshot().await;
        node
    }

    /// A node that has heard nothing yet.
    async fn begin(config: DataplaneConfig) -> Self {
        // Another test of this process may have been first: the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let config = DataplaneConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            storage: StorageUrl::Local(folder.path().join("blobs")),
            data_dir: folder.path().to_owned(),
            ..config
        };
        let fake = Fake::default();
        let (tell, told) = mpsc::unbounded_channel();
        fake.script(|script| script.watches.push_back(FakeWatch::Live(told)));
        let token = SecretString::from("rs_node_x");
        let node = Dataplane::bind(config, fake.channel(), token, &mut Registry::default()).await.unwrap();
        let (control, address, stop) = (Arc::clone(&node.control), node.local_addr(), CancellationToken::new());
        tokio::spawn(node.serve(stop.clone()));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { fake, tell, control, address, http, stop, _folder: folder }
    }

    /// Status, `WWW-Authenticate`, `Retry-After` and body of an answer.
    async fn ask(&self, path: &str, headers: &[(&str, String)]) -> (u16, String, String, Value) {
        let mut request = self.http.get(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.unwrap();
        let header = |name| answer.headers().get(name).map(|it| it.to_str().unwrap().to_owned()).unwrap_or_default();
        let (challenge, wait, status) = (header("www-authenticate"), header("retry-after"), answer.status().as_u16());
        (status, challenge, wait, answer.json().await.unwrap_or_default())
    }

    /// Status and code of a pull of something that is not there, with this token.
    async fn pull(&self, name: &str, token: &str) -> (u16, String) {
        let path = format!("/v2/{name}/manifests/latest");
        let (status, challenge, _, body) = self.ask(&path, &[("authorization", format!("Bearer {token}"))]).await;
        let error = &body["errors"][0];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{token}: {body}");
        assert_eq!(status == 401, challenge.contains(&format!("scope=\"repository:{name}:pull\"")), "{challenge}");
        (status, error["code"].as_str().unwrap().to_owned())
    }

    async fn told(&self, revision: i64, change: Change) {
        self.tell.send(changes(revision, vec![change])).unwrap();
        while self.control.policy.current().revision() < revision {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Returns the token service's answer to `query`, by the control plane's decision.
    async fn sign_in(
        &self,
        result: sign_in_response::Result,
        headers: &[(&str, String)],
    ) -> (u16, String, String, Value) {
        self.fake.script(|script| script.sign_in = pb::SignInResponse { result: Some(result) });
        self.ask(&format!("/jwt/auth?service=dependency_proxy&scope=repository:{ACCESS_TO}:pull"), headers).await
    }
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// The claims of a valid token.
fn claims() -> Value {
    json!({
        "iss": "roadstead", "aud": "dependency_proxy", "sub": "alice", "jti": "j1",
        "iat": now(), "nbf": now(), "exp": now() + 900, "token_id": "t1", "user_id": "u1", "user_epoch": 3,
        "access": [{"type": "repository", "name": ACCESS_TO, "actions": ["pull"], "group_id": "g1", "access_epoch": 1}],
    })
}

fn with(changed: impl FnOnce(&mut Value)) -> Value {
    let mut claims = claims();
    changed(&mut claims);
    claims
}

fn signed_by(key: &SigningKey, key_id: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    encode(&header, claims, &EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes())).unwrap()
}

fn signed(claims: &Value) -> String {
    signed_by(&signing_key(), Some("k1"), claims)
}

/// Header and claims without a signature.
fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

#[tokio::test]
async fn forged_and_foreign_registry_tokens_are_refused_and_good_ones_are_not() {
    let node = Node::start(DataplaneConfig::default()).await;
    // A good token gets as far as asking what the tag means, which this control plane cannot say.
    let accepted = (503, "UNAVAILABLE".to_owned());
    let refused = (401, "UNAUTHORIZED".to_owned());
    for (what, claims) in [
        ("as issued", claims()),
        ("clocks that differ a little", with(|it| it["nbf"] = json!(now() + 30))),
        ("without a user", with(|it| it["user_id"] = Value::Null)),
        (
            "several images",
            with(|it| it["access"] = json!([{"name": "x", "actions": ["pull"], "group_id": "g2"}, it["access"][0]])),
        ),
    ] {
        assert_eq!(node.pull(ACCESS_TO, &signed(&claims)).await, accepted, "{what}");
    }
    for (what, claims) in [
        ("expired", with(|it| it["exp"] = json!(now() - 10))),
        ("expired long ago", with(|it| it["exp"] = json!(now() - 86_400))),
        ("without an end", with(|it| it["exp"] = Value::Null)),
        ("with an end that is no number", with(|it| it["exp"] = json!("never"))),
        ("not good yet", with(|it| it["nbf"] = json!(now() + 3600))),
        ("for another service", with(|it| it["aud"] = json!("container_registry"))),
        ("for nobody", with(|it| it["aud"] = Value::Null)),
        ("of another issuer", with(|it| it["iss"] = json!("gitlab"))),
        ("of nobody", with(|it| it["sub"] = Value::Null)),
        ("for another image", with(|it| it["access"][0]["name"] = json!(format!("{ACCESS_TO}2")))),
        (
            "for another group's image",
            with(|it| it["access"][0]["name"] = json!("other/dependency_proxy/containers/app")),
        ),
        ("of another group by this name", with(|it| it["access"][0]["group_id"] = json!("g2"))),
        ("to push only", with(|it| it["access"][0]["actions"] = json!(["push"]))),
        ("from before the group admitted fewer", with(|it| it["access"][0]["access_epoch"] = json!(0))),
        ("for nothing", with(|it| it["access"] = json!([]))),
        ("anonymous, where that is not admitted", with(|it| (it["token_id"], it["user_id"]) = Default::default())),
        ("oversized", with(|it| it["jti"] = json!("x".repeat(13_000)))),
    ] {
        assert_eq!(node.pull(ACCESS_TO, &signed(&claims)).await, refused, "{what}");
    }
    let good = signed(&claims());
    let public = signing_key().verifying_key().to_bytes();
    let hmac = |secret: &[u8]| {
        let header = Header { kid: Some("k1".to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &claims(), &EncodingKey::from_secret(secret)).unwrap()
    };
    let hex: String = public.iter().map(|byte| format!("{byte:02x}")).collect();
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let later = unsigned(&json!({"alg": "EdDSA", "kid": "k1"}), &with(|it| it["exp"] = json!(now() + 9000)));
    for (what, token) in [
        ("alg none", unsigned(&json!({"alg": "none", "typ": "JWT", "kid": "k1"}), &claims())),
        ("alg none, signed", unsigned(&json!({"alg": "none", "kid": "k1"}), &claims()) + signature),
        ("alg None", unsigned(&json!({"alg": "None", "kid": "k1"}), &claims())),
        ("no alg", unsigned(&json!({"kid": "k1"}), &claims())),
        ("HS256 with the public key", hmac(&public)),
        ("HS256 with the public key as text", hmac(hex.as_bytes())),
        ("HS256 with nothing", hmac(b"")),
        ("another key by the same id", signed_by(&SigningKey::from_bytes(&[8; 32]), Some("k1"), &claims())),
        ("a key that nobody knows", signed_by(&signing_key(), Some("k2"), &claims())),
        ("a key's id that is a path", signed_by(&signing_key(), Some("../k1"), &claims())),
        ("no key's id", signed_by(&signing_key(), None, &claims())),
        ("other claims under a good signature", later + signature),
        ("no signature", format!("{header}.{body}.")),
        ("half a signature", format!("{header}.{body}.{}", &signature[..40])),
        ("two parts", format!("{header}.{body}")),
        ("four parts", format!("{good}.{signature}")),
        ("an encrypted one", format!("{header}.{body}.{signature}.{body}.{signature}")),
        ("claims that are a list", signed(&json!([claims()]))),
        ("garbage", "junk".to_owned()),
        ("garbage in three parts", "a.b.c".to_owned()),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        ("no base64", format!("{header}.%%%%.{signature}")),
        ("oversized garbage", "x".repeat(20_000)),
    ] {
        assert_eq!(node.pull(ACCESS_TO, &token).await, refused, "{what}");
    }
    assert_eq!(node.pull(ACCESS_TO, &good).await, accepted, "and it still is good");
}

#[tokio::test]
async fn what_a_registry_token_was_issued_for_can_become_void() {
    let node = Node::start(DataplaneConfig::default()).await;
    let accepted = (503, "UNAVAILABLE".to_owned());
    let refused = (401, "UNAUTHORIZED".to_owned());
    let by_user = |epoch: i64| signed(&with(|it| (it["token_id"], it["user_epoch"]) = (Value::Null, json!(epoch))));
    let by_token = signed(&with(|it| (it["token_id"], it["user_id"]) = (json!("t2"), Value::Null)));
    let both = signed(&claims());
    for token in [&by_user(3), &by_user(4), &by_token, &both] {
        assert_eq!(node.pull(ACCESS_TO, token).await, accepted);
    }
    let revoked = |id: &str, user_epoch| {
        Change::Revocation(pb::Revocation { token_id: id.to_owned(), forget_after: timestamp(i64::MAX), user_epoch })
    };
    node.told(2, revoked("u1", 4)).await;
    assert_eq!(node.pull(ACCESS_TO, &by_user(3)).await, refused, "void by the user's epoch");
    assert_eq!(node.pull(ACCESS_TO, &both).await, refused, "a personal token is its user's");
    assert_eq!(node.pull(ACCESS_TO, &by_user(4)).await, accepted, "issued after the change");
    assert_eq!(node.pull(ACCESS_TO, &by_token).await, accepted, "of nobody");
    node.told(3, revoked("t2", 0)).await;
    assert_eq!(node.pull(ACCESS_TO, &by_token).await, refused);
}

#[tokio::test]
async fn a_renamed_group_answers_its_old_path_until_another_group_takes_it() {
    let node = Node::start(DataplaneConfig::default()).await;
    let old = "acme-before/dependency_proxy/containers/app";
    let token = |group: &str| {
        signed(&with(|it| (it["access"][0]["name"], it["access"][0]["group_id"]) = (json!(old), json!(group))))
    };
    assert_eq!(node.pull(old, &token("g1")).await.0, 503);
    assert_eq!(node.pull(old, &token("g2")).await.0, 401);
    node.told(2, Change::Group(group("g3", "acme-before", 1, 1))).await;
    assert_eq!(node.pull(old, &token("g1")).await.0, 401, "the path is another group's now");
    assert_eq!(node.pull(old, &token("g3")).await.0, 503);
    assert_eq!(node.pull(ACCESS_TO, &signed(&claims())).await.0, 503);
}

#[tokio::test]
async fn groups_that_a_token_is_not_for_read_alike_whether_they_are_there_or_not() {
    let node = Node::start(DataplaneConfig::default()).await;
    let login = signed(&with(|it| it["access"] = json!([])));
    let mut read = Vec::new();
    for name in ["other", "absent"] {
        let path = format!("/v2/{name}/dependency_proxy/containers/app/manifests/latest");
        for token in [Some(&login), None] {
            let headers: Vec<_> = token.map(|token| ("authorization", format!("Bearer {token}"))).into_iter().collect();
            let (status, challenge, _, body) = node.ask(&path, &headers).await;
            read.push((status, challenge.replace(name, "X"), body.to_string().replace(name, "X")));
        }
    }
    assert_eq!(read[0].0, 401);
    assert_eq!((&read[0], &read[1]), (&read[2], &read[3]));
}

#[tokio::test]
async fn refusals_of_the_token_service_read_as_the_control_plane_says_them() {
    use pb::SignInRefusal::{Denied, NotFound, TooManyRequests, Unauthenticated, Unavailable};
    let node = Node::start(DataplaneConfig::default()).await;
    for (reason, wait, expected) in [
        (Unauthenticated, 0, (401, "UNAUTHORIZED", "")),
        (Denied, 0, (403, "DENIED", "")),
        (NotFound, 0, (404, "NAME_UNKNOWN", "")),
        (TooManyRequests, 42, (429, "TOOMANYREQUESTS", "42")),
        (Unavailable, 5, (503, "UNAVAILABLE", "5")),
    ] {
        let refused = pb::SignInRefused {
            reason: reason.into(),
            message: "user alice may not".to_owned(),
            retry_after: seconds(wait),
        };
        let (status, challenge, after, body) = node.sign_in(sign_in_response::Result::Refused(refused), &[]).await;
        assert_eq!((status, body["errors"][0]["code"].as_str().unwrap(), &*after), expected);
        assert_eq!(body["errors"][0]["message"], "user alice may not");
        assert_eq!(challenge.starts_with("Basic "), status == 401);
    }
}

#[tokio::test]
async fn the_control_plane_hears_who_signs_in_from_where() {
    let trusted_proxies = ["127.0.0.0/8".parse().unwrap()].into();
    let config = DataplaneConfig { port: PortSettings { trusted_proxies, ..Default::default() }, ..Default::default() };
    for (config, forwarded, expected) in [
        (config.clone(), "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (config, "nonsense", "127.0.0.1"),
        (DataplaneConfig::default(), "198.51.100.7", "127.0.0.1"),
    ] {
        let node = Node::start(config).await;
        let token = sign_in_response::Result::Token(pb::RegistryToken {
            token: "a.b.c".to_owned(),
            expires_in: seconds(900),
            ..Default::default()
        });
        // The longest password that a CI system's ID token may be.
        let password = "p".repeat(16 * 1024);
        let basic = base64::prelude::BASE64_STANDARD.encode(format!("oidc:{password}"));
        let headers = [("authorization", format!("Basic {basic}")), ("x-forwarded-for", forwarded.to_owned())];
        let (status, _, _, body) = node.sign_in(token.clone(), &headers).await;
        assert_eq!((status, &body["token"]), (200, &json!("a.b.c")));
        let asked = node.fake.script(|script| script.sign_ins.pop()).unwrap();
        assert_eq!((&*asked.client_address, &*asked.username), (expected, "oidc"));
        assert_eq!((asked.password.len(), &*asked.scopes[0].name), (16 * 1024, ACCESS_TO));
        let form = [("grant_type", "password"), ("username", "oidc"), ("password", &password)];
        let posted = node.http.post(format!("http://{}/jwt/auth", node.address)).form(&form).send().await.unwrap();
        assert_eq!(posted.status().as_u16(), 200);
        let longer = base64::prelude::BASE64_STANDARD.encode(format!("oidc:{password}p"));
        let (status, ..) = node.sign_in(token, &[("authorization", format!("Basic {longer}"))]).await;
        assert_eq!(status, 401);
    }
}

#[tokio::test]
async fn a_client_that_writes_the_port_is_challenged_alike_and_its_tokens_are_good() {
    let config =
        DataplaneConfig { external_url: Some("https://images.example".parse().unwrap()), ..Default::default() };
    let node = Node::start(config).await;
    let path = format!("/v2/{ACCESS_TO}/manifests/latest");
    let host = |name: &str| ("host", name.to_owned());
    let (_, plain, _, _) = node.ask(&path, &[host("images.example")]).await;
    let (_, with_port, _, _) = node.ask(&path, &[host("images.example:443")]).await;
    assert_eq!(plain, with_port);
    assert!(plain.starts_with("Bearer realm=\"https://images.example/jwt/auth\","), "{plain}");
    let token = format!("Bearer {}", signed(&claims()));
    for name in ["images.example", "images.example:443", "elsewhere.example:7070"] {
        let (status, ..) = node.ask(&path, &[host(name), ("authorization", token.clone())]).await;
        assert_eq!(status, 503, "{name}");
    }
    node.control.policy.wait_for_snapshot().await;
    assert_eq!(node.fake.script(|script| script.registry_urls.clone()), ["https://images.example"]);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_judged_by_what_holds_now_or_put_off() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let config = DataplaneConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        storage: StorageUrl::Local(folder.path().join("blobs")),
        data_dir: folder.path().to_owned(),
        ..DataplaneConfig::default()
    };
    let fake = Fake::default();
    let (events, told) = mpsc::unbounded_channel();
    fake.script(|script| {
        script.watches.push_back(FakeWatch::Live(told));
        script.revision = Some(9);
    });
    let token = SecretString::from("rs_node_x");
    let node = Dataplane::bind(config, fake.channel(), token, &mut Registry::default()).await.unwrap();
    tokio::spawn({
        let control = Arc::clone(&node.control);
        async move { control.run("", CancellationToken::new()).await }
    });
    events.send(snapshot(7, vec![group("g1", "acme", 1, 1)])).unwrap();
    node.control.policy.wait_for_snapshot().await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let pipeline = Arc::clone(node.server.handler());
    let ask = || {
        let request = http::Request::get("/v2/")
            .header("authorization", format!("Bearer {}", signed(&claims())))
            .body(http_body_util::Empty::<bytes::Bytes>::new());
        Arc::clone(&pipeline).answer(request.unwrap())
    };
    let first = tokio::spawn(ask());
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!first.is_finished(), "there is a change that this node has not heard of");
    let ed25519 = signing_key().verifying_key().to_bytes().to_vec();
    let key = pb::PublicKey { id: "k1".to_owned(), ed25519, not_after: None };
    let keys = Change::Keys(pb::PublicKeySet { keys: vec![key] });
    events.send(changes(9, vec![keys])).unwrap();
    assert_eq!(first.await.unwrap().status(), http::StatusCode::OK, "the key that is new is known");
    // A change that never arrives.
    fake.script(|script| script.revision = Some(10));
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(ask().await.status(), http::StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_good_token_is_good_from_the_first_moment_on() {
    let node = Node::begin(DataplaneConfig::default()).await;
    let token = [("authorization", format!("Bearer {}", signed(&claims())))];
    let asking = node.ask("/v2/", &token);
    tokio::pin!(asking);
    // The keys that the token is verified with are not here yet: the request waits for them, and is not refused.
    tokio::select! {
        answer = &mut asking => panic!("{answer:?}"),
        () = tokio::time::sleep(Duration::from_millis(300)) => {}
    }
    node.tell.send(first_snapshot()).unwrap();
    assert_eq!(asking.await.0, 200);
    let nobody = Node::begin(DataplaneConfig::default()).await;
    let (status, challenge, _, body) = nobody.ask("/v2/", &token).await;
    assert_eq!(
        (status, challenge.as_str(), body["errors"][0]["code"].as_str()),
        (503, "", Some("UNAVAILABLE")),
        "{body}"
    );
}
