//! `roadstead.v1.OidcService`.

use std::sync::Arc;

use roadstead_proto::v1::{
    CreateIssuerRequest, CreateIssuerResponse, CreateTrustRequest, CreateTrustResponse, DeleteIssuerRequest,
    DeleteIssuerResponse, DeleteTrustRequest, DeleteTrustResponse, GetIssuerRequest, GetIssuerResponse,
    GetTrustRequest, GetTrustResponse, ListIssuersRequest, ListIssuersResponse, ListTrustsRequest, ListTrustsResponse,
    oidc_service_server::OidcService,
};
use tonic::{Request, Response, Status};

use super::{convert, page, request_id};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, allow_on, from_use_case, invalid_field, parse},
    },
    clock::Clock,
    oidc::{ClaimRule, IssuerUrl, KeyCache, NewTrust},
    rules::{access::Action, limits::Limits},
    store::Store,
    usecases::identity,
};

/// The service.
#[derive(Clone)]
pub struct Oidc {
    store: Store,
    clock: Clock,
    issuer_keys: Arc<KeyCache>,
    limits: Limits,
}

impl Oidc {
    pub fn new(store: Store, clock: Clock, issuer_keys: Arc<KeyCache>, limits: Limits) -> Self {
        Self { store, clock, issuer_keys, limits }
    }
}

/// A required id of a trust.
fn trust_id(id: &str) -> Result<&str, Status> {
    let missing = || invalid_field("id", "required: the id of a trust, as `oidc trust list` shows it");
    Some(id).filter(|id| !id.is_empty()).ok_or_else(missing)
}

#[tonic::async_trait]
impl OidcService for Oidc {
    async fn create_issuer(
        &self,
        request: Request<CreateIssuerRequest>,
    ) -> Result<Response<CreateIssuerResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let url = parse("url", &request.get_ref().url)?;
        let issuer = identity::oidc::create_issuer(&self.store, &caller, &url, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(CreateIssuerResponse { issuer: Some(convert::issuer(issuer)) }))
    }

    async fn get_issuer(&self, request: Request<GetIssuerRequest>) -> Result<Response<GetIssuerResponse>, Status> {
        allow(&caller(&request)?, Action::ReadUpstreams)?;
        let url: IssuerUrl = parse("url", &request.get_ref().url)?;
        let issuer = identity::oidc::get_issuer(&self.store, url.as_str()).await.map_err(from_use_case)?;
        Ok(Response::new(GetIssuerResponse { issuer: Some(convert::issuer(issuer)) }))
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

    async fn delete_issuer(
        &self,
        request: Request<DeleteIssuerRequest>,
    ) -> Result<Response<DeleteIssuerResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let url: IssuerUrl = parse("url", &request.get_ref().url)?;
        identity::oidc::delete_issuer(&self.store, &self.issuer_keys, &caller, url.as_str(), self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(DeleteIssuerResponse {}))
    }

    async fn create_trust(
        &self,
        request: Request<CreateTrustRequest>,
    ) -> Result<Response<CreateTrustResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let group = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let request_id = request_id::parse(&caller, &request.request_id, &request)?;
        let issuer = parse("issuer", &request.issuer)?;
        let rule = |rule: roadstead_proto::v1::ClaimRule| ClaimRule { claim: rule.claim, pattern: rule.pattern };
        let claims = request.claims.into_iter().map(rule).collect();
        let new = NewTrust { group, issuer, audience: request.audience, claims };
        let (limits, now_ms) = (&self.limits, self.clock.now_ms());
        let trust = identity::oidc::create_trust(&self.store, limits, &caller, new, request_id.as_ref(), now_ms)
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(CreateTrustResponse { trust: Some(convert::trust(trust)) }))
    }

    async fn get_trust(&self, request: Request<GetTrustRequest>) -> Result<Response<GetTrustResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ReviewGroup)?;
        let id = trust_id(&request.get_ref().id)?;
        let trust = identity::oidc::get_trust(&self.store, &caller, id).await.map_err(from_use_case)?;
        Ok(Response::new(GetTrustResponse { trust: Some(convert::trust(trust)) }))
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
        let id = trust_id(&request.get_ref().id)?;
        identity::oidc::delete_trust(&self.store, &caller, id, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteTrustResponse {}))
    }
}
