use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::timeout;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_us_is_no_standstill_and_a_frame_not_taken_is() {
    let limit = Duration::from_secs(60);
    let activity = Arc::<Activity>::default();
    let frames = futures_util::stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))]);
    let frames = futures_util::StreamExt::chain(frames, futures_util::stream::pending());
    let answer = activity.watch(async { Response::new(StreamBody::new(frames)) }).await;
    let mut body = answer.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    // The frame is the client's to take.
    assert!(timeout(limit * 2, activity.stands_still(limit, limit)).await.is_ok());
    // It is taken, and there is no other yet.
    assert!(timeout(limit, body.frame()).await.is_err());
    assert!(timeout(limit * 10, activity.stands_still(limit, limit)).await.is_err());
    // The client gives up.
    drop(body);
    assert!(timeout(limit * 2, activity.stands_still(limit, limit)).await.is_ok());
}
