//! A check of a group's content as a gRPC stream: what the node tells, and what was found wrong, until it is done.
//! Dropping the stream (the caller is gone) gives the check up.

use std::{collections::HashSet, pin::Pin};

use roadstead_proto::{Digest, v1::CheckCacheResponse};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;

use crate::{
    api::{
        errors::{self, from_use_case},
        public::convert,
    },
    jobs::{CheckProgress, Report},
    store::Store,
    usecases::cache::{self, corruption::Check},
};

/// The stream.
pub type CheckStream = Pin<Box<dyn Stream<Item = Result<CheckCacheResponse, Status>> + Send>>;

/// Streams the progress of a check to its caller.
pub fn stream(store: Store, check: Check) -> CheckStream {
    let (sender, told) = mpsc::channel(1);
    tokio::spawn(async move {
        // Ends at once when the caller is gone, and the job with it.
        tokio::select! {
            () = sender.closed() => {}
            () = tell(&store, check, &sender) => {}
        }
    });
    Box::pin(ReceiverStream::new(told))
}

async fn tell(store: &Store, mut check: Check, sender: &mpsc::Sender<Result<CheckCacheResponse, Status>>) {
    let mut listed = HashSet::new();
    loop {
        let (progress, done) = match check.waiting.next().await {
            Ok(Report::Checking(progress)) => (Ok(progress), false),
            Ok(Report::Checked(progress)) => (Ok(progress), true),
            Ok(Report::Failed(error)) | Err(error) => (Err(errors::job(error)), true),
            Ok(Report::Progress(_) | Report::Done(_) | Report::CredentialGood) => {
                (Err(errors::internal("a node answered what was not asked")), true)
            }
        };
        let told = match progress {
            Ok(progress) => response(store, &check, progress, done, &mut listed).await,
            Err(status) => Err(status),
        };
        let done = done || told.is_err();
        if sender.send(told).await.is_err() || done {
            return;
        }
    }
}

/// Builds a response; the database has each corruption before the node reports its progress.
async fn response(
    store: &Store,
    check: &Check,
    progress: CheckProgress,
    done: bool,
    listed: &mut HashSet<Digest>,
) -> Result<CheckCacheResponse, Status> {
    let mut corruptions =
        cache::corruption::since(store, &check.group_id, check.began_ms).await.map_err(from_use_case)?;
    corruptions.retain(|corruption| listed.insert(corruption.noticed.digest));
    let CheckProgress { total, checked, read_bytes } = progress;
    let corruptions = corruptions.into_iter().map(convert::corruption).collect();
    Ok(CheckCacheResponse { total, checked, read_bytes, corruptions, done })
}
