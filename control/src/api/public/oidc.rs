//! `roadstead.v1.OidcService`.

use std::sync::Arc;

use roadstead_proto::v1::{
    AddIssuerRequest, AddIssuerResponse, CreateTrustRequest, CreateTrustResponse, DeleteTrustRequest,
    DeleteTrustResponse, ListIssuersRequest, ListIssuersResponse, ListTrustsRequest, ListTrustsResponse,
    RemoveIssuerRequest, RemoveIssuerResponse, oidc_service_server::OidcService,
};
use tonic::{Request, Response, Status};

use super::{convert, page};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, allow_on, from_use_case, invalid_field, parse},
    },
    clock::Clock,
    oidc::{ClaimRule, KeyCache, NewTrust},
    rules::access::Action,
    store::Store,
    usecases::identity,
};

/// The service.
#[derive(Clone)]
pub struct Oidc {
    store: Store,
    clock: Clock,
    issuer_keys: Arc<KeyCache>,
}

impl Oidc {
    pub fn new(store: Store, clock: Clock, issuer_keys: Arc<KeyCache>) -> Self {
        Self { store, clock, issuer_keys }
    }
}

#[tonic::async_trait]
impl OidcService for Oidc {
    async fn add_issuer(&self, request: Request<AddIssuerRequest>) -> Result<Response<AddIssuerResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let url = parse("url", &request.get_ref().url)?;
        let issuer =
            identity::oidc::add_issuer(&self.store, &caller, &url, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(AddIssuerResponse { issuer: Some(convert::issuer(issuer)) }))
    }

    async fn list_issuers(
        &self,
        request: Request<ListIssuersRequest>,
    ) -> Result<Response<ListIssuersResponse>, Status> {
        allow(&caller(&request)?, Action::ReadUpstreams)?;
        let request = request.into_inner();
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = identity::oidc::list_issuers(&self.store, &after, size).await.map_err(from_use_case)?;
        let (issuers, next_page_token) = page::answer(found, |issuer| issuer.url.to_string(), convert::issuer);
        Ok(Response::new(ListIssuersResponse { issuers, next_page_token }))
    }

    async fn remove_issuer(
        &self,
        request: Request<RemoveIssuerRequest>,
    ) -> Result<Response<RemoveIssuerResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        identity::oidc::remove_issuer(
            &self.store,
            &self.issuer_keys,
            &caller,
            &request.get_ref().url,
            self.clock.now_ms(),
        )
        .await
        .map_err(from_use_case)?;
        Ok(Response::new(RemoveIssuerResponse {}))
    }

    async fn create_trust(
        &self,
        request: Request<CreateTrustRequest>,
    ) -> Result<Response<CreateTrustResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let group = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let issuer = parse("issuer", &request.issuer)?;
        let rule = |rule: roadstead_proto::v1::ClaimRule| ClaimRule { claim: rule.claim, pattern: rule.pattern };
        let claims = request.claims.into_iter().map(rule).collect();
        let new = NewTrust { group, issuer, audience: request.audience, claims };
        let trust = identity::oidc::create_trust(&self.store, &caller, new, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(CreateTrustResponse { trust: Some(convert::trust(trust)) }))
    }

    async fn list_trusts(&self, request: Request<ListTrustsRequest>) -> Result<Response<ListTrustsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReviewGroup, "group_path", &request.group_path).await?;
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = identity::oidc::list_trusts(&self.store, &path, &after, size).await.map_err(from_use_case)?;
        let (trusts, next_page_token) = page::answer(found, |trust| trust.id.to_string(), convert::trust);
        Ok(Response::new(ListTrustsResponse { trusts, next_page_token }))
    }

    async fn delete_trust(
        &self,
        request: Request<DeleteTrustRequest>,
    ) -> Result<Response<DeleteTrustResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ChangeGroup)?;
        let id = &request.get_ref().id;
        if id.is_empty() {
            return Err(invalid_field("id", "required: the id of a trust, as `oidc trust list` shows it"));
        }
        identity::oidc::delete_trust(&self.store, &caller, id, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteTrustResponse {}))
    }
}
