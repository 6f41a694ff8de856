//! A prefetch as a gRPC stream: what the node tells, until it is done. Dropping the stream (the caller is gone) gives
//! the prefetch up.

use std::pin::Pin;

use roadstead_proto::v1::PrefetchImageResponse;
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;

use crate::{
    api::errors,
    jobs::{Progress, Report},
    usecases::jobs::exchange::JobHandle,
};

/// The stream.
pub type PrefetchStream = Pin<Box<dyn Stream<Item = Result<PrefetchImageResponse, Status>> + Send>>;

/// Streams the progress of a job to its caller.
pub fn stream(waiting: JobHandle) -> PrefetchStream {
    let (sender, told) = mpsc::channel(1);
    tokio::spawn(async move {
        // Ends at once when the caller is gone, and the job with it.
        tokio::select! {
            () = sender.closed() => {}
            () = tell(waiting, &sender) => {}
        }
    });
    Box::pin(ReceiverStream::new(told))
}

async fn tell(mut waiting: JobHandle, sender: &mpsc::Sender<Result<PrefetchImageResponse, Status>>) {
    loop {
        let (told, ended) = match waiting.next().await {
            Ok(Report::Progress(progress)) => (Ok(response(progress, false)), false),
            Ok(Report::Done(progress)) => (Ok(response(progress, true)), true),
            Ok(Report::Failed(error)) | Err(error) => (Err(errors::job(error)), true),
            Ok(Report::CredentialGood | Report::Checking(_) | Report::Checked(_)) => {
                (Err(errors::internal("a node answered what was not asked")), true)
            }
        };
        if sender.send(told).await.is_err() || ended {
            return;
        }
    }
}

fn response(progress: Progress, done: bool) -> PrefetchImageResponse {
    PrefetchImageResponse {
        total_bytes: progress.total_bytes,
        cached_bytes: progress.cached_bytes,
        fetched_bytes: progress.fetched_bytes,
        objects: progress.objects,
        done,
        digest: progress.digest,
    }
}
