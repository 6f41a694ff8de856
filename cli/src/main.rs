//! The executable `roadstead`: parses the command line, runs the command, and turns its outcome into an exit code
//! (0 done, 1 refused or failed, 2 wrong usage).

mod args;
mod banner;
mod commands;
mod connect;
mod embedded;
mod failure;
mod listener;
mod metrics;
mod output;
mod process;
mod settings;
mod telemetry;
mod value_parsers;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use failure::Failure;

/// Allocator of static builds; musl's own serves one thread at a time.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything uses TLS. Fails only if a provider is installed already, which then serves.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Failpoints from the variable FAILPOINTS are active while this lives.
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(flags) => commands::serve::run(*flags),
        Command::Control(flags) => commands::control::run(flags),
        Command::Dataplane(flags) => commands::dataplane::run(flags),
        Command::Login(login) => block_on(login.run()),
        Command::Logout(logout) => logout.run(),
        Command::Group(group) => block_on(group.run()),
        Command::User(user) => block_on(user.run()),
        Command::Member(member) => block_on(member.run()),
        Command::Token(token) => block_on(token.run()),
        Command::AdminToken(admin_token) => block_on(admin_token.run()),
        Command::Keys(keys) => block_on(keys.run()),
        Command::Oidc(oidc) => block_on(oidc.run()),
        Command::Upstream(upstream) => block_on(upstream.run()),
        Command::Cache(cache) => block_on(cache.run()),
        Command::Node(node) => block_on(node.run()),
        Command::CiEnv(ci_env) => block_on(ci_env.run()),
        Command::MirrorConfig(mirror_config) => block_on(mirror_config.run()),
        Command::Audit(audit) => block_on(audit.run()),
        Command::Backup(backup) => block_on(backup.run()),
        Command::Restore(restore) => block_on(restore.run()),
        Command::Database(database) => block_on(database.run()),
        Command::Store(store) => block_on(store.run()),
        Command::Completions(completions) => completions.run(Cli::command()),
    }
}

/// Runs a command on one thread, which is enough for a few calls.
fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format_args!("cannot start: {error}")))?.block_on(command)
}
