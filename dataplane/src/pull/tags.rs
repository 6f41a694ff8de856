//! The list of tags: passed through, page by page, under the name that the client uses.

use http::{HeaderValue, StatusCode, header};
use serde_json::Value;
use url::form_urlencoded;

use super::request::Pull;
use crate::{
    respond::{Answer, Code, OciError, json},
    route::TagsPage,
    upstream::UpstreamClient,
};

/// Answers with a page of tags.
pub async fn answer(upstream: &UpstreamClient, pull: &Pull, page: &TagsPage) -> Result<Answer, OciError> {
    pull.wanted.may_ask_upstream()?;
    let listed = upstream
        .get_tags(&pull.target, page.n.map(u64::from), page.last.as_deref())
        .await
        .map_err(|error| OciError::from_upstream(&error, Code::NameUnknown))?;
    let Ok(Value::Object(mut list)) = serde_json::from_slice(&listed.body) else {
        let message = format!("{} sent something that is no list of tags", pull.target.host());
        return Err(OciError::new(StatusCode::BAD_GATEWAY, Code::Unavailable, message));
    };
    // Some registries say null where there is none.
    let tags = list.remove("tags").filter(|tags| !tags.is_null()).unwrap_or_else(|| Value::Array(Vec::new()));
    let last = tags.as_array().and_then(|tags| tags.last()?.as_str());
    let mut answer = json(StatusCode::OK, &serde_json::json!({ "name": *pull.wanted.permitted.name, "tags": tags }));
    if let Some(query) = listed.next_query
        && let Some(link) = next_link(&pull.wanted.permitted.name, &query, last)
    {
        answer.headers_mut().insert(header::LINK, link);
    }
    Ok(answer)
}

/// The next page's address here, for upstream's address of it there and the last tag of this page.
///
/// Upstreams may name their cursor as they like; only the spec's `last` can be asked for here. `None` after an empty
/// page, which leads nowhere: clients would follow such links for ever.
fn next_link(name: &str, upstream_query: &str, last_tag: Option<&str>) -> Option<HeaderValue> {
    let last_tag = last_tag?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    let mut has_last = false;
    for (key, value) in form_urlencoded::parse(upstream_query.as_bytes()) {
        if key == "n" || key == "last" {
            has_last |= key == "last";
            query.append_pair(&key, &value);
        }
    }
    if !has_last {
        query.append_pair("last", last_tag);
    }
    HeaderValue::try_from(format!("</v2/{name}/tags/list?{}>; rel=\"next\"", query.finish())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "g/dependency_proxy/containers/alpine";

    #[test]
    fn the_next_page_is_here_and_not_there() {
        let link = next_link(NAME, "last=3.1%2B&n=2&secret=x", Some("3.1")).unwrap();
        assert_eq!(link, "</v2/g/dependency_proxy/containers/alpine/tags/list?last=3.1%2B&n=2>; rel=\"next\"");
    }

    #[test]
    fn a_cursor_of_another_name_gives_way_to_the_last_tag() {
        let link = next_link(NAME, "n=2&next_page=abc", Some("3.1")).unwrap();
        assert_eq!(link, "</v2/g/dependency_proxy/containers/alpine/tags/list?n=2&last=3.1>; rel=\"next\"");
    }

    #[test]
    fn an_empty_page_is_the_last_one() {
        assert_eq!(next_link(NAME, "n=2&last=3.1", None), None);
    }
}
