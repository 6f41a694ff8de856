//! Changes that somebody tried and did not get: recorded here, once for all services. What was done is recorded by the
//! use cases, in the transaction of the change.

use std::{cell::RefCell, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use roadstead_proto::GroupPath;
use tonic::{Code, Status};

use crate::{
    rules::{
        access::Actor,
        audit::{Entry, Outcome},
    },
    usecases::Plane,
};

/// Calls that change something, and what the audit calls that. All others only read.
const CHANGES: [(&str, &str); 27] = [
    ("/roadstead.v1.CacheService/ApplyRetention", "cache.retain"),
    ("/roadstead.v1.CacheService/CheckCache", "cache.check"),
    ("/roadstead.v1.CacheService/CreatePrefetchSchedule", "prefetch.schedule"),
    ("/roadstead.v1.CacheService/DeletePrefetchSchedule", "prefetch.unschedule"),
    ("/roadstead.v1.CacheService/PinTag", "cache.pin"),
    ("/roadstead.v1.CacheService/PrefetchImage", "cache.prefetch"),
    ("/roadstead.v1.CacheService/PurgeCache", "cache.purge"),
    ("/roadstead.v1.CacheService/UnpinTag", "cache.unpin"),
    ("/roadstead.v1.GroupService/CreateGroup", "group.create"),
    ("/roadstead.v1.GroupService/DeleteGroup", "group.delete"),
    ("/roadstead.v1.GroupService/UpdateGroup", "group.update"),
    ("/roadstead.v1.MemberService/RemoveMember", "member.remove"),
    ("/roadstead.v1.MemberService/SetMember", "member.set"),
    ("/roadstead.v1.OidcService/AddIssuer", "oidc.issuer.add"),
    ("/roadstead.v1.OidcService/CreateTrust", "oidc.trust.create"),
    ("/roadstead.v1.OidcService/DeleteTrust", "oidc.trust.delete"),
    ("/roadstead.v1.OidcService/RemoveIssuer", "oidc.issuer.remove"),
    ("/roadstead.v1.TokenService/CreateJobToken", "token.create"),
    ("/roadstead.v1.TokenService/CreateToken", "token.create"),
    ("/roadstead.v1.TokenService/RevokeToken", "token.revoke"),
    ("/roadstead.v1.UpstreamService/DeleteCredential", "upstream.logout"),
    ("/roadstead.v1.UpstreamService/DeleteUpstream", "upstream.delete"),
    ("/roadstead.v1.UpstreamService/SetCredential", "upstream.login"),
    ("/roadstead.v1.UpstreamService/SetUpstream", "upstream.set"),
    ("/roadstead.v1.UserService/CreateUser", "user.create"),
    ("/roadstead.v1.UserService/DeleteUser", "user.delete"),
    ("/roadstead.v1.UserService/UpdateUser", "user.update"),
];

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
pub async fn record(State(plane): State<Arc<Plane>>, request: Request, next: Next) -> Response {
    let change = CHANGES.iter().find(|(path, _)| *path == request.uri().path());
    let (Some((_, action)), Some(actor)) = (change, request.extensions().get::<Actor>().cloned()) else {
        return next.run(request).await;
    };
    let (response, group) = noting_group(next.run(request)).await;
    if let Some(status) = Status::from_header_map(response.headers()) {
        tell(&plane, &actor, action, group.as_ref(), &status).await;
    }
    response
}

/// The same for a call that does not come by gRPC.
pub async fn recorded<T>(
    plane: &Plane,
    actor: &Actor,
    action: &'static str,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let (answer, group) = noting_group(call).await;
    if let Err(status) = &answer {
        tell(plane, actor, action, group.as_ref(), status).await;
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

async fn tell(plane: &Plane, actor: &Actor, action: &'static str, group: Option<&GroupPath>, status: &Status) {
    if let Some(entry) = entry(actor, action, group, status) {
        plane.refused(entry).await;
    }
}

fn entry(actor: &Actor, action: &'static str, group: Option<&GroupPath>, status: &Status) -> Option<Entry> {
    let outcome = match status.code() {
        Code::PermissionDenied => Outcome::Refused,
        Code::FailedPrecondition => Outcome::Failed,
        _ => return None,
    };
    let entry = actor.did(action, group.map(ToString::to_string).unwrap_or_default()).ended(outcome);
    let entry = entry.detail(status.message());
    Some(match group {
        Some(path) => entry.of_group(path),
        None => entry,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use roadstead_proto::DESCRIPTORS;

    use super::*;

    #[test]
    fn every_call_of_users_either_reads_or_is_known_to_change_something() {
        let files = prost_types::FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
        let changes: BTreeSet<String> = files
            .iter()
            .filter(|file| file.package() == "roadstead.v1")
            .flat_map(|file| &file.service)
            .flat_map(|service| service.method.iter().map(move |method| (service.name(), method.name())))
            .filter(|(_, method)| !method.starts_with("Get") && !method.starts_with("List"))
            .map(|(service, method)| format!("/roadstead.v1.{service}/{method}"))
            .collect();
        let known: BTreeSet<String> = CHANGES.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(known, changes);
        assert_eq!(known.len(), CHANGES.len());
    }
}
