//! Health of upstreams as a table: a row for each upstream, set of credentials and pull limit.

use std::time::SystemTime;

use roadstead_proto::v1::{PullLimit, UpstreamHealth, UpstreamStatus};

use crate::output::{Table, human};

/// Returns a table of the statuses; an upstream without a pull limit has a row too.
pub fn table(statuses: &[UpstreamStatus], now: SystemTime) -> Table {
    let lines: Vec<(&UpstreamStatus, Option<&PullLimit>, bool)> = statuses
        .iter()
        .flat_map(|status| {
            let others = status.limits.iter().skip(1).map(move |limit| (status, Some(limit), false));
            std::iter::once((status, status.limits.first(), true)).chain(others)
        })
        .collect();
    let header = ["HOST", "USER", "HEALTH", "REMAINING", "LIMIT", "+COUNTED FOR", "RESETS", "+PAUSED", "+SPENT BY"];
    Table::new(header, &lines, |(status, limit, is_first)| {
        let first = |text: String| if *is_first { text } else { String::new() };
        let of_limit = |text: &dyn Fn(&PullLimit) -> String| limit.map_or_else(|| "-".to_owned(), text);
        [
            first(status.host.clone()),
            first(human::or_dash(&status.username)),
            first(health(status, now)),
            of_limit(&|limit| limit.remaining.to_string()),
            of_limit(&|limit| match human::duration(limit.window.as_ref(), "") {
                window if window.is_empty() => limit.limit.to_string(),
                window => format!("{} in {window}", limit.limit),
            }),
            of_limit(&|limit| human::or_dash(&limit.source)),
            of_limit(&|limit| human::relative(limit.resets_at.as_ref(), now, "-")),
            first(human::relative(status.paused_until.as_ref(), now, "no")),
            first(spent(status)),
        ]
    })
}

/// Returns the health, with the last failure and its time if there was one.
fn health(status: &UpstreamStatus, now: SystemTime) -> String {
    let state = match status.health() {
        UpstreamHealth::Good => "good",
        UpstreamHealth::Failing => "failing",
        UpstreamHealth::Open => "suspended",
        UpstreamHealth::Unspecified => "unknown",
    };
    if status.last_error.is_empty() || status.health() == UpstreamHealth::Good {
        return state.to_owned();
    }
    format!("{state} ({} {})", status.last_error, human::relative(status.last_failed_at.as_ref(), now, "before"))
}

fn spent(status: &UpstreamStatus) -> String {
    let groups: Vec<String> =
        status.spent.iter().map(|spend| format!("{} {}", spend.group_path, spend.pulls)).collect();
    human::or_dash(&groups.join(", "))
}

#[cfg(test)]
mod tests;
