//! When tokens were last used, without a write for every use: remembered here, written by the upkeep.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::token::Token;

/// How exactly the time of last use is kept, in milliseconds: five minutes, as the API promises.
const PRECISION_MS: i64 = 5 * 60 * 1000;

/// Uses that are not written yet.
#[derive(Default)]
pub struct LastUsed(Mutex<HashMap<String, i64>>);

impl LastUsed {
    /// Notes a use, if what is stored is not recent enough.
    pub fn note(&self, token: &Token, now_ms: i64) {
        if token.last_used_at_ms.is_none_or(|known| now_ms - known >= PRECISION_MS) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token.id.clone(), now_ms);
        }
    }

    /// Takes what is not written yet.
    pub fn take(&self) -> HashMap<String, i64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
