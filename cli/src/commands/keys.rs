//! `roadstead keys`: the keys that sign and seal.

use clap::{Args, Subcommand};
use roadstead_proto::v1::{RotateKeysRequest, RotateKeysResponse, cluster_service_client::ClusterServiceClient};

use crate::{
    connect::{AdminFlags, CallError, Session},
    failure::Failure,
    output::{Details, human},
};

/// Replace the keys that sign registry tokens and seal stored secrets
#[derive(Debug, Args)]
pub struct KeysCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Replace keys after a leak; without a flag, all of them
    ///
    /// A new signing key makes every registry token (JWT) void within two seconds; clients sign in again by themselves. API
    /// tokens, passwords and node tokens stay. A new sealing key seals all stored secrets again: upstream credentials and
    /// signing keys. Backups from before open with the old sealing key only, so keep that with them.
    ///
    /// A server with a file database makes the new sealing key by itself, in DIR/secret.key. Servers that were given the key
    /// (--secret-key, --secret-key-file) take several, separated by white space: the first one seals, all of them open. Give
    /// all servers the old one and the new one, then the new one first, rotate, and take the old one away.
    #[command(after_help = "Examples:
  roadstead keys rotate
  roadstead keys rotate --signing")]
    Rotate {
        /// Only replace the keys that sign registry tokens
        #[arg(long, conflicts_with = "sealing")]
        signing: bool,
        /// Only replace the key that seals stored secrets
        #[arg(long)]
        sealing: bool,
    },
}

impl KeysCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        let Action::Rotate { signing, sealing } = self.action;
        let request = RotateKeysRequest { signing: !sealing, sealing: !signing };
        self.admin.call(async |session| rotate(session, request).await).await
    }
}

async fn rotate(session: &Session, request: RotateKeysRequest) -> Result<(), CallError> {
    let mut cluster = ClusterServiceClient::new(session.channel());
    let answer = cluster.rotate_keys(request).await?.into_inner();
    session.output.answer(&answer, || details(&answer))?;
    Ok(())
}

fn details(answer: &RotateKeysResponse) -> Details {
    let unreached: Vec<_> = answer.unreached_nodes.iter().map(|node| node.name.as_str()).collect();
    Details::default()
        .with("Signing key", human::or_dash(&answer.signing_key_id))
        .with("Void signing keys", answer.voided_signing_keys.to_string())
        .with("Secrets sealed again", answer.resealed_secrets.to_string())
        .with("Nodes not reached", human::or_dash(&unreached.join(", ")))
}
