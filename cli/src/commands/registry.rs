//! Where the registry is, and how images of a group are named there: as the control plane has it from its nodes, as
//! `--registry` says, or guessed for a hint.

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

/// The control plane's port unless somebody chose another.
const DEFAULT_CONTROL_PORT: u16 = 7071;
/// The port that clients assume where a name has none.
const HTTPS_PORT: u16 = 443;

/// How a group's images are named: as `registry` has it, otherwise as the nodes told.
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
            Err(Failure::failed(format_args!("{said}; or say where the registry is, with --registry URL")).into())
        }
        Err(status) => Err(status.into()),
    }
}

/// The same as the control plane would say of this registry.
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

/// The registry's address as far as it can be guessed: where the control plane is where `serve` puts it, so is that.
pub fn guess(control: &Url) -> &'static str {
    if is_loopback(control) && control.port() == Some(DEFAULT_CONTROL_PORT) {
        "127.0.0.1:7070"
    } else {
        "REGISTRY_HOST"
    }
}

/// Whether only this machine can reach it.
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
