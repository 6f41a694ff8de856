//! Pages of lists: sizes, and tokens that say where the next one begins. A token holds a key, not a number, so that
//! pages neither repeat nor skip what was there all the time while the list changes.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use tonic::Status;

use crate::{api::errors::invalid_field, usecases::Page};

/// Items in a page if nothing is said.
const DEFAULT: i64 = 100;
/// Most items in a page.
const MAX: i32 = 1000;

/// Returns the number of items to answer.
pub fn size(page_size: i32) -> Result<i64, Status> {
    match page_size {
        0 => Ok(DEFAULT),
        1..=MAX => Ok(i64::from(page_size)),
        _ => Err(invalid_field("page_size", format!("must be between 0 and {MAX}"))),
    }
}

/// The key after which the page begins; empty for the first.
pub fn after(page_token: &str) -> Result<String, Status> {
    let bad = || invalid_field("page_token", "must be the next_page_token of the page before, or empty");
    let bytes = BASE64.decode(page_token).map_err(|_| bad())?;
    String::from_utf8(bytes).map_err(|_| bad())
}

/// The token for the page after the item with this key, if more follow.
pub fn next(more: bool, last_key: Option<&str>) -> String {
    last_key.filter(|_| more).map(|key| BASE64.encode(key)).unwrap_or_default()
}

/// Reads which page a request asks for: the key that it begins after, and its size.
pub fn request(page_token: &str, page_size: i32) -> Result<(String, i64), Status> {
    Ok((after(page_token)?, size(page_size)?))
}

/// Translates the items of a page, and makes the token of the next page from the key of the last item.
pub fn answer<T, M>(page: Page<T>, key: impl Fn(&T) -> String, translate: impl Fn(T) -> M) -> (Vec<M>, String) {
    let last = page.items.last().map(key);
    (page.items.into_iter().map(translate).collect(), next(page.more, last.as_deref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        for (asked, expected) in [(0, Some(100)), (1, Some(1)), (1000, Some(1000)), (1001, None), (-1, None)] {
            assert_eq!(size(asked).ok(), expected, "{asked}");
        }
    }

    #[test]
    fn tokens_come_back_as_the_keys_they_were_made_of() {
        assert_eq!(next(false, Some("x")), "");
        assert_eq!(after(&next(true, Some("acme/ci"))).unwrap(), "acme/ci");
        assert!(after("%%%").is_err());
    }
}
