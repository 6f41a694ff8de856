//! The lease of a download as a model, checked in all its interleavings: two nodes, one blob, and everything that may happen:
//! grants, renewals that come late or never, silence, a follower that takes over, answers about a lease of before, ends,
//! crashes and pauses (a paused node takes no step).
//!
//! The model covers leases in the store and the use cases of fills, each call one step, as its transaction is; and the
//! owner's side of the data plane: a lease is held under its epoch until the owner hears that it lost it. The lease's age
//! stands for the clock: a row is fresh, has missed renewals, or has expired. Bytes are verified by whoever takes them, so
//! what a lease promises is who may renew and end it, and that somebody can always fetch. Each rule can be broken, and then
//! the model finds what goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{HashMap, HashSet, VecDeque};

use stateright::{Checker, Model, Property};

const NODES: usize = 2;
/// Grants after which the model gives no more: enough for each node to lose the lease to the other and get it back.
const GRANTS: u8 = 4;

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// A lease is granted although another has it and it has not expired.
    GrantsWhatIsHeld,
    /// A grant keeps the epoch that there was.
    KeepsTheEpoch,
    /// A renewal counts for whoever is the holder, whatever its epoch.
    RenewsAnyEpoch,
    /// A release counts for whoever is the holder, whatever its epoch.
    ReleasesAnyEpoch,
    /// A renewal that comes after the holder was replaced takes the lease back.
    RenewalTakesBack,
    /// Leases do not expire.
    NeverExpires,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Age {
    Fresh,
    /// Silent for long enough that a follower who lost the owner may take over.
    Missed,
    /// Run out, or released.
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    holder: usize,
    epoch: u8,
    age: Age,
}

/// A call on its way to the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Call {
    Renew { node: usize, epoch: u8 },
    Release { node: usize, epoch: u8 },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    row: Option<Row>,
    granted: u8,
    /// The epoch that a node believes to hold.
    held: [Option<u8>; NODES],
    call: Option<Call>,
    /// The blob is stored.
    is_done: bool,
    /// A call under one grant changed the row of another.
    is_unfenced: bool,
    /// A grant was made while another's lease was fresh.
    is_stolen: bool,
    /// Two nodes were granted the same epoch.
    is_shared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Ask(usize),
    /// By a follower that lost the owner.
    TakeOver(usize),
    Send(Call),
    Arrives,
    IsLost,
    TimePasses,
    Finish(usize),
    Crash(usize),
}

impl Step {
    /// The steps that happen by themselves while one node lives: nothing is lost, and nobody else acts.
    fn is_progress(self) -> bool {
        matches!(self, Self::Ask(0) | Self::TimePasses | Self::Finish(0) | Self::Arrives)
    }
}

struct Protocol(Broken);

impl Protocol {
    fn grant(&self, state: &mut State, node: usize) {
        let before = state.row.map_or(0, |row| row.epoch);
        let epoch = if self.0 == Broken::KeepsTheEpoch { before.max(1) } else { before + 1 };
        if let Some(row) = state.row
            && row.holder != node
        {
            state.is_stolen |= row.age == Age::Fresh;
            state.is_shared |= row.epoch == epoch;
        }
        state.granted += 1;
        state.row = Some(Row { holder: node, epoch, age: Age::Fresh });
        state.held[node] = Some(epoch);
    }

    fn arrives(&self, state: &mut State, call: Call) {
        let Some(row) = state.row else { return };
        let (node, epoch) = match call {
            Call::Renew { node, epoch } | Call::Release { node, epoch } => (node, epoch),
        };
        let is_own = row.holder == node && row.epoch == epoch;
        match call {
            Call::Renew { .. } => {
                let takes_back = self.0 == Broken::RenewalTakesBack;
                let any_epoch = self.0 == Broken::RenewsAnyEpoch && row.holder == node;
                if is_own || takes_back || any_epoch {
                    state.is_unfenced |= !is_own;
                    state.row = Some(Row { holder: node, epoch: row.epoch, age: Age::Fresh });
                } else if state.held[node] == Some(epoch) {
                    // It hears that it lost this lease; one that was granted meanwhile is another.
                    state.held[node] = None;
                }
            }
            Call::Release { .. } => {
                if is_own || self.0 == Broken::ReleasesAnyEpoch {
                    state.is_unfenced |= !is_own;
                    state.row = Some(Row { age: Age::Expired, ..row });
                }
            }
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            row: None,
            granted: 0,
            held: [None; NODES],
            call: None,
            is_done: false,
            is_unfenced: false,
            is_stolen: false,
            is_shared: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.is_done {
            return;
        }
        for node in 0..NODES {
            let may_have = state.row.is_none_or(|row| row.age == Age::Expired || row.holder == node);
            let may_have = may_have || self.0 == Broken::GrantsWhatIsHeld;
            if state.held[node].is_none() && state.granted < GRANTS {
                if may_have {
                    steps.push(Step::Ask(node));
                } else if state.row.is_some_and(|row| row.age >= Age::Missed) {
                    steps.push(Step::TakeOver(node));
                }
            }
            if let Some(epoch) = state.held[node] {
                steps.extend([Step::Finish(node), Step::Crash(node)]);
                if state.call.is_none() {
                    steps.push(Step::Send(Call::Renew { node, epoch }));
                    steps.push(Step::Send(Call::Release { node, epoch }));
                }
            }
        }
        if state.call.is_some() {
            steps.extend([Step::Arrives, Step::IsLost]);
        }
        if state
            .row
            .is_some_and(|row| row.age == Age::Fresh || row.age == Age::Missed && self.0 != Broken::NeverExpires)
        {
            steps.push(Step::TimePasses);
        }
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Ask(node) | Step::TakeOver(node) => self.grant(&mut state, node),
            Step::Send(call) => {
                state.call = Some(call);
                if let Call::Release { node, .. } = call {
                    state.held[node] = None;
                }
            }
            Step::Arrives => {
                let call = state.call.take()?;
                self.arrives(&mut state, call);
            }
            Step::IsLost => state.call = None,
            Step::TimePasses => {
                let row = state.row.as_mut()?;
                row.age = if row.age == Age::Fresh { Age::Missed } else { Age::Expired };
            }
            // The download goes on where the lease was lost: what is verified is good, whoever fetched it.
            Step::Finish(_) => state.is_done = true,
            Step::Crash(node) => state.held[node] = None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nobody changes the lease of another grant", |_, state: &State| !state.is_unfenced),
            Property::always("a lease in use is given to nobody else", |_, state: &State| !state.is_stolen),
            Property::always("an epoch is granted once", |_, state: &State| !state.is_shared),
            Property::sometimes("an owner is replaced without knowing", |_, state: &State| {
                state.held.iter().all(Option::is_some)
            }),
            Property::sometimes("the blob is fetched", |_, state: &State| state.is_done),
        ]
    }
}

/// The promises that do not hold.
fn broken_promises(broken: Broken) -> Vec<&'static str> {
    let checker = Protocol(broken).checker().spawn_bfs().join();
    assert!(checker.unique_state_count() > 50, "{broken:?}: {} states", checker.unique_state_count());
    let promises = [
        "nobody changes the lease of another grant",
        "a lease in use is given to nobody else",
        "an epoch is granted once",
    ];
    promises.into_iter().filter(|promise| checker.discovery(promise).is_some()).collect()
}

/// A state from which the first node, left alone, never gets to fetch. States in which all grants of the model are used up do not count.
fn stuck(broken: Broken) -> Option<State> {
    let model = Protocol(broken);
    let (mut seen, mut before) = (HashSet::new(), HashMap::<State, Vec<State>>::new());
    let mut queue: VecDeque<State> = model.init_states().into();
    seen.extend(queue.iter().cloned());
    while let Some(state) = queue.pop_front() {
        let mut steps = Vec::new();
        model.actions(&state, &mut steps);
        for step in steps {
            let Some(next) = model.next_state(&state, step) else { continue };
            if step.is_progress() {
                before.entry(next.clone()).or_default().push(state.clone());
            }
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    let mut good: HashSet<State> = seen.iter().filter(|state| state.is_done).cloned().collect();
    let mut queue: VecDeque<State> = good.iter().cloned().collect();
    while let Some(state) = queue.pop_front() {
        for earlier in before.get(&state).into_iter().flatten() {
            if good.insert(earlier.clone()) {
                queue.push_back(earlier.clone());
            }
        }
    }
    seen.into_iter().find(|state| state.granted < GRANTS && !good.contains(state))
}

#[test]
fn leases_keep_their_promises_in_any_interleaving() {
    assert_eq!(broken_promises(Broken::Nothing), [""; 0]);
    Protocol(Broken::Nothing).checker().spawn_bfs().join().assert_properties();
}

#[test]
fn a_node_that_lives_gets_to_fetch_from_every_state() {
    assert_eq!(stuck(Broken::Nothing), None);
    assert!(stuck(Broken::NeverExpires).is_some(), "expiry is needed");
}

#[test]
fn each_rule_is_needed() {
    for (broken, promise) in [
        (Broken::GrantsWhatIsHeld, "a lease in use is given to nobody else"),
        (Broken::KeepsTheEpoch, "an epoch is granted once"),
        (Broken::RenewsAnyEpoch, "nobody changes the lease of another grant"),
        (Broken::ReleasesAnyEpoch, "nobody changes the lease of another grant"),
        (Broken::RenewalTakesBack, "nobody changes the lease of another grant"),
    ] {
        assert!(broken_promises(broken).contains(&promise), "{broken:?} does no harm");
    }
}
