//! Roadstead side by side with nginx's `proxy_cache` and Debian's `docker-registry` as a pull-through cache: speed,
//! CPU and memory, on one machine, in one run, as a Markdown table with ratios.
//!
//! ```text
//! cargo build --release                                    # the executable that is measured
//! cargo bench -p roadstead-tests --bench compare           # everything, less than fifteen minutes
//! cargo bench -p roadstead-tests --bench compare -- --quick
//! cargo bench -p roadstead-tests --bench compare -- --only warm --only cold --target roadstead --rounds 1
//! ```
//! Needs `nginx`, `docker-registry` and `wrk` (it says what to install), and 7 GiB of room in the temporary folder
//! (`TMPDIR`). `ROADSTEAD_BIN` names another executable to measure. Nothing else should be running.
//!
//! All servers get the same upstream, a program of a few lines that generates blobs as it sends them ([`origin`]), and the
//! same clients, which discard bodies in the kernel and so cost little ([`fetch`]). Rounds are interleaved (A B C A B C) and
//! medians shown, with the least and the most. Roadstead checks a JSON web token on each request, the peers check nothing.
//!
//! This is a program, not a test: it asserts nothing about time. A server that fails a measure shows up as a dash and
//! a note below the table.

mod content;
mod fetch;
mod machine;
mod measures;
mod options;
mod origin;
mod report;
mod targets;
mod usage;
mod wrk;

use anyhow::Result;
use clap::Parser;
use measures::{Measure, Setting};
use options::Options;
use origin::Origin;
use report::Report;

fn main() -> Result<()> {
    let options = Options::parse();
    if !options.bench {
        println!("not run: `cargo bench -p roadstead-tests --bench compare` runs this benchmark");
        return Ok(());
    }
    options.check_programs()?;

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let setting = Setting { origin: Origin::start()?, options, runtime: runtime.handle().clone() };
    let mut report = Report::new(setting.options.targets());
    for measure in Measure::ALL {
        if setting.options.wants(measure) {
            measure.run(&setting, &mut report)?;
        }
    }
    println!("\n{}\n\n{report}", setting.options.describe());
    Ok(())
}
