//! Changes that somebody tried and did not get: recorded here, once for all services. Completed changes are recorded by
//! the use cases, in the transaction of the change.

use std::{cell::RefCell, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use roadstead_proto::{AuditOutcome, GroupPath, Method};
use tonic::{Code, Status};

use crate::{
    rules::{access::Actor, audit::Entry},
    usecases::audit::AuditLog,
};

tokio::task_local! {
    /// The group that the call under way concerns, once it is known.
    static CONCERNED: RefCell<Option<GroupPath>>;
}

/// Notes which group the call under way concerns.
pub fn concerns(path: &GroupPath) {
    // Outside of a call that changes something there is nothing to note.
    let _ = CONCERNED.try_with(|concerned| concerned.replace(Some(path.clone())));
}

/// Records a call that changes something and is refused, or fails because something else must be done first.
pub async fn record(State(audit): State<Arc<AuditLog>>, request: Request, next: Next) -> Response {
    // The contract says which calls change something, and what the audit calls that.
    let action = Method::by_path(request.uri().path()).and_then(|method| method.audit_action);
    let (Some(action), Some(actor)) = (action, request.extensions().get::<Actor>().cloned()) else {
        return next.run(request).await;
    };
    let (response, group) = noting_group(next.run(request)).await;
    if let Some(status) = Status::from_header_map(response.headers()) {
        tell(&audit, &actor, action, group.as_ref(), &status).await;
    }
    response
}

/// Does the same for a call that does not come by gRPC.
pub async fn recorded<T>(
    audit: &AuditLog,
    actor: &Actor,
    action: &'static str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let (answer, group) = noting_group(call).await;
    if let Err(status) = &answer {
        tell(audit, actor, action, group.as_ref(), status).await;
    }
    answer
}

/// Runs a call, and answers with it which group it concerned.
async fn noting_group<T>(call: impl Future<Output = T>) -> (T, Option<GroupPath>) {
    let call = async {
        let answer = call.await;
        (answer, CONCERNED.with(RefCell::take))
    };
    CONCERNED.scope(RefCell::default(), call).await
}

async fn tell(audit: &AuditLog, actor: &Actor, action: &'static str, group: Option<&GroupPath>, status: &Status) {
    if let Some(entry) = entry(actor, action, group, status) {
        audit.refused(entry).await;
    }
}

fn entry(actor: &Actor, action: &'static str, group: Option<&GroupPath>, status: &Status) -> Option<Entry> {
    let outcome = match status.code() {
        Code::PermissionDenied => AuditOutcome::Refused,
        Code::FailedPrecondition => AuditOutcome::Failed,
        _ => return None,
    };
    let entry = actor.did(action, group.map(ToString::to_string).unwrap_or_default()).ended(outcome);
    let entry = entry.detail(status.message());
    Some(match group {
        Some(path) => entry.of_group(path),
        None => entry,
    })
}
