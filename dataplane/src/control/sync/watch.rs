//! The background work of the control client: following what the control plane tells, and reporting usage.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use roadstead_proto::node::v1::{self as pb, policy_change::Change, watch_response::Event};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    control::{
        ControlClient, ControlError, PolicySnapshot,
        client::translate,
        reports::{upstreams, usage::Batch},
        sync::staleness::QUIET,
    },
    random,
};

/// Longest silence on the watch before it is opened anew. The control plane says something every 2.5 seconds.
const MAX_SILENCE: Duration = Duration::from_secs(12);
/// How long opening the watch may take.
const OPEN_TIME: Duration = Duration::from_secs(5);
/// The first pause before the watch is opened again; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// How often usage is reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// How long the last report may take at a stop.
const LAST_REPORT_TIME: Duration = Duration::from_secs(3);

const CALL: &str = "Watch";

impl ControlClient {
    /// Follows the control plane and reports usage until `stop`; returns after the last report. Must run for the
    /// client to know anything. If it is dropped, what is known stays, and pulls not yet reported are lost.
    /// `registry_url` is where clients reach this node; empty if that is not known.
    pub async fn run(&self, registry_url: &str, stop: CancellationToken) {
        tokio::join!(
            stop.run_until_cancelled(self.follow_for_ever(registry_url)),
            self.report_usage(&stop),
            self.report_upstreams(&stop),
            self.keep_saved(&stop),
        );
    }

    async fn follow_for_ever(&self, registry_url: &str) {
        let mut pause = FIRST_PAUSE;
        // What comes from the disk is only good until there is better: everything is asked for.
        let (mut resume, mut was_told) = (0, false);
        loop {
            let mut heard = false;
            let error = self.follow(registry_url, resume, &mut heard).await;
            if heard {
                (pause, was_told) = (FIRST_PAUSE, true);
            }
            // After an event that makes no sense only a snapshot is sure to be right.
            let is_sure = was_told && !matches!(error, ControlError::BadAnswer { .. });
            resume = if is_sure { self.policy.load().revision() } else { 0 };
            warn!(%error, error.kind = error.kind(), "the control plane's watch ended; connecting again");
            tokio::select! {
                () = sleep(jittered(pause)) => {}
                // It answers calls: there is no need to spare it.
                () = self.doubt.reopened() => pause = FIRST_PAUSE,
            }
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Opens the watch and takes what it tells until it ends, which is always an error.
    async fn follow(&self, registry_url: &str, resume_revision: i64, heard: &mut bool) -> ControlError {
        let request = self.request(pb::WatchRequest {
            node_name: self.node_name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            resume_revision,
            registry_url: registry_url.to_owned(),
            node_id: self.node_id.to_string(),
        });
        let mut service = self.service.clone();
        let mut events = match timeout(OPEN_TIME, service.watch(request)).await {
            Ok(Ok(response)) => response.into_inner(),
            Ok(Err(status)) => return ControlError::from_status(CALL, &status),
            Err(_) => return ControlError::Timeout { call: CALL },
        };
        let opened = Instant::now();
        loop {
            // One that is new gets the time to tell something.
            let is_stale = async {
                sleep_until(opened + QUIET).await;
                self.doubt.reopened().await;
            };
            let event = tokio::select! {
                event = timeout(MAX_SILENCE, events.message()) => event,
                () = is_stale => return ControlError::Timeout { call: CALL },
            };
            let event = match event {
                Ok(Ok(Some(event))) => event,
                Ok(Ok(None)) => {
                    return ControlError::Unavailable { call: CALL, message: "the stream ended".to_owned() };
                }
                Ok(Err(status)) => return ControlError::from_status(CALL, &status),
                Err(_) => return ControlError::Timeout { call: CALL },
            };
            if let Err(problem) = self.apply(event) {
                return ControlError::BadAnswer { call: CALL, problem };
            }
            *heard = true;
            self.heard();
        }
    }

    fn apply(&self, response: pb::WatchResponse) -> Result<(), translate::Problem> {
        let revision = response.revision;
        match response.event.ok_or("an event says nothing")? {
            Event::Snapshot(mut snapshot) => {
                for told in std::mem::take(&mut snapshot.conditions) {
                    match upstreams::condition(told) {
                        Ok(told) => self.conditions().learn(told),
                        Err(problem) => error!(problem, "left out of the snapshot"),
                    }
                }
                let mut policy = PolicySnapshot::default();
                for part in translate::snapshot(snapshot) {
                    match part {
                        Ok(change) => policy = policy.with(change),
                        Err(problem) => error!(problem, "left out of the snapshot"),
                    }
                }
                self.policy.store(Arc::new(policy.at(revision)));
                info!(revision, "snapshot received from the control plane");
                self.has_snapshot.send_replace(true);
                self.applied.send_replace(revision);
            }
            Event::Changes(changes) => {
                let mut policy = PolicySnapshot::clone(&self.policy.load());
                for change in changes.changes {
                    match change.change {
                        Some(Change::Job(pb::JobOffer { id })) => self.offers.put(id),
                        Some(Change::Condition(told)) => self.conditions().learn(upstreams::condition(told)?),
                        _ => policy = policy.with(translate::change(change)?),
                    }
                }
                self.policy.store(Arc::new(policy.at(revision)));
                debug!(revision, "changes received from the control plane");
                self.has_snapshot.send_replace(true);
                self.applied.send_replace(revision);
            }
            Event::Heartbeat(pb::Heartbeat {}) => {
                // What changed was nothing that nodes are told of.
                if revision > self.policy.load().revision() {
                    self.policy.store(Arc::new(PolicySnapshot::clone(&self.policy.load()).at(revision)));
                    self.applied.send_replace(revision);
                }
            }
        }
        Ok(())
    }

    async fn report_usage(&self, stop: &CancellationToken) {
        let mut pending = VecDeque::new();
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.report(&mut pending).await;
        }
        let last = async {
            // What could not be sent before goes first; then what was counted meanwhile.
            self.report(&mut pending).await;
            if pending.is_empty() {
                self.report(&mut pending).await;
            }
        };
        let in_time = timeout(LAST_REPORT_TIME, last).await.is_ok();
        if !in_time || !pending.is_empty() {
            warn!(lost_batches = pending.len(), "usage could not be reported before the stop");
        }
    }

    /// Sends what is pending, or else what was counted. What cannot be sent now stays pending under its id, and
    /// nothing new is taken before it is sent: that bounds memory.
    async fn report(&self, pending: &mut VecDeque<Batch>) {
        if pending.is_empty() {
            pending.extend(self.usage.take());
        }
        let uncounted = self.usage.take_uncounted();
        if uncounted > 0 {
            warn!(pulls = uncounted, "too many different contents at once: pulls were not counted");
        }
        while let Some(batch) = pending.front() {
            match self.send_usage(batch).await {
                Ok(()) => {}
                Err(error @ (ControlError::Refused { .. } | ControlError::NotFound { .. })) => {
                    warn!(%error, entries = batch.usage.len(), "a usage report is refused and dropped");
                }
                Err(error) => {
                    debug!(%error, "usage cannot be reported now");
                    return;
                }
            }
            pending.pop_front();
        }
    }
}

/// Between half of `pause` and all of it: nodes that lost the same control plane do not come back all at once.
fn jittered(pause: Duration) -> Duration {
    let share = f64::from(random::number()) / f64::from(u32::MAX);
    pause.mul_f64(0.5 + share / 2.0)
}
