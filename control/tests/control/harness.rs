//! A control plane in a folder of its own, with a clock that stands, and clients of it.

use std::{path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use roadstead_control::{Clock, Control, ControlConfig, FirstStart};
use roadstead_proto::{
    Algorithm, Digest,
    node::v1::{
        ContentKind, Link, LinkProof, RecordLinkRequest, RecordLinkResponse, Reference, RepositoryRef,
        node_service_client::NodeServiceClient,
    },
    v1::{
        CreateGroupRequest, CreateTokenRequest, CreateTokenResponse, CreateUserRequest, Group, Role, TokenKind,
        UpdateMemberRequest, User, Visibility, audit_service_client::AuditServiceClient,
        cache_service_client::CacheServiceClient, cluster_service_client::ClusterServiceClient,
        create_token_request::Owner, group_service_client::GroupServiceClient,
        member_service_client::MemberServiceClient, oidc_service_client::OidcServiceClient,
        token_service_client::TokenServiceClient, upstream_service_client::UpstreamServiceClient,
        user_service_client::UserServiceClient,
    },
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tokio::{io::DuplexStream, sync::mpsc, task::JoinHandle};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::MetadataValue,
    service::{Interceptor, Routes, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Server},
};
use tower::service_fn;

#[path = "../fixtures/private_postgres.rs"]
pub mod private_postgres;

/// Noon of some day: far from every edge.
pub const START_MS: i64 = 1_800_000_000_000;

/// Sends an authorization with every call, or none.
#[derive(Clone)]
pub struct Authorization(Option<String>);

/// A user's name and password as they are sent.
pub fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", BASE64.encode(format!("{name}:{password}")))
}

impl Interceptor for Authorization {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(authorization) = &self.0 {
            let value: MetadataValue<_> = authorization.parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

type Called = InterceptedService<Channel, Authorization>;

/// All services, called with one token.
#[derive(Clone)]
pub struct Client {
    pub groups: GroupServiceClient<Called>,
    pub tokens: TokenServiceClient<Called>,
    pub users: UserServiceClient<Called>,
    pub members: MemberServiceClient<Called>,
    pub upstreams: UpstreamServiceClient<Called>,
    pub cache: CacheServiceClient<Called>,
    pub cluster: ClusterServiceClient<Called>,
    pub oidc: OidcServiceClient<Called>,
    pub audit: AuditServiceClient<Called>,
    pub node: NodeServiceClient<Called>,
}

/// A running control plane.
pub struct Plane {
    pub control: Control,
    pub first_start: FirstStart,
    pub clock: Clock,
    pub folder: Arc<TempDir>,
    pub metrics: Registry,
    pub channel: Channel,
    pub stop: CancellationToken,
    background: JoinHandle<()>,
}

pub const ADMIN_TOKEN: &str = "the-administrator-s-own-choice-of-a-token";

impl Plane {
    /// On an empty folder.
    pub async fn start() -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), Clock::standing_at(START_MS)).await
    }

    /// On a folder that may have been used before.
    pub async fn start_in(folder: Arc<TempDir>, clock: Clock) -> Self {
        let config = config(&folder);
        Self::start_with(config, folder, clock).await
    }

    /// A replica on the PostgreSQL database of a folder, whatever the other tests run on.
    pub async fn replica_in(folder: &Arc<TempDir>) -> Self {
        let config = ControlConfig { database_url: Some(private_postgres::url_for(folder.path())), ..config(folder) };
        Self::start_with(config, folder.clone(), Clock::standing_at(START_MS)).await
    }

    /// With these settings, but for the administrator's token.
    pub async fn start_with(mut config: ControlConfig, folder: Arc<TempDir>, clock: Clock) -> Self {
        config.admin_token = Some(ADMIN_TOKEN.into());
        let mut metrics = Registry::default();
        let (control, first_start) = Control::open_at(config, clock.clone(), &mut metrics).await.unwrap();
        let channel = connect(&control).await;
        let stop = CancellationToken::new();
        let background = tokio::spawn(control.run(stop.clone()));
        Self { control, first_start, clock, folder, metrics, channel, stop, background }
    }

    /// On an empty folder, with other settings, and without the work in the background: tests do that when they want it.
    pub async fn idle(change: impl FnOnce(&mut ControlConfig)) -> Self {
        let (folder, clock) = (Arc::new(tempfile::tempdir().unwrap()), Clock::standing_at(START_MS));
        let mut config = config(&folder);
        config.admin_token = Some(ADMIN_TOKEN.into());
        change(&mut config);
        let mut metrics = Registry::default();
        let (control, first_start) = Control::open_at(config, clock.clone(), &mut metrics).await.unwrap();
        let channel = connect(&control).await;
        let (stop, background) = (CancellationToken::new(), tokio::spawn(async {}));
        Self { control, first_start, clock, folder, metrics, channel, stop, background }
    }

    /// Stops it and starts another on the same folder.
    pub async fn restart(self) -> Self {
        let (folder, clock) = (self.folder.clone(), self.clock.clone());
        self.stop().await;
        Self::start_in(folder, clock).await
    }

    /// Stops it, and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.background.await.unwrap();
    }

    pub fn client(&self, token: Option<&str>) -> Client {
        self.client_with(token.map(|token| format!("Bearer {token}")))
    }

    /// A client that signs in with name and password.
    pub fn client_of(&self, name: &str, password: &str) -> Client {
        self.client_with(Some(basic(name, password)))
    }

    fn client_with(&self, authorization: Option<String>) -> Client {
        let called = || InterceptedService::new(self.channel.clone(), Authorization(authorization.clone()));
        Client {
            groups: GroupServiceClient::new(called()),
            tokens: TokenServiceClient::new(called()),
            users: UserServiceClient::new(called()),
            members: MemberServiceClient::new(called()),
            upstreams: UpstreamServiceClient::new(called()),
            cache: CacheServiceClient::new(called()),
            cluster: ClusterServiceClient::new(called()),
            oidc: OidcServiceClient::new(called()),
            audit: AuditServiceClient::new(called()),
            node: NodeServiceClient::new(called()),
        }
    }

    pub fn admin(&self) -> Client {
        self.client(Some(ADMIN_TOKEN))
    }

    pub fn node(&self) -> Client {
        self.client(Some(self.control.embedded_node_token().expose_secret()))
    }

    /// A private group with this path.
    pub async fn group(&self, path: &str) -> Group {
        self.group_with(CreateGroupRequest { path: path.into(), ..Default::default() }).await
    }

    pub async fn public_group(&self, path: &str, anonymous_pull: bool) -> Group {
        let visibility = Visibility::Public.into();
        self.group_with(CreateGroupRequest { path: path.into(), visibility, anonymous_pull, ..Default::default() })
            .await
    }

    pub async fn group_with(&self, request: CreateGroupRequest) -> Group {
        self.admin().groups.create_group(request).await.unwrap().into_inner().group.unwrap()
    }

    pub async fn token(&self, group: &str, scopes: &[&str]) -> CreateTokenResponse {
        let request = CreateTokenRequest {
            owner: Some(Owner::GroupPath(group.into())),
            name: "test".into(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            expires_in: None,
            ..Default::default()
        };
        self.admin().tokens.create_token(request).await.unwrap().into_inner()
    }

    /// A user, whose password is [`Plane::password_of`] the name.
    pub async fn user(&self, name: &str, admin: bool) -> User {
        let request = CreateUserRequest {
            name: name.into(),
            password: Self::password_of(name),
            admin,
            request_id: String::new(),
        };
        self.admin().users.create_user(request).await.unwrap().into_inner().user.unwrap()
    }

    pub fn password_of(name: &str) -> String {
        format!("the password of {name}")
    }

    pub async fn member(&self, group: &str, user: &str, role: Role) {
        let request =
            UpdateMemberRequest { group_path: group.into(), user: user.into(), role: role.into(), allow_missing: true };
        self.admin().members.update_member(request).await.unwrap();
    }

    pub async fn personal_token(&self, user: &str, scopes: &[&str]) -> CreateTokenResponse {
        let owner = Some(Owner::User(user.into()));
        let scopes = scopes.iter().map(ToString::to_string).collect();
        let request = CreateTokenRequest { owner, name: "test".into(), scopes, ..Default::default() };
        self.admin().tokens.create_token(request).await.unwrap().into_inner()
    }

    pub async fn group_token(&self, group: &str, kind: TokenKind, role: Role, scopes: &[&str]) -> CreateTokenResponse {
        let request = CreateTokenRequest {
            owner: Some(Owner::GroupPath(group.into())),
            name: "test".into(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            kind: kind.into(),
            role: role.into(),
            ..Default::default()
        };
        self.admin().tokens.create_token(request).await.unwrap().into_inner()
    }

    /// A token of that owner with all defaults.
    pub async fn token_of(&self, owner: Owner) -> CreateTokenResponse {
        let request = CreateTokenRequest { owner: Some(owner), name: "test".into(), ..Default::default() };
        self.admin().tokens.create_token(request).await.unwrap().into_inner()
    }

    pub fn metrics_text(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        text
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub fn config(folder: &TempDir) -> ControlConfig {
    ControlConfig {
        database_url: database_of(folder.path()),
        // A busy machine is no outage.
        database_timeout: Duration::from_secs(30),
        ..ControlConfig::new(folder.path().join("data"))
    }
}

/// The database of a test's folder: SQLite in it, or where `ROADSTEAD_TEST_DATABASE` says `postgres`, one of a PostgreSQL
/// server that lives as long as the test program.
pub fn database_of(folder: &Path) -> Option<String> {
    match std::env::var("ROADSTEAD_TEST_DATABASE").as_deref() {
        Ok("postgres") => Some(private_postgres::url_for(folder)),
        Ok(other) => panic!("ROADSTEAD_TEST_DATABASE={other}: only postgres is known"),
        Err(_) => None,
    }
}

async fn connect(control: &Control) -> Channel {
    let (connections, accepted) = mpsc::channel::<DuplexStream>(1);
    let routes = Routes::from(control.router());
    tokio::spawn(
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(ReceiverStream::new(accepted).map(Ok::<_, std::io::Error>)),
    );
    let connector = service_fn(move |_| {
        let connections = connections.clone();
        async move {
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            connections.send(theirs).await.map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(ours))
        }
    });
    Endpoint::from_static("http://control").connect_with_connector(connector).await.unwrap()
}

pub fn digest(name: &str) -> String {
    Digest::of(Algorithm::Sha256, name.as_bytes()).to_string()
}

/// `repository` at Docker Hub, as that group sees it.
pub fn place(group: &Group, repository: &str) -> Option<RepositoryRef> {
    Some(RepositoryRef { group_id: group.id.clone(), upstream: "docker.io".into(), repository: repository.into() })
}

pub fn manifest(name: &str, size_bytes: i64) -> Option<Link> {
    let media_type = "application/vnd.oci.image.manifest.v1+json".into();
    Some(Link { digest: digest(name), kind: ContentKind::Manifest.into(), size_bytes, media_type })
}

pub fn blob(name: &str, size_bytes: i64) -> Option<Link> {
    Some(Link { digest: digest(name), kind: ContentKind::Blob.into(), size_bytes, media_type: String::new() })
}

impl Client {
    /// Records a blob of a repository.
    pub async fn link_blob(&mut self, group: &Group, repository: &str, name: &str, size: i64) -> RecordLinkResponse {
        let request = RecordLinkRequest {
            proof: LinkProof::Fetched.into(),
            repository: place(group, repository),
            link: blob(name, size),
            ..Default::default()
        };
        self.node.record_link(request).await.unwrap().into_inner()
    }

    /// Records a manifest of 10 bytes that refers to blobs (and manifests, by names beginning with `m`).
    pub async fn link_manifest(
        &mut self,
        group: &Group,
        repository: &str,
        name: &str,
        tag: &str,
        refers_to: &[&str],
    ) -> RecordLinkResponse {
        let references = refers_to
            .iter()
            .map(|child| Reference {
                digest: digest(child),
                kind: if child.starts_with('m') { ContentKind::Manifest } else { ContentKind::Blob }.into(),
                size_bytes: 1,
                platform: String::new(),
            })
            .collect();
        let request = RecordLinkRequest {
            proof: LinkProof::Fetched.into(),
            repository: place(group, repository),
            link: manifest(name, 10),
            references,
            tag: tag.into(),
            ..Default::default()
        };
        self.node.record_link(request).await.unwrap().into_inner()
    }
}
