//! The control port by typed gRPC, and what tests set up by it: people, groups, tokens of every kind, trusts.

use std::{net::SocketAddr, time::Duration};

use roadstead_proto::node::v1::node_service_client::NodeServiceClient;
use roadstead_proto::v1::{
    ClaimRule, CreateGroupRequest, CreateIssuerRequest, CreateJobTokenRequest, CreateTokenRequest, CreateTrustRequest,
    CreateUserRequest, Role, TokenKind, UpdateGroupRequest, UpdateMemberRequest, UpdateUserRequest, Visibility,
    audit_service_client::AuditServiceClient, cache_service_client::CacheServiceClient, create_token_request::Owner,
    group_service_client::GroupServiceClient, member_service_client::MemberServiceClient,
    oidc_service_client::OidcServiceClient, token_service_client::TokenServiceClient,
    user_service_client::UserServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::{
    cluster::{Cluster, DeployToken},
    issuer::Issuer,
};

/// The scopes that pulls need.
pub const PULL: [&str; 2] = ["read_registry", "write_registry"];

/// Sends a token with every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A connection that sends a token.
pub type Called = InterceptedService<Channel, Bearer>;

/// The services, called with one token.
#[derive(Clone)]
pub struct Api {
    /// See `GroupService`.
    pub groups: GroupServiceClient<Called>,
    /// See `UserService`.
    pub users: UserServiceClient<Called>,
    /// See `MemberService`.
    pub members: MemberServiceClient<Called>,
    /// See `TokenService`.
    pub tokens: TokenServiceClient<Called>,
    /// See `OidcService`.
    pub oidc: OidcServiceClient<Called>,
    /// See `AuditService`.
    pub audit: AuditServiceClient<Called>,
    /// See `CacheService`.
    pub cache: CacheServiceClient<Called>,
    /// See `NodeService`: for tokens of nodes.
    pub nodes: NodeServiceClient<Called>,
}

impl Cluster {
    /// The control port, with this token.
    pub fn api(&self, token: &str) -> Api {
        Api::at(self.control, token)
    }

    /// Does the same as the administrator.
    pub fn admin(&self) -> Api {
        self.api(&self.admin_token())
    }
}

/// Calls to `control` with a token, by a connection of their own that is made when it is needed.
pub fn calls(control: SocketAddr, token: &str) -> Called {
    let channel = Endpoint::try_from(format!("http://{control}")).unwrap().connect_lazy();
    InterceptedService::new(channel, Bearer(format!("Bearer {token}").parse().unwrap()))
}

/// Set-up: everything here has to succeed.
impl Api {
    /// The control port at this address, with this token.
    pub fn at(control: SocketAddr, token: &str) -> Self {
        let called = calls(control, token);
        Self {
            groups: GroupServiceClient::new(called.clone()),
            users: UserServiceClient::new(called.clone()),
            members: MemberServiceClient::new(called.clone()),
            tokens: TokenServiceClient::new(called.clone()),
            oidc: OidcServiceClient::new(called.clone()),
            audit: AuditServiceClient::new(called.clone()),
            cache: CacheServiceClient::new(called.clone()),
            nodes: NodeServiceClient::new(called),
        }
    }

    /// A group; `anonymous` only with [`Visibility::Public`].
    pub async fn group(&self, path: &str, visibility: Visibility, anonymous: bool) {
        let request = CreateGroupRequest {
            path: path.into(),
            visibility: visibility.into(),
            anonymous_pull: anonymous,
            ..CreateGroupRequest::default()
        };
        self.groups.clone().create_group(request).await.unwrap();
    }

    /// Changes one group.
    pub async fn update_group(&self, path: &str, change: UpdateGroupRequest) {
        self.groups.clone().update_group(UpdateGroupRequest { path: path.into(), ..change }).await.unwrap();
    }

    /// A user.
    pub async fn user(&self, name: &str, password: &str, admin: bool) {
        let request =
            CreateUserRequest { name: name.into(), password: password.into(), admin, request_id: String::new() };
        self.users.clone().create_user(request).await.unwrap();
    }

    /// Changes one user.
    pub async fn update_user(&self, name: &str, change: UpdateUserRequest) {
        self.users.clone().update_user(UpdateUserRequest { name: name.into(), ..change }).await.unwrap();
    }

    /// A membership.
    pub async fn member(&self, group: &str, user: &str, role: Role) {
        let request =
            UpdateMemberRequest { group_path: group.into(), user: user.into(), role: role.into(), allow_missing: true };
        self.members.clone().update_member(request).await.unwrap();
    }

    /// A token of anybody's.
    pub async fn token(&self, request: CreateTokenRequest) -> DeployToken {
        let request = CreateTokenRequest { name: "test".into(), ..request };
        let made = self.tokens.clone().create_token(request).await.unwrap().into_inner();
        DeployToken { id: made.id, username: made.username, token: made.token }
    }

    /// A personal token.
    pub async fn personal(&self, user: &str, scopes: &[&str]) -> DeployToken {
        self.token(request(Owner::User(user.into()), scopes)).await
    }

    /// A deploy token.
    pub async fn deploy(&self, group: &str, scopes: &[&str]) -> DeployToken {
        self.token(request(Owner::GroupPath(group.into()), scopes)).await
    }

    /// A deploy token that ends by itself.
    pub async fn deploy_for(&self, group: &str, lifetime: Duration) -> DeployToken {
        let expires_in = Some(lifetime.try_into().unwrap());
        self.token(CreateTokenRequest { expires_in, ..request(Owner::GroupPath(group.into()), &PULL) }).await
    }

    /// A group access token.
    pub async fn access(&self, group: &str, role: Role, scopes: &[&str]) -> DeployToken {
        let request = request(Owner::GroupPath(group.into()), scopes);
        self.token(CreateTokenRequest { kind: TokenKind::GroupAccess.into(), role: role.into(), ..request }).await
    }

    /// A service token, which purges.
    pub async fn service(&self, group: &str) -> DeployToken {
        let request = request(Owner::GroupPath(group.into()), &["purge"]);
        self.token(CreateTokenRequest { kind: TokenKind::Service.into(), ..request }).await
    }

    /// A node token.
    pub async fn node(&self) -> DeployToken {
        self.token(request(Owner::Node(true), &[])).await
    }

    /// A job token.
    pub async fn job(&self, group: &str) -> DeployToken {
        let request = CreateJobTokenRequest {
            group_path: group.into(),
            name: "job 1".into(),
            expires_in: None,
            request_id: String::new(),
        };
        let made = self.tokens.clone().create_job_token(request).await.unwrap().into_inner();
        DeployToken { id: made.id, username: made.username, token: made.token }
    }

    /// Allows an issuer.
    pub async fn allow_issuer(&self, issuer: &Issuer) {
        self.oidc.clone().create_issuer(CreateIssuerRequest { url: issuer.url().into() }).await.unwrap();
    }

    /// Makes a group trust an issuer's tokens for the audience `roadstead` and projects that fit; answers the trust's id.
    pub async fn trust(&self, group: &str, issuer: &Issuer, projects: &str) -> String {
        let request = CreateTrustRequest {
            group_path: group.into(),
            issuer: issuer.url().into(),
            audience: "roadstead".into(),
            claims: vec![ClaimRule { claim: "project_path".into(), pattern: projects.into() }],
            ..Default::default()
        };
        self.oidc.clone().create_trust(request).await.unwrap().into_inner().trust.unwrap().id
    }
}

fn request(owner: Owner, scopes: &[&str]) -> CreateTokenRequest {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    CreateTokenRequest { owner: Some(owner), scopes, ..CreateTokenRequest::default() }
}
