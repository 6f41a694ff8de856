//! Clients that pull without pause while a test breaks things, and remember every pull that was not right.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    client::{self, Client},
    image::{Image, digest},
};

/// Pulls under way. Dropping it ends them.
pub struct Load {
    clients: JoinSet<()>,
    stop: CancellationToken,
    pulled: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    pulls: AtomicUsize,
    failures: Mutex<Vec<String>>,
    slowest: Mutex<Duration>,
}

/// The result.
#[derive(Debug)]
pub struct Pulled {
    /// Whole images that were pulled, right to the last byte.
    pub pulls: usize,
    /// The failures of the others.
    pub failures: Vec<String>,
    /// The longest that a pull took.
    pub slowest: Duration,
}

impl Load {
    /// So many clients of the registry at `url` that pull these images of the ready-made group, one after the other,
    /// each pull by a connection of its own as real clients do.
    pub fn start(url: &str, clients: usize, images: &[(&str, Image)]) -> Self {
        let (stop, pulled) = (CancellationToken::new(), Arc::<Counts>::default());
        let images: Arc<Vec<_>> =
            Arc::new(images.iter().map(|(name, image)| ((*name).to_owned(), image.clone())).collect());
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let (url, stop, pulled, images) = (url.to_owned(), stop.clone(), Arc::clone(&pulled), Arc::clone(&images));
            tasks.spawn(async move {
                for (name, image) in images.iter().cycle().skip(number) {
                    if stop.is_cancelled() {
                        return;
                    }
                    let started = Instant::now();
                    match pull(&url, name, image).await {
                        Ok(()) => pulled.pulls.fetch_add(1, Ordering::SeqCst),
                        Err(problem) => {
                            let problem = format!("after {:?}: {name}: {problem}", started.elapsed());
                            pulled.failures.lock().unwrap().push(problem);
                            0
                        }
                    };
                    let mut slowest = pulled.slowest.lock().unwrap();
                    *slowest = started.elapsed().max(*slowest);
                }
            });
        }
        Self { clients: tasks, stop, pulled }
    }

    /// Waits until so many more images were pulled, at most 60 s.
    pub async fn more(&self, pulls: usize) {
        let (enough, started) = (self.pulled.pulls.load(Ordering::SeqCst) + pulls, Instant::now());
        while self.pulled.pulls.load(Ordering::SeqCst) < enough {
            let failures = || self.pulled.failures.lock().unwrap().clone();
            assert!(started.elapsed() < Duration::from_secs(60), "no {pulls} more pulls in 60 s: {:?}", failures());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the pulls under way; returns the outcome of all.
    pub async fn stop(mut self) -> Pulled {
        self.stop.cancel();
        while self.clients.join_next().await.is_some() {}
        let failures = self.pulled.failures.lock().unwrap().clone();
        let slowest = *self.pulled.slowest.lock().unwrap();
        Pulled { pulls: self.pulled.pulls.load(Ordering::SeqCst), failures, slowest }
    }
}

/// One pull: sign in, the manifest by tag, every blob. Nothing is tried again.
async fn pull(url: &str, name: &str, image: &Image) -> Result<(), String> {
    // A connection of its own, kept for the length of the pull.
    let client = Client::new(url, "default", None).with_http(client::builder().build().unwrap());
    let problem = |what: &str, problem: String| format!("{what}: {problem}");
    let ask = async |what: &str, rest: &str| {
        let accepts = client::ENGINE_ACCEPTS.map(|kind| ("accept", kind));
        let answer = client.try_pull(name, rest, &accepts).await.map_err(|e| problem(what, format!("{e:?}")))?;
        match answer.status.as_u16() {
            200 => Ok(answer.body),
            status => Err(problem(what, format!("{status} {}", String::from_utf8_lossy(&answer.body)))),
        }
    };
    if ask("manifest", "manifests/latest").await? != image.manifest {
        return Err("the manifest is another".to_owned());
    }
    for blob in image.blobs() {
        let wanted = digest(blob);
        if ask("blob", &format!("blobs/{wanted}")).await? != *blob {
            return Err(format!("blob {wanted} is another"));
        }
    }
    Ok(())
}
