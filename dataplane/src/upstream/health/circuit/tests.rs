use super::*;

fn opened(now: Instant) -> Circuit {
    let mut circuit = Circuit::default();
    for _ in 0..FAILURES {
        assert_eq!(circuit.pass(now), Passage::Free);
        circuit.failed("connect", now);
    }
    circuit
}

#[test]
fn it_opens_after_failures_in_a_row_only() {
    let now = Instant::now();
    let mut circuit = Circuit::default();
    for _ in 0..3 {
        for _ in 1..FAILURES {
            circuit.failed("connect", now);
        }
        assert_eq!(circuit.pass(now), Passage::Free);
        circuit.succeeded();
    }
    assert_eq!(opened(now).pass(now), Passage::Shut("connect", FIRST_REST));
}

#[test]
fn one_probe_at_a_time_decides() {
    let now = Instant::now();
    let mut circuit = opened(now);
    let later = now + FIRST_REST;
    assert_eq!(circuit.pass(later), Passage::Probe);
    assert_eq!(circuit.pass(later), Passage::Shut("connect", Duration::ZERO), "one alone");
    circuit.probe_abandoned();
    assert_eq!(circuit.pass(later), Passage::Probe);
    circuit.failed("timeout", later);
    assert_eq!(circuit.pass(later), Passage::Shut("timeout", FIRST_REST * 2));
    assert_eq!(circuit.pass(later + FIRST_REST * 2), Passage::Probe);
    circuit.succeeded();
    assert_eq!((circuit.pass(later), circuit.is_open()), (Passage::Free, false));
}

#[test]
fn rests_are_bounded_and_stragglers_do_not_lengthen_them() {
    let mut now = Instant::now();
    let mut circuit = opened(now);
    circuit.failed("connect", now);
    assert_eq!(circuit.pass(now), Passage::Shut("connect", FIRST_REST));
    for _ in 0..20 {
        now += MAX_REST;
        assert_eq!(circuit.pass(now), Passage::Probe);
        circuit.failed("connect", now);
    }
    assert_eq!(circuit.pass(now), Passage::Shut("connect", MAX_REST));
}
