use std::convert::Infallible;

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};

use super::*;

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_ended_and_one_in_time_is_not() {
    for (every, count, in_time) in [(Duration::from_secs(1), 20, true), (Duration::from_secs(9), 20, false)] {
        let pieces = stream::iter(0..count).then(move |_| async move {
            sleep(every).await;
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))
        });
        let body = RequestBody::new(StreamBody::new(Box::pin(pieces)), Duration::from_secs(30));
        match body.collect().await {
            Ok(whole) => assert_eq!((whole.to_bytes().len(), in_time), (20, true)),
            Err(error) => assert!(!in_time && error.downcast_ref() == Some(&BodyTooSlow)),
        }
    }
}
