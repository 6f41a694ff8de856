//! `roadstead cache prefetch`: fetches an image ahead of pulls, now or by schedule.

use std::time::Duration;

use clap::Args;
use roadstead_proto::v1::{
    CreatePrefetchScheduleRequest, PrefetchImageRequest, PrefetchImageResponse,
    cache_service_client::CacheServiceClient,
};

use super::schedule;
use crate::commands::request_id::RequestId;
use crate::{
    connect::{AdminChannel, CallError},
    failure::Failure,
    output::{Details, Format, Progress, human},
    value_parsers::{duration, to_proto},
};

/// Fetch an image into the cache ahead of pulls, now or by schedule
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache prefetch acme alpine:3.20
  roadstead cache prefetch acme ghcr.io/org/app:latest \\
      --platform linux/amd64 --platform linux/arm64
  roadstead cache prefetch acme alpine:3.20 --every 6h")]
pub struct Prefetch {
    /// Path of the group
    path: String,
    /// The image with its tag or digest
    image: String,
    /// Only this platform: linux/amd64, linux/arm64/v8; repeat for more [default: all]
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<String>,
    /// Repeat at this interval (5m to 30d) instead of fetching now
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
    #[command(flatten)]
    request: RequestId,
}

impl Prefetch {
    /// Follows the prefetch to its end, or creates the schedule.
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        let Self { path: group_path, image, platforms, every, request } = self;
        if let Some(every) = every.map(to_proto) {
            let request = CreatePrefetchScheduleRequest {
                group_path,
                image,
                platforms,
                every: Some(every),
                request_id: request.id,
            };
            let answer = cache.create_prefetch_schedule(request).await?.into_inner();
            return Ok(output.answer(&answer, || schedule::details(answer.schedule.as_ref()))?);
        }
        let request = PrefetchImageRequest { group_path, image: image.clone(), platforms };
        let mut steps = cache.prefetch_image(request).await?.into_inner();
        let progress = Progress::of_bytes(&image);
        while let Some(step) = steps.message().await? {
            let amount = |bytes| u64::try_from(bytes).unwrap_or_default();
            progress.show(amount(step.cached_bytes), amount(step.total_bytes), || line(&image, &step));
            if step.done {
                drop(progress);
                return Ok(output.answer(&step, || details(&step))?);
            }
        }
        Err(Failure::failed(format_args!("the prefetch of {image} ended early; try again")).into())
    }
}

fn line(image: &str, step: &PrefetchImageResponse) -> String {
    let (cached, total) = (human::size(step.cached_bytes), human::size(step.total_bytes));
    format!("{}: {cached} of {total}, {} so far", crate::output::plain(image), human::count(step.objects, "object"))
}

fn details(step: &PrefetchImageResponse) -> Details {
    Details::default()
        .with("Digest", &step.digest)
        .with("Size", human::size(step.total_bytes))
        .with("Fetched", human::size(step.fetched_bytes))
        .with("Objects", step.objects)
}

#[cfg(test)]
mod tests;
