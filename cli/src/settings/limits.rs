//! Limits of what the owners of groups can make.

use clap::Args;
use roadstead_control::rules::limits::{Limit, Limits};

use crate::value_parsers::size_i64;

/// Flags that bound the settings of groups.
#[derive(Debug, Args)]
pub(super) struct SettingsLimitFlags {
    /// Most subgroups of one top-level group, at every depth
    #[arg(long, env = "ROADSTEAD_MAX_SUBGROUPS", default_value_t = Limit::Subgroups.default_most(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    max_subgroups: i64,
    /// Most segments of a group's path
    #[arg(long, env = "ROADSTEAD_MAX_GROUP_DEPTH", default_value_t = Limit::Depth.default_most(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i64).range(1..=20))]
    max_group_depth: i64,
    /// Most bytes of one group's settings: its patterns, rules and names
    #[arg(long, env = "ROADSTEAD_MAX_GROUP_SETTINGS", default_value = "128KiB", value_name = "SIZE")]
    #[arg(value_parser = size_i64)]
    max_group_settings: i64,
    /// Most bytes of the settings of one top-level group with its subgroups
    #[arg(long, env = "ROADSTEAD_MAX_TREE_SETTINGS", default_value = "8MiB", value_name = "SIZE")]
    #[arg(value_parser = size_i64)]
    max_tree_settings: i64,
    /// Most bytes of the settings of all groups and upstreams; every node keeps them in memory
    #[arg(long, env = "ROADSTEAD_MAX_TOTAL_SETTINGS", default_value = "256MiB", value_name = "SIZE")]
    #[arg(value_parser = size_i64)]
    max_total_settings: i64,
}

/// Flags that bound what belongs to groups and users.
#[derive(Debug, Args)]
pub(super) struct CountLimitFlags {
    /// Most tokens of one top-level group with its subgroups, and of one user; those revoked in the last day count
    #[arg(long, env = "ROADSTEAD_MAX_TOKENS", default_value_t = Limit::Tokens.default_most(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    max_tokens: i64,
    /// Most members of one group
    #[arg(long, env = "ROADSTEAD_MAX_MEMBERS", default_value_t = Limit::Members.default_most(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    max_members: i64,
    /// Most trusts of one group in issuers of ID tokens
    #[arg(long, env = "ROADSTEAD_MAX_TRUSTS", default_value_t = Limit::Trusts.default_most(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    max_trusts: i64,
    /// Most prefetch schedules of one group
    #[arg(long, env = "ROADSTEAD_MAX_SCHEDULES", default_value_t = Limit::Schedules.default_most(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    max_schedules: i64,
    /// Most pinned tags of one group
    #[arg(long, env = "ROADSTEAD_MAX_PINS", default_value_t = Limit::Pins.default_most(), value_name = "N")]
    #[arg(value_parser = clap::value_parser!(i64).range(0..))]
    max_pins: i64,
}

/// The limits that these flags set.
pub(super) fn limits(settings: &SettingsLimitFlags, counts: &CountLimitFlags) -> Limits {
    Limits::default()
        .with(Limit::Subgroups, settings.max_subgroups)
        .with(Limit::Depth, settings.max_group_depth)
        .with(Limit::GroupBytes, settings.max_group_settings)
        .with(Limit::TreeBytes, settings.max_tree_settings)
        .with(Limit::TotalBytes, settings.max_total_settings)
        .with(Limit::Tokens, counts.max_tokens)
        .with(Limit::Members, counts.max_members)
        .with(Limit::Trusts, counts.max_trusts)
        .with(Limit::Schedules, counts.max_schedules)
        .with(Limit::Pins, counts.max_pins)
}
