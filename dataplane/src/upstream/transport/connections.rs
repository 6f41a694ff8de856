//! Connections to upstreams: a pool of its own for each, because each has its own rules on where requests may go and
//! which certificates are trusted.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use reqwest::{Certificate, Client, redirect::Policy};
use roadstead_proto::UpstreamHost;

use super::destination::{Destinations, Lookup, Resolver};
use crate::control::UpstreamPolicy;
use crate::upstream::{UpstreamError, UpstreamTimeouts};

/// Time for which an idle connection is kept; most registries close theirs after one minute or more.
const CONNECTION_IDLE: Duration = Duration::from_secs(50);
/// Most idle connections kept for one host.
const IDLE_CONNECTIONS: usize = 32;
/// Most header fields of an answer.
const MAX_HEADERS: usize = 200;

/// The pools, by upstream.
pub(crate) struct Connections {
    timeouts: UpstreamTimeouts,
    lookup: Lookup,
    kept: Mutex<HashMap<UpstreamHost, Kept>>,
}

/// A pool, and the settings it was made for.
struct Kept {
    policy: Arc<UpstreamPolicy>,
    connection: Connection,
}

/// One upstream's pool and rules. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    pub(crate) http: Client,
    pub(crate) destinations: Arc<Destinations>,
}

impl Connections {
    pub(crate) fn new(timeouts: UpstreamTimeouts, lookup: Lookup) -> Self {
        Self { timeouts, lookup, kept: Mutex::default() }
    }

    /// True if https works at all here.
    pub(crate) fn check(&self) -> reqwest::Result<()> {
        self.builder().build().map(drop)
    }

    /// The pool for an upstream; a new one if its settings have changed. Requests under way end in the old one.
    pub(crate) fn to(&self, policy: &Arc<UpstreamPolicy>) -> Result<Connection, UpstreamError> {
        if let Some(kept) = self.kept().get(&policy.host).filter(|kept| kept.is_for(policy)) {
            return Ok(kept.connection.clone());
        }
        // Made outside of the lock: it reads the system's certificates. Of two made at once, the later one stays.
        let connection = self.connection(policy)?;
        self.kept().insert(policy.host.clone(), Kept { policy: Arc::clone(policy), connection: connection.clone() });
        Ok(connection)
    }

    fn connection(&self, policy: &UpstreamPolicy) -> Result<Connection, UpstreamError> {
        let tls = |reason: String| UpstreamError::Tls { upstream: policy.host.clone(), reason };
        let unusable = |error: reqwest::Error| tls(format!("its CA certificates cannot be used: {error}"));
        let destinations = Arc::new(Destinations::new(policy, Arc::clone(&self.lookup)));
        let mut builder = self.builder().dns_resolver(Resolver(Arc::clone(&destinations)));
        if !policy.ca_pem.trim().is_empty() {
            let roots = Certificate::from_pem_bundle(policy.ca_pem.as_bytes()).map_err(unusable)?;
            if roots.is_empty() {
                return Err(tls("its CA file holds no certificate".to_owned()));
            }
            builder = builder.tls_certs_merge(roots);
        }
        Ok(Connection { http: builder.build().map_err(unusable)?, destinations })
    }

    fn builder(&self) -> reqwest::ClientBuilder {
        Client::builder()
            .http1_only()
            .http1_max_headers(MAX_HEADERS)
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(self.timeouts.connect)
            .pool_idle_timeout(CONNECTION_IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .user_agent(concat!("roadstead/", env!("CARGO_PKG_VERSION")))
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<UpstreamHost, Kept>> {
        self.kept.lock()
    }
}

impl Kept {
    fn is_for(&self, policy: &Arc<UpstreamPolicy>) -> bool {
        let there = &self.policy;
        Arc::ptr_eq(there, policy)
            || there.url == policy.url
                && there.ca_pem == policy.ca_pem
                && there.redirect_hosts == policy.redirect_hosts
                && there.token_hosts == policy.token_hosts
    }
}
