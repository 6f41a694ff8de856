//! `roadstead.v1.UpstreamService`.

use std::sync::Arc;

use roadstead_proto::{
    UpstreamHost,
    v1::{
        DeleteCredentialRequest, DeleteCredentialResponse, DeleteUpstreamRequest, DeleteUpstreamResponse,
        GetUpstreamRequest, GetUpstreamResponse, ListUpstreamStatusesRequest, ListUpstreamStatusesResponse,
        ListUpstreamsRequest, ListUpstreamsResponse, SetCredentialRequest, SetCredentialResponse,
        UpdateUpstreamRequest, UpdateUpstreamResponse, UpstreamCredential, upstream_service_server::UpstreamService,
    },
};
use tonic::{Request, Response, Status};

use super::{convert, page, time};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, allow_on, from_use_case, parse},
    },
    auth::seal::Sealer,
    clock::Clock,
    rules::{access::Action, upstreams::upstream::UpstreamChange},
    store::Store,
    usecases::{
        jobs::JobRequests,
        upstreams::{
            self,
            credential::{self, NewCredential},
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
}

impl Upstreams {
    pub fn new(store: Store, clock: Clock, sealer: Arc<Sealer>, jobs: Arc<JobRequests>) -> Self {
        Self { store, clock, sealer, jobs }
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
        let (allow_missing, now_ms) = (request.allow_missing, self.clock.now_ms());
        let updating =
            upstreams::upstream::update(&self.store, &caller, &request.host, etag, change, allow_missing, now_ms);
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

    async fn set_credential(
        &self,
        request: Request<SetCredentialRequest>,
    ) -> Result<Response<SetCredentialResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let host: UpstreamHost = parse("host", &request.host)?;
        let given = NewCredential {
            host: host.clone(),
            username: request.username.clone(),
            password: request.password.into(),
            verify: !request.skip_verification,
        };
        let now_ms = self.clock.now_ms();
        let set = credential::set(&self.store, &self.sealer, &self.jobs, &caller, &path, given, now_ms);
        let updated_at_ms = set.await.map_err(from_use_case)?;
        Ok(Response::new(SetCredentialResponse {
            credential: Some(UpstreamCredential {
                group_path: path.to_string(),
                host: host.to_string(),
                username: request.username,
                updated_at: Some(time::timestamp(updated_at_ms)),
            }),
        }))
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
        let group_path = request.into_inner().group_path;
        let group = if group_path.is_empty() {
            allow(&caller, Action::Administer)?;
            None
        } else {
            Some(allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &group_path).await?)
        };
        let found = upstreams::report::list_statuses(&self.store, group.as_ref(), self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        let statuses = found.into_iter().map(|((host, username), found)| convert::status(host, username, found));
        Ok(Response::new(ListUpstreamStatusesResponse { statuses: statuses.collect() }))
    }
}
