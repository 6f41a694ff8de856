//! `roadstead.v1.AuditService`.

use std::sync::Arc;

use prost_types::Timestamp;
use roadstead_proto::v1::{ListEventsRequest, ListEventsResponse, audit_service_server::AuditService};
use tonic::{Request, Response, Status};

use super::{convert, page};
use crate::{
    api::{
        authenticate::caller,
        errors::{allow, allow_on, denied, from_use_case, invalid_field},
    },
    rules::{
        access::{Action, Denied},
        audit::Wanted,
    },
    store::Store,
    usecases::audit::AuditLog,
};

/// The service.
#[derive(Clone)]
pub struct Audit {
    store: Store,
    audit: Arc<AuditLog>,
}

impl Audit {
    pub fn new(store: Store, audit: Arc<AuditLog>) -> Self {
        Self { store, audit }
    }
}

#[tonic::async_trait]
impl AuditService for Audit {
    async fn list_events(&self, request: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        let caller = caller(&request)?;
        allow(&caller, Action::AuditGroup)?;
        let request = request.into_inner();
        let group = if request.group_path.is_empty() {
            if !caller.principal.is_admin() {
                return Err(denied(Denied::NeedsAdmin));
            }
            None
        } else {
            Some(allow_on(&self.store, &caller, Action::AuditGroup, "group_path", &request.group_path).await?)
        };
        let (before_id, size) = page::request(&request.page_token, request.page_size)?;
        let wanted = Wanted {
            group,
            of_earlier_groups: caller.principal.is_admin(),
            since_ms: request.since.map(|at| time("since", at)).transpose()?.unwrap_or(i64::MIN),
            until_ms: request.until.map(|at| time("until", at)).transpose()?.unwrap_or(i64::MAX),
        };
        let found = self.audit.list(wanted, &before_id, size).await.map_err(from_use_case)?;
        let (events, next_page_token) = page::answer(found, |event| event.id.to_string(), convert::event);
        Ok(Response::new(ListEventsResponse { events, next_page_token }))
    }
}

/// A time of a request, in milliseconds; whatever is within one counts as all of it.
fn time(field: &str, at: Timestamp) -> Result<i64, Status> {
    let nanos = i64::from(at.nanos);
    at.seconds
        .checked_mul(1000)
        .and_then(|ms| ms.checked_add(nanos / 1_000_000))
        .filter(|_| (0..1_000_000_000).contains(&nanos))
        .ok_or_else(|| invalid_field(field, "must be a time"))
}
