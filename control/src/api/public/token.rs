//! `roadstead.v1.TokenService`.

use std::{path::PathBuf, sync::Arc};

use roadstead_proto::v1::{
    self, CreateJobTokenRequest, CreateJobTokenResponse, CreateTokenRequest, CreateTokenResponse, DeleteTokenRequest,
    DeleteTokenResponse, GetTokenRequest, GetTokenResponse, ListTokensRequest, ListTokensResponse,
    RotateAdminTokenRequest, RotateAdminTokenResponse, create_token_request::Owner, token_service_server::TokenService,
};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Request, Response, Status};

use super::{convert, page, request_id, time};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, allow_on, from_use_case, invalid_field, parse},
    },
    auth::seal::Sealer,
    clock::Clock,
    rules::{
        access::{Action, Actor},
        identity::token::{DEFAULT_JOB_LIFETIME_MS, NewToken, Token, TokenOwner},
        limits::Limits,
        request::RequestId,
    },
    store::Store,
    usecases::identity::{self, token::TokensOf},
};

/// Default name of a job token.
const JOB_NAME: &str = "job";

/// The service.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    clock: Clock,
    limits: Limits,
    sealer: Arc<Sealer>,
    /// The file of the administrator's token.
    admin_token_file: PathBuf,
}

impl Tokens {
    pub fn new(store: Store, clock: Clock, limits: Limits, sealer: Arc<Sealer>, admin_token_file: PathBuf) -> Self {
        Self { store, clock, limits, sealer, admin_token_file }
    }

    async fn create(
        &self,
        caller: &Actor,
        new: NewToken,
        request: Option<&RequestId>,
    ) -> Result<(Token, SecretString), Status> {
        let (limits, now_ms) = (&self.limits, self.clock.now_ms());
        let created = identity::token::create(&self.store, &self.sealer, limits, caller, new, request, now_ms).await;
        created.map_err(from_use_case)
    }

    /// Returns the owner of the requested token; refuses callers who could create none there before the rest of the
    /// request is looked at.
    async fn owner(&self, caller: &Actor, request: &CreateTokenRequest) -> Result<TokenOwner, Status> {
        let kind = v1::TokenKind::try_from(request.kind)
            .map_err(|_| invalid_field("kind", format!("{} is not a kind of token", request.kind)))?;
        let fits = |kinds: &[v1::TokenKind]| {
            if kind == v1::TokenKind::Unspecified || kinds.contains(&kind) {
                Ok(())
            } else {
                Err(invalid_field("kind", "does not fit the owner; leave it out, or see CreateTokenRequest.kind"))
            }
        };
        if kind != v1::TokenKind::GroupAccess && request.role != 0 {
            return Err(invalid_field("role", "only group access tokens have a role; leave it out"));
        }
        match &request.owner {
            Some(Owner::GroupPath(path)) => {
                let path = allow_on(&self.store, caller, Action::ChangeGroup, "group_path", path).await?;
                fits(&[v1::TokenKind::Group, v1::TokenKind::GroupAccess, v1::TokenKind::Service])?;
                Ok(match kind {
                    v1::TokenKind::GroupAccess => {
                        let role = convert::role_in(request.role)?
                            .ok_or_else(|| invalid_field("role", "required: guest, maintainer or owner"))?;
                        TokenOwner::GroupAccess(path, role)
                    }
                    v1::TokenKind::Service => TokenOwner::Service(Some(path)),
                    _ => TokenOwner::Group(path),
                })
            }
            Some(Owner::Node(true)) => {
                allow(caller, Action::Administer)?;
                fits(&[v1::TokenKind::Node])?;
                Ok(TokenOwner::Node)
            }
            Some(Owner::User(name)) => {
                allow(caller, Action::ChangeSelf)?;
                fits(&[v1::TokenKind::Personal])?;
                Ok(TokenOwner::Person(parse("user", name)?))
            }
            Some(Owner::Service(true)) => {
                allow(caller, Action::Administer)?;
                fits(&[v1::TokenKind::Service])?;
                Ok(TokenOwner::Service(None))
            }
            Some(Owner::Node(false) | Owner::Service(false)) | None => {
                Err(invalid_field("owner", "say whose token it is: a group_path, a user, or node or service = true"))
            }
        }
    }
}

/// A required id of a token.
fn token_id(id: &str) -> Result<&str, Status> {
    let missing = || invalid_field("id", "required: the id of a token, as `token list` shows it");
    Some(id).filter(|id| !id.is_empty()).ok_or_else(missing)
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ChangeGroup)?;
        let request = request.into_inner();
        let owner = self.owner(&caller, &request).await?;
        let request_id = request_id::parse(&caller, &request.request_id, &request)?;
        let lifetime_ms = request.expires_in.map(|age| time::duration_ms("expires_in", age)).transpose()?;
        let new = NewToken { owner, name: request.name, scopes: request.scopes, lifetime_ms };
        let (token, secret) = self.create(&caller, new, request_id.as_ref()).await?;
        Ok(Response::new(CreateTokenResponse {
            id: token.id,
            username: token.username,
            token: secret.expose_secret().to_owned(),
            expires_at: token.expires_at_ms.map(time::timestamp),
        }))
    }

    async fn create_job_token(
        &self,
        request: Request<CreateJobTokenRequest>,
    ) -> Result<Response<CreateJobTokenResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let request_id = request_id::parse(&caller, &request.request_id, &request)?;
        let lifetime_ms = match request.expires_in {
            Some(age) => time::duration_ms("expires_in", age)?,
            None => DEFAULT_JOB_LIFETIME_MS,
        };
        let name = if request.name.is_empty() { JOB_NAME.to_owned() } else { request.name };
        let new = NewToken { owner: TokenOwner::Job(path), name, scopes: Vec::new(), lifetime_ms: Some(lifetime_ms) };
        let (token, secret) = self.create(&caller, new, request_id.as_ref()).await?;
        Ok(Response::new(CreateJobTokenResponse {
            id: token.id,
            username: token.username,
            token: secret.expose_secret().to_owned(),
            expires_at: token.expires_at_ms.map(time::timestamp),
        }))
    }

    async fn get_token(&self, request: Request<GetTokenRequest>) -> Result<Response<GetTokenResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ReviewGroup)?;
        let id = token_id(&request.get_ref().id)?;
        let token = identity::token::get(&self.store, &caller, id).await.map_err(from_use_case)?;
        Ok(Response::new(GetTokenResponse { token: Some(convert::token(token)) }))
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let of = match (request.group_path.as_str(), request.user.as_str()) {
            ("", "") => TokensOf::All,
            (path, "") => {
                allow(&caller, Action::ReviewGroup)?;
                TokensOf::Group(parse("group_path", path)?)
            }
            ("", name) => {
                allow(&caller, Action::ReadSelf)?;
                TokensOf::User(parse("user", name)?)
            }
            _ => {
                allow(&caller, Action::ReadGroup)?;
                return Err(invalid_field("user", "excludes group_path; ask for one of them"));
            }
        };
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = identity::token::list(&self.store, &caller, &of, &after, size).await.map_err(from_use_case)?;
        let (tokens, next_page_token) = page::answer(found, |token| token.id.to_string(), convert::token);
        Ok(Response::new(ListTokensResponse { tokens, next_page_token }))
    }

    async fn delete_token(
        &self,
        request: Request<DeleteTokenRequest>,
    ) -> Result<Response<DeleteTokenResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ChangeGroup)?;
        let id = token_id(&request.get_ref().id)?;
        identity::token::delete(&self.store, &caller, id, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteTokenResponse {}))
    }

    async fn rotate_admin_token(
        &self,
        request: Request<RotateAdminTokenRequest>,
    ) -> Result<Response<RotateAdminTokenResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let chosen = request.into_inner().new_token;
        let chosen = (!chosen.is_empty()).then(|| SecretString::from(chosen));
        let file = &self.admin_token_file;
        let (id, secret) = identity::admin_token::rotate(&self.store, &caller, chosen, file, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(RotateAdminTokenResponse { id, token: secret.expose_secret().to_owned() }))
    }
}
