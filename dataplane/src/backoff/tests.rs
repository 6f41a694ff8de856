use super::*;

fn in_ms(pauses: &mut Backoff) -> u128 {
    pauses.pause().as_millis()
}

#[test]
fn pauses_double_up_to_the_longest_and_begin_again_after_success() {
    let mut pauses = Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
    for length in [100, 200, 400, 500, 500] {
        let pause = in_ms(&mut pauses);
        assert!((length / 2..=length).contains(&pause), "{pause} of {length}");
    }
    pauses.reset();
    assert!((50..=100).contains(&in_ms(&mut pauses)));
}

#[test]
fn nodes_do_not_pause_alike() {
    let seen: std::collections::HashSet<_> =
        (0..50).map(|_| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).pause()).collect();
    assert!(seen.len() > 1);
}
