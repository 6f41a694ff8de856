//! `roadstead.v1.GroupService`.

use std::sync::Arc;

use roadstead_proto::{
    GroupPath, UpstreamHost,
    v1::{
        CreateGroupRequest, CreateGroupResponse, DeleteGroupRequest, DeleteGroupResponse, GetGroupRequest,
        GetGroupResponse, GetImagePrefixRequest, GetImagePrefixResponse, ImagePatterns, ListGroupsRequest,
        ListGroupsResponse, MissingTag, UpdateGroupRequest, UpdateGroupResponse, group_service_server::GroupService,
    },
};
use tonic::{Request, Response, Status};

use super::{
    authenticate::caller,
    convert, page,
    status::{allow, allow_on, from_plane, invalid, invalid_field, parse},
    tag_rules,
};
use crate::{
    access::{Action, Actor},
    group::{self, GroupChange, GroupSettings, Visibility},
    plane::Plane,
    tag_settings::{ImageRules, TagSettings},
    violation::Violation,
};

/// The service.
pub struct Groups(Arc<Plane>);

impl Groups {
    pub fn new(plane: Arc<Plane>) -> Self {
        Self(plane)
    }

    /// The path of a new group, if the caller may create one there: whoever owns the group above, otherwise
    /// administrators.
    async fn may_be_created(&self, caller: &Actor, path: &str) -> Result<GroupPath, Status> {
        if !caller.principal.is_admin() && !path.contains('/') {
            allow(caller, Action::Administer)?;
        }
        allow(caller, Action::OwnGroup)?;
        let path = parse("path", path)?;
        match group::parent(&path) {
            Some(parent) => self.0.authorize(caller, Action::OwnGroup, &parent).await.map_err(from_plane)?,
            None => allow(caller, Action::Administer)?,
        }
        Ok(path)
    }

    /// The path that a group is to have: its owners may rename it where it is, and move it to where they may create one.
    async fn may_be_renamed(&self, caller: &Actor, path: &GroupPath, new_path: &str) -> Result<GroupPath, Status> {
        self.0.authorize(caller, Action::OwnGroup, path).await.map_err(from_plane)?;
        let to: GroupPath = parse("new_path", new_path)?;
        if group::parent(&to) != group::parent(path) {
            self.may_be_created(caller, to.as_str()).await?;
        }
        Ok(to)
    }
}

#[tonic::async_trait]
impl GroupService for Groups {
    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = self.may_be_created(&caller, &request.path).await?;
        let upstreams = if request.upstreams.is_empty() {
            vec![parse("upstreams", UpstreamHost::DOCKER_HUB)?]
        } else {
            convert::hosts("upstreams", &request.upstreams)?
        };
        let settings = GroupSettings {
            visibility: convert::visibility(request.visibility)?.unwrap_or(Visibility::Private),
            anonymous_pull: request.anonymous_pull,
            enabled: true,
            frozen: false,
            upstreams,
            max_age_ms: request.max_age.map(|age| convert::duration_ms("max_age", age)).transpose()?.unwrap_or(0),
            retention_ms: 0,
            tags: TagSettings::default(),
            images: ImageRules::default(),
        };
        let group = self.0.create_group(&caller, path, settings).await.map_err(from_plane)?;
        Ok(Response::new(CreateGroupResponse { group: Some(convert::group(group)) }))
    }

    async fn get_group(&self, request: Request<GetGroupRequest>) -> Result<Response<GetGroupResponse>, Status> {
        let path = allow_on(&self.0, &caller(&request)?, Action::ReadGroup, "path", &request.get_ref().path).await?;
        let group = self.0.group(&path).await.map_err(from_plane)?;
        Ok(Response::new(GetGroupResponse { group: Some(convert::group(group)) }))
    }

    async fn list_groups(&self, request: Request<ListGroupsRequest>) -> Result<Response<ListGroupsResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ReadGroup)?;
        let request = request.into_inner();
        let (after, size) = (page::after(&request.page_token)?, page::size(request.page_size)?);
        let found = self.0.groups(&caller.principal.reach(), &after, size).await.map_err(from_plane)?;
        let next_page_token = page::next(found.more, found.items.last().map(|group| group.path.as_str()));
        let groups = found.items.into_iter().map(convert::group).collect();
        Ok(Response::new(ListGroupsResponse { groups, next_page_token }))
    }

    async fn update_group(
        &self,
        request: Request<UpdateGroupRequest>,
    ) -> Result<Response<UpdateGroupResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.0, &caller, Action::ChangeGroup, "path", &request.path).await?;
        let etag = convert::etag(&request.etag)?;
        let visibility =
            match request.visibility {
                None => None,
                Some(value) => Some(convert::visibility(value)?.ok_or_else(|| {
                    invalid_field("visibility", "must be private, internal or public; or leave it out")
                })?),
            };
        let mut wrong = Vec::new();
        let patterns = |field: &str, list: Option<ImagePatterns>, wrong: &mut Vec<Violation>| {
            list.map(|list| tag_rules::patterns_in(field, &list.patterns, wrong))
        };
        let change = GroupChange {
            visibility,
            anonymous_pull: request.anonymous_pull,
            enabled: request.enabled,
            frozen: request.frozen,
            upstreams: request.upstreams.map(|list| convert::hosts("upstreams", &list.hosts)).transpose()?,
            retention_ms: tag_rules::duration_in("retention", request.retention, &mut wrong),
            max_age_ms: tag_rules::duration_in("max_age", request.max_age, &mut wrong),
            max_stale_ms: tag_rules::duration_in("max_stale", request.max_stale, &mut wrong),
            cooldown_ms: tag_rules::duration_in("cooldown", request.cooldown, &mut wrong),
            missing_tag: request.missing_tag.and_then(|value| tag_rules::missing_in("missing_tag", value, &mut wrong)),
            tag_rules: request.tag_rules.map(|list| tag_rules::rules_in(list.rules, &mut wrong)),
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
        let group = self.0.update_group(&caller, &path, etag, change, new_path).await.map_err(from_plane)?;
        Ok(Response::new(UpdateGroupResponse { group: Some(convert::group(group)) }))
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        let caller = caller(&request)?;
        let path = allow_on(&self.0, &caller, Action::OwnGroup, "path", &request.get_ref().path).await?;
        let links = self.0.delete_group(&caller, &path).await.map_err(from_plane)?;
        Ok(Response::new(DeleteGroupResponse { links: i64::try_from(links).unwrap_or(i64::MAX) }))
    }

    async fn get_image_prefix(
        &self,
        request: Request<GetImagePrefixRequest>,
    ) -> Result<Response<GetImagePrefixResponse>, Status> {
        let caller = caller(&request)?;
        let path = allow_on(&self.0, &caller, Action::ReadGroup, "path", &request.get_ref().path).await?;
        let prefix = self.0.image_prefix(&path).await.map_err(from_plane)?;
        Ok(Response::new(GetImagePrefixResponse {
            registry_url: prefix.registry_url,
            server: prefix.server,
            group_image_prefix: prefix.top_group,
            direct_group_image_prefix: prefix.group,
        }))
    }
}
