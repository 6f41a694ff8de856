//! `roadstead.v1.TokenService`.

use std::sync::Arc;

use roadstead_proto::v1::{
    CreateTokenRequest, CreateTokenResponse, ListTokensRequest, ListTokensResponse, RevokeTokenRequest,
    RevokeTokenResponse, create_token_request::Owner, token_service_server::TokenService,
};
use secrecy::ExposeSecret as _;
use tonic::{Request, Response, Status};

use super::{
    authenticate::caller,
    convert, page,
    status::{allow, allow_on, from_plane, invalid_field},
};
use crate::{
    access::Action,
    plane::Plane,
    token::{NewToken, TokenOwner},
};

/// The service.
pub struct Tokens(Arc<Plane>);

impl Tokens {
    pub fn new(plane: Arc<Plane>) -> Self {
        Self(plane)
    }
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn create_token(
        &self,
        request: Request<CreateTokenRequest>,
    ) -> Result<Response<CreateTokenResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let owner = match request.owner {
            Some(Owner::GroupPath(path)) => {
                TokenOwner::Group(allow_on(&self.0, &caller, Action::ChangeGroup, "group_path", &path).await?)
            }
            Some(Owner::Node(true)) => {
                allow(&caller, Action::Administer)?;
                TokenOwner::Node
            }
            Some(Owner::Node(false) | Owner::User(_) | Owner::Service(_)) | None => {
                allow(&caller, Action::ChangeGroup)?;
                return Err(invalid_field("owner", "say whose token it is: a group_path, or node = true"));
            }
        };
        let lifetime_ms = request.expires_in.map(|age| convert::duration_ms("expires_in", age)).transpose()?;
        let new = NewToken { owner, name: request.name, scopes: request.scopes, lifetime_ms };
        let (token, secret) = self.0.create_token(&caller, new).await.map_err(from_plane)?;
        Ok(Response::new(CreateTokenResponse {
            id: token.id,
            username: token.username,
            token: secret.expose_secret().to_owned(),
            expires_at: token.expires_at_ms.map(convert::timestamp),
        }))
    }

    async fn list_tokens(&self, request: Request<ListTokensRequest>) -> Result<Response<ListTokensResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let group = if request.group_path.is_empty() {
            allow(&caller, Action::Administer)?;
            None
        } else {
            Some(allow_on(&self.0, &caller, Action::ReadGroup, "group_path", &request.group_path).await?)
        };
        let (after, size) = (page::after(&request.page_token)?, page::size(request.page_size)?);
        let found = self.0.tokens(group.as_ref(), &after, size).await.map_err(from_plane)?;
        let next_page_token = page::next(found.more, found.items.last().map(|token| token.id.as_str()));
        let tokens = found.items.into_iter().map(convert::token).collect();
        Ok(Response::new(ListTokensResponse { tokens, next_page_token }))
    }

    async fn revoke_token(
        &self,
        request: Request<RevokeTokenRequest>,
    ) -> Result<Response<RevokeTokenResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ChangeGroup)?;
        let id = request.into_inner().id;
        if id.is_empty() {
            return Err(invalid_field("id", "required: the id of a token, as `token list` shows it"));
        }
        self.0.revoke_token(&caller, &id).await.map_err(from_plane)?;
        Ok(Response::new(RevokeTokenResponse {}))
    }

    async fn create_job_token(
        &self,
        _: Request<roadstead_proto::v1::CreateJobTokenRequest>,
    ) -> Result<Response<roadstead_proto::v1::CreateJobTokenResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
