//! `roadstead group`: groups and their settings.

use std::{
    io::{BufRead, IsTerminal},
    time::Duration,
};

use clap::{Args, Subcommand, ValueEnum};
use roadstead_proto::v1::{
    CreateGroupRequest, DeleteGroupRequest, GetGroupRequest, Group, ListGroupsRequest, UpdateGroupRequest,
    UpstreamList, Visibility as ProtoVisibility, group_service_client::GroupServiceClient,
};

use super::{duration, to_proto};
use crate::{
    connect::{AdminChannel, AdminFlags, CallError, PAGE_SIZE, all_pages},
    failure::Failure,
    output::{Details, Format, Table, human},
};

/// Create, change and delete groups
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  roadstead group create acme --visibility internal
  roadstead group create acme/backend --upstream docker.io --upstream ghcr.io --max-age 10m
  roadstead group update acme --frozen true
  roadstead group list -o json")]
pub struct GroupCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminFlags,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Create a group
    Create(Create),
    /// Show a group
    Get {
        /// Path of the group: acme, acme/backend
        path: String,
    },
    /// List groups
    List,
    /// Change a group's settings; what is not given stays
    Update(Update),
    /// Delete a group with its tokens, credentials and cache
    Delete {
        /// Path of the group
        path: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Visibility {
    /// Only the group's own tokens
    Private,
    /// Anybody who is signed in
    Internal,
    /// Anybody who is signed in; others too with --anonymous-pull
    Public,
}

impl From<Visibility> for ProtoVisibility {
    fn from(visibility: Visibility) -> Self {
        match visibility {
            Visibility::Private => Self::Private,
            Visibility::Internal => Self::Internal,
            Visibility::Public => Self::Public,
        }
    }
}

#[derive(Debug, Args)]
struct Create {
    /// Path of the group: acme, acme/backend
    path: String,
    /// Who may pull
    #[arg(long, value_enum, default_value = "private")]
    visibility: Visibility,
    /// Pulls without signing in; needs --visibility public
    #[arg(long)]
    anonymous_pull: bool,
    /// Upstream that the group may use; repeat for more, the first is the default [default: docker.io]
    #[arg(long = "upstream", value_name = "HOST")]
    upstreams: Vec<String>,
    /// How long a tag is served without asking upstream whether it moved, for example 10m [default: ask every time]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
}

#[derive(Debug, Args)]
struct Update {
    /// Path of the group
    path: String,
    /// Refuse the update unless the group still has this etag (see `group get`)
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    changes: Changes,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Changes {
    /// Whether pulls are served at all
    #[arg(long, value_name = "true|false")]
    enabled: Option<bool>,
    /// Whether only what is cached is served and upstream is left alone
    #[arg(long, value_name = "true|false")]
    frozen: Option<bool>,
    /// Who may pull
    #[arg(long, value_enum)]
    visibility: Option<Visibility>,
    /// Whether pulls need no sign-in
    #[arg(long, value_name = "true|false")]
    anonymous_pull: Option<bool>,
    /// Upstream that the group may use; replaces the whole list: repeat for more, the first is the default
    #[arg(long = "upstream", value_name = "HOST")]
    upstreams: Vec<String>,
    /// How long a tag is served without asking upstream whether it moved; 0s asks every time
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_age: Option<Duration>,
}

impl GroupCommand {
    /// Calls the control plane and prints its answer.
    pub async fn run(self) -> Result<(), Failure> {
        if let Action::Delete { path, yes: false } = &self.action {
            confirm_deletion(path)?;
        }
        let session = self.admin.connect()?;
        let groups = GroupServiceClient::new(session.channel());
        session.settle(self.action.run(groups, self.admin.output).await)
    }
}

impl Action {
    async fn run(self, mut groups: GroupServiceClient<AdminChannel>, output: Format) -> Result<(), CallError> {
        match self {
            Self::Create(create) => {
                let answer = groups.create_group(CreateGroupRequest::from(create)).await?.into_inner();
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Self::Get { path } => {
                let answer = groups.get_group(GetGroupRequest { path }).await?.into_inner();
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Self::List => {
                let items = all_pages(|page_token| {
                    let mut groups = groups.clone();
                    async move {
                        let request = ListGroupsRequest { page_size: PAGE_SIZE, page_token };
                        let page = groups.list_groups(request).await?.into_inner();
                        Ok((page.groups, page.next_page_token))
                    }
                })
                .await?;
                output.list(&items, "No groups.", table)?;
            }
            Self::Update(update) => {
                let answer = groups.update_group(UpdateGroupRequest::from(update)).await?.into_inner();
                output.answer(&answer, || details(answer.group.as_ref()))?;
            }
            Self::Delete { path, .. } => {
                let answer = groups.delete_group(DeleteGroupRequest { path: path.clone() }).await?.into_inner();
                let links = human::count(answer.links, "link");
                output.done(&answer, format_args!("Deleted group {path}; {links} removed."))?;
            }
        }
        Ok(())
    }
}

impl From<Create> for CreateGroupRequest {
    fn from(create: Create) -> Self {
        Self {
            path: create.path,
            visibility: ProtoVisibility::from(create.visibility).into(),
            anonymous_pull: create.anonymous_pull,
            upstreams: create.upstreams,
            max_age: create.max_age.map(to_proto),
        }
    }
}

impl From<Update> for UpdateGroupRequest {
    fn from(Update { path, etag, changes }: Update) -> Self {
        Self {
            path,
            etag: etag.unwrap_or_default(),
            enabled: changes.enabled,
            frozen: changes.frozen,
            visibility: changes.visibility.map(|visibility| ProtoVisibility::from(visibility).into()),
            anonymous_pull: changes.anonymous_pull,
            upstreams: (!changes.upstreams.is_empty()).then_some(UpstreamList { hosts: changes.upstreams }),
            max_age: changes.max_age.map(to_proto),
            ..Default::default()
        }
    }
}

fn confirm_deletion(path: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Err(Failure::usage(format_args!("deleting group {path} needs --yes where nobody can be asked")));
    }
    eprint!("Delete group {path} with its tokens, credentials and cache? [y/N] ");
    let mut answer = String::new();
    let unreadable = |error| Failure::failed(format_args!("cannot read the answer: {error}"));
    stdin.lock().read_line(&mut answer).map_err(unreadable)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was deleted"))
}

fn visibility(group: &Group) -> &'static str {
    match group.visibility() {
        ProtoVisibility::Private => "private",
        ProtoVisibility::Internal => "internal",
        ProtoVisibility::Public => "public",
        ProtoVisibility::Unspecified => "unknown",
    }
}

fn state(group: &Group) -> &'static str {
    match (group.enabled, group.frozen) {
        (false, _) => "disabled",
        (true, true) => "frozen",
        (true, false) => "enabled",
    }
}

fn table(groups: &[Group]) -> Table {
    Table::new(["PATH", "VISIBILITY", "ANONYMOUS", "STATE", "UPSTREAMS", "MAX AGE"], groups, |group| {
        [
            group.path.clone(),
            visibility(group).to_owned(),
            if group.anonymous_pull { "yes" } else { "no" }.to_owned(),
            state(group).to_owned(),
            group.upstreams.join(","),
            human::duration(group.max_age.as_ref(), "-"),
        ]
    })
}

fn details(group: Option<&Group>) -> Details {
    let Some(group) = group else { return Details::default() };
    Details::default()
        .with("Path", &group.path)
        .with("ID", &group.id)
        .with("Visibility", visibility(group))
        .with("Anonymous pull", if group.anonymous_pull { "yes" } else { "no" })
        .with("State", state(group))
        .with("Upstreams", group.upstreams.join(", "))
        .with("Max age", human::duration(group.max_age.as_ref(), "none: tags are checked at every pull"))
        .with("Created", human::absolute(group.created_at.as_ref(), "-"))
        .with("Updated", human::absolute(group.updated_at.as_ref(), "-"))
        .with("Etag", &group.etag)
}

#[cfg(test)]
mod tests {
    use prost_types::{Duration, Timestamp};

    use super::*;

    fn acme() -> Group {
        Group {
            id: "0190".into(),
            path: "acme".into(),
            visibility: ProtoVisibility::Public.into(),
            anonymous_pull: true,
            enabled: true,
            frozen: false,
            upstreams: vec!["docker.io".into(), "ghcr.io".into()],
            max_age: Some(Duration { seconds: 600, nanos: 0 }),
            etag: "7".into(),
            created_at: Some(Timestamp { seconds: 1_795_383_000, nanos: 0 }),
            updated_at: None,
            ..Default::default()
        }
    }

    #[test]
    fn a_list_of_groups_reads_well() {
        let ops =
            Group { path: "ops/ci".into(), visibility: 1, upstreams: vec!["docker.io".into()], ..Group::default() };
        assert_eq!(
            table(&[acme(), ops]).to_string(),
            "PATH     VISIBILITY   ANONYMOUS   STATE      UPSTREAMS           MAX AGE\n\
             acme     public       yes         enabled    docker.io,ghcr.io   10m\n\
             ops/ci   private      no          disabled   docker.io           -\n"
        );
    }

    #[test]
    fn one_group_reads_well() {
        assert_eq!(
            details(Some(&acme())).to_string(),
            "Path:             acme\n\
             ID:               0190\n\
             Visibility:       public\n\
             Anonymous pull:   yes\n\
             State:            enabled\n\
             Upstreams:        docker.io, ghcr.io\n\
             Max age:          10m\n\
             Created:          2026-11-22T21:30:00Z\n\
             Updated:          -\n\
             Etag:             7\n"
        );
    }

    #[test]
    fn an_update_says_only_what_was_given() {
        let changes = Changes {
            enabled: None,
            frozen: Some(true),
            visibility: None,
            anonymous_pull: None,
            upstreams: vec![],
            max_age: Some(std::time::Duration::ZERO),
        };
        let request = UpdateGroupRequest::from(Update { path: "acme".into(), etag: None, changes });
        let expected = UpdateGroupRequest {
            path: "acme".into(),
            frozen: Some(true),
            max_age: Some(Duration::default()),
            ..UpdateGroupRequest::default()
        };
        assert_eq!(request, expected);
    }
}
