//! The judgement of every answer: right, allowed by a sentence of the documentation, or a fault.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Mutex,
    time::{Duration, Instant},
};

use roadstead_tests::{client::Answer, image::digest};

/// Time after a trouble in which its consequences are allowed: connections are given up, circuits close and replicas are tried again
/// within seconds (docs/outages.md, docs/cluster.md), on a machine that does not run the whole fleet.
const AFTERMATH: Duration = Duration::from_secs(20);

/// The judge of a run.
#[derive(Default)]
pub struct Judge {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The trouble at present.
    trouble: Option<&'static str>,
    /// The last trouble, and its end.
    last: Option<(&'static str, Instant)>,
    judged: Judged,
}

/// The judgements.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Whole answers with the right bytes.
    pub right: usize,
    /// Refusals and broken bodies, by the trouble that allows them.
    pub allowed: BTreeMap<&'static str, usize>,
    /// Everything else.
    pub faults: Vec<String>,
}

impl fmt::Display for Judged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { right, allowed, faults } = self;
        write!(f, "{right} right, allowed: {allowed:?}, {} faults", faults.len())
    }
}

impl Judge {
    /// A trouble begins. `why` is the sentence that allows its consequences.
    pub fn begin(&self, why: &'static str) {
        self.state.lock().unwrap().trouble = Some(why);
    }

    /// The trouble is over.
    pub fn end(&self) {
        let mut state = self.state.lock().unwrap();
        if let Some(why) = state.trouble.take() {
            state.last = Some((why, Instant::now()));
        }
    }

    /// Judges an answer to a request that began then. True if it is whole and right.
    pub fn judge(&self, asked: &str, began: Instant, wanted: &str, answer: Result<Answer, reqwest::Error>) -> bool {
        let mut state = self.state.lock().unwrap();
        let problem = match answer {
            Ok(answer) if answer.status == 200 && digest(&answer.body) == wanted => {
                state.judged.right += 1;
                return true;
            }
            Ok(answer) if answer.status == 200 => {
                // Never allowed.
                state.judged.faults.push(format!("{asked}: wrong bytes in a whole answer of {}", answer.body.len()));
                return false;
            }
            Ok(answer) => format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(error) => format!("{error:?}"),
        };
        let recent = state.last.filter(|(_, ended)| began.saturating_duration_since(*ended) < AFTERMATH);
        match state.trouble.or(recent.map(|(why, _)| why)) {
            Some(why) => *state.judged.allowed.entry(why).or_default() += 1,
            None => {
                let after = began.elapsed();
                state.judged.faults.push(format!("{asked}: after {after:?}: {problem}"));
            }
        }
        false
    }

    /// The judgements so far.
    pub fn finish(&self) -> Judged {
        self.state.lock().unwrap().judged.clone()
    }
}
