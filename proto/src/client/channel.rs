//! One connection to one replica of the control plane.

use std::time::Duration;

use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Error};

/// Timeout for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns a channel to `url` that is connected with its first call, and again whenever it has to be. An `https` URL needs
/// `tls`. `tune` sets what differs between callers.
pub fn lazy_channel(
    url: &str,
    tls: Option<ClientTlsConfig>,
    tune: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true);
    let endpoint = tune(endpoint);
    Ok(match tls {
        Some(tls) => endpoint.tls_config(tls)?,
        None => endpoint,
    }
    .connect_lazy())
}
