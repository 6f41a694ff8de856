//! The known state of upstreams by credentials: pull limits and pauses, observed here and by other nodes; and this node's
//! observations that are still to be reported.
//!
//! Memory is bounded, and nothing here waits. [`crate::upstream`] decides whether a request may go out, and the control
//! plane whether a cached tag is served instead.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::control::{
    client::condition::{Account, PullLimit, UpstreamCondition, UpstreamReport, UpstreamState},
    policy::{GroupId, UpstreamPolicy},
};

/// Most accounts remembered; beyond that, those are forgotten of which there is nothing to tell.
const MAX_ACCOUNTS: usize = 10_000;
/// Most sources remembered for an account: an upstream names them as it likes.
const MAX_SOURCES: usize = 16;
/// The known state of one account.
#[derive(Default)]
struct Known {
    paused_until: Option<SystemTime>,
    /// By source; whether it is yet to be told.
    limits: BTreeMap<String, (PullLimit, bool)>,
    state: UpstreamState,
    news: Option<News>,
}

/// The observations of one account that are still to be reported.
#[derive(Default)]
struct News {
    last_error: &'static str,
    last_failed_at: Option<SystemTime>,
    last_answered_at: Option<SystemTime>,
    spent: HashMap<GroupId, u64>,
}

impl Known {
    fn pause(&mut self, until: SystemTime) {
        self.paused_until = self.paused_until.max(Some(until));
    }

    /// Takes a limit unless a newer one is known for its source. True if it is the newest.
    fn limit(&mut self, source: &str, limit: PullLimit, is_news: bool) -> bool {
        if self.limits.get(source).is_some_and(|(known, _)| known.seen_at > limit.seen_at) {
            return false;
        }
        if !self.limits.contains_key(source) && self.limits.len() == MAX_SOURCES {
            let oldest = self.limits.iter().min_by_key(|(_, (limit, _))| limit.seen_at).map(|(name, _)| name.clone());
            oldest.map(|name| self.limits.remove(&name));
        }
        self.limits.insert(source.to_owned(), (limit, is_news));
        true
    }

    /// True if the last observed limit leaves less than the reserve.
    fn is_below_reserve(&self, percent: u8, now: SystemTime) -> bool {
        let newest = self.limits.values().map(|(limit, _)| limit).max_by_key(|limit| limit.seen_at);
        newest.is_some_and(|limit| limit.is_below(percent, now))
    }

    fn news(&mut self) -> &mut News {
        self.news.get_or_insert_default()
    }
}

/// The memory of all accounts.
#[derive(Default)]
pub struct Conditions {
    accounts: Mutex<HashMap<Account, Known>>,
    /// Something should be told at once.
    pub(crate) urgent: Notify,
}

impl Conditions {
    /// Takes what the control plane tells: what other nodes, or this one, learnt.
    pub(crate) fn learn(&self, told: UpstreamCondition) {
        self.update(&told.account, |known| {
            if let Some(until) = told.paused_until {
                known.pause(until);
            }
            if let Some(limit) = told.limit {
                known.limit(&told.source, limit, false);
            }
        });
    }

    /// Until when nothing is to be fetched for an account; `None` if it may be.
    pub fn paused_until(&self, account: &Account, now: SystemTime) -> Option<SystemTime> {
        self.accounts().get(account)?.paused_until.filter(|until| *until > now)
    }

    /// Checks whether pulls that can wait should: the account is paused, or has less left than the upstream's reserve.
    pub fn is_short(&self, upstream: &UpstreamPolicy, username: &str) -> bool {
        let (account, now) =
            (Account { upstream: upstream.host.clone(), username: username.to_owned() }, SystemTime::now());
        self.accounts().get(&account).is_some_and(|known| {
            known.paused_until.is_some_and(|until| until > now) || known.is_below_reserve(upstream.reserve_percent, now)
        })
    }

    /// Upstream has told a limit.
    pub fn note_limit(&self, account: &Account, source: &str, limit: PullLimit, reserve_percent: u8) {
        let (is_low, now) = (limit.is_below(reserve_percent, limit.seen_at), limit.seen_at);
        let has_dropped = self.update(account, |known| {
            let was_low = known.is_below_reserve(reserve_percent, now);
            let is_newest = known.limit(source, limit, true);
            known.news();
            is_newest && is_low && !was_low
        });
        if has_dropped {
            self.urgent.notify_one();
        }
    }

    /// Upstream has answered 429.
    pub fn note_pause(&self, account: &Account, until: SystemTime) {
        self.update(account, |known| {
            known.pause(until);
            known.news();
        });
        self.urgent.notify_one();
    }

    /// Upstream has answered.
    pub fn note_answer(&self, account: &Account, state: UpstreamState) {
        let is_over = self.update(account, |known| {
            let is_over = known.state == UpstreamState::Open && state != known.state;
            known.state = state;
            known.news().last_answered_at = Some(SystemTime::now());
            is_over
        });
        if is_over {
            self.urgent.notify_one();
        }
    }

    /// Upstream has failed.
    pub fn note_failure(&self, account: &Account, kind: &'static str, state: UpstreamState) {
        let has_opened = self.update(account, |known| {
            let has_opened = state == UpstreamState::Open && known.state != state;
            known.state = state;
            let news = known.news();
            (news.last_error, news.last_failed_at) = (kind, Some(SystemTime::now()));
            has_opened
        });
        if has_opened {
            self.urgent.notify_one();
        }
    }

    /// A group has fetched a manifest by GET.
    pub fn note_spent(&self, account: &Account, group: &GroupId) {
        self.update(account, |known| *known.news().spent.entry(group.clone()).or_default() += 1);
    }

    /// Takes at most `max` reports of what there is to tell.
    pub(crate) fn take(&self, max: usize) -> Vec<UpstreamReport> {
        let now = SystemTime::now();
        let mut reports = Vec::new();
        for (account, known) in self.accounts().iter_mut() {
            if reports.len() + MAX_SOURCES > max {
                // What is left is still there the next time.
                break;
            }
            let Some(news) = known.news.take() else { continue };
            let paused_until = known.paused_until.filter(|until| *until > now);
            let told = known.limits.iter_mut().filter(|(_, (_, is_news))| *is_news);
            let mut limits: Vec<_> = told
                .map(|(source, (limit, is_news))| {
                    *is_news = false;
                    (source.clone(), Some(limit.clone()))
                })
                .collect();
            if limits.is_empty() {
                limits.push((String::new(), None));
            }
            let first = reports.len();
            reports.extend(limits.into_iter().map(|(source, limit)| UpstreamReport {
                condition: UpstreamCondition { account: account.clone(), source, paused_until, limit },
                state: known.state,
                last_error: news.last_error,
                last_failed_at: news.last_failed_at,
                last_answered_at: news.last_answered_at,
                spent: Vec::new(),
            }));
            // Once for the account, however many sources it has.
            reports[first].spent = news.spent.into_iter().collect();
        }
        reports
    }

    fn update<T>(&self, account: &Account, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut accounts = self.accounts();
        if accounts.len() >= MAX_ACCOUNTS && !accounts.contains_key(account) {
            accounts.retain(|_, known| known.news.is_some());
        }
        change(accounts.entry(account.clone()).or_default())
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<Account, Known>> {
        self.accounts.lock()
    }
}
