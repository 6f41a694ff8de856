//! The command line as a whole, which `roadstead --help` shows.

use clap::{Parser, Subcommand};

use crate::{
    commands::{
        admin_token::AdminTokenCommand,
        audit::AuditCommand,
        backup::Backup,
        cache::CacheCommand,
        ci_env::CiEnv,
        completions::Completions,
        database::DatabaseCommand,
        group::GroupCommand,
        keys::KeysCommand,
        login::{Login, Logout},
        member::MemberCommand,
        mirror_config::MirrorConfig,
        node::NodeCommand,
        oidc::OidcCommand,
        restore::Restore,
        store::StoreCommand,
        token::TokenCommand,
        upstream::UpstreamCommand,
        user::UserCommand,
    },
    output::OutputFlag,
    settings::{ControlFlags, DataplaneFlags, ServeFlags},
};

/// A pull-through cache for container images
///
/// Clients pull HOST/GROUP/dependency_proxy/containers/IMAGE. Content that was pulled once is served from the cache, with as few
/// requests to upstream registries as correctness allows.
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
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// The format before the name of an admin command, which takes it over.
    #[command(flatten)]
    _output: OutputFlag,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    Serve(Box<ServeFlags>),
    Control(ControlFlags),
    Dataplane(DataplaneFlags),
    Login(Login),
    Logout(Logout),
    Group(GroupCommand),
    User(UserCommand),
    Member(MemberCommand),
    Token(TokenCommand),
    AdminToken(AdminTokenCommand),
    Keys(KeysCommand),
    Oidc(OidcCommand),
    Upstream(UpstreamCommand),
    Cache(CacheCommand),
    Node(NodeCommand),
    CiEnv(CiEnv),
    MirrorConfig(MirrorConfig),
    Audit(AuditCommand),
    Backup(Backup),
    Restore(Restore),
    Database(DatabaseCommand),
    Store(StoreCommand),
    Completions(Completions),
}

#[cfg(test)]
mod tests;
