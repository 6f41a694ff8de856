//! `roadstead.v1.CacheService`.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{
    Tag,
    v1::{
        GetStatsRequest, GetStatsResponse, ListBlobsRequest, ListBlobsResponse, ListManifestsRequest,
        ListManifestsResponse, PurgeCacheRequest, PurgeCacheResponse, cache_service_server::CacheService,
    },
};
use tonic::{Request, Response, Status};

use super::{
    authenticate::caller,
    convert, page,
    status::{allow_on, from_plane, invalid_field, parse_optional},
};
use crate::{
    access::Action,
    plane::{Plane, cache::PurgeRequest},
    store::inventory::{Item, Position},
};

/// The service.
pub struct Cache(Arc<Plane>);

impl Cache {
    pub fn new(plane: Arc<Plane>) -> Self {
        Self(plane)
    }
}

fn position(item: &Item) -> Position {
    Position {
        upstream: item.place.upstream.to_string(),
        repository: item.place.repository.to_string(),
        digest: item.digest.to_string(),
    }
}

#[tonic::async_trait]
impl CacheService for Cache {
    type PrefetchImageStream = tokio_stream::Empty<Result<roadstead_proto::v1::PrefetchImageResponse, Status>>;
    async fn list_manifests(
        &self,
        request: Request<ListManifestsRequest>,
    ) -> Result<Response<ListManifestsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.0, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let image = parse_optional("image", &request.image)?;
        let (after, size) = (page::after_position(&request.page_token)?, page::size(request.page_size)?);
        let found = self.0.manifests(&path, image.as_ref(), &after, size).await.map_err(from_plane)?;
        let next_page_token = page::next_position(found.more, found.items.last().map(|last| position(&last.item)));
        let manifests = found.items.into_iter().map(convert::manifest).collect();
        Ok(Response::new(ListManifestsResponse { manifests, next_page_token }))
    }

    async fn list_blobs(&self, request: Request<ListBlobsRequest>) -> Result<Response<ListBlobsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.0, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let image = parse_optional("image", &request.image)?;
        let (after, size) = (page::after_position(&request.page_token)?, page::size(request.page_size)?);
        let found = self.0.blobs(&path, image.as_ref(), &after, size).await.map_err(from_plane)?;
        let next_page_token = page::next_position(found.more, found.items.last().map(position));
        let blobs = found.items.into_iter().map(convert::blob).collect();
        Ok(Response::new(ListBlobsResponse { blobs, next_page_token }))
    }

    async fn get_stats(&self, request: Request<GetStatsRequest>) -> Result<Response<GetStatsResponse>, Status> {
        let path =
            allow_on(&self.0, &caller(&request)?, Action::ReadGroup, "group_path", &request.get_ref().group_path)
                .await?;
        let (group, figures) = self.0.stats(&path).await.map_err(from_plane)?;
        Ok(Response::new(GetStatsResponse {
            images: figures.images,
            manifests: figures.manifests,
            blobs: figures.blobs,
            bytes: figures.bytes,
            hits: group.hits,
            misses: group.misses,
        }))
    }

    async fn purge_cache(&self, request: Request<PurgeCacheRequest>) -> Result<Response<PurgeCacheResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.0, &caller, Action::PurgeGroup, "group_path", &request.group_path).await?;
        let image = parse_optional("image", &request.image)?;
        let tag: Option<Tag> = parse_optional("tag", &request.tag)?;
        if tag.is_some() && image.is_none() {
            return Err(invalid_field("tag", "needs image too: a tag belongs to an image"));
        }
        let older_than = request.older_than.map(|age| convert::duration_ms("older_than", age)).transpose()?;
        let purge = PurgeRequest {
            image,
            tag: tag.map(|tag| tag.as_str().to_owned()),
            digest: parse_optional("digest", &request.digest)?,
            older_than: older_than.map(|ms| Duration::from_millis(ms.unsigned_abs())),
            dry_run: request.dry_run,
        };
        let purged = self.0.purge(&caller, &path, &purge).await.map_err(from_plane)?;
        Ok(Response::new(PurgeCacheResponse {
            tags: purged.tags,
            manifests: purged.manifests,
            blobs: purged.blobs,
            bytes: purged.bytes,
        }))
    }

    async fn list_tag_history(
        &self,
        _: Request<roadstead_proto::v1::ListTagHistoryRequest>,
    ) -> Result<Response<roadstead_proto::v1::ListTagHistoryResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn pin_tag(
        &self,
        _: Request<roadstead_proto::v1::PinTagRequest>,
    ) -> Result<Response<roadstead_proto::v1::PinTagResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn unpin_tag(
        &self,
        _: Request<roadstead_proto::v1::UnpinTagRequest>,
    ) -> Result<Response<roadstead_proto::v1::UnpinTagResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn create_prefetch_schedule(
        &self,
        _: Request<roadstead_proto::v1::CreatePrefetchScheduleRequest>,
    ) -> Result<Response<roadstead_proto::v1::CreatePrefetchScheduleResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_prefetch_schedules(
        &self,
        _: Request<roadstead_proto::v1::ListPrefetchSchedulesRequest>,
    ) -> Result<Response<roadstead_proto::v1::ListPrefetchSchedulesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_prefetch_schedule(
        &self,
        _: Request<roadstead_proto::v1::DeletePrefetchScheduleRequest>,
    ) -> Result<Response<roadstead_proto::v1::DeletePrefetchScheduleResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn prefetch_image(
        &self,
        _: Request<roadstead_proto::v1::PrefetchImageRequest>,
    ) -> Result<Response<Self::PrefetchImageStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
