//! Upstreams as tables and details.

use std::time::SystemTime;

use roadstead_proto::v1::Upstream;

use crate::output::{Details, Table, human};

/// Describes an upstream with all its settings.
pub fn details(upstream: Option<&Upstream>) -> Details {
    let Some(upstream) = upstream else { return Details::default() };
    let certificates = upstream.ca_pem.matches("-----BEGIN CERTIFICATE-----").count();
    let trusted = match i64::try_from(certificates) {
        Ok(0) | Err(_) => "public".to_owned(),
        Ok(count) => format!("public, and {}", human::count(count, "own certificate")),
    };
    Details::default()
        .with("Host", &upstream.host)
        .with("URL", &upstream.url)
        .with("Token hosts", human::or_dash(&upstream.token_hosts.join(", ")))
        .with("Redirect hosts", human::or_dash(&upstream.redirect_hosts.join(", ")))
        .with("Trusted CAs", trusted)
        .with("Reserve", format_args!("{}%", upstream.reserve_percent))
        .with("Updated", human::absolute(upstream.updated_at.as_ref(), "built in"))
}

/// Returns a table with a row for each upstream.
pub fn table(upstreams: &[Upstream], now: SystemTime) -> Table {
    Table::new(["HOST", "URL", "+TOKEN HOSTS", "RESERVE", "UPDATED"], upstreams, |upstream| {
        [
            upstream.host.clone(),
            upstream.url.clone(),
            human::or_dash(&upstream.token_hosts.join(",")),
            format!("{}%", upstream.reserve_percent),
            human::relative(upstream.updated_at.as_ref(), now, "built in"),
        ]
    })
}

#[cfg(test)]
mod tests;
