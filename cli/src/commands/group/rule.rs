//! `roadstead group rule`: exceptions from a group's freshness settings for some tags. The RPC updates the list as a whole:
//! these commands read it, change it and write it back, and start over if somebody else has changed the group meanwhile.

use std::time::Duration;

use clap::{Args, Subcommand};
use roadstead_proto::v1::{
    GetGroupRequest, Group, MissingTag as ProtoMissingTag, TagRule, TagRules, UpdateGroupRequest, UpdateGroupResponse,
    group_service_client::GroupServiceClient,
};
use tonic::Code;

use super::{
    settings::MissingTag,
    show::{details, rules},
};
use crate::{
    connect::{AdminChannel, CallError},
    failure::Failure,
    output::Format,
    value_parsers::{duration, duration_or_off, to_proto},
};

/// Attempts while others change the group.
const ATTEMPTS: usize = 8;

/// Set rules for some of a group's tags
///
/// For each setting the first matching rule that has it applies, otherwise the group's own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead group rule set acme 'docker.io/library/alpine:3.*' --immutable
  roadstead group rule set acme 'ghcr.io/acme/*' \\
      --max-age 0s --cooldown off --first
  roadstead group rule list acme
  roadstead group rule delete acme 'ghcr.io/acme/*'")]
pub struct RuleCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Set(Set),
    /// List a group's rules in their order
    #[command(after_help = "Example:\n  roadstead group rule list acme")]
    List {
        /// Path of the group
        path: String,
    },
    /// Delete a rule
    #[command(after_help = "Example:\n  roadstead group rule delete acme 'docker.io/library/alpine:3.*'")]
    Delete {
        /// Path of the group
        path: String,
        /// Pattern of the rule, as `group rule list` shows it
        pattern: String,
    },
}

/// Add a rule, or replace the one with the same pattern
#[derive(Debug, Args)]
#[command(after_help = "Example:
  roadstead group rule set acme 'docker.io/library/*:latest' \\
      --cooldown 24h --missing-tag keep")]
struct Set {
    /// Path of the group
    path: String,
    /// Pattern of the tags: 'docker.io/library/alpine:3.*'; `*` stands for any characters, and without a tag it matches all tags
    pattern: String,
    #[command(flatten)]
    settings: RuleSettings,
    /// Put the rule before all others [default: keep its place, or append it]
    #[arg(long)]
    first: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct RuleSettings {
    /// Time for which a checked tag is served without another check upstream; 0s checks at every pull
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
    /// Time for which a tag is served while upstream is unavailable
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_stale: Option<Duration>,
    /// Delay before a tag that moved upstream moves here too; off follows at once
    #[arg(long, value_name = "DURATION|off", value_parser = duration_or_off)]
    cooldown: Option<Duration>,
    /// Treatment of a cached tag that upstream has deleted
    #[arg(long, value_enum)]
    missing_tag: Option<MissingTag>,
    /// Treat the tag as immutable: once cached, it is never checked upstream again
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true")]
    immutable: Option<bool>,
}

impl RuleCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self, groups: &mut GroupServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        match self.action {
            Action::Set(set) => {
                let (path, first) = (set.path.clone(), set.first);
                let rule = TagRule::from(set);
                let answer = change(groups, &path, |list| {
                    put(list, rule.clone(), first);
                    Ok(())
                })
                .await?;
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Action::List { path } => {
                let group = get(groups, &path).await?;
                output.list(&group.tag_rules, "No rules.", rules)?;
            }
            Action::Delete { path, pattern } => {
                let answer = change(groups, &path, |list| {
                    let count = list.len();
                    list.retain(|rule| rule.pattern != pattern);
                    if list.len() < count {
                        return Ok(());
                    }
                    let message = format!(
                        "group {path} has no rule with the pattern {pattern}; see `roadstead group rule list {path}`"
                    );
                    Err(Failure::failed(message))
                })
                .await?;
                output.done(&answer, format_args!("Deleted the rule {pattern} of group {path}."))?;
            }
        }
        Ok(())
    }
}

async fn get(groups: &mut GroupServiceClient<AdminChannel>, path: &str) -> Result<Group, CallError> {
    let answer = groups.get_group(GetGroupRequest { path: path.to_owned() }).await?.into_inner();
    answer.group.ok_or_else(|| Failure::failed(format_args!("the control plane returned no group {path}")).into())
}

async fn change(
    groups: &mut GroupServiceClient<AdminChannel>,
    path: &str,
    edit: impl Fn(&mut Vec<TagRule>) -> Result<(), Failure>,
) -> Result<UpdateGroupResponse, CallError> {
    for _ in 0..ATTEMPTS {
        let Group { etag, tag_rules: mut rules, .. } = get(groups, path).await?;
        edit(&mut rules)?;
        let request = UpdateGroupRequest {
            path: path.to_owned(),
            etag,
            tag_rules: Some(TagRules { rules }),
            ..Default::default()
        };
        match groups.update_group(request).await {
            Err(status) if status.code() == Code::Aborted => {}
            answer => return Ok(answer?.into_inner()),
        }
    }
    Err(Failure::failed(format_args!("others keep changing group {path}; nothing was changed; try again")).into())
}

/// Replaces the rule with the same pattern, or appends the rule; puts it first if asked.
fn put(rules: &mut Vec<TagRule>, rule: TagRule, first: bool) {
    let place = rules.iter().position(|other| other.pattern == rule.pattern);
    if let Some(place) = place {
        rules.remove(place);
    }
    let place = if first { 0 } else { place.unwrap_or(rules.len()) };
    rules.insert(place, rule);
}

impl From<Set> for TagRule {
    fn from(Set { pattern, settings, .. }: Set) -> Self {
        Self {
            pattern,
            max_age: settings.max_age.map(to_proto),
            max_stale: settings.max_stale.map(to_proto),
            cooldown: settings.cooldown.map(to_proto),
            missing_tag: settings.missing_tag.map_or(ProtoMissingTag::Unspecified, ProtoMissingTag::from).into(),
            immutable: settings.immutable,
        }
    }
}

#[cfg(test)]
mod tests;
