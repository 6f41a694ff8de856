//! When tokens were last used and users last seen, without a write for every time: remembered here, written by the
//! maintenance.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{
    store::{
        Store,
        identity::{token, user},
    },
    usecases::UseCaseResult,
};

/// Precision of the time, in milliseconds: five minutes, as the API promises.
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

/// When tokens were last used and users last seen.
#[derive(Default)]
pub struct LastUses {
    /// By a token's id.
    pub tokens: LastUsed,
    /// By a user's id.
    pub users: LastUsed,
}

impl LastUses {
    /// Writes what is not written yet.
    pub async fn write(&self, store: &Store) -> UseCaseResult<()> {
        let (used, seen) = (self.tokens.take(), self.users.take());
        if used.is_empty() && seen.is_empty() {
            return Ok(());
        }
        let mut tx = store.write_soon().await?;
        for (id, at_ms) in used {
            token::set_last_used(&mut tx, &id, at_ms).await?;
        }
        for (id, at_ms) in seen {
            user::set_last_seen(&mut tx, &id, at_ms).await?;
        }
        Ok(tx.commit().await?)
    }
}
