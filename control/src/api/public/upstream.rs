//! `roadstead.v1.UpstreamService`.

use std::sync::Arc;

use roadstead_proto::{
    UpstreamHost,
    v1::{
        DeleteCredentialRequest, DeleteCredentialResponse, DeleteUpstreamRequest, DeleteUpstreamResponse,
        ListUpstreamStatusesRequest, ListUpstreamStatusesResponse, ListUpstreamsRequest, ListUpstreamsResponse,
        SetCredentialRequest, SetCredentialResponse, SetUpstreamRequest, SetUpstreamResponse, UpstreamCredential,
        upstream_service_server::UpstreamService,
    },
};
use tonic::{Request, Response, Status};

use super::{convert, page};
use crate::api::{
    authenticate::caller,
    errors::{allow, allow_on, from_plane, parse},
};
use crate::{
    rules::{access::Action, upstreams::upstream::UpstreamRequest},
    usecases::Plane,
};

/// The service.
pub struct Upstreams(Arc<Plane>);

impl Upstreams {
    pub fn new(plane: Arc<Plane>) -> Self {
        Self(plane)
    }
}

#[tonic::async_trait]
impl UpstreamService for Upstreams {
    async fn set_upstream(
        &self,
        request: Request<SetUpstreamRequest>,
    ) -> Result<Response<SetUpstreamResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let request = request.into_inner();
        let asked = UpstreamRequest {
            host: &request.host,
            url: &request.url,
            token_hosts: &request.token_hosts,
            ca_pem: &request.ca_pem,
            redirect_hosts: &request.redirect_hosts,
            reserve_percent: request.reserve_percent.map(i64::from),
        };
        let upstream = self.0.set_upstream(&caller, asked).await.map_err(from_plane)?;
        Ok(Response::new(SetUpstreamResponse { upstream: Some(convert::upstream(upstream)) }))
    }

    async fn list_upstreams(
        &self,
        request: Request<ListUpstreamsRequest>,
    ) -> Result<Response<ListUpstreamsResponse>, Status> {
        allow(&caller(&request)?, Action::ReadUpstreams)?;
        let request = request.into_inner();
        let (after, size) = (page::after(&request.page_token)?, page::size(request.page_size)?);
        let found = self.0.upstreams(&after, size).await.map_err(from_plane)?;
        let next_page_token = page::next(found.more, found.items.last().map(|upstream| upstream.host.as_str()));
        let upstreams = found.items.into_iter().map(convert::upstream).collect();
        Ok(Response::new(ListUpstreamsResponse { upstreams, next_page_token }))
    }

    async fn delete_upstream(
        &self,
        request: Request<DeleteUpstreamRequest>,
    ) -> Result<Response<DeleteUpstreamResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let host: UpstreamHost = parse("host", &request.get_ref().host)?;
        self.0.delete_upstream(&caller, &host).await.map_err(from_plane)?;
        Ok(Response::new(DeleteUpstreamResponse {}))
    }

    async fn set_credential(
        &self,
        request: Request<SetCredentialRequest>,
    ) -> Result<Response<SetCredentialResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.0, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let host: UpstreamHost = parse("host", &request.host)?;
        let password = request.password.into();
        let (username, verify) = (&request.username, !request.skip_verification);
        let updated_at_ms =
            self.0.set_credential(&caller, &path, &host, username, &password, verify).await.map_err(from_plane)?;
        Ok(Response::new(SetCredentialResponse {
            credential: Some(UpstreamCredential {
                group_path: path.to_string(),
                host: host.to_string(),
                username: request.username,
                updated_at: Some(convert::timestamp(updated_at_ms)),
            }),
        }))
    }

    async fn delete_credential(
        &self,
        request: Request<DeleteCredentialRequest>,
    ) -> Result<Response<DeleteCredentialResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.0, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let host: UpstreamHost = parse("host", &request.host)?;
        self.0.delete_credential(&caller, &path, &host).await.map_err(from_plane)?;
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
            Some(allow_on(&self.0, &caller, Action::ReadGroup, "group_path", &group_path).await?)
        };
        let found = self.0.upstream_statuses(group.as_ref()).await.map_err(from_plane)?;
        let statuses = found.into_iter().map(|((host, username), found)| convert::status(host, username, found));
        Ok(Response::new(ListUpstreamStatusesResponse { statuses: statuses.collect() }))
    }
}
