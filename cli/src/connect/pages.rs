//! Lists: following them from page to page, and printing them.

use std::time::SystemTime;

use prost::Name;
use roadstead_proto::v1::{
    AuditEvent, Blob, CachedImage, CachedTag, Group, ListBlobsRequest, ListBlobsResponse, ListCredentialsRequest,
    ListCredentialsResponse, ListEventsRequest, ListEventsResponse, ListGroupsRequest, ListGroupsResponse,
    ListImagesRequest, ListImagesResponse, ListIssuersRequest, ListIssuersResponse, ListManifestsRequest,
    ListManifestsResponse, ListMembersRequest, ListMembersResponse, ListNodesRequest, ListNodesResponse,
    ListPrefetchSchedulesRequest, ListPrefetchSchedulesResponse, ListTagsRequest, ListTagsResponse, ListTokensRequest,
    ListTokensResponse, ListTrustsRequest, ListTrustsResponse, ListUpstreamStatusesRequest,
    ListUpstreamStatusesResponse, ListUpstreamsRequest, ListUpstreamsResponse, ListUsersRequest, ListUsersResponse,
    Manifest, Member, Node, OidcIssuer, OidcTrust, PrefetchSchedule, Token, Upstream, UpstreamCredential,
    UpstreamStatus, User, audit_service_client::AuditServiceClient, cache_service_client::CacheServiceClient,
    cluster_service_client::ClusterServiceClient, group_service_client::GroupServiceClient,
    member_service_client::MemberServiceClient, oidc_service_client::OidcServiceClient,
    token_service_client::TokenServiceClient, upstream_service_client::UpstreamServiceClient,
    user_service_client::UserServiceClient,
};
use tonic::{Response, Status};

use super::{AdminChannel, CallError, Session};
use crate::output::{PagedList, Table};

/// Items in one page.
const PAGE_SIZE: usize = 200;

/// A request for one page of a list.
pub trait Listing: Clone {
    /// The answer.
    type Page;
    /// An item of the list.
    type Item: Name;

    /// Returns the same request for at most `size` items of the page that `token` names.
    fn page(self, size: i32, token: String) -> Self;
    /// Fetches the page.
    fn call(self, channel: AdminChannel) -> impl Future<Output = Result<Response<Self::Page>, Status>>;
    /// Returns the items of an answer, and the token of the next page, which is empty after the last.
    fn items(page: Self::Page) -> (Vec<Self::Item>, String);
}

macro_rules! listings {
    ($($request:ident => $client:ident::$call:ident => $page:ident { $items:ident: $item:ident },)*) => {$(
        impl Listing for $request {
            type Page = $page;
            type Item = $item;

            fn page(self, page_size: i32, page_token: String) -> Self {
                #[allow(clippy::needless_update, reason = "some requests have no other field")]
                Self { page_size, page_token, ..self }
            }

            async fn call(self, channel: AdminChannel) -> Result<Response<$page>, Status> {
                $client::new(channel).$call(self).await
            }

            fn items(page: $page) -> (Vec<$item>, String) {
                (page.$items, page.next_page_token)
            }
        }
    )*};
}

listings! {
    ListEventsRequest => AuditServiceClient::list_events => ListEventsResponse { events: AuditEvent },
    ListBlobsRequest => CacheServiceClient::list_blobs => ListBlobsResponse { blobs: Blob },
    ListGroupsRequest => GroupServiceClient::list_groups => ListGroupsResponse { groups: Group },
    ListImagesRequest => CacheServiceClient::list_images => ListImagesResponse { images: CachedImage },
    ListIssuersRequest => OidcServiceClient::list_issuers => ListIssuersResponse { issuers: OidcIssuer },
    ListManifestsRequest => CacheServiceClient::list_manifests => ListManifestsResponse { manifests: Manifest },
    ListMembersRequest => MemberServiceClient::list_members => ListMembersResponse { members: Member },
    ListNodesRequest => ClusterServiceClient::list_nodes => ListNodesResponse { nodes: Node },
    ListPrefetchSchedulesRequest => CacheServiceClient::list_prefetch_schedules => ListPrefetchSchedulesResponse { schedules: PrefetchSchedule },
    ListTagsRequest => CacheServiceClient::list_tags => ListTagsResponse { tags: CachedTag },
    ListTokensRequest => TokenServiceClient::list_tokens => ListTokensResponse { tokens: Token },
    ListTrustsRequest => OidcServiceClient::list_trusts => ListTrustsResponse { trusts: OidcTrust },
    ListCredentialsRequest => UpstreamServiceClient::list_credentials => ListCredentialsResponse { credentials: UpstreamCredential },
    ListUpstreamStatusesRequest => UpstreamServiceClient::list_upstream_statuses => ListUpstreamStatusesResponse { statuses: UpstreamStatus },
    ListUpstreamsRequest => UpstreamServiceClient::list_upstreams => ListUpstreamsResponse { upstreams: Upstream },
    ListUsersRequest => UserServiceClient::list_users => ListUsersResponse { users: User },
}

impl Session {
    /// Prints all pages of a list as one, each as it arrives; `empty` tells people that the list is empty.
    pub async fn print_list<L: Listing>(
        &self,
        request: L,
        empty: &str,
        table: impl Fn(&[L::Item], SystemTime) -> Table,
    ) -> Result<(), CallError> {
        let (mut list, mut token) = (PagedList::new(self.output), String::new());
        loop {
            let size = i32::try_from(PAGE_SIZE).unwrap_or(i32::MAX);
            let page = request.clone().page(size, token).call(self.channel()).await?.into_inner();
            let (items, next) = L::items(page);
            list.page(&items, |items| table(items, SystemTime::now()))?;
            if next.is_empty() {
                return Ok(list.end(empty)?);
            }
            token = next;
        }
    }

    /// Fetches the first `limit` items of a list; `true` if there are more.
    pub async fn first_items<L: Listing>(&self, request: L, limit: usize) -> Result<(Vec<L::Item>, bool), Status> {
        first_pages(request, limit, async |page| page.call(self.channel()).await).await
    }
}

/// Follows a list from page to page until there are `limit` items; `true` if there are more. `call` fetches a page.
async fn first_pages<L: Listing>(
    request: L,
    limit: usize,
    mut call: impl AsyncFnMut(L) -> Result<Response<L::Page>, Status>,
) -> Result<(Vec<L::Item>, bool), Status> {
    let mut items = Vec::new();
    let mut token = String::new();
    loop {
        let size = i32::try_from(PAGE_SIZE.min(limit - items.len())).unwrap_or(i32::MAX);
        let (more, next) = L::items(call(request.clone().page(size, token)).await?.into_inner());
        items.extend(more);
        if next.is_empty() || items.len() >= limit {
            let is_cut = !next.is_empty() || items.len() > limit;
            items.truncate(limit);
            return Ok((items, is_cut));
        }
        token = next;
    }
}

#[cfg(test)]
mod tests;
