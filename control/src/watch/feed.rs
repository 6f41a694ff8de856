//! One reading of the database for all watchers that have the same revision.
//!
//! A thousand nodes wake at the same change, and all but a few have the same revision before it: the first to ask
//! reads, the others wait for what it finds. A shared reading is at most [`SHARED_FOR`] old and never older than what
//! the watcher has heard of: a change that was announced before it asked is in it.
//!
//! A reader that is dropped in the middle leaves the reading to the next that waits. A failure is shared like a
//! success, so that a database that hangs is asked once and not a thousand times, one after the other.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::OnceCell, time::Instant};

/// Time for which a reading is good for others: half of the second in which changes of other replicas have to be told.
const SHARED_FOR: Duration = Duration::from_millis(500);

/// Watchers cannot be told what they should know. Already logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The database does not answer; it may soon.
    #[error("the control plane's database is not available right now; try again")]
    Unavailable,
    /// It answers what cannot be.
    #[error("internal error of the control plane; see its log")]
    Broken,
}

/// An event, or the error instead of it, shared by all watchers.
pub type WatchResult<T> = Result<Arc<T>, WatchError>;

/// The readings of a moment, by the revision that those who asked had.
pub struct Feed<K, T> {
    readings: Mutex<HashMap<K, Arc<Reading<T>>>>,
}

struct Reading<T> {
    begun: Instant,
    /// Every change that was announced up to here was committed before it began.
    announced: u64,
    found: OnceCell<WatchResult<T>>,
}

impl<K, T> Default for Feed<K, T> {
    fn default() -> Self {
        Self { readings: Mutex::default() }
    }
}

impl<K: Clone + Eq + Hash, T> Feed<K, T> {
    /// Returns the event after `have`, with every change up to `announced` in it: the one that `read` finds, or has
    /// just found for somebody else.
    pub async fn next(
        &self,
        have: &K,
        announced: u64,
        read: impl AsyncFnOnce() -> Result<T, WatchError>,
    ) -> WatchResult<T> {
        let reading = self.reading(have, announced);
        reading.found.get_or_init(async || read().await.map(Arc::new)).await.clone()
    }

    fn reading(&self, have: &K, announced: u64) -> Arc<Reading<T>> {
        let now = Instant::now();
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        readings.retain(|_, reading| now - reading.begun < SHARED_FOR);
        if let Some(reading) = readings.get(have).filter(|reading| reading.announced >= announced) {
            return Arc::clone(reading);
        }
        let reading = Arc::new(Reading { begun: now, announced, found: OnceCell::new() });
        readings.insert(have.clone(), Arc::clone(&reading));
        reading
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{sleep, timeout};

    use super::*;

    const MOMENT: Duration = Duration::from_millis(50);

    /// A database that takes a moment, and counts.
    #[derive(Default)]
    struct Database {
        reads: AtomicUsize,
        down: bool,
    }

    impl Database {
        async fn read(&self) -> Result<usize, WatchError> {
            let number = self.reads.fetch_add(1, Ordering::SeqCst) + 1;
            sleep(MOMENT).await;
            if self.down { Err(WatchError::Unavailable) } else { Ok(number) }
        }

        fn reads(&self) -> usize {
            self.reads.load(Ordering::SeqCst)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_have_the_same_revision_share_one_reading_and_one_event() {
        let (feed, database) = (Feed::<i64, usize>::default(), Database::default());
        let told = join_all((0..1000).map(|_| feed.next(&7, 9, || database.read()))).await;
        let first = told[0].clone().unwrap();
        assert!(told.iter().all(|told| Arc::ptr_eq(told.as_ref().unwrap(), &first)));
        assert_eq!(database.reads(), 1);
        feed.next(&8, 9, || database.read()).await.unwrap();
        assert_eq!(database.reads(), 2, "another revision leads on differently");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_announced_meanwhile_is_read() {
        let (feed, database) = (Feed::<i64, usize>::default(), Database::default());
        let (old, new) = tokio::join!(feed.next(&7, 9, || database.read()), async {
            sleep(MOMENT / 2).await;
            feed.next(&7, 10, || database.read()).await
        });
        assert_eq!((*old.unwrap(), *new.unwrap()), (1, 2));
        assert_eq!(*feed.next(&7, 9, || database.read()).await.unwrap(), 2, "newer is good for who heard of less");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_handed_out_for_long() {
        let (feed, database) = (Feed::<i64, usize>::default(), Database::default());
        feed.next(&7, 9, || database.read()).await.unwrap();
        sleep(SHARED_FOR).await;
        assert_eq!(*feed.next(&7, 9, || database.read()).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_and_soon_tried_again() {
        let (feed, database) = (Feed::<i64, usize>::default(), Database { down: true, ..Database::default() });
        let told = join_all((0..1000).map(|_| feed.next(&7, 9, || database.read()))).await;
        assert!(told.iter().all(|told| *told == Err(WatchError::Unavailable)));
        assert_eq!(database.reads(), 1);
        let up = Database::default();
        sleep(SHARED_FOR).await;
        assert_eq!(*feed.next(&7, 9, || up.read()).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_leaves_the_reading_to_the_next() {
        let (feed, database) = (Feed::<i64, usize>::default(), Database::default());
        let gone = timeout(MOMENT / 2, feed.next(&7, 9, || database.read()));
        let (gone, stayed) = tokio::join!(gone, feed.next(&7, 9, || database.read()));
        assert!(gone.is_err());
        assert_eq!(*stayed.unwrap(), 2);
    }
}
