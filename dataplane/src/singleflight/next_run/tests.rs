use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{future::join_all, poll};
use tokio::sync::Notify;

use super::*;

/// Work that waits for `gate` and then tells how many runs there were before it.
fn counted(
    runs: &Arc<AtomicUsize>,
    gate: &Arc<Notify>,
) -> impl FnOnce() -> Pin<Box<dyn Future<Output = usize> + Send>> + Send + 'static {
    let (runs, gate) = (Arc::clone(runs), Arc::clone(gate));
    move || {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            gate.notified().await;
            run
        })
    }
}

/// Waits until so many runs have begun.
async fn under_way(runs: &AtomicUsize, count: usize) {
    while runs.load(Ordering::SeqCst) < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_slow_run_does_not_hold_the_next_back_until_it_ends() {
    let (shared, runs, gate) = (NextRun::<u8, usize>::default(), Arc::default(), Arc::default());
    let slow = shared.run(1, counted(&runs, &gate));
    tokio::pin!(slow);
    assert!(poll!(&mut slow).is_pending());
    assert_eq!(shared.run(1, || async { 7 }).await.unwrap(), 7);
    assert!(poll!(&mut slow).is_pending());
    gate.notify_one();
    assert_eq!(slow.await.unwrap(), 0);
}

#[tokio::test]
async fn those_who_ask_while_a_run_is_under_way_share_the_next() {
    let (shared, runs, gate) = (NextRun::<u8, usize>::default(), Arc::default(), Arc::default());
    let first = shared.run(1, counted(&runs, &gate));
    tokio::pin!(first);
    assert!(poll!(&mut first).is_pending());
    under_way(&runs, 1).await;
    let later = join_all((0..10).map(|_| shared.run(1, counted(&runs, &gate))));
    tokio::pin!(later);
    assert!(poll!(&mut later).is_pending());
    gate.notify_one();
    assert_eq!(first.await.unwrap(), 0);
    gate.notify_one();
    assert!(later.await.into_iter().all(|run| run.unwrap() == 1), "one run for all ten, begun after they asked");
    gate.notify_one();
    assert_eq!(shared.run(1, counted(&runs, &gate)).await.unwrap(), 2);
}

#[tokio::test]
async fn lost_work_is_told_and_forgotten() {
    let shared = NextRun::<u8, u8>::default();
    assert!(shared.run(1, || async { panic!("lost on purpose") }).await.is_err());
    assert_eq!(shared.run(1, || async { 2 }).await.unwrap(), 2);
}

#[tokio::test]
async fn the_work_goes_on_without_whoever_asked() {
    let (shared, runs, gate) = (Arc::new(NextRun::<u8, usize>::default()), Arc::default(), Arc::default());
    let asking = tokio::spawn({
        let (shared, work) = (Arc::clone(&shared), counted(&runs, &gate));
        async move { shared.run(1, work).await }
    });
    under_way(&runs, 1).await;
    asking.abort();
    let next = shared.run(1, counted(&runs, &gate));
    tokio::pin!(next);
    assert!(poll!(&mut next).is_pending());
    under_way(&runs, 2).await;
    gate.notify_one();
    gate.notify_one();
    assert_eq!(next.await.unwrap(), 1);
}
