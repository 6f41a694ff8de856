//! The throttle of failed sign-ins: slowed first, then refused for a while. Plain counters over a time that is
//! handed in.
//!
//! It guarantees that
//! - guesses from one address, for one name or for many, soon have to wait;
//! - who guesses one name from many addresses gets few tries from each;
//! - an address without failures of its own always gets its try, whatever others do to the same name: the rightful
//!   owner is locked out of nowhere but where the failures come from;
//! - a provider's whole IPv6 network (/56, /48) gets more tries than one customer's /64, but not without end;
//! - a name that has signed in from an address before is held up by failures of that name there, and by no others;
//! - memory is bounded, however many addresses and names there are.
//!
//! Secrets that nobody can guess (our tokens, ID tokens) need none of this: whoever brings a good one signs in, paused
//! or not. Counts are this replica's own.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A limit on one kind of failures, which are forgotten one after the other.
struct Measure {
    /// Time for which one failure counts, in milliseconds.
    forget_ms: i64,
    /// The number of failures from which on tries are refused.
    limit: i64,
    /// From how many on answers are slow.
    slow: i64,
}

/// One name from one address: about 300 guesses a day.
const PAIR: Measure = Measure { forget_ms: 5 * 60 * 1000, limit: 10, slow: 3 };
/// The limit while the name is guessed from many addresses.
const PAIR_UNDER_ATTACK: Measure = Measure { limit: 3, slow: 1, ..PAIR };
/// All names from one address, which may be an office.
const ADDRESS: Measure = Measure { forget_ms: 60 * 1000, limit: 50, slow: 10 };
/// All names from one IPv6 network that holds several customers, by its bits.
const WIDE: [(u32, Measure); 2] = [
    (56, Measure { forget_ms: 60 * 1000, limit: 100, slow: 50 }),
    (48, Measure { forget_ms: 60 * 1000, limit: 200, slow: 100 }),
];
/// One name from all addresses; refuses nothing by itself.
const NAME: Measure = Measure { forget_ms: 60 * 1000, limit: 20, slow: i64::MAX };
/// Most failures that one counter counts, as a multiple of its limit, so that every attack is forgotten some time.
const MOST: i64 = 2;
/// Most counters of each kind.
const MAX_COUNTERS: usize = 10_000;
/// Time for which a sign-in of a name from an address is remembered, in milliseconds: 30 days.
const KNOWN_MS: i64 = 30 * 24 * 3600 * 1000;
/// The first delay; it doubles with each failure.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// The longest delay. Less than what a node waits for an answer.
const MAX_DELAY: Duration = Duration::from_secs(1);
/// Most characters of a name that tell it from others.
const MAX_NAME_CHARS: usize = 255;

/// Somebody tries to sign in: from where, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    address: Network,
    name: String,
}

/// Returns the network that counts as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Network {
    /// The address is unknown.
    Unknown,
    /// One address of IPv4, or the /64 that one customer has of IPv6.
    Of(IpAddr),
}

impl Network {
    /// The wider networks that it is counted in, each with its measure.
    fn wider(self) -> impl Iterator<Item = ((u32, Ipv6Addr), &'static Measure)> {
        let address = match self {
            Self::Of(IpAddr::V6(address)) => Some(u128::from(address)),
            _ => None,
        };
        let within = move |bits: u32| Some((bits, Ipv6Addr::from(address? & (u128::MAX << (128 - bits)))));
        WIDE.iter().filter_map(move |(bits, measure)| Some((within(*bits)?, measure)))
    }
}

impl Attempt {
    /// From an address as text, for a name as given.
    pub fn new(address: &str, name: &str) -> Self {
        let address = match address.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(IpAddr::V6(ip)) => {
                let network = u128::from(ip) & (u128::MAX << 64);
                Network::Of(IpAddr::V6(Ipv6Addr::from(network)))
            }
            Ok(ip) => Network::Of(ip),
            Err(_) => Network::Unknown,
        };
        Self { address, name: name.chars().take(MAX_NAME_CHARS).flat_map(char::to_lowercase).collect() }
    }
}

impl Attempt {
    /// From where.
    pub fn address(&self) -> impl Hash + use<> {
        self.address
    }
}

/// No more tries for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many failed sign-ins; try again in {} seconds", retry_after_seconds(*retry_after))]
pub struct TooManyFailures {
    /// The time to wait.
    pub retry_after: Duration,
}

/// Whole seconds, and at least one.
pub fn retry_after_seconds(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1)
}

/// When all failures will be forgotten, by what failed.
struct Counters<K>(HashMap<K, i64>);

impl<K> Default for Counters<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Counters<K> {
    fn failures(&self, key: &K, measure: &Measure, now_ms: i64) -> i64 {
        let left_ms = self.0.get(key).map_or(0, |empty_ms| (empty_ms - now_ms).max(0));
        (left_ms + measure.forget_ms - 1) / measure.forget_ms
    }

    /// The time until which tries are refused.
    fn refused_until(&self, key: &K, measure: &Measure) -> i64 {
        self.0.get(key).map_or(0, |empty_ms| empty_ms - (measure.limit - 1) * measure.forget_ms)
    }

    fn add(&mut self, key: &K, measure: &Measure, now_ms: i64) {
        if !self.0.contains_key(key) {
            make_room(&mut self.0, now_ms);
        }
        let empty_ms = self.0.entry(key.clone()).or_insert(now_ms);
        *empty_ms = (*empty_ms).max(now_ms) + measure.forget_ms;
        *empty_ms = (*empty_ms).min(now_ms + MOST * measure.limit * measure.forget_ms);
    }
}

/// Forgets what is past, and if that is little, the tenth that would be forgotten soonest: so room is made seldom.
fn make_room<K: Eq + Hash>(times: &mut HashMap<K, i64>, now_ms: i64) {
    if times.len() < MAX_COUNTERS {
        return;
    }
    let mut all: Vec<i64> = times.values().copied().collect();
    let (_, tenth_ms, _) = all.select_nth_unstable(MAX_COUNTERS / 10);
    let through_ms = now_ms.max(*tenth_ms);
    let mut room = MAX_COUNTERS / 10;
    times.retain(|_, until_ms| {
        let goes = *until_ms <= now_ms || (*until_ms <= through_ms && room > 0);
        room = room.saturating_sub(usize::from(goes));
        !goes
    });
}

#[derive(Default)]
struct Counts {
    pairs: Counters<Attempt>,
    addresses: Counters<Network>,
    wide: Counters<(u32, Ipv6Addr)>,
    names: Counters<String>,
    /// Until when it is remembered that the name signed in from there.
    known: HashMap<Attempt, i64>,
}

impl Counts {
    fn is_known(&self, attempt: &Attempt, now_ms: i64) -> bool {
        self.known.get(attempt).is_some_and(|until_ms| *until_ms > now_ms)
    }

    fn pair_measure(&self, attempt: &Attempt, now_ms: i64) -> &'static Measure {
        let attacked = self.names.failures(&attempt.name, &NAME, now_ms) >= NAME.limit;
        if attacked && !self.is_known(attempt, now_ms) { &PAIR_UNDER_ATTACK } else { &PAIR }
    }

    /// Until when an address, and the networks around it, get no more tries, whatever the name. A name that has signed in from
    /// there before is held up by its own failures alone: behind a balancer that hides its clients, all share one address.
    fn around_refused_until(&self, attempt: &Attempt, now_ms: i64) -> i64 {
        if self.is_known(attempt, now_ms) {
            return 0;
        }
        let address = self.addresses.refused_until(&attempt.address, &ADDRESS);
        let refused = attempt.address.wider().map(|(network, measure)| self.wide.refused_until(&network, measure));
        refused.max().unwrap_or_default().max(address)
    }
}

/// Failed sign-ins, counted.
#[derive(Default)]
pub struct FailureCounts(Mutex<Counts>);

impl FailureCounts {
    /// Returns whether a guess may be tried now. Asked before a password is looked at.
    pub fn check(&self, attempt: &Attempt, now_ms: i64) -> Result<(), TooManyFailures> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until_ms = counts
            .pairs
            .refused_until(attempt, counts.pair_measure(attempt, now_ms))
            .max(counts.around_refused_until(attempt, now_ms));
        if until_ms <= now_ms {
            return Ok(());
        }
        Err(TooManyFailures { retry_after: Duration::from_millis((until_ms - now_ms).unsigned_abs()) })
    }

    /// Counts a failure. Answers how long to wait before telling.
    pub fn failed(&self, attempt: &Attempt, now_ms: i64) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.addresses.add(&attempt.address, &ADDRESS, now_ms);
        for (network, measure) in attempt.address.wider() {
            counts.wide.add(&network, measure, now_ms);
        }
        counts.names.add(&attempt.name, &NAME, now_ms);
        counts.pairs.add(attempt, &PAIR, now_ms);
        let pair = counts.pair_measure(attempt, now_ms);
        let over = (counts.pairs.failures(attempt, pair, now_ms) - pair.slow)
            .max(counts.addresses.failures(&attempt.address, &ADDRESS, now_ms) - ADDRESS.slow);
        delay(over)
    }

    /// Forgets the name's failures from there: its owner is there. Those of other names from there stay.
    pub fn succeeded(&self, attempt: &Attempt, now_ms: i64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.pairs.0.remove(attempt);
        if !counts.known.contains_key(attempt) {
            make_room(&mut counts.known, now_ms);
        }
        counts.known.insert(attempt.clone(), now_ms + KNOWN_MS);
    }
}

/// Of an answer to a failure that is this many over what is put up with.
fn delay(over: i64) -> Duration {
    match u32::try_from(over - 1) {
        Ok(doublings) => FIRST_DELAY.saturating_mul(1 << doublings.min(10)).min(MAX_DELAY),
        Err(_) => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests;
