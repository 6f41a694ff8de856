//! Bounds on the requests that are being answered at once, so that no client and no kind of request takes all of them.
//!
//! A request takes a place once all of it is here, and gives it back with the headers of its answer. One over a bound is
//! refused at once: waiting would only hide the load from the balancer in front.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{listener::client_of, respond::OciError};

/// The part of all places that requests of callers who have not signed in may take: sign-ins and anonymous pulls.
const NOT_SIGNED_IN: usize = 2;
/// The part of all places that is kept for pulls of what is stored.
const KEPT_FOR_WARM: usize = 8;
/// The part of all places that one client who has not signed in may take.
const OF_ONE_CLIENT: usize = 16;
/// Most forms of one client that are arriving at a time.
const FORMS_OF_ONE_CLIENT: usize = 64;
/// Most forms that are arriving at a time; each holds up to 64 KiB.
const FORMS: usize = 2_000;

/// The sender of a request, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A caller who signed in.
    SignedIn,
    /// Anybody at this address.
    Anybody(Option<IpAddr>),
}

/// The kind of wait that a request is in for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The store.
    Warm,
    /// Somebody else: an upstream, or the control plane.
    Cold,
}

/// The places of a node.
pub struct Places {
    all: Arc<Semaphore>,
    cold: Arc<Semaphore>,
    not_signed_in: Arc<Semaphore>,
    by_client: Arc<ByClient>,
    forms: Arc<Semaphore>,
    forms_by_client: Arc<ByClient>,
}

/// A place, given back when dropped.
#[derive(Debug, Default)]
pub struct Place {
    _permits: [Option<OwnedSemaphorePermit>; 3],
    _of_client: Option<OfClient>,
}

impl Places {
    /// At most `most` requests waiting for their answer's headers.
    pub fn new(most: usize) -> Self {
        let part = |of: usize| Arc::new(Semaphore::new((most / of).max(1)));
        Self {
            all: Arc::new(Semaphore::new(most)),
            cold: Arc::new(Semaphore::new((most - most / KEPT_FOR_WARM).max(1))),
            not_signed_in: part(NOT_SIGNED_IN),
            by_client: ByClient::new((most / OF_ONE_CLIENT).max(1)),
            forms: Arc::new(Semaphore::new(FORMS)),
            forms_by_client: ByClient::new(FORMS_OF_ONE_CLIENT),
        }
    }

    /// Takes a place for a whole request, or fails with the answer to send instead.
    pub fn enter(&self, from: Origin, work: Work) -> Result<Place, OciError> {
        let of_client = match from {
            Origin::Anybody(Some(client)) => {
                Some(self.by_client.enter(client).ok_or_else(OciError::too_many_of_client)?)
            }
            _ => None,
        };
        let take = |places: &Arc<Semaphore>, is_wanted: bool| -> Result<Option<OwnedSemaphorePermit>, OciError> {
            if !is_wanted {
                return Ok(None);
            }
            Arc::clone(places).try_acquire_owned().map(Some).map_err(|_| OciError::busy())
        };
        let _permits = [
            take(&self.all, true)?,
            take(&self.cold, work == Work::Cold)?,
            take(&self.not_signed_in, from != Origin::SignedIn)?,
        ];
        Ok(Place { _permits, _of_client: of_client })
    }

    /// Does the same for a form while it arrives.
    pub fn receive_form(&self, client: Option<IpAddr>) -> Result<Place, OciError> {
        let of_client = match client {
            Some(client) => Some(self.forms_by_client.enter(client).ok_or_else(OciError::too_many_of_client)?),
            None => None,
        };
        let permit = Arc::clone(&self.forms).try_acquire_owned().map_err(|_| OciError::busy())?;
        Ok(Place { _permits: [Some(permit), None, None], _of_client: of_client })
    }
}

/// A count for each client.
#[derive(Debug)]
struct ByClient {
    most: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One of a client's; given back when dropped.
#[derive(Debug)]
struct OfClient {
    client: IpAddr,
    counted: Arc<ByClient>,
}

impl ByClient {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, counts: Mutex::default() })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<OfClient> {
        let client = client_of(address);
        let mut counts = self.counts();
        let count = counts.entry(client).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(OfClient { client, counted: Arc::clone(self) })
    }
}

impl Drop for OfClient {
    fn drop(&mut self) {
        let mut counts = self.counted.counts();
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests;
