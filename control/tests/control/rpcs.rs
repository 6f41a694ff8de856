//! One call of every RPC there is, with fields that are good, and what it needs.

use prost::Message;
use roadstead_proto::{
    node::v1 as node,
    v1::{self, create_token_request::Owner},
};

use crate::harness::Plane;

/// The right that a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// A node token.
    Node,
    /// An administrator.
    Admin,
    /// An administrator, reading.
    Everything,
    /// Anybody with a scope for reading.
    SignedIn,
    /// Oneself, reading.
    Self_,
    /// Oneself, changing.
    SelfChange,
    /// Oneself with the password, or an administrator.
    Password,
    /// A guest of the group.
    Guest,
    /// A maintainer, reading.
    Review,
    /// An owner, reading.
    Audit,
    /// A maintainer.
    Change,
    /// A maintainer or a service.
    Purge,
    /// An administrator or a service for all groups.
    PurgeAll,
    /// An owner.
    Own,
}

/// A call.
pub struct Call {
    pub what: &'static str,
    pub method: &'static str,
    pub needs: Needs,
    pub request: Vec<u8>,
    /// True if the request names the group, and nothing else decides on access.
    pub names_group: bool,
}

fn of(what: &'static str, needs: Needs, request: &impl Message) -> Call {
    let method = what.split(' ').next().unwrap();
    let names_group =
        matches!(needs, Needs::Guest | Needs::Review | Needs::Audit | Needs::Change | Needs::Purge | Needs::Own);
    Call { what, method, needs, request: request.encode_to_vec(), names_group }
}

/// The same, where the request names no group.
fn without_group(what: &'static str, needs: Needs, request: &impl Message) -> Call {
    Call { names_group: false, ..of(what, needs, request) }
}

/// Calls of every RPC on the group at `path`, by the user with that name. Makes what they take away.
pub async fn calls(plane: &Plane, path: &str, own_name: &str) -> Vec<Call> {
    let mut calls = group_calls(path);
    calls.extend(cache_calls(path));
    calls.extend(people_calls(path, own_name));
    calls.extend(node_calls());
    if plane.admin().groups.get_group(v1::GetGroupRequest { path: path.into() }).await.is_ok() {
        calls.extend(calls_by_id(plane, path).await);
    }
    calls
}

fn group_calls(path: &str) -> Vec<Call> {
    let group_path = || path.to_owned();
    let below = || format!("{path}/below");
    let created = v1::CreateGroupRequest { path: below(), ..Default::default() };
    let update = || v1::UpdateGroupRequest { path: group_path(), ..Default::default() };
    let issuer = || "https://issuer.example".to_owned();
    let upstream = v1::UpdateUpstreamRequest::replacing("quay.io", "https://quay.io");
    let credential = v1::UpdateCredentialRequest {
        group_path: group_path(),
        host: "docker.io".into(),
        username: "u".into(),
        password: "p".into(),
        skip_verification: true,
        allow_missing: true,
    };
    let no_credential = v1::DeleteCredentialRequest { group_path: group_path(), host: "docker.io".into() };
    let top = v1::CreateGroupRequest { path: "top-level".into(), ..Default::default() };
    vec![
        of("roadstead.v1.GroupService/GetGroup", Needs::Guest, &v1::GetGroupRequest { path: group_path() }),
        of("roadstead.v1.GroupService/GetImagePrefix", Needs::Guest, &v1::GetImagePrefixRequest { path: group_path() }),
        without_group("roadstead.v1.GroupService/ListGroups", Needs::SignedIn, &v1::ListGroupsRequest::default()),
        of("roadstead.v1.GroupService/UpdateGroup", Needs::Change, &update()),
        of(
            "roadstead.v1.GroupService/UpdateGroup (rename)",
            Needs::Own,
            &v1::UpdateGroupRequest { new_path: Some(group_path()), ..update() },
        ),
        of("roadstead.v1.GroupService/CreateGroup (subgroup)", Needs::Own, &created),
        without_group("roadstead.v1.GroupService/CreateGroup", Needs::Admin, &top),
        of("roadstead.v1.GroupService/DeleteGroup", Needs::Own, &v1::DeleteGroupRequest { path: below() }),
        without_group("roadstead.v1.UpstreamService/UpdateUpstream", Needs::Admin, &upstream),
        without_group(
            "roadstead.v1.UpstreamService/GetUpstream",
            Needs::SignedIn,
            &v1::GetUpstreamRequest { host: "docker.io".into() },
        ),
        without_group(
            "roadstead.v1.UpstreamService/ListUpstreams",
            Needs::SignedIn,
            &v1::ListUpstreamsRequest::default(),
        ),
        without_group(
            "roadstead.v1.UpstreamService/DeleteUpstream",
            Needs::Admin,
            &v1::DeleteUpstreamRequest { host: "quay.io".into() },
        ),
        of(
            "roadstead.v1.UpstreamService/ListUpstreamStatuses",
            Needs::Guest,
            &v1::ListUpstreamStatusesRequest { group_path: group_path(), ..Default::default() },
        ),
        of("roadstead.v1.UpstreamService/UpdateCredential", Needs::Change, &credential),
        of(
            "roadstead.v1.UpstreamService/GetCredential",
            Needs::Review,
            &v1::GetCredentialRequest { group_path: group_path(), host: "docker.io".into() },
        ),
        of(
            "roadstead.v1.UpstreamService/ListCredentials",
            Needs::Review,
            &v1::ListCredentialsRequest { group_path: group_path(), ..Default::default() },
        ),
        of("roadstead.v1.UpstreamService/DeleteCredential", Needs::Change, &no_credential),
        without_group(
            "roadstead.v1.OidcService/CreateIssuer",
            Needs::Admin,
            &v1::CreateIssuerRequest { url: issuer() },
        ),
        without_group(
            "roadstead.v1.OidcService/GetIssuer",
            Needs::SignedIn,
            &v1::GetIssuerRequest { url: "https://unknown.example".into() },
        ),
        without_group("roadstead.v1.OidcService/ListIssuers", Needs::SignedIn, &v1::ListIssuersRequest::default()),
        of(
            "roadstead.v1.OidcService/CreateTrust",
            Needs::Change,
            &v1::CreateTrustRequest { group_path: group_path(), issuer: issuer(), ..Default::default() },
        ),
        of(
            "roadstead.v1.OidcService/ListTrusts",
            Needs::Review,
            &v1::ListTrustsRequest { group_path: group_path(), ..Default::default() },
        ),
        without_group(
            "roadstead.v1.OidcService/DeleteIssuer",
            Needs::Admin,
            &v1::DeleteIssuerRequest { url: "https://none.example".into() },
        ),
        of(
            "roadstead.v1.AuditService/ListEvents",
            Needs::Audit,
            &v1::ListEventsRequest { group_path: group_path(), ..Default::default() },
        ),
        without_group(
            "roadstead.v1.AuditService/ListEvents (all)",
            Needs::Everything,
            &v1::ListEventsRequest::default(),
        ),
    ]
}

fn cache_calls(path: &str) -> Vec<Call> {
    let group_path = || path.to_owned();
    let (image, tag) = (|| "alpine".to_owned(), || "latest".to_owned());
    let history = v1::ListTagHistoryRequest { group_path: group_path(), image: image(), tag: tag() };
    let pin = v1::PinTagRequest {
        group_path: group_path(),
        image: image(),
        tag: tag(),
        digest: crate::harness::digest("a manifest"),
    };
    let unpin = v1::UnpinTagRequest { group_path: group_path(), image: image(), tag: tag() };
    // Without a tag: refused as such after the caller was let through, so that no node need be there.
    let prefetch = v1::PrefetchImageRequest { group_path: group_path(), ..Default::default() };
    vec![
        of(
            "roadstead.v1.CacheService/ListManifests",
            Needs::Guest,
            &v1::ListManifestsRequest { group_path: group_path(), ..Default::default() },
        ),
        of(
            "roadstead.v1.CacheService/ListBlobs",
            Needs::Guest,
            &v1::ListBlobsRequest { group_path: group_path(), ..Default::default() },
        ),
        of(
            "roadstead.v1.CacheService/ListImages",
            Needs::Guest,
            &v1::ListImagesRequest { group_path: group_path(), ..Default::default() },
        ),
        of(
            "roadstead.v1.CacheService/ListTags",
            Needs::Guest,
            &v1::ListTagsRequest { group_path: group_path(), ..Default::default() },
        ),
        of(
            "roadstead.v1.CacheService/ListDailyUsage",
            Needs::Guest,
            &v1::ListDailyUsageRequest { group_path: group_path(), ..Default::default() },
        ),
        of(
            "roadstead.v1.CacheService/ApplyRetention",
            Needs::Change,
            &v1::ApplyRetentionRequest { group_path: group_path(), dry_run: true },
        ),
        of(
            "roadstead.v1.CacheService/CheckCache",
            Needs::Change,
            &v1::CheckCacheRequest { group_path: group_path(), ..Default::default() },
        ),
        of("roadstead.v1.CacheService/GetStats", Needs::Guest, &v1::GetStatsRequest { group_path: group_path() }),
        of("roadstead.v1.CacheService/PurgeCache", Needs::Purge, &v1::PurgeCacheRequest::whole_group(group_path())),
        without_group(
            "roadstead.v1.CacheService/PurgeCache (all groups)",
            Needs::PurgeAll,
            &v1::PurgeCacheRequest::all_groups().dry_run(true),
        ),
        of("roadstead.v1.CacheService/ListTagHistory", Needs::Guest, &history),
        of("roadstead.v1.CacheService/PinTag", Needs::Change, &pin),
        of("roadstead.v1.CacheService/UnpinTag", Needs::Change, &unpin),
        of("roadstead.v1.CacheService/PrefetchImage", Needs::Change, &prefetch),
        of(
            "roadstead.v1.CacheService/CreatePrefetchSchedule",
            Needs::Change,
            &v1::CreatePrefetchScheduleRequest { group_path: group_path(), ..Default::default() },
        ),
        of(
            "roadstead.v1.CacheService/ListPrefetchSchedules",
            Needs::Guest,
            &v1::ListPrefetchSchedulesRequest { group_path: group_path(), ..Default::default() },
        ),
    ]
}

fn people_calls(path: &str, own_name: &str) -> Vec<Call> {
    let group_path = || path.to_owned();
    let own = || own_name.to_owned();
    let token = |owner| v1::CreateTokenRequest { owner: Some(owner), name: "n".into(), ..Default::default() };
    let update = |name: String| v1::UpdateUserRequest { name, ..Default::default() };
    // Too short: refused as such after the caller was let through, so that the password stays.
    let password = v1::UpdateUserRequest { password: Some("short".into()), ..update(own()) };
    // An administrator's API token may change it too: that is `Admin`, asked with another's name.
    let others_password = v1::UpdateUserRequest { password: Some("short".into()), ..update("another".into()) };
    let set = v1::UpdateMemberRequest {
        group_path: group_path(),
        user: "another".into(),
        role: v1::Role::Guest.into(),
        allow_missing: true,
    };
    let remove = v1::DeleteMemberRequest { group_path: group_path(), user: "another".into() };
    let mut calls = vec![
        without_group(
            "roadstead.v1.UserService/CreateUser",
            Needs::Admin,
            &v1::CreateUserRequest { name: "x".into(), ..Default::default() },
        ),
        without_group(
            "roadstead.v1.UserService/GetUser (another)",
            Needs::Everything,
            &v1::GetUserRequest { name: "another".into() },
        ),
        without_group("roadstead.v1.UserService/GetUser", Needs::Self_, &v1::GetUserRequest { name: own() }),
        without_group(
            "roadstead.v1.ClusterService/GetNode",
            Needs::Everything,
            &v1::GetNodeRequest { id: "unknown".into() },
        ),
        // Too short, and neither: refused as such after the caller was let through, so that token and keys stay.
        without_group(
            "roadstead.v1.TokenService/RotateAdminToken",
            Needs::Admin,
            &v1::RotateAdminTokenRequest { new_token: "short".into() },
        ),
        without_group("roadstead.v1.ClusterService/RotateKeys", Needs::Admin, &v1::RotateKeysRequest::default()),
        without_group("roadstead.v1.ClusterService/ListNodes", Needs::Everything, &v1::ListNodesRequest::default()),
        without_group("roadstead.v1.UserService/ListUsers", Needs::Everything, &v1::ListUsersRequest::default()),
        without_group(
            "roadstead.v1.UserService/UpdateUser (admin)",
            Needs::Admin,
            &v1::UpdateUserRequest { admin: Some(true), ..update("another".into()) },
        ),
        without_group("roadstead.v1.UserService/UpdateUser (another's password)", Needs::Admin, &others_password),
        without_group(
            "roadstead.v1.UserService/DeleteUser",
            Needs::Admin,
            &v1::DeleteUserRequest { name: "another".into() },
        ),
        of(
            "roadstead.v1.MemberService/GetMember",
            Needs::Guest,
            &v1::GetMemberRequest { group_path: group_path(), user: "another".into() },
        ),
        of("roadstead.v1.MemberService/UpdateMember", Needs::Own, &set),
        of(
            "roadstead.v1.MemberService/ListMembers",
            Needs::Guest,
            &v1::ListMembersRequest { group_path: group_path(), ..Default::default() },
        ),
        of("roadstead.v1.MemberService/DeleteMember", Needs::Own, &remove),
        of("roadstead.v1.TokenService/CreateToken (deploy)", Needs::Change, &token(Owner::GroupPath(group_path()))),
        without_group("roadstead.v1.TokenService/CreateToken (node)", Needs::Admin, &token(Owner::Node(true))),
        without_group("roadstead.v1.TokenService/CreateToken (service)", Needs::Admin, &token(Owner::Service(true))),
        without_group(
            "roadstead.v1.TokenService/CreateToken (another's)",
            Needs::Admin,
            &token(Owner::User("another".into())),
        ),
        without_group("roadstead.v1.TokenService/CreateToken (own)", Needs::SelfChange, &token(Owner::User(own()))),
        of(
            "roadstead.v1.TokenService/CreateJobToken",
            Needs::Change,
            &v1::CreateJobTokenRequest { group_path: group_path(), ..Default::default() },
        ),
        of(
            "roadstead.v1.TokenService/ListTokens",
            Needs::Review,
            &v1::ListTokensRequest { group_path: group_path(), ..Default::default() },
        ),
        without_group(
            "roadstead.v1.TokenService/ListTokens (own)",
            Needs::Self_,
            &v1::ListTokensRequest { user: own(), ..Default::default() },
        ),
        without_group(
            "roadstead.v1.TokenService/ListTokens (all)",
            Needs::Everything,
            &v1::ListTokensRequest::default(),
        ),
    ];
    // Administrators may change any password by the rule for administrators, their own too.
    if own_name != "root" {
        calls.push(without_group("roadstead.v1.UserService/UpdateUser (own password)", Needs::Password, &password));
    }
    calls
}

/// Calls on a thing of the group by its id, each with a thing of its own.
async fn calls_by_id(plane: &Plane, path: &str) -> Vec<Call> {
    let mut admin = plane.admin();
    let token = plane.token(path, &[]).await;
    let issuer = || "https://issuer.example".to_owned();
    admin.oidc.create_issuer(v1::CreateIssuerRequest { url: issuer() }).await.unwrap();
    let claims = vec![v1::ClaimRule { claim: "sub".into(), pattern: "acme".into() }];
    let trust = v1::CreateTrustRequest {
        group_path: path.into(),
        issuer: issuer(),
        audience: "roadstead".into(),
        claims,
        request_id: String::new(),
    };
    let trust = admin.oidc.create_trust(trust).await.unwrap().into_inner().trust.unwrap();
    let schedule = v1::CreatePrefetchScheduleRequest {
        group_path: path.into(),
        image: "alpine:latest".into(),
        platforms: vec![],
        every: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    let schedule = admin.cache.create_prefetch_schedule(schedule).await.unwrap().into_inner().schedule.unwrap();
    vec![
        without_group(
            "roadstead.v1.TokenService/GetToken",
            Needs::Review,
            &v1::GetTokenRequest { id: token.id.clone() },
        ),
        without_group(
            "roadstead.v1.OidcService/GetTrust",
            Needs::Review,
            &v1::GetTrustRequest { id: trust.id.clone() },
        ),
        without_group(
            "roadstead.v1.CacheService/GetPrefetchSchedule",
            Needs::Guest,
            &v1::GetPrefetchScheduleRequest { id: schedule.id.clone() },
        ),
        without_group("roadstead.v1.TokenService/DeleteToken", Needs::Change, &v1::DeleteTokenRequest { id: token.id }),
        without_group("roadstead.v1.OidcService/DeleteTrust", Needs::Change, &v1::DeleteTrustRequest { id: trust.id }),
        without_group(
            "roadstead.v1.CacheService/DeletePrefetchSchedule",
            Needs::Change,
            &v1::DeletePrefetchScheduleRequest { id: schedule.id },
        ),
    ]
}

fn node_calls() -> Vec<Call> {
    fn of<T: Message + Default>(what: &'static str) -> Call {
        without_group(what, Needs::Node, &T::default())
    }
    vec![
        of::<node::WatchRequest>("roadstead.node.v1.NodeService/Watch"),
        of::<node::SignInRequest>("roadstead.node.v1.NodeService/SignIn"),
        of::<node::ResolveTagRequest>("roadstead.node.v1.NodeService/ResolveTag"),
        of::<node::ReportTagRequest>("roadstead.node.v1.NodeService/ReportTag"),
        of::<node::GetLinksRequest>("roadstead.node.v1.NodeService/GetLinks"),
        of::<node::RecordLinkRequest>("roadstead.node.v1.NodeService/RecordLink"),
        of::<node::RecordLinksRequest>("roadstead.node.v1.NodeService/RecordLinks"),
        of::<node::GetCredentialRequest>("roadstead.node.v1.NodeService/GetCredential"),
        of::<node::RecordUsageRequest>("roadstead.node.v1.NodeService/RecordUsage"),
        of::<node::ClaimGarbageRequest>("roadstead.node.v1.NodeService/ClaimGarbage"),
        of::<node::ConfirmGarbageRequest>("roadstead.node.v1.NodeService/ConfirmGarbage"),
        of::<node::ReportUpstreamsRequest>("roadstead.node.v1.NodeService/ReportUpstreams"),
        of::<node::ClaimJobRequest>("roadstead.node.v1.NodeService/ClaimJob"),
        of::<node::ReportJobRequest>("roadstead.node.v1.NodeService/ReportJob"),
        of::<node::ReportNodeRequest>("roadstead.node.v1.NodeService/ReportNode"),
        of::<node::GetRevisionRequest>("roadstead.node.v1.NodeService/GetRevision"),
        of::<node::AcquireFillRequest>("roadstead.node.v1.NodeService/AcquireFill"),
        of::<node::RenewFillsRequest>("roadstead.node.v1.NodeService/RenewFills"),
        of::<node::ReleaseFillRequest>("roadstead.node.v1.NodeService/ReleaseFill"),
        of::<node::AdoptContentsRequest>("roadstead.node.v1.NodeService/AdoptContents"),
        of::<node::ReportCorruptionRequest>("roadstead.node.v1.NodeService/ReportCorruption"),
        of::<node::ClaimScrubRequest>("roadstead.node.v1.NodeService/ClaimScrub"),
        of::<node::ListGroupContentsRequest>("roadstead.node.v1.NodeService/ListGroupContents"),
    ]
}
