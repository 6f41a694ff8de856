//! `roadstead.v1.UserService`.

use std::sync::Arc;

use roadstead_proto::v1::{
    CreateUserRequest, CreateUserResponse, DeleteUserRequest, DeleteUserResponse, GetUserRequest, GetUserResponse,
    ListUsersRequest, ListUsersResponse, UpdateUserRequest, UpdateUserResponse, user_service_server::UserService,
};
use tonic::{Request, Response, Status};

use super::{convert, page, request_id};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, from_use_case, parse},
    },
    auth::password::Passwords,
    clock::Clock,
    rules::{
        access::Action,
        identity::user::{NewUser, UserChange, UserName},
    },
    store::Store,
    usecases::identity,
};

/// The service.
#[derive(Clone)]
pub struct Users {
    store: Store,
    clock: Clock,
    passwords: Arc<Passwords>,
}

impl Users {
    pub fn new(store: Store, clock: Clock, passwords: Arc<Passwords>) -> Self {
        Self { store, clock, passwords }
    }
}

#[tonic::async_trait]
impl UserService for Users {
    async fn create_user(&self, request: Request<CreateUserRequest>) -> Result<Response<CreateUserResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let request = request.into_inner();
        let without_password = CreateUserRequest { password: String::new(), ..request.clone() };
        let request_id = request_id::parse(&caller, &request.request_id, &without_password)?;
        let new = NewUser { name: request.name, password: request.password.into(), admin: request.admin };
        let user = identity::user::create(
            &self.store,
            &self.passwords,
            &caller,
            new,
            request_id.as_ref(),
            self.clock.now_ms(),
        )
        .await
        .map_err(from_use_case)?;
        Ok(Response::new(CreateUserResponse { user: Some(convert::user(user)) }))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ReadSelf)?;
        let name: UserName = parse("name", &request.get_ref().name)?;
        let user = identity::user::get(&self.store, &caller, &name).await.map_err(from_use_case)?;
        Ok(Response::new(GetUserResponse { user: Some(convert::user(user)) }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        allow(&caller(&request)?, Action::ReadEverything)?;
        let request = request.into_inner();
        let (after, size) = page::request(&request.page_token, request.page_size)?;
        let found = identity::user::list(&self.store, &after, size).await.map_err(from_use_case)?;
        let (users, next_page_token) = page::answer(found, |user| user.name.to_string(), convert::user);
        Ok(Response::new(ListUsersResponse { users, next_page_token }))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::ChangeSelf)?;
        let request = request.into_inner();
        let name: UserName = parse("name", &request.name)?;
        let etag = convert::etag(&request.etag)?;
        let change =
            UserChange { password: request.password.map(Into::into), admin: request.admin, disabled: request.disabled };
        let user =
            identity::user::update(&self.store, &self.passwords, &caller, &name, etag, change, self.clock.now_ms())
                .await
                .map_err(from_use_case)?;
        Ok(Response::new(UpdateUserResponse { user: Some(convert::user(user)) }))
    }

    async fn delete_user(&self, request: Request<DeleteUserRequest>) -> Result<Response<DeleteUserResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::Administer)?;
        let name: UserName = parse("name", &request.get_ref().name)?;
        identity::user::delete(&self.store, &caller, &name, self.clock.now_ms()).await.map_err(from_use_case)?;
        Ok(Response::new(DeleteUserResponse {}))
    }
}
