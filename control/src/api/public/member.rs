//! `roadstead.v1.MemberService`.

use roadstead_proto::v1::{
    DeleteMemberRequest, DeleteMemberResponse, GetMemberRequest, GetMemberResponse, ListMembersRequest,
    ListMembersResponse, UpdateMemberRequest, UpdateMemberResponse, member_service_server::MemberService,
};
use tonic::{Request, Response, Status};

use super::{convert, page};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow_on, from_use_case, invalid_field, parse},
    },
    clock::Clock,
    rules::{
        limits::Limits,
        {access::Action, groups::member::Member, identity::user::UserName},
    },
    store::Store,
    usecases::groups,
};

/// The service.
#[derive(Clone)]
pub struct Members {
    store: Store,
    clock: Clock,
    limits: Limits,
}

impl Members {
    pub fn new(store: Store, clock: Clock, limits: Limits) -> Self {
        Self { store, clock, limits }
    }
}

#[tonic::async_trait]
impl MemberService for Members {
    async fn get_member(&self, request: Request<GetMemberRequest>) -> Result<Response<GetMemberResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let name: UserName = parse("user", &request.user)?;
        let member = groups::member::get(&self.store, &path, &name).await.map_err(from_use_case)?;
        Ok(Response::new(GetMemberResponse { member: Some(convert::member(member)) }))
    }

    async fn update_member(
        &self,
        request: Request<UpdateMemberRequest>,
    ) -> Result<Response<UpdateMemberResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::OwnGroup, "group_path", &request.group_path).await?;
        let name: UserName = parse("user", &request.user)?;
        let role = convert::role_in(request.role)?
            .ok_or_else(|| invalid_field("role", "required: guest, maintainer or owner"))?;
        let member = groups::member::update(
            &self.store,
            &self.limits,
            &caller,
            &path,
            &name,
            (role, request.allow_missing),
            self.clock.now_ms(),
        )
        .await
        .map_err(from_use_case)?;
        Ok(Response::new(UpdateMemberResponse { member: Some(convert::member(member)) }))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::ReadGroup, "group_path", &request.group_path).await?;
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        // Neither a user's name nor a path holds a line break.
        let after = after.split_once('\n').unwrap_or_default();
        let found = groups::member::list(&self.store, &path, after, size).await.map_err(from_use_case)?;
        let key = |member: &Member| format!("{}\n{}", member.user, member.group);
        let (members, next_page_token) = page::answer(found, key, convert::member);
        Ok(Response::new(ListMembersResponse { members, next_page_token }))
    }

    async fn delete_member(
        &self,
        request: Request<DeleteMemberRequest>,
    ) -> Result<Response<DeleteMemberResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let path = allow_on(&self.store, &caller, Action::OwnGroup, "group_path", &request.group_path).await?;
        let name: UserName = parse("user", &request.user)?;
        groups::member::delete(&self.store, &caller, &path, &name, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteMemberResponse {}))
    }
}
