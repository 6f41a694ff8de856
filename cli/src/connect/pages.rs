//! Following lists from page to page.

use roadstead_proto::v1::{
    AuditEvent, Blob, CachedImage, CachedTag, Group, ListBlobsRequest, ListBlobsResponse, ListEventsRequest,
    ListEventsResponse, ListGroupsRequest, ListGroupsResponse, ListImagesRequest, ListImagesResponse,
    ListIssuersRequest, ListIssuersResponse, ListManifestsRequest, ListManifestsResponse, ListMembersRequest,
    ListMembersResponse, ListNodesRequest, ListNodesResponse, ListPrefetchSchedulesRequest,
    ListPrefetchSchedulesResponse, ListTagsRequest, ListTagsResponse, ListTokensRequest, ListTokensResponse,
    ListTrustsRequest, ListTrustsResponse, ListUpstreamsRequest, ListUpstreamsResponse, ListUsersRequest,
    ListUsersResponse, Manifest, Member, Node, OidcIssuer, OidcTrust, PrefetchSchedule, Token, Upstream, User,
};
use tonic::{Response, Status};

/// Items asked for in one page.
const PAGE_SIZE: usize = 200;

/// A request for one page of a list.
pub trait Listing: Clone {
    /// Its answer.
    type Page;
    /// What the list has.
    type Item;

    /// The same request for the page that `token` names, and at most `size` items.
    fn page(self, size: i32, token: String) -> Self;
    /// The items of an answer, and the name of the next page: empty after the last.
    fn items(page: Self::Page) -> (Vec<Self::Item>, String);
}

macro_rules! listings {
    ($($request:ident => $page:ident { $items:ident: $item:ident },)*) => {$(
        impl Listing for $request {
            type Page = $page;
            type Item = $item;

            fn page(self, page_size: i32, page_token: String) -> Self {
                // A request that has nothing but its page is given whole.
                #[allow(clippy::needless_update, reason = "requests differ in what else they have")]
                Self { page_size, page_token, ..self }
            }

            fn items(page: $page) -> (Vec<$item>, String) {
                (page.$items, page.next_page_token)
            }
        }
    )*};
}

listings! {
    ListEventsRequest => ListEventsResponse { events: AuditEvent },
    ListBlobsRequest => ListBlobsResponse { blobs: Blob },
    ListGroupsRequest => ListGroupsResponse { groups: Group },
    ListImagesRequest => ListImagesResponse { images: CachedImage },
    ListIssuersRequest => ListIssuersResponse { issuers: OidcIssuer },
    ListManifestsRequest => ListManifestsResponse { manifests: Manifest },
    ListMembersRequest => ListMembersResponse { members: Member },
    ListNodesRequest => ListNodesResponse { nodes: Node },
    ListPrefetchSchedulesRequest => ListPrefetchSchedulesResponse { schedules: PrefetchSchedule },
    ListTagsRequest => ListTagsResponse { tags: CachedTag },
    ListTokensRequest => ListTokensResponse { tokens: Token },
    ListTrustsRequest => ListTrustsResponse { trusts: OidcTrust },
    ListUpstreamsRequest => ListUpstreamsResponse { upstreams: Upstream },
    ListUsersRequest => ListUsersResponse { users: User },
}

/// Follows a list to its last page. `call` asks for one page.
pub async fn all_pages<L: Listing>(
    request: L,
    call: impl AsyncFnMut(L) -> Result<Response<L::Page>, Status>,
) -> Result<Vec<L::Item>, Status> {
    Ok(first_pages(request, usize::MAX, call).await?.0)
}

/// Follows a list until there are `limit` items; tells whether there are more.
pub async fn first_pages<L: Listing>(
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
