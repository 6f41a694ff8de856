//! The garbage protocol as a model, checked in all its interleavings: two nodes that share a store, one digest, and everything
//! that may happen to it at any moment: fills, links to what is stored, purges, claims, deletions, confirmations that come late
//! or never, claims that lapse, walks through the store, crashes.
//!
//! The model covers the use cases of garbage, links and pulls and their store here, each call one step, as its transaction
//! is; and the link recorder, garbage and walk of the data plane, each access to the store one step. Each rule of the
//! protocol can be broken by a parameter, and then the model finds what goes wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{HashMap, HashSet, VecDeque};

use stateright::{Checker, Model, Property};

const NODES: usize = 2;
/// Confirmations on their way at a time.
const IN_FLIGHT: u32 = 2;

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// Links are recorded although a node is deleting.
    LinksIgnoreClaims,
    /// A confirmation counts for whatever claim there is.
    ConfirmsAnyClaim,
    /// Whoever recorded a link does not look whether the bytes are still there.
    NobodyLooks,
    /// Nodes delete although their claim has lapsed.
    DeletesAfterLapse,
    /// Whoever is refused a link deletes the bytes that it stored.
    DiscardsWhenRefused,
    /// No walk through the store is under way.
    NobodyWalks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pull {
    Idle,
    /// It holds the content open, because it stored it or found it stored, and is about to record a link.
    Holding,
    /// It recorded a link and is about to look.
    Looking,
    /// Was refused, and deletes what it stored; only where that rule is broken.
    Discarding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Collect {
    Idle,
    Claimed(u8),
    Deleted(u8),
}

/// The database's record of the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    linked: bool,
    /// Unlinked for longer than the grace.
    is_due: bool,
    /// The claim, and whose it is.
    claim: Option<(u8, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    row: Option<Row>,
    bytes: bool,
    pulls: [Pull; NODES],
    collects: [Collect; NODES],
    /// Claims that have not lapsed, a bit each.
    live: u8,
    /// Confirmations on their way, a bit for each claim.
    confirming: u8,
    /// A walk has seen the bytes and has not told of them yet.
    seen: bool,
    /// A node crashed between recording a link and looking. The next pull notices the rest.
    crashed_before_look: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Fill(usize),
    Open(usize),
    Record(usize),
    Look(usize),
    Discard(usize),
    Purge,
    GraceEnds,
    Claim(usize),
    Delete(usize),
    GiveUp(usize),
    Confirm(usize),
    ConfirmArrives(u8),
    ConfirmIsLost(u8),
    Lapse(u8),
    WalkSees,
    WalkTells,
    Crash(usize),
}

impl Step {
    /// The steps that happen by themselves, without anybody who pulls, purges or crashes.
    fn is_progress(self) -> bool {
        !matches!(self, Self::Fill(_) | Self::Open(_) | Self::Purge | Self::Crash(_))
    }
}

struct Protocol(Broken);

fn has(bits: u8, id: u8) -> bool {
    bits & (1 << id) != 0
}

impl State {
    fn ids_in_use(&self) -> impl Iterator<Item = u8> {
        let collecting = self.collects.iter().filter_map(|collect| match collect {
            Collect::Claimed(id) | Collect::Deleted(id) => Some(*id),
            Collect::Idle => None,
        });
        let ids: Vec<u8> = collecting.chain(self.row.and_then(|row| row.claim).map(|(id, _)| id)).collect();
        ids.into_iter().chain((0..8).filter(|id| has(self.confirming, *id)).collect::<Vec<_>>())
    }

    fn is_claimed(&self) -> bool {
        self.row.and_then(|row| row.claim).is_some_and(|(id, _)| has(self.live, id))
    }

    /// Time is forgotten of claims that nobody refers to any more.
    fn tidy(mut self) -> Self {
        let (mut names, live, confirming) = (Vec::new(), self.live, self.confirming);
        for id in self.ids_in_use() {
            if !names.contains(&id) {
                names.push(id);
            }
        }
        // Claims are told apart, and no more: numbered in the order in which they are referred to, states are fewer.
        let number = |id: u8| names.iter().position(|name| *name == id).map_or(7, |number| number as u8);
        let bits = |old: u8| names.iter().filter(|id| has(old, **id)).fold(0, |bits, id| bits | 1 << number(*id));
        (self.live, self.confirming) = (bits(live), bits(confirming));
        for collect in &mut self.collects {
            *collect = match *collect {
                Collect::Claimed(id) => Collect::Claimed(number(id)),
                Collect::Deleted(id) => Collect::Deleted(number(id)),
                Collect::Idle => Collect::Idle,
            };
        }
        if let Some(row) = &mut self.row {
            row.claim = row.claim.map(|(id, node)| (number(id), node));
        }
        let missing = self.row.is_some_and(|row| row.linked) && !self.bytes;
        self.crashed_before_look &= missing;
        self
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            row: None,
            bytes: false,
            pulls: [Pull::Idle; NODES],
            collects: [Collect::Idle; NODES],
            live: 0,
            confirming: 0,
            seen: false,
            crashed_before_look: false,
        }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for node in 0..NODES {
            match state.pulls[node] {
                Pull::Idle => {
                    // A hit changes nothing. What is missing, linked or not, is fetched; what is stored may be linked.
                    steps.push(if state.bytes { Step::Open(node) } else { Step::Fill(node) });
                }
                Pull::Holding => steps.push(Step::Record(node)),
                Pull::Looking => steps.push(Step::Look(node)),
                Pull::Discarding => steps.push(Step::Discard(node)),
            }
            match state.collects[node] {
                Collect::Idle => {
                    let free = state.row.is_some_and(|row| !row.linked && row.is_due) && !state.is_claimed();
                    if free {
                        steps.push(Step::Claim(node));
                    }
                }
                Collect::Claimed(id) => {
                    if has(state.live, id) || self.0 == Broken::DeletesAfterLapse {
                        steps.push(Step::Delete(node));
                    }
                    steps.push(Step::GiveUp(node));
                }
                Collect::Deleted(_) => {
                    if state.confirming.count_ones() < IN_FLIGHT {
                        steps.push(Step::Confirm(node));
                    }
                }
            }
            if state.pulls[node] != Pull::Idle || state.collects[node] != Collect::Idle {
                steps.push(Step::Crash(node));
            }
        }
        if let Some(row) = state.row {
            steps.push(if row.linked { Step::Purge } else { Step::GraceEnds });
        }
        for id in 0..8 {
            if has(state.live, id) {
                steps.push(Step::Lapse(id));
            }
            if has(state.confirming, id) {
                steps.extend([Step::ConfirmArrives(id), Step::ConfirmIsLost(id)]);
            }
        }
        if self.0 != Broken::NobodyWalks && state.bytes {
            steps.push(Step::WalkSees);
        }
        if state.seen {
            steps.push(Step::WalkTells);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Fill(node) => {
                state.bytes = true;
                state.pulls[node] = Pull::Holding;
            }
            Step::Open(node) => state.pulls[node] = Pull::Holding,
            Step::Record(node) => {
                if state.is_claimed() && self.0 != Broken::LinksIgnoreClaims {
                    let discards = self.0 == Broken::DiscardsWhenRefused;
                    state.pulls[node] = if discards { Pull::Discarding } else { Pull::Idle };
                } else {
                    state.row = Some(Row { linked: true, is_due: false, claim: None });
                    let looks = self.0 != Broken::NobodyLooks;
                    state.pulls[node] = if looks { Pull::Looking } else { Pull::Idle };
                }
            }
            Step::Look(node) => {
                // What is gone is written again from what is open.
                state.bytes = true;
                state.pulls[node] = Pull::Idle;
            }
            Step::Discard(node) => {
                state.bytes = false;
                state.pulls[node] = Pull::Idle;
            }
            Step::Purge => state.row.as_mut()?.linked = false,
            Step::GraceEnds => state.row.as_mut()?.is_due = true,
            Step::Claim(node) => {
                let used: Vec<u8> = state.ids_in_use().collect();
                let id = (0..8).find(|id| !used.contains(id))?;
                state.live |= 1 << id;
                state.row.as_mut()?.claim = Some((id, node));
                state.collects[node] = Collect::Claimed(id);
            }
            Step::Delete(node) => {
                let Collect::Claimed(id) = state.collects[node] else { return None };
                state.bytes = false;
                state.collects[node] = Collect::Deleted(id);
            }
            Step::GiveUp(node) => state.collects[node] = Collect::Idle,
            Step::Confirm(node) => {
                let Collect::Deleted(id) = state.collects[node] else { return None };
                state.confirming |= 1 << id;
                state.collects[node] = Collect::Idle;
            }
            Step::ConfirmArrives(id) => {
                state.confirming &= !(1 << id);
                let any = self.0 == Broken::ConfirmsAnyClaim;
                let counts = |row: Row| !row.linked && row.claim.is_some_and(|(claim, _)| any || claim == id);
                state.row = state.row.filter(|row| !counts(*row));
            }
            Step::ConfirmIsLost(id) => state.confirming &= !(1 << id),
            Step::Lapse(id) => state.live &= !(1 << id),
            Step::WalkSees => state.seen = true,
            Step::WalkTells => {
                state.seen = false;
                state.row = state.row.or(Some(Row { linked: false, is_due: false, claim: None }));
            }
            Step::Crash(node) => {
                if state.pulls[node] == Pull::Looking && !state.bytes {
                    state.crashed_before_look = true;
                }
                state.pulls[node] = Pull::Idle;
                state.collects[node] = Collect::Idle;
                // Started again, it voids its claims.
                if let Some(row) = &mut state.row
                    && row.claim.is_some_and(|(_, claimer)| claimer == node)
                {
                    row.claim = None;
                }
            }
        }
        Some(state.tidy())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is linked is stored, or about to be", |_, state: &State| {
                let missing = state.row.is_some_and(|row| row.linked) && !state.bytes;
                !missing || state.crashed_before_look || state.pulls.contains(&Pull::Looking)
            }),
            Property::sometimes("a link is refused", |_, state: &State| {
                state.pulls.contains(&Pull::Holding) && state.is_claimed()
            }),
            Property::sometimes("a deletion overtakes a link", |_, state: &State| {
                !state.bytes && state.pulls.contains(&Pull::Looking)
            }),
        ]
    }
}

/// Every state that can come about, and a path to one that breaks the first property.
fn loss(broken: Broken) -> Option<Vec<Step>> {
    let checker = Protocol(broken).checker().spawn_bfs().join();
    assert!(checker.unique_state_count() > 100, "{broken:?}: {} states", checker.unique_state_count());
    checker.discovery("what is linked is stored, or about to be").map(stateright::Path::into_actions)
}

/// A state from which, with nobody pulling, purging or crashing any more, garbage can never go.
fn leak(broken: Broken) -> Option<State> {
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
    let is_clean = |state: &State| state.row.map_or(!state.bytes, |row| row.linked);
    let mut clean: HashSet<State> = seen.iter().filter(|state| is_clean(state)).cloned().collect();
    let mut queue: VecDeque<State> = clean.iter().cloned().collect();
    while let Some(state) = queue.pop_front() {
        for earlier in before.get(&state).into_iter().flatten() {
            if clean.insert(earlier.clone()) {
                queue.push_back(earlier.clone());
            }
        }
    }
    seen.into_iter().find(|state| !clean.contains(state))
}

#[test]
fn no_linked_content_is_lost_in_any_interleaving() {
    assert_eq!(loss(Broken::Nothing), None);
    Protocol(Broken::Nothing).checker().spawn_bfs().join().assert_properties();
}

#[test]
fn garbage_can_go_from_every_state() {
    assert_eq!(leak(Broken::Nothing), None);
}

#[test]
fn each_rule_is_needed_against_loss() {
    for broken in [
        Broken::LinksIgnoreClaims,
        Broken::ConfirmsAnyClaim,
        Broken::NobodyLooks,
        Broken::DeletesAfterLapse,
        Broken::DiscardsWhenRefused,
    ] {
        let path = loss(broken).unwrap_or_else(|| panic!("{broken:?} does no harm"));
        println!("{broken:?}: {path:?}");
    }
}

#[test]
fn without_walks_garbage_stays() {
    assert!(leak(Broken::NobodyWalks).is_some());
}
