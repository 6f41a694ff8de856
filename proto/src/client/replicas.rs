//! One service out of several control-plane replicas: calls are spread over those that answer, and a call that a replica
//! does not answer goes to the next.
//!
//! A call that may be repeated, by its `idempotency_level` in the contract, goes to another replica when the first fails, says
//! that it is unavailable, or is silent for a while (it is not given up then: whichever answers first counts). Every other call
//! moves on only where no replica can have received it. A replica that failed is asked last for some seconds. A stream stays
//! with the replica that it began at; opening it again gets the next one. Overall time limits are the caller's.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep};
use tonic::{Code, ConnectError, Status, body::Body, transport::Channel};
use tower::Service;

use crate::Method;

/// Time after which a call to a silent replica goes to another one too.
const PATIENCE: Duration = Duration::from_millis(1200);
/// Time for which a replica that failed comes last.
const SUSPICION: Duration = Duration::from_secs(5);

/// The replicas of the control plane as one. Cheap to clone.
#[derive(Clone)]
pub struct ControlReplicas {
    all: Arc<[Replica]>,
    next: Arc<AtomicUsize>,
    patience: Duration,
}

struct Replica {
    channel: Channel,
    suspect_until: Mutex<Option<Instant>>,
}

type Answer = Result<Response<Body>, tonic::transport::Error>;

impl ControlReplicas {
    /// Makes one service of the replicas behind these channels, at least one. The first call goes to any of them, so that not
    /// all callers begin with the same one.
    pub fn new(channels: Vec<Channel>) -> Self {
        let first = getrandom::u32().unwrap_or_default() as usize;
        let all: Arc<[Replica]> =
            channels.into_iter().map(|channel| Replica { channel, suspect_until: Mutex::default() }).collect();
        Self { all, next: Arc::new(AtomicUsize::new(first)), patience: PATIENCE }
    }

    /// The same, where the first call goes to the replica at `first`, counted on past the last.
    #[must_use]
    pub fn starting_at(self, first: usize) -> Self {
        self.next.store(first, Ordering::Relaxed);
        self
    }

    /// Returns the client with another patience.
    #[must_use]
    pub const fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// All replicas in the order in which to ask them.
    fn order(&self) -> Vec<usize> {
        let count = self.all.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let mut order: Vec<usize> = (0..count).map(|step| first.wrapping_add(step) % count.max(1)).collect();
        let now = Instant::now();
        order.sort_by_key(|index| self.all[*index].is_suspect(now));
        order
    }

    async fn answer(self, request: Request<Body>) -> Answer {
        let may_repeat = Method::by_path(request.uri().path()).is_some_and(Method::may_repeat);
        let (head, body) = request.into_parts();
        // Requests are single messages of some kilobytes, in memory already.
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(status) => return Ok(status.into_http()),
        };
        let order = self.order();
        let mut untried = order.into_iter();
        let mut running = FuturesUnordered::new();
        let mut failed = None;
        loop {
            if running.is_empty() {
                let Some(index) = untried.next() else {
                    return failed.unwrap_or_else(|| Ok(Status::unavailable("there is no control plane").into_http()));
                };
                running.push(self.attempt(index, &head, &body, may_repeat));
            }
            let answered = tokio::select! {
                answered = running.next() => answered,
                () = sleep(self.patience), if may_repeat && untried.len() > 0 => None,
            };
            match answered {
                // Silence: the others are asked too.
                None => {
                    if let Some(index) = untried.next() {
                        running.push(self.attempt(index, &head, &body, may_repeat));
                    }
                }
                Some((answer, Outcome::Answered)) => return answer,
                Some((answer, Outcome::Failed { unsent })) => {
                    if !may_repeat && !unsent {
                        return answer;
                    }
                    failed = Some(answer);
                }
            }
        }
    }

    async fn attempt(&self, index: usize, head: &Parts, body: &bytes::Bytes, whole: bool) -> (Answer, Outcome) {
        let attempt = Attempt { replica: &self.all[index], began: Instant::now(), patience: self.patience };
        let request = Request::from_parts(head.clone(), Body::new(Full::new(body.clone())));
        let answer = ask(attempt.replica.channel.clone(), request, whole).await;
        let outcome = Outcome::of(&answer);
        attempt.ended(outcome);
        (answer, outcome)
    }
}

/// A single channel is a control plane of one replica.
impl From<Channel> for ControlReplicas {
    fn from(channel: Channel) -> Self {
        Self::new(vec![channel])
    }
}

impl fmt::Debug for ControlReplicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlReplicas").field("count", &self.all.len()).finish_non_exhaustive()
    }
}

impl Replica {
    fn is_suspect(&self, now: Instant) -> bool {
        self.suspect_until.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| until > now)
    }

    fn suspect(&self, until: Option<Instant>) {
        *self.suspect_until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

/// One replica being asked. If it is dropped before an answer, after longer than answers usually take, the replica is suspect.
struct Attempt<'a> {
    replica: &'a Replica,
    began: Instant,
    patience: Duration,
}

impl Attempt<'_> {
    fn ended(mut self, outcome: Outcome) {
        let failed = matches!(outcome, Outcome::Failed { .. });
        self.replica.suspect(failed.then(|| Instant::now() + SUSPICION));
        self.patience = Duration::MAX;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.began.elapsed() >= self.patience {
            self.replica.suspect(Some(Instant::now() + SUSPICION));
        }
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Answered,
    Failed {
        /// No replica can have received it.
        unsent: bool,
    },
}

impl Outcome {
    fn of(answer: &Answer) -> Self {
        match answer {
            // Where there is nothing but a status, it comes with the headers.
            Ok(response) => match Status::from_header_map(response.headers()) {
                Some(status) if status.code() == Code::Unavailable => Self::Failed { unsent: false },
                _ => Self::Answered,
            },
            Err(error) => Self::Failed { unsent: never_connected(error) },
        }
    }
}

/// Asks one replica; `whole` waits for all of the answer, so that one that breaks off counts as none.
async fn ask(mut channel: Channel, request: Request<Body>, whole: bool) -> Answer {
    std::future::poll_fn(|context| channel.poll_ready(context)).await?;
    let response = channel.call(request).await?;
    if !whole {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => Ok(Response::from_parts(head, Body::new(body))),
        Err(status) => {
            let message = format!("the answer broke off: {}", status.message());
            Ok(Status::unavailable(message).into_http())
        }
    }
}

fn never_connected(error: &tonic::transport::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

impl Service<Request<Body>> for ControlReplicas {
    type Response = Response<Body>;
    type Error = tonic::transport::Error;
    type Future = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Each replica's channel is waited for when it is asked.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

#[cfg(test)]
mod tests;
