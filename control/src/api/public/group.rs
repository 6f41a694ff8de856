//! `roadstead.v1.GroupService`.

use std::str::FromStr;

use roadstead_proto::{
    GroupPath, InvalidImagePattern, UpstreamHost,
    v1::{
        CreateGroupRequest, CreateGroupResponse, DeleteGroupRequest, DeleteGroupResponse, GetGroupRequest,
        GetGroupResponse, GetImagePrefixRequest, GetImagePrefixResponse, ImagePatterns, ListGroupsRequest,
        ListGroupsResponse, MissingTag, UpdateGroupRequest, UpdateGroupResponse, group_service_server::GroupService,
    },
};
use tonic::{Request, Response, Status};

use super::{convert, page, request_id};
use crate::{
    api::{
        authenticate::caller,
        errors::{Wrong, allow, allow_on, from_use_case, invalid, invalid_field, parse},
        public::tag_settings,
        refused_changes,
    },
    clock::Clock,
    rules::{
        access::{Action, Actor},
        groups::group::{self, GroupChange, GroupSettings},
        limits::Limits,
        violation::Violation,
    },
    store::Store,
    usecases::{
        access,
        groups::{self, group::GroupUpdate},
    },
};

/// The service.
#[derive(Clone)]
pub struct Groups {
    store: Store,
    clock: Clock,
    limits: Limits,
}

impl Groups {
    pub fn new(store: Store, clock: Clock, limits: Limits) -> Self {
        Self { store, clock, limits }
    }

    /// Checks that the caller may create a group there: owners of the group above may, and otherwise administrators.
    async fn may_be_created(&self, caller: &Actor, path: &GroupPath) -> Result<(), Status> {
        match group::parent(path) {
            Some(parent) => {
                access::authorize(&self.store, caller, Action::OwnGroup, &parent).await.map_err(from_use_case)
            }
            None => allow(caller, Action::Administer),
        }
    }

    /// The path that a group is to have: its owners may rename it where it is, and move it to where they may create
    /// one.
    async fn may_be_renamed(&self, caller: &Actor, path: &GroupPath, new_path: &str) -> Result<GroupPath, Status> {
        access::authorize(&self.store, caller, Action::OwnGroup, path).await.map_err(from_use_case)?;
        let to: GroupPath = parse("new_path", new_path)?;
        if group::parent(&to) != group::parent(path) {
            self.may_be_created(caller, &to).await?;
        }
        Ok(to)
    }
}

fn patterns<P: FromStr<Err = InvalidImagePattern>>(
    field: &str,
    list: Option<ImagePatterns>,
    wrong: &mut Vec<Violation>,
) -> Option<Vec<P>> {
    list.map(|list| tag_settings::patterns_in(field, &list.patterns, wrong))
}

#[tonic::async_trait]
impl GroupService for Groups {
    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let mut wrong = Wrong::default();
        let path = wrong.note(parse::<GroupPath>("path", &request.path));
        if let Some(path) = &path {
            refused_changes::concerns(path);
        }
        allow(&caller, Action::OwnGroup)?;
        match &path {
            Some(path) => self.may_be_created(&caller, path).await?,
            // Where it would be cannot be told: only what the caller may do at the top.
            None if !request.path.contains('/') => allow(&caller, Action::Administer)?,
            None => {}
        }
        let request_id = wrong.note(request_id::parse(&caller, &request.request_id, &request)).flatten();
        let hub = [UpstreamHost::DOCKER_HUB.to_owned()];
        let hosts = if request.upstreams.is_empty() { &hub[..] } else { &request.upstreams };
        let visibility = wrong.note(convert::visibility(request.visibility)).flatten();
        let upstreams = wrong.note(convert::hosts("upstreams", hosts)).unwrap_or_default();
        let found = &mut wrong.0;
        let change = GroupChange {
            visibility,
            anonymous_pull: Some(request.anonymous_pull),
            retention_ms: tag_settings::duration_in("retention", request.retention, found),
            quota_bytes: Some(request.quota_bytes),
            protected_tags: patterns("protected_tags", request.protected_tags, found),
            max_age_ms: tag_settings::duration_in("max_age", request.max_age, found),
            max_stale_ms: tag_settings::duration_in("max_stale", request.max_stale, found),
            cooldown_ms: tag_settings::duration_in("cooldown", request.cooldown, found),
            missing_tag: tag_settings::missing_in("missing_tag", request.missing_tag, found),
            tag_rules: request.tag_rules.map(|list| tag_settings::rules_in(list.rules, found)),
            allowed_images: patterns("allowed_images", request.allowed_images, found),
            denied_images: patterns("denied_images", request.denied_images, found),
            ..GroupChange::default()
        };
        let settings = GroupSettings::new(upstreams).with(change);
        wrong.finish()?;
        let Some(path) = path else { return Err(invalid_field("path", "required")) };
        let created = groups::group::create(
            &self.store,
            &self.limits,
            &caller,
            path,
            settings,
            request_id.as_ref(),
            self.clock.now_ms(),
        );
        let group = created.await.map_err(from_use_case)?;
        Ok(Response::new(CreateGroupResponse { group: Some(convert::group(group)) }))
    }

    async fn get_group(&self, request: Request<GetGroupRequest>) -> Result<Response<GetGroupResponse>, Status> {
        let path =
            allow_on(&self.store, &caller(&request)?, Action::ReadGroup, "path", &request.get_ref().path).await?;
        let group = groups::group::get(&self.store, &path).await.map_err(from_use_case)?;
        Ok(Response::new(GetGroupResponse { group: Some(convert::group(group)) }))
    }

    async fn list_groups(&self, request: Request<ListGroupsRequest>) -> Result<Response<ListGroupsResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ReadGroup)?;
        let request = request.into_inner();
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found =
            groups::group::list(&self.store, &caller.principal.reach(), &after, size).await.map_err(from_use_case)?;
        let (groups, next_page_token) = page::answer(found, |group| group.path.to_string(), convert::group);
        Ok(Response::new(ListGroupsResponse { groups, next_page_token }))
    }

    async fn update_group(
        &self,
        request: Request<UpdateGroupRequest>,
    ) -> Result<Response<UpdateGroupResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ChangeGroup, "path", &request.path).await?;
        let mut wrong = Wrong::default();
        let etag = wrong.note(convert::etag(&request.etag)).flatten();
        let visibility = request.visibility.and_then(|value| {
            let unspecified = || invalid_field("visibility", "must be private, internal or public; or leave it out");
            wrong.note(convert::visibility(value).and_then(|parsed| parsed.ok_or_else(unspecified)))
        });
        let hosts =
            request.upstreams.map(|list| wrong.note(convert::hosts("upstreams", &list.hosts)).unwrap_or_default());
        let mut wrong = wrong.0;
        let change = GroupChange {
            visibility,
            anonymous_pull: request.anonymous_pull,
            enabled: request.enabled,
            frozen: request.frozen,
            upstreams: hosts,
            retention_ms: tag_settings::duration_in("retention", request.retention, &mut wrong),
            quota_bytes: request.quota_bytes,
            protected_tags: patterns("protected_tags", request.protected_tags, &mut wrong),
            max_age_ms: tag_settings::duration_in("max_age", request.max_age, &mut wrong),
            max_stale_ms: tag_settings::duration_in("max_stale", request.max_stale, &mut wrong),
            cooldown_ms: tag_settings::duration_in("cooldown", request.cooldown, &mut wrong),
            missing_tag: request
                .missing_tag
                .and_then(|value| tag_settings::missing_in("missing_tag", value, &mut wrong)),
            tag_rules: request.tag_rules.map(|list| tag_settings::rules_in(list.rules, &mut wrong)),
            allowed_images: patterns("allowed_images", request.allowed_images, &mut wrong),
            denied_images: patterns("denied_images", request.denied_images, &mut wrong),
        };
        if request.missing_tag == Some(MissingTag::Unspecified.into()) {
            wrong.push(Violation::new("missing_tag", "must be gone or keep; or leave it out"));
        }
        if !wrong.is_empty() {
            return Err(invalid(wrong));
        }
        let new_path = match &request.new_path {
            Some(new_path) => Some(self.may_be_renamed(&caller, &path, new_path).await?),
            None => None,
        };
        let update = GroupUpdate { etag, change, new_path };
        let now_ms = self.clock.now_ms();
        let group = groups::group::update(&self.store, &self.limits, &caller, &path, update, now_ms)
            .await
            .map_err(from_use_case)?;
        Ok(Response::new(UpdateGroupResponse { group: Some(convert::group(group)) }))
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        let caller = caller(&request)?;
        let path = allow_on(&self.store, &caller, Action::OwnGroup, "path", &request.get_ref().path).await?;
        let links =
            groups::group::delete(&self.store, &caller, &path, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteGroupResponse { links: i64::try_from(links).unwrap_or(i64::MAX) }))
    }

    async fn get_image_prefix(
        &self,
        request: Request<GetImagePrefixRequest>,
    ) -> Result<Response<GetImagePrefixResponse>, Status> {
        let caller = caller(&request)?;
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "path", &request.get_ref().path).await?;
        let prefix = groups::image_prefix::get(&self.store, &path).await.map_err(from_use_case)?;
        Ok(Response::new(GetImagePrefixResponse {
            registry_url: prefix.registry_url,
            server: prefix.server,
            group_image_prefix: prefix.top_group,
            direct_group_image_prefix: prefix.group,
        }))
    }
}
