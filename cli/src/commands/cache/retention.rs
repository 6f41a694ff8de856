//! Results of retention, for people.

use std::time::SystemTime;

use roadstead_proto::v1::{ApplyRetentionResponse, Eviction, EvictionReason};

use super::content::short_digest;
use crate::output::{Details, Table, human};

/// Sums up the removed content.
pub fn summary(answer: &ApplyRetentionResponse, dry_run: bool) -> Details {
    let what = format!("{}: {}", human::count(answer.manifests, "manifest"), human::size(answer.bytes));
    Details::default()
        .with(if dry_run { "Would remove" } else { "Removed" }, what)
        .with(if dry_run { "Would be left" } else { "Left" }, human::size(answer.bytes_left))
}

/// Returns a table with a row for each removed image.
pub fn table(evictions: &[Eviction], now: SystemTime) -> Table {
    Table::new(["IMAGE", "TAGS", "DIGEST", "+SIZE", "LAST PULLED", "REASON"], evictions, |gone| {
        [
            gone.image.clone(),
            human::or_dash(&gone.tags.join(",")),
            short_digest(&gone.digest),
            human::size(gone.bytes),
            human::relative(gone.last_pulled_at.as_ref(), now, "never"),
            match gone.reason() {
                EvictionReason::Age => "age",
                EvictionReason::Quota => "quota",
                EvictionReason::Store => "store",
                EvictionReason::Unspecified => "-",
            }
            .to_owned(),
        ]
    })
}

#[cfg(test)]
mod tests;
