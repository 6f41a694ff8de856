//! `roadstead cache prefetch`: an image fetched ahead of pulls, now or again and again. Progress goes to stderr: a bar on a
//! terminal, otherwise a line now and then.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use roadstead_proto::v1::{
    CreatePrefetchScheduleRequest, PrefetchImageRequest, PrefetchImageResponse,
    cache_service_client::CacheServiceClient,
};

use super::schedule;
use crate::{
    connect::{AdminChannel, CallError},
    failure::Failure,
    output::{Details, Format, human},
    value_parsers::{duration, to_proto},
};

/// How often to say a line where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Fetch an image into the cache ahead of pulls, now or by schedule
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead cache prefetch acme alpine:3.20
  roadstead cache prefetch acme ghcr.io/org/app:latest --platform linux/amd64 --platform linux/arm64
  roadstead cache prefetch acme alpine:3.20 --every 6h      # a schedule; see `roadstead cache schedule`")]
pub struct Prefetch {
    /// Path of the group
    path: String,
    /// The image with its tag or digest
    image: String,
    /// Only this platform: linux/amd64, linux/arm64/v8; repeat for more [default: all]
    #[arg(long = "platform", value_name = "PLATFORM")]
    platforms: Vec<String>,
    /// Fetch it again and again, so often (5m to 30d), and not now
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    every: Option<Duration>,
}

impl Prefetch {
    /// Follows the prefetch to its end, or makes the schedule.
    pub async fn run(self, mut cache: CacheServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        let Self { path: group_path, image, platforms, every } = self;
        if let Some(every) = every.map(to_proto) {
            let request = CreatePrefetchScheduleRequest { group_path, image, platforms, every: Some(every) };
            let answer = cache.create_prefetch_schedule(request).await?.into_inner();
            return Ok(output.answer(&answer, || schedule::details(answer.schedule.as_ref()))?);
        }
        let request = PrefetchImageRequest { group_path, image: image.clone(), platforms };
        let mut steps = cache.prefetch_image(request).await?.into_inner();
        let mut progress = Progress::new(&image);
        while let Some(step) = steps.message().await? {
            progress.show(&step);
            if step.done {
                drop(progress);
                return Ok(output.answer(&step, || details(&step))?);
            }
        }
        Err(Failure::failed(format_args!("the prefetch of {image} ended before all of it was there; try again")).into())
    }
}

/// Shows how far it is. The bar goes when this is dropped.
struct Progress<'a> {
    image: &'a str,
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl<'a> Progress<'a> {
    fn new(image: &'a str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
            bar.set_message(crate::output::plain(image).into_owned());
            bar
        });
        Self { image, bar, next_line: Instant::now() + LINE_EVERY }
    }

    fn show(&mut self, step: &PrefetchImageResponse) {
        if let Some(bar) = &self.bar {
            bar.set_length(u64::try_from(step.total_bytes).unwrap_or_default());
            bar.set_position(u64::try_from(step.cached_bytes).unwrap_or_default());
        } else if Instant::now() >= self.next_line {
            self.next_line = Instant::now() + LINE_EVERY;
            eprintln!("{}", line(self.image, step));
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
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
