use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;

#[tokio::test]
async fn concurrent_requests_share_one_run_and_later_ones_start_anew() {
    let shared = Arc::new(Singleflight::<u8, usize>::default());
    let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let ask = || {
        let (shared, runs, gate) = (Arc::clone(&shared), Arc::clone(&runs), Arc::clone(&gate));
        async move {
            let work = move || async move {
                gate.notified().await;
                runs.fetch_add(1, Ordering::SeqCst)
            };
            shared.run(1, work).await.unwrap()
        }
    };
    let first = tokio::spawn(ask());
    let second = tokio::spawn(ask());
    tokio::task::yield_now().await;
    gate.notify_one();
    let mut roles = [first.await.unwrap(), second.await.unwrap()].map(|(value, role)| (value, role == Role::Joined));
    roles.sort_unstable();
    assert_eq!(roles, [(0, false), (0, true)]);
    gate.notify_one();
    assert_eq!(ask().await.0, 1);
}

#[tokio::test]
async fn the_work_goes_on_without_whoever_started_it() {
    let shared = Arc::new(Singleflight::<u8, u8>::default());
    let gate = Arc::new(Notify::new());
    let (again, gated) = (Arc::clone(&shared), Arc::clone(&gate));
    let first = tokio::spawn(async move {
        let work = move || async move {
            gated.notified().await;
            7
        };
        again.run(1, work).await
    });
    tokio::task::yield_now().await;
    let second = shared.run(1, || async { unreachable!("the first is under way") });
    tokio::pin!(second);
    assert!(futures_util::poll!(&mut second).is_pending());
    first.abort();
    gate.notify_one();
    assert_eq!(second.await.unwrap(), (7, Role::Joined));
}

#[tokio::test]
async fn lost_work_is_told_and_forgotten() {
    let shared = Singleflight::<u8, u8>::default();
    assert!(shared.run(1, || async { panic!("lost on purpose") }).await.is_err());
    assert_eq!(shared.run(1, || async { 2 }).await.unwrap().0, 2);
}
