use super::*;

fn connections(connections: usize, per_client: usize, trusted: &[&str]) -> Arc<Connections> {
    let limits = Limits { connections, per_client, ..Limits::default() };
    Connections::new(limits, trusted.iter().map(|net| net.parse().unwrap()).collect(), Gauge::default())
}

fn admit(connections: &Arc<Connections>, peer: &str) -> Option<Entry> {
    connections.admit_now(peer.parse().unwrap())
}

#[test]
fn a_client_with_busy_connections_only_gets_no_more_and_others_do() {
    let all = connections(10, 2, &["192.0.2.9/32"]);
    let held: Vec<Entry> = ["192.0.2.1", "::ffff:192.0.2.1"].map(|peer| admit(&all, peer).unwrap()).into();
    let busy: Vec<_> = held.iter().map(|entry| entry.activity.begin()).collect();
    assert!(admit(&all, "192.0.2.1").is_none());
    assert!(admit(&all, "192.0.2.2").is_some());
    let proxied: Vec<_> = (0..5).map(|_| admit(&all, "192.0.2.9").unwrap()).collect();
    assert_eq!(proxied.len(), 5, "a trusted proxy brings many clients");
    drop((busy, held));
    assert!(admit(&all, "192.0.2.1").is_some());
}

#[test]
fn one_ipv6_network_is_one_client() {
    let all = connections(10, 1, &[]);
    let held = admit(&all, "2001:db8:0:1::1").unwrap();
    let _busy = held.activity.begin();
    assert!(admit(&all, "2001:db8:0:1:ffff::2").is_none());
    assert!(admit(&all, "2001:db8:0:2::1").is_some());
}

#[test]
fn what_has_never_asked_gives_way_first() {
    let all = connections(3, 3, &[]);
    let [asked, silent, busy] = [1, 2, 3].map(|_| admit(&all, "192.0.2.1").unwrap());
    drop(asked.activity.begin());
    let _turn = busy.activity.begin();
    let new = admit(&all, "192.0.2.1").unwrap();
    assert_eq!([&asked, &silent, &busy].map(|entry| entry.close.is_cancelled()), [false, true, false]);
    drop(silent);
    let _turns = [new.activity.begin(), asked.activity.begin()];
    assert!(admit(&all, "192.0.2.2").is_none(), "all are busy");
}
