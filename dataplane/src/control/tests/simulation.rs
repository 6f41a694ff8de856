//! The watch under simulated trouble: three nodes and two replicas on a network whose messages are delayed, held and dropped, with
//! replicas that crash and come back, while groups change and are purged. Each seed is one history.
//!
//! Real: the node's whole client (watch, replicas, liveness, staleness), tonic and HTTP/2, with the keep-alive of the executable. Simulated: time, the
//! network, and the control plane ([`replica`]): its watch tells a change log in memory, as the real one tells its database's, because SQLite
//! brings threads, which no seed orders. The real one is held to the same rules by `control/tests` and the end-to-end chaos tests.
//!
//! `ROADSTEAD_SEEDS=1000` runs so many histories, `ROADSTEAD_SEED=17` one. One thing a seed does not decide: the branch that
//! tokio takes first of those that are ready at the same moment.

mod node;
mod replica;

use std::{cell::RefCell, rc::Rc, time::Duration};

use self::node::{Seen, follow};
use self::replica::{Changes, GROUPS, serve};

use crate::random::{self, seeded};

const NODES: [&str; 3] = ["node-0", "node-1", "node-2"];
const REPLICAS: [&str; 2] = ["replica-0", "replica-1"];
/// Duration of the trouble.
const TROUBLE: Duration = Duration::from_secs(60);
/// Time for nodes to recover: silence reveals a dead connection (12 s), a pause before the next attempt takes 5 s, opening
/// the watch 5 s, and a second replica may be in the same state.
const RECOVERY: Duration = Duration::from_secs(45);
/// Seeds of a run, unless told otherwise.
const SEEDS: u64 = 12;

/// A number below `bound`, by the seed.
fn below(bound: usize) -> usize {
    random::number() as usize % bound
}

/// The next step, of all possible ones.
fn disturb(sim: &mut turmoil::Sim<'_>, changes: &Changes) {
    let (node, replica) = (NODES[below(NODES.len())], REPLICAS[below(REPLICAS.len())]);
    match below(12) {
        0..=3 => {
            changes.commit(below(GROUPS), sim.elapsed());
        }
        4 => sim.hold(node, replica),
        5 => sim.release(node, replica),
        6 => sim.partition(node, replica),
        7 | 8 => sim.repair(node, replica),
        9 => sim.crash(replica),
        10 => sim.bounce(replica),
        _ => sim.set_link_latency(node, replica, Duration::from_millis(1 + below(300) as u64)),
    }
}

fn mend(sim: &mut turmoil::Sim<'_>) {
    for replica in REPLICAS {
        sim.bounce(replica);
        for node in NODES {
            sim.release(node, replica);
            sim.repair(node, replica);
            sim.set_link_latency(node, replica, Duration::from_millis(10));
        }
    }
}

/// Plays the history of a seed; tells what went wrong, if anything did, and how often nodes had to check.
fn play(seed: u64) -> Result<usize, String> {
    seeded::begin(Some(seed));
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(Duration::from_millis(5))
        .simulation_duration(TROUBLE + RECOVERY * 2)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(60))
        .build();
    let changes = Changes::default();
    let seen = Rc::new(RefCell::new(Seen::default()));
    for replica in REPLICAS {
        let changes = changes.clone();
        sim.host(replica, move || serve(changes.clone()));
    }
    for node in NODES {
        let (changes, seen) = (changes.clone(), Rc::clone(&seen));
        sim.host(node, move || follow(node, changes.clone(), Rc::clone(&seen)));
    }
    let mut next = Duration::from_secs(2);
    while sim.elapsed() < TROUBLE {
        sim.step().map_err(|error| error.to_string())?;
        if sim.elapsed() >= next {
            disturb(&mut sim, &changes);
            next += Duration::from_millis(100 + below(900) as u64);
        }
        seen.borrow().verdict()?;
    }
    mend(&mut sim);
    let last = changes.commit(0, sim.elapsed());
    let until = sim.elapsed() + RECOVERY;
    while sim.elapsed() < until && !seen.borrow().have_all(NODES.len(), last) {
        sim.step().map_err(|error| error.to_string())?;
        seen.borrow().verdict()?;
    }
    let seen = seen.borrow();
    if !seen.have_all(NODES.len(), last) {
        return Err(format!("not all nodes came to revision {last} in time: {:?}", seen.revisions));
    }
    Ok(seen.checks)
}

#[test]
fn whatever_happens_on_the_network_nodes_know_what_was_at_their_revision_and_come_to_the_last() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("ROADSTEAD_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("ROADSTEAD_SEEDS").unwrap_or(SEEDS),
    };
    let mut checks = 0;
    for seed in seeds {
        match play(seed) {
            Ok(times) => checks += times,
            Err(problem) => panic!("ROADSTEAD_SEED={seed}: {problem}"),
        }
    }
    seeded::begin(None);
    assert!(checks > 0, "nothing was disturbed");
}
