use super::*;

#[tokio::test(start_paused = true)]
async fn time_stands_still_for_tokens_while_the_control_plane_is_away_and_only_then() {
    let liveness = ControlLiveness::default();
    let behind = |liveness: &ControlLiveness| {
        SystemTime::now().duration_since(liveness.judged_at()).unwrap_or_default().as_secs()
    };
    liveness.heard();
    tokio::time::advance(Duration::from_secs(9)).await;
    assert_eq!(behind(&liveness), 0);
    tokio::time::advance(Duration::from_secs(291)).await;
    assert!((299..=300).contains(&behind(&liveness)));
    assert_eq!(liveness.lag(), None, "nothing is heard at all");
    liveness.answered();
    assert_eq!(liveness.lag(), Some(Duration::from_secs(300)));
    liveness.heard();
    assert_eq!((behind(&liveness), liveness.lag()), (0, None));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_heard_counts_from_then() {
    let liveness = ControlLiveness::default();
    liveness.heard_before(SystemTime::now() - Duration::from_secs(600));
    assert_eq!(
        (liveness.silent_for().as_secs(), liveness.lag()),
        (600, None),
        "nothing answers yet: no lag, an outage"
    );
    liveness.heard_before(SystemTime::now() + Duration::from_secs(60));
    assert_eq!(liveness.silent_for().as_secs(), 0, "the clock was set back");
}
