//! `roadstead.v1.CacheService`.

use std::{sync::Arc, time::Duration};

use roadstead_proto::{
    Digest, ImageName, Reference, RepositoryRef, Tag,
    v1::{
        ApplyRetentionRequest, ApplyRetentionResponse, CheckCacheRequest, CreatePrefetchScheduleRequest,
        CreatePrefetchScheduleResponse, DeletePrefetchScheduleRequest, DeletePrefetchScheduleResponse, EvictionReason,
        GetPrefetchScheduleRequest, GetPrefetchScheduleResponse, GetStatsRequest, GetStatsResponse, ListBlobsRequest,
        ListBlobsResponse, ListDailyUsageRequest, ListDailyUsageResponse, ListImagesRequest, ListImagesResponse,
        ListManifestsRequest, ListManifestsResponse, ListPrefetchSchedulesRequest, ListPrefetchSchedulesResponse,
        ListTagHistoryRequest, ListTagHistoryResponse, ListTagsRequest, ListTagsResponse, PinTagRequest,
        PinTagResponse, PrefetchImageRequest, PurgeCacheRequest, PurgeCacheResponse, PurgeFilter, UnpinTagRequest,
        UnpinTagResponse, cache_service_server::CacheService, purge_cache_request,
    },
};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use super::{
    check_stream::{self, CheckStream},
    convert, page,
    prefetch_stream::{self, PrefetchStream},
    request_id, time,
};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, allow_on, from_use_case, internal, invalid_field, parse, parse_optional},
        public::list,
    },
    clock::Clock,
    rules::{
        access::{Action, Actor},
        cache::retention::{Eviction, Reason},
        limits::Limits,
    },
    store::Store,
    usecases::{
        cache::{
            self,
            purge::{PurgeOutcome, PurgeRequest, Scope},
            retention::Retention,
        },
        jobs::{JobRequests, schedule::NewSchedule},
        tags,
    },
};

/// Most evictions that an answer lists.
const MAX_EVICTIONS: usize = 1000;

/// The service.
#[derive(Clone)]
pub struct Cache {
    store: Store,
    clock: Clock,
    retention: Arc<Retention>,
    jobs: Arc<JobRequests>,
    limits: Limits,
}

impl Cache {
    pub fn new(store: Store, clock: Clock, retention: Arc<Retention>, jobs: Arc<JobRequests>, limits: Limits) -> Self {
        Self { store, clock, retention, jobs, limits }
    }

    /// Returns the groups that a purge covers, if the caller may purge them.
    async fn covered(&self, caller: &Actor, scope: &purge_cache_request::Scope) -> Result<Scope, Status> {
        use purge_cache_request::Scope as Asked;
        let (field, path) = match scope {
            Asked::WholeGroup(path) => ("whole_group", path.as_str()),
            Asked::Filter(filter) if !filter.all_groups => ("group_path", filter.group_path.as_str()),
            Asked::AllGroups(_) | Asked::Filter(_) => {
                allow(caller, Action::PurgeEverything)?;
                return Ok(Scope::AllGroups);
            }
        };
        Ok(Scope::Group(allow_on(&self.store, caller, Action::PurgeGroup, field, path).await?))
    }
}

/// Parses the conditions of a filter.
fn conditions(filter: PurgeFilter) -> Result<PurgeRequest, Status> {
    if filter.all_groups && !filter.group_path.is_empty() {
        return Err(invalid_field("group_path", "must be empty with all_groups"));
    }
    if (PurgeFilter { group_path: String::new(), all_groups: false, ..filter.clone() }) == PurgeFilter::default() {
        return Err(invalid_field("filter", "selects everything; to purge everything say whole_group or all_groups"));
    }
    let image = parse_optional("image", &filter.image)?;
    let tag: Option<Tag> = parse_optional("tag", &filter.tag)?;
    if tag.is_some() && image.is_none() {
        return Err(invalid_field("tag", "needs image too: a tag belongs to an image"));
    }
    let older_than = filter.older_than.map(|age| time::duration_ms("older_than", age)).transpose()?;
    Ok(PurgeRequest {
        image,
        tag: tag.map(|tag| tag.as_str().to_owned()),
        digest: parse_optional("digest", &filter.digest)?,
        upstream: parse_optional("upstream", &filter.upstream)?,
        older_than: older_than.map(|ms| Duration::from_millis(ms.unsigned_abs())),
        dry_run: false,
    })
}

fn eviction(eviction: Eviction<RepositoryRef>) -> roadstead_proto::v1::Eviction {
    let reason = match eviction.reason {
        Reason::Age => EvictionReason::Age,
        Reason::Room => EvictionReason::Quota,
    };
    roadstead_proto::v1::Eviction {
        image: eviction.repository.to_string(),
        tags: eviction.tags,
        digest: eviction.root.to_string(),
        bytes: eviction.bytes,
        last_pulled_at: eviction.last_pulled_ms.map(time::timestamp),
        reason: reason.into(),
    }
}

#[tonic::async_trait]
impl CacheService for Cache {
    type PrefetchImageStream = PrefetchStream;

    async fn list_images(&self, request: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let (listing, list) = list::parse_list_images(&path, request)?;
        let page = cache::list::images(&self.store, &path, &listing).await.map_err(from_use_case)?;
        let (images, next_page_token) = list.answer(page, &listing, |item| item.position(listing.order), list::image);
        Ok(Response::new(ListImagesResponse { images, next_page_token }))
    }

    async fn list_tags(&self, request: Request<ListTagsRequest>) -> Result<Response<ListTagsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let (listing, list) = list::parse_list_tags(&path, request)?;
        let page = cache::list::tags(&self.store, &path, &listing).await.map_err(from_use_case)?;
        let (tags, next_page_token) = list.answer(page, &listing, |item| item.position(listing.order), list::tag);
        Ok(Response::new(ListTagsResponse { tags, next_page_token }))
    }

    async fn list_manifests(
        &self,
        request: Request<ListManifestsRequest>,
    ) -> Result<Response<ListManifestsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let (listing, list) = list::parse_list_manifests(&path, request, self.clock.now_ms())?;
        let page = cache::list::manifests(&self.store, &path, &listing).await.map_err(from_use_case)?;
        let (manifests, next_page_token) =
            list.answer(page, &listing, |manifest| manifest.item.position(listing.order), list::manifest);
        Ok(Response::new(ListManifestsResponse { manifests, next_page_token }))
    }

    async fn list_blobs(&self, request: Request<ListBlobsRequest>) -> Result<Response<ListBlobsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let (listing, list) = list::parse_list_blobs(&path, request, self.clock.now_ms())?;
        let page = cache::list::blobs(&self.store, &path, &listing).await.map_err(from_use_case)?;
        let (blobs, next_page_token) = list.answer(page, &listing, |item| item.position(listing.order), list::blob);
        Ok(Response::new(ListBlobsResponse { blobs, next_page_token }))
    }

    async fn list_daily_usage(
        &self,
        request: Request<ListDailyUsageRequest>,
    ) -> Result<Response<ListDailyUsageResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let days = list::days(request.days)?;
        let days = cache::usage::daily(&self.store, &path, days, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(ListDailyUsageResponse { days: days.into_iter().map(list::day).collect() }))
    }

    async fn get_stats(&self, request: Request<GetStatsRequest>) -> Result<Response<GetStatsResponse>, Status> {
        let path =
            allow_on(&self.store, &caller(&request)?, Action::ReadGroup, "group_path", &request.get_ref().group_path)
                .await?;
        let (group, figures) = cache::stats::get(&self.store, &path).await.map_err(from_use_case)?;
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
        let Some(asked) = request.scope else {
            allow(&caller, Action::PurgeGroup)?;
            return Err(invalid_field("scope", "required: whole_group, all_groups or filter"));
        };
        let scope = self.covered(&caller, &asked).await?;
        let conditions = match asked {
            purge_cache_request::Scope::AllGroups(false) => return Err(invalid_field("all_groups", "must be true")),
            purge_cache_request::Scope::WholeGroup(_) | purge_cache_request::Scope::AllGroups(true) => {
                PurgeRequest::default()
            }
            purge_cache_request::Scope::Filter(filter) => conditions(filter)?,
        };
        let purge = PurgeRequest { dry_run: request.dry_run, ..conditions };
        // By itself: what is begun is done, whether or not the caller waits for it.
        let (store, clock) = (self.store.clone(), self.clock.clone());
        let purging = async move { cache::purge::purge(&store, &clock, &caller, &scope, &purge).await };
        let purging = tokio::spawn(purging.in_current_span());
        let PurgeOutcome { purged, groups, unreached } =
            purging.await.map_err(|_| internal("the purge broke off; see the log"))?.map_err(from_use_case)?;
        Ok(Response::new(PurgeCacheResponse {
            tags: purged.tags,
            manifests: purged.manifests,
            blobs: purged.blobs,
            bytes: purged.bytes,
            groups,
            unreached_nodes: unreached.into_iter().map(convert::unreached_node).collect(),
        }))
    }

    async fn list_tag_history(
        &self,
        request: Request<ListTagHistoryRequest>,
    ) -> Result<Response<ListTagHistoryResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let (image, tag) = (image("image", &request.image)?, parse("tag", &request.tag)?);
        let found = tags::history::list(&self.store, &path, &image, &tag).await.map_err(from_use_case)?;
        let observations = found.into_iter().map(convert::observation).collect();
        Ok(Response::new(ListTagHistoryResponse { observations }))
    }

    type CheckCacheStream = CheckStream;

    async fn apply_retention(
        &self,
        request: Request<ApplyRetentionRequest>,
    ) -> Result<Response<ApplyRetentionResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        // By itself, as a purge is.
        let retention = Arc::clone(&self.retention);
        let applying = async move { retention.apply(&caller, &path, request.dry_run).await };
        let retained = tokio::spawn(applying.in_current_span())
            .await
            .map_err(|_| internal("retention broke off; see the log"))?
            .map_err(from_use_case)?;
        Ok(Response::new(ApplyRetentionResponse {
            evictions: retained.evictions.into_iter().take(MAX_EVICTIONS).map(eviction).collect(),
            manifests: retained.manifests,
            bytes: retained.bytes,
            bytes_left: retained.bytes_left,
        }))
    }

    async fn check_cache(
        &self,
        request: Request<CheckCacheRequest>,
    ) -> Result<Response<Self::CheckCacheStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let now_ms = self.clock.now_ms();
        let check = cache::corruption::check(&self.store, &self.jobs, &caller, &path, request.deep, now_ms)
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(check_stream::stream(self.store.clone(), check)))
    }

    async fn pin_tag(&self, request: Request<PinTagRequest>) -> Result<Response<PinTagResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let (image, tag) = (image("image", &request.image)?, parse("tag", &request.tag)?);
        let digest: Digest = parse("digest", &request.digest)?;
        tags::history::pin(&self.store, &self.limits, &caller, &path, (&image, &tag), &digest, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(PinTagResponse {}))
    }

    async fn unpin_tag(&self, request: Request<UnpinTagRequest>) -> Result<Response<UnpinTagResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let (image, tag) = (image("image", &request.image)?, parse("tag", &request.tag)?);
        tags::history::unpin(&self.store, &caller, &path, &image, &tag, self.clock.now_ms())
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(UnpinTagResponse {}))
    }

    async fn prefetch_image(
        &self,
        request: Request<PrefetchImageRequest>,
    ) -> Result<Response<Self::PrefetchImageStream>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let (image, reference) = image_reference(&request.image)?;
        let waiting =
            self.jobs.prefetch(&caller, &path, &image, &reference, request.platforms).await.map_err(from_use_case)?;
        Ok(Response::new(prefetch_stream::stream(waiting)))
    }

    async fn create_prefetch_schedule(
        &self,
        request: Request<CreatePrefetchScheduleRequest>,
    ) -> Result<Response<CreatePrefetchScheduleResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "group_path", &request.group_path).await?;
        let request_id = request_id::parse(&caller, &request.request_id, &request)?;
        let (image, reference) = image_reference(&request.image)?;
        let Reference::Tag(tag) = reference else {
            return Err(invalid_field("image", "a digest never changes: prefetch it once, or name a tag"));
        };
        let every = request.every.ok_or_else(|| invalid_field("every", "required: five minutes to 30 days"))?;
        let every_ms = time::duration_ms("every", every)?;
        let new = NewSchedule { image, tag, platforms: request.platforms, every_ms };
        let created = self.jobs.create_schedule(&caller, &path, new, request_id.as_ref()).await;
        let schedule = created.map_err(from_use_case)?;
        Ok(Response::new(CreatePrefetchScheduleResponse { schedule: Some(convert::schedule(schedule)) }))
    }

    async fn get_prefetch_schedule(
        &self,
        request: Request<GetPrefetchScheduleRequest>,
    ) -> Result<Response<GetPrefetchScheduleResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ReadGroup)?;
        let id = schedule_id(&request.get_ref().id)?;
        let schedule = self.jobs.schedule(&caller, Action::ReadGroup, id).await.map_err(from_use_case)?;
        Ok(Response::new(GetPrefetchScheduleResponse { schedule: Some(convert::schedule(schedule)) }))
    }

    async fn list_prefetch_schedules(
        &self,
        request: Request<ListPrefetchSchedulesRequest>,
    ) -> Result<Response<ListPrefetchSchedulesResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = self.jobs.schedules(&path, &after, size).await.map_err(from_use_case)?;
        let (schedules, next_page_token) = page::answer(found, |schedule| schedule.id.to_string(), convert::schedule);
        Ok(Response::new(ListPrefetchSchedulesResponse { schedules, next_page_token }))
    }

    async fn delete_prefetch_schedule(
        &self,
        request: Request<DeletePrefetchScheduleRequest>,
    ) -> Result<Response<DeletePrefetchScheduleResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ChangeGroup)?;
        let id = schedule_id(&request.get_ref().id)?;
        self.jobs.delete_schedule(&caller, id).await.map_err(from_use_case)?;
        Ok(Response::new(DeletePrefetchScheduleResponse {}))
    }
}

/// A required id of a schedule.
fn schedule_id(id: &str) -> Result<&str, Status> {
    let missing = || invalid_field("id", "required: the id of a schedule, as `cache schedule list` shows it");
    Some(id).filter(|id| !id.is_empty()).ok_or_else(missing)
}

/// A required image, without tag or digest.
fn image(field: &str, text: &str) -> Result<ImageName, Status> {
    if text.is_empty() {
        Err(invalid_field(field, "required: an image, as in alpine or ghcr.io/org/app"))
    } else {
        parse(field, text)
    }
}

/// An image with its tag or digest: "alpine:3.20", "alpine@sha256:…"; without either, "latest".
fn image_reference(text: &str) -> Result<(ImageName, Reference), Status> {
    if let Some((name, digest)) = text.split_once('@') {
        return Ok((image("image", name)?, Reference::Digest(parse("image", digest)?)));
    }
    // A colon before a slash is of a port.
    let name_from = text.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match text[name_from..].find(':') {
        Some(colon) => (&text[..name_from + colon], &text[name_from + colon + 1..]),
        None => (text, "latest"),
    };
    Ok((image("image", name)?, Reference::Tag(parse("image", tag)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_with_tag_or_digest_or_mean_latest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("alpine".to_owned(), Some("alpine latest".to_owned())),
            ("alpine:3.20".to_owned(), Some("alpine 3.20".to_owned())),
            ("reg:5000/a/b".to_owned(), Some("reg:5000/a/b latest".to_owned())),
            ("reg:5000/a/b:v1".to_owned(), Some("reg:5000/a/b v1".to_owned())),
            (format!("ghcr.io/a/b@{digest}"), Some(format!("ghcr.io/a/b {digest}"))),
            (String::new(), None),
            ("alpine:".to_owned(), None),
            ("alpine:a b".to_owned(), None),
            ("alpine@sha256:1".to_owned(), None),
            ("Alpine".to_owned(), None),
        ] {
            let got = image_reference(&text).ok().map(|(image, reference)| format!("{image} {reference}"));
            assert_eq!(got, expected, "{text}");
        }
    }
}
