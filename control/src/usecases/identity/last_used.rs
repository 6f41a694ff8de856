//! When tokens were last used and users last seen, without a write for every time: remembered here, written by the
//! upkeep.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// How exactly the time is kept, in milliseconds: five minutes, as the API promises.
const PRECISION_MS: i64 = 5 * 60 * 1000;

/// Times that are not written yet, by id.
#[derive(Default)]
pub struct LastUsed(Mutex<HashMap<String, i64>>);

impl LastUsed {
    /// Notes a use, if what is stored is not recent enough.
    pub fn note(&self, id: &str, stored_ms: Option<i64>, now_ms: i64) {
        if stored_ms.is_none_or(|known| now_ms - known >= PRECISION_MS) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), now_ms);
        }
    }

    /// Takes what is not written yet.
    pub fn take(&self) -> HashMap<String, i64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
