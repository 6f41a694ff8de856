//! A replica of the simulated control plane: `Watch` and `GetRevision` out of a change log that all replicas share, as they share a database.

use std::{
    cmp::Ordering,
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use roadstead_proto::node::v1::{self as pb, policy_change::Change, watch_response::Event};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;

use crate::control::fake;

/// Groups there are.
pub(super) const GROUPS: usize = 4;
/// The addresses of replicas.
pub(super) const PORT: u16 = 7071;
/// Interval of a replica's looks at the change log.
const POLL: Duration = Duration::from_millis(250);
/// Interval of heartbeats on a silent watch.
const HEARTBEAT: Duration = Duration::from_millis(2500);

/// The change log: which group changed at each revision, and when.
#[derive(Clone, Default)]
pub(super) struct Changes(Arc<Mutex<Vec<(usize, Duration)>>>);

impl Changes {
    /// Changes a group (as a purge does: its link epoch is the revision from then on), and answers the revision.
    pub(super) fn commit(&self, group: usize, now: Duration) -> i64 {
        let mut log = self.0.lock().unwrap();
        log.push((group, now));
        i64::try_from(log.len()).unwrap()
    }

    pub(super) fn revision(&self) -> i64 {
        i64::try_from(self.0.lock().unwrap().len()).unwrap()
    }

    /// The revision that there was at a time of the simulation.
    pub(super) fn revision_at(&self, then: Duration) -> i64 {
        i64::try_from(self.0.lock().unwrap().partition_point(|(_, at)| *at <= then)).unwrap()
    }

    /// Link epochs of all groups at a revision.
    pub(super) fn epochs(&self, revision: i64) -> [i64; GROUPS] {
        let mut epochs = [0; GROUPS];
        for (revision, (group, _)) in (1..=revision).zip(self.0.lock().unwrap().iter()) {
            epochs[*group] = revision;
        }
        epochs
    }

    /// The changes from `have` on, each group once.
    fn since(&self, have: i64, revision: i64) -> Vec<Change> {
        let (before, after) = (self.epochs(have), self.epochs(revision));
        (0..GROUPS).filter(|at| before[*at] != after[*at]).map(|at| Change::Group(group(at, after[at]))).collect()
    }
}

/// A group's id.
pub(super) fn id(at: usize) -> String {
    format!("g{at}")
}

fn group(at: usize, epoch: i64) -> pb::GroupPolicy {
    fake::group(&id(at), &format!("group-{at}"), epoch, 1)
}

/// Tells a watcher what it does not know, until it is gone.
async fn tell(changes: Changes, mut have: i64, watcher: mpsc::Sender<Result<pb::WatchResponse, Status>>) {
    let mut said = Instant::now();
    let mut needs_all = have == 0;
    loop {
        let revision = changes.revision();
        let event = if needs_all {
            let epochs = changes.epochs(revision);
            Some(fake::snapshot(revision, (0..GROUPS).map(|at| group(at, epochs[at])).collect()))
        } else {
            match revision.cmp(&have) {
                Ordering::Equal if said.elapsed() < HEARTBEAT => None,
                Ordering::Equal => {
                    let event = Some(Event::Heartbeat(pb::Heartbeat {}));
                    Some(pb::WatchResponse { revision, event, ..Default::default() })
                }
                _ => Some(fake::changes(revision, changes.since(have, revision))),
            }
        };
        if let Some(event) = event {
            if watcher.send(Ok(event)).await.is_err() {
                return;
            }
            (have, needs_all, said) = (revision, false, Instant::now());
        }
        sleep(POLL).await;
    }
}

async fn answer(changes: Changes, request: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(match request.uri().path().rsplit('/').next().unwrap_or_default() {
        "Watch" => {
            let watch = tower::service_fn(move |request: tonic::Request<pb::WatchRequest>| {
                let asked = request.get_ref();
                let have = if asked.wants_snapshot { 0 } else { asked.resume_revision };
                let (watcher, events) = mpsc::channel(16);
                tokio::spawn(tell(changes.clone(), have, watcher));
                async move { Ok::<_, Status>(tonic::Response::new(ReceiverStream::new(events))) }
            });
            let codec = ProstCodec::<pb::WatchResponse, pb::WatchRequest>::default();
            Grpc::new(codec).server_streaming(watch, request).await
        }
        "GetRevision" => {
            let revision = changes.revision();
            let get = tower::service_fn(move |_: tonic::Request<pb::GetRevisionRequest>| async move {
                Ok::<_, Status>(tonic::Response::new(pb::GetRevisionResponse { revision }))
            });
            let codec = ProstCodec::<pb::GetRevisionResponse, pb::GetRevisionRequest>::default();
            Grpc::new(codec).unary(get, request).await
        }
        _ => Status::unimplemented("not simulated").into_http(),
    })
}

/// Runs a replica.
pub(super) async fn serve(changes: Changes) -> turmoil::Result {
    let listener = turmoil::net::TcpListener::bind(("0.0.0.0", PORT)).await?;
    loop {
        let (connection, _) = listener.accept().await?;
        let changes = changes.clone();
        let calls = service_fn(move |request: Request<Incoming>| answer(changes.clone(), request.map(Body::new)));
        tokio::spawn(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(Some(Duration::from_secs(10)))
                .serve_connection(TokioIo::new(connection), calls),
        );
    }
}
