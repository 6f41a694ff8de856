//! Calls end when the database is lost under them, instead of waiting for as long as the system keeps a dead
//! connection.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};

use crate::{api::errors::from_use_case, store::Store};

/// Answers in the call's stead if the database is lost before it does. Streams that have begun end by themselves.
pub async fn give_up(State(store): State<Store>, request: Request, next: Next) -> Response {
    match store.unless_lost(next.run(request)).await {
        Ok(response) => response,
        Err(lost) => from_use_case(lost.into()).into_http(),
    }
}
