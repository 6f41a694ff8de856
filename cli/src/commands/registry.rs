//! The registry's address and the image prefix of a group: from the control plane, from `--registry`, or guessed for a hint.

use roadstead_proto::{
    GroupPath, PROXY_INFIX,
    v1::{GetImagePrefixRequest, GetImagePrefixResponse, group_service_client::GroupServiceClient},
};
use tonic::Code;
use url::Url;

use crate::{
    connect::{CallError, Session},
    failure::Failure,
};

/// Default port of the control plane.
const DEFAULT_CONTROL_PORT: u16 = 7071;
/// Port that clients assume for a name without one.
const HTTPS_PORT: u16 = 443;

/// Returns the prefix of a group's images at `registry`, or at the registry that nodes report.
pub async fn image_prefix(
    session: &Session,
    group: &GroupPath,
    registry: Option<&Url>,
) -> Result<GetImagePrefixResponse, CallError> {
    if let Some(url) = registry {
        return Ok(prefix_at(url, group));
    }
    let request = GetImagePrefixRequest { path: group.to_string() };
    match GroupServiceClient::new(session.channel()).get_image_prefix(request).await {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == Code::FailedPrecondition => {
            let said = crate::output::plain(status.message()).into_owned();
            Err(Failure::failed(format_args!("{said}; or give its URL with --registry")).into())
        }
        Err(status) => Err(status.into()),
    }
}

/// Returns the prefix that the control plane would return for this registry.
fn prefix_at(registry: &Url, group: &GroupPath) -> GetImagePrefixResponse {
    let host = registry.host_str().unwrap_or_default();
    let server = match registry.port_or_known_default() {
        None | Some(HTTPS_PORT) => host.to_owned(),
        Some(port) => format!("{host}:{port}"),
    };
    let top = group.as_str().split('/').next().unwrap_or_default();
    GetImagePrefixResponse {
        registry_url: registry.as_str().trim_end_matches('/').to_owned(),
        group_image_prefix: format!("{server}/{top}/{PROXY_INFIX}"),
        direct_group_image_prefix: format!("{server}/{group}/{PROXY_INFIX}"),
        server,
    }
}

/// Guesses the registry's address: if the control plane has the default address of `serve`, so has the registry.
pub fn guess(control: &Url) -> &'static str {
    if is_loopback(control) && control.port() == Some(DEFAULT_CONTROL_PORT) {
        "127.0.0.1:7070"
    } else {
        "REGISTRY_HOST"
    }
}

/// True if only this machine can reach the URL.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests;
