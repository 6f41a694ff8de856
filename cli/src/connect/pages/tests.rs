use super::*;

/// Seven users, two a page at most.
async fn list(request: ListUsersRequest) -> Result<Response<ListUsersResponse>, Status> {
    let from = request.page_token.parse::<usize>().unwrap_or(0);
    let to = (from + 2.min(request.page_size as usize)).min(7);
    let users = (from..to).map(|at| User { name: at.to_string(), ..User::default() }).collect();
    let next_page_token = if to < 7 { to.to_string() } else { String::new() };
    Ok(Response::new(ListUsersResponse { users, next_page_token }))
}

#[tokio::test]
async fn lists_are_followed_to_their_last_page() {
    let (users, _) = first_pages(ListUsersRequest::default(), usize::MAX, list).await.unwrap();
    let names: Vec<_> = users.into_iter().map(|user| user.name).collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5", "6"]);
}

#[tokio::test]
async fn a_limit_ends_it_earlier_and_says_so() {
    for (limit, count, is_cut) in [(1, 1, true), (3, 3, true), (6, 6, true), (7, 7, false), (8, 7, false)] {
        let (users, cut) = first_pages(ListUsersRequest::default(), limit, list).await.unwrap();
        assert_eq!((users.len(), cut), (count, is_cut), "{limit}");
    }
}
