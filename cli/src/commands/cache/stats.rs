//! `roadstead cache stats`: figures of a group's cache, and its hits and misses day by day.

use clap::Args;
use roadstead_proto::v1::{
    DailyUsage, GetStatsRequest, GetStatsResponse, ListDailyUsageRequest, cache_service_client::CacheServiceClient,
};

use crate::{
    connect::{AdminChannel, CallError},
    output::{self, Details, Format, Table, human},
};

/// Days that are shown without `--days`.
const DAYS: u16 = 7;

/// Show figures of a group's cache, and its hits and misses of the last days (UTC)
///
/// With -o json the figures are an object; with --days too, the days are an array instead.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache stats acme --days 30
  roadstead cache stats acme -o json
  roadstead cache stats acme --days 366 -o json")]
pub struct Stats {
    /// Path of the group
    path: String,
    /// Number of days, today included [default: 7]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=366))]
    days: Option<u16>,
}

impl Stats {
    /// Prints the figures.
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, format: Format) -> Result<(), CallError> {
        let days = ListDailyUsageRequest { group_path: self.path.clone(), days: self.days.unwrap_or(DAYS).into() };
        let figures = GetStatsRequest { group_path: self.path };
        if format == Format::Json && self.days.is_some() {
            let days = cache.list_daily_usage(days).await?.into_inner().days;
            return Ok(format.list(&days, "", table)?);
        }
        let answer = cache.get_stats(figures).await?.into_inner();
        format.answer(&answer, || details(&answer))?;
        if format.is_for_people() {
            let days = cache.list_daily_usage(days).await?.into_inner().days;
            output::print(&format!("\n{}", table(&days)))?;
        }
        Ok(())
    }
}

fn details(stats: &GetStatsResponse) -> Details {
    Details::default()
        .with("Images", stats.images)
        .with("Manifests", stats.manifests)
        .with("Blobs", stats.blobs)
        .with("Size", human::size(stats.bytes))
        .with("Hits", stats.hits)
        .with("Misses", stats.misses)
        .with("Hit rate", human::share(stats.hits, stats.misses))
}

fn table(days: &[DailyUsage]) -> Table {
    Table::new(["DAY", "HITS", "MISSES", "HIT RATE"], days, |day| {
        [day.day.clone(), day.hits.to_string(), day.misses.to_string(), human::share(day.hits, day.misses)]
    })
}

#[cfg(test)]
mod tests;
