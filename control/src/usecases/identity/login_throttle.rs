//! Guessing made slow: every check of something that could be guessed goes through here. The rule of
//! [`login_throttle`](crate::rules::identity::login_throttle) decides who may still try.
//!
//! It guarantees that what was counted of one address holds for the next try from there, however many are sent at once:
//! they take turns. An answer to a failure may wait, but keeps nobody else waiting.

use std::{
    hash::{BuildHasher as _, RandomState},
    time::Duration,
};

use tokio::{
    sync::{Mutex, Semaphore},
    time::sleep,
};

use crate::{
    clock::Clock,
    rules::identity::login_throttle::{Attempt, FailureCounts},
    usecases::UseCaseResult,
};

/// Minimum number of addresses that take turns apart from each other.
const TURNS: usize = 64;
/// Most answers that wait at once; what is beyond is answered at once, and counted all the same.
const MAX_WAITING: usize = 256;

/// The failures of a while, and who waits because of them.
pub struct LoginThrottle {
    clock: Clock,
    failures: FailureCounts,
    turns: Vec<Mutex<()>>,
    /// Which turn an address takes: not to be known outside, so that nobody can choose whom to keep waiting.
    choice: RandomState,
    waiting: Semaphore,
}

impl LoginThrottle {
    /// A throttle that has counted nothing.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            failures: FailureCounts::default(),
            turns: (0..TURNS).map(|_| Mutex::new(())).collect(),
            choice: RandomState::new(),
            waiting: Semaphore::new(MAX_WAITING),
        }
    }

    fn turn(&self, attempt: &Attempt) -> &Mutex<()> {
        let hash = self.choice.hash_one(attempt.address());
        &self.turns[usize::try_from(hash % TURNS as u64).unwrap_or_default()]
    }

    async fn wait(&self, delay: Duration) {
        if !delay.is_zero()
            && let Ok(_place) = self.waiting.try_acquire()
        {
            sleep(delay).await;
        }
    }

    /// Allows an attempt at something that could be guessed, unless there were too many failures; `check` finds what the guess is
    /// good for. `None` is not counted: the caller is within the process. Secrets that nobody can guess need not come
    /// here, and their holders are never kept waiting.
    pub(crate) async fn throttled<T>(
        &self,
        attempt: Option<&Attempt>,
        check: impl Future<Output = UseCaseResult<Option<T>>>,
    ) -> UseCaseResult<Option<T>> {
        let Some(attempt) = attempt else { return check.await };
        let delay = {
            let _turn = self.turn(attempt).lock().await;
            self.failures.check(attempt, self.clock.now_ms())?;
            if let Some(found) = check.await? {
                self.failures.succeeded(attempt, self.clock.now_ms());
                return Ok(Some(found));
            }
            self.failures.failed(attempt, self.clock.now_ms())
        };
        self.wait(delay).await;
        Ok(None)
    }
}
