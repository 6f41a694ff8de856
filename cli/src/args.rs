//! The command line as a whole: what `roadstead --help` shows.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        audit::AuditCommand, backup::Backup, cache::CacheCommand, ci_env::CiEnv, completions::Completions,
        group::GroupCommand, member::MemberCommand, mirror_config::MirrorConfig, node::NodeCommand, oidc::OidcCommand,
        store::StoreCommand, token::TokenCommand, upstream::UpstreamCommand, user::UserCommand,
    },
    settings::{ControlFlags, DataplaneFlags, ServeFlags},
};

/// A pull-through cache for container images
///
/// Clients pull HOST/GROUP/dependency_proxy/containers/IMAGE; what was pulled once is served from here, and upstream
/// registries are asked as little as correctness allows.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Examples:
  roadstead serve
  roadstead group create acme --visibility internal
  roadstead token create --group acme --name ci --expires-in 30d
  docker pull 127.0.0.1:7070/acme/dependency_proxy/containers/alpine:latest

Exit codes: 0 done, 1 refused or failed, 2 wrong usage."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(ServeFlags),
    Control(ControlFlags),
    Dataplane(DataplaneFlags),
    Group(GroupCommand),
    User(UserCommand),
    Member(MemberCommand),
    Token(TokenCommand),
    Oidc(OidcCommand),
    Upstream(UpstreamCommand),
    Cache(CacheCommand),
    Node(NodeCommand),
    CiEnv(CiEnv),
    MirrorConfig(MirrorConfig),
    Audit(AuditCommand),
    Backup(Backup),
    Store(StoreCommand),
    Completions(Completions),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command that does something, with its whole name.
    fn leaves(command: &clap::Command, name: String) -> Vec<(String, clap::Command)> {
        if !command.has_subcommands() {
            return vec![(name, command.clone())];
        }
        let children = command.get_subcommands().filter(|child| child.get_name() != "help");
        children.flat_map(|child| leaves(child, format!("{name} {}", child.get_name()))).collect()
    }

    #[test]
    fn every_command_has_an_example_of_itself() {
        for (name, command) in leaves(&Cli::command(), "roadstead".to_owned()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.starts_with("Example") && help.contains(&name), "{name}: {help}");
        }
    }

    #[test]
    fn examples_are_command_lines_that_parse() {
        for (name, command) in leaves(&Cli::command(), "roadstead".to_owned()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let plain = |line: &&str| line.starts_with(&name) && !line.contains(['\'', '"', '\\', '…']);
            for line in help.lines().map(str::trim).filter(plain) {
                let line = line.split(" <").next().unwrap_or_default().split(" >").next().unwrap_or_default();
                let line = line.split("  ").next().unwrap_or_default();
                let parsed = Cli::try_parse_from(line.split(' '));
                assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
            }
        }
    }
}
