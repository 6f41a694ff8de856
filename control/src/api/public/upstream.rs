//! `roadstead.v1.UpstreamService`.

use std::sync::Arc;

use roadstead_proto::{
    UpstreamHost,
    v1::{
        DeleteCredentialRequest, DeleteCredentialResponse, DeleteUpstreamRequest, DeleteUpstreamResponse,
        GetCredentialRequest, GetCredentialResponse, GetUpstreamRequest, GetUpstreamResponse, ListCredentialsRequest,
        ListCredentialsResponse, ListUpstreamStatusesRequest, ListUpstreamStatusesResponse, ListUpstreamsRequest,
        ListUpstreamsResponse, UpdateCredentialRequest, UpdateCredentialResponse, UpdateUpstreamRequest,
        UpdateUpstreamResponse, upstream_service_server::UpstreamService,
    },
};
use tonic::{Request, Response, Status};

use super::{convert, page};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, allow_on, from_use_case, parse},
    },
    auth::seal::Sealer,
    clock::Clock,
    rules::{
        access::Action,
        limits::Limits,
        upstreams::{status::Status as UpstreamState, upstream::UpstreamChange},
    },
    store::Store,
    usecases::{
        jobs::JobRequests,
        upstreams::{
            self,
            credential::{self, NewCredential},
            upstream::Expected,
        },
    },
};

/// The service.
#[derive(Clone)]
pub struct Upstreams {
    store: Store,
    clock: Clock,
    sealer: Arc<Sealer>,
    jobs: Arc<JobRequests>,
    limits: Limits,
}

impl Upstreams {
    pub fn new(store: Store, clock: Clock, sealer: Arc<Sealer>, jobs: Arc<JobRequests>, limits: Limits) -> Self {
        Self { store, clock, sealer, jobs, limits }
    }
}

#[tonic::async_trait]
impl UpstreamService for Upstreams {
    async fn update_upstream(
        &self,
        request: Request<UpdateUpstreamRequest>,
    ) -> Result<Response<UpdateUpstreamResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let request = request.into_inner();
        let etag = convert::etag(&request.etag)?;
        let change = UpstreamChange {
            url: request.url,
            token_hosts: request.token_hosts.map(|list| list.hosts),
            ca_pem: request.ca_pem,
            redirect_hosts: request.redirect_hosts.map(|list| list.hosts),
            reserve_percent: request.reserve_percent.map(i64::from),
        };
        let expected = Expected { etag, allow_missing: request.allow_missing };
        let (host, now_ms) = (&request.host, self.clock.now_ms());
        let updating = upstreams::upstream::update(&self.store, &self.limits, &caller, host, expected, change, now_ms);
        let upstream = updating.await.map_err(from_use_case)?;
        Ok(Response::new(UpdateUpstreamResponse { upstream: Some(convert::upstream(upstream)) }))
    }

    async fn get_upstream(
        &self,
        request: Request<GetUpstreamRequest>,
    ) -> Result<Response<GetUpstreamResponse>, Status> {
        allow(&caller(&request)?, Action::ReadUpstreams)?;
        let host: UpstreamHost = parse("host", &request.get_ref().host)?;
        let upstream = upstreams::upstream::get(&self.store, &host).await.map_err(from_use_case)?;
        Ok(Response::new(GetUpstreamResponse { upstream: Some(convert::upstream(upstream)) }))
    }

    async fn list_upstreams(
        &self,
        request: Request<ListUpstreamsRequest>,
    ) -> Result<Response<ListUpstreamsResponse>, Status> {
        allow(&caller(&request)?, Action::ReadUpstreams)?;
        let request = request.into_inner();
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = upstreams::upstream::list(&self.store, &after, size).await.map_err(from_use_case)?;
        let (upstreams, next_page_token) = page::answer(found, |upstream| upstream.host.to_string(), convert::upstream);
        Ok(Response::new(ListUpstreamsResponse { upstreams, next_page_token }))
    }

    async fn delete_upstream(
        &self,
        request: Request<DeleteUpstreamRequest>,
    ) -> Result<Response<DeleteUpstreamResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let host: UpstreamHost = parse("host", &request.get_ref().host)?;
        upstreams::upstream::delete(&self.store, &caller, &host, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteUpstreamResponse {}))
    }

    async fn get_credential(
        &self,
        request: Request<GetCredentialRequest>,
    ) -> Result<Response<GetCredentialResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReviewGroup, "group_path", &request.group_path).await?;
        let host: UpstreamHost = parse("host", &request.host)?;
        let credential = credential::show(&self.store, &path, &host).await.map_err(from_use_case)?;
        Ok(Response::new(GetCredentialResponse { credential: Some(convert::credential(&path, credential)) }))
    }

    async fn list_credentials(
        &self,
        request: Request<ListCredentialsRequest>,
    ) -> Result<Response<ListCredentialsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReviewGroup, "group_path", &request.group_path).await?;
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = credential::list(&self.store, &path, &after, size).await.map_err(from_use_case)?;
        let show = |credential| convert::credential(&path, credential);
        let (credentials, next_page_token) = page::answer(found, |credential| credential.host.clone(), show);
        Ok(Response::new(ListCredentialsResponse { credentials, next_page_token }))
    }

    async fn update_credential(
        &self,
        request: Request<UpdateCredentialRequest>,
    ) -> Result<Response<UpdateCredentialResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let given = NewCredential {
            host: parse("host", &request.host)?,
            username: request.username,
            password: request.password.into(),
            verify: !request.skip_verification,
            allow_missing: request.allow_missing,
        };
        let now_ms = self.clock.now_ms();
        let updating = credential::update(&self.store, &self.sealer, &self.jobs, &caller, &path, given, now_ms);
        let credential = updating.await.map_err(from_use_case)?;
        Ok(Response::new(UpdateCredentialResponse { credential: Some(convert::credential(&path, credential)) }))
    }

    async fn delete_credential(
        &self,
        request: Request<DeleteCredentialRequest>,
    ) -> Result<Response<DeleteCredentialResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let host: UpstreamHost = parse("host", &request.host)?;
        credential::delete(&self.store, &caller, &path, &host, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteCredentialResponse {}))
    }

    async fn list_upstream_statuses(
        &self,
        request: Request<ListUpstreamStatusesRequest>,
    ) -> Result<Response<ListUpstreamStatusesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let group = if request.group_path.is_empty() {
            allow(&caller, Action::Administer)?;
            None
        } else {
            Some(allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?)
        };
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        // Neither a host nor a user name holds a line break.
        let after = after.split_once('\n').unwrap_or_default();
        let listing = upstreams::report::list_statuses(&self.store, group.as_ref(), after, size, self.clock.now_ms());
        let found = listing.await.map_err(from_use_case)?;
        let key = |((host, username), _): &((String, String), UpstreamState)| format!("{host}\n{username}");
        let show = |((host, username), status)| convert::status(host, username, status);
        let (statuses, next_page_token) = page::answer(found, key, show);
        Ok(Response::new(ListUpstreamStatusesResponse { statuses, next_page_token }))
    }
}
