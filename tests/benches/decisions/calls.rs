//! The calls of nodes.

use roadstead_proto::{
    node::v1::{
        ContentKind, GetLinksRequest, Link, LinkProof, RecordLinkRequest, RecordUsageRequest, Reference,
        ReportTagRequest, RepositoryRef, ResolveTagRequest, TagFound, UpstreamOutcome, Usage,
        node_service_client::NodeServiceClient, resolve_tag_response::Decision, upstream_outcome::Outcome,
    },
    v1::GetGroupRequest,
};
use roadstead_tests::{
    api::{self, Called},
    image::{OCI_MANIFEST, digest},
};
use tonic::Code;
use uuid::Uuid;

use crate::replica::Replica;

/// Images that there are, and pulls counted in one report.
const IMAGES: usize = 1000;
/// Layers of each.
const LAYERS: usize = 4;

/// One kind of call.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A pull by tag: what to do, and what upstream said.
    Tag,
    /// May this group have this digest?
    LookUp,
    /// It may: a new blob.
    Record,
    /// The pulled content.
    Count,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tag, Self::LookUp, Self::Record, Self::Count];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tag => "pulls by tag decided (two calls)",
            Self::LookUp => "links looked up",
            Self::Record => "links recorded",
            Self::Count => "pulls counted (rows)",
        }
    }

    /// The number of operations that one call counts for.
    pub fn weight(self) -> usize {
        if matches!(self, Self::Count) { IMAGES } else { 1 }
    }
}

/// A node's connection.
pub type Node = NodeServiceClient<Called>;

/// The subjects of the calls.
pub struct Calls {
    token: String,
    group_id: String,
}

impl Calls {
    /// A group with images.
    pub async fn prepare(replica: &Replica) -> Self {
        let token = replica.node_token().await;
        let request = GetGroupRequest { path: "default".into() };
        let group = replica.admin().groups.get_group(request).await.unwrap().into_inner().group.unwrap();
        let calls = Self { token, group_id: group.id };
        let mut node = calls.node(replica);
        for image in 0..IMAGES {
            for layer in 0..LAYERS {
                node.record_link(calls.blob(image, &layer_of(image, layer))).await.unwrap();
            }
            let references = (0..LAYERS).map(|layer| Reference {
                digest: layer_of(image, layer),
                kind: ContentKind::Blob.into(),
                size_bytes: 1_000_000,
                ..Reference::default()
            });
            let link = Link {
                digest: manifest_of(image),
                kind: ContentKind::Manifest.into(),
                size_bytes: 1000,
                media_type: OCI_MANIFEST.into(),
            };
            let request = RecordLinkRequest {
                proof: LinkProof::Fetched.into(),
                repository: Some(calls.repository(image)),
                link: Some(link),
                references: references.collect(),
                tag: "latest".into(),
                ..RecordLinkRequest::default()
            };
            node.record_link(request).await.unwrap();
        }
        calls
    }

    /// A connection.
    pub fn node(&self, replica: &Replica) -> Node {
        NodeServiceClient::new(api::calls(replica.address(), &self.token))
    }

    /// One call; `number` makes it different from others.
    pub async fn call(&self, node: &mut Node, kind: Kind, number: usize) {
        let image = number % IMAGES;
        let repository = Some(self.repository(image));
        match kind {
            Kind::Tag => {
                let tag = "latest".to_owned();
                let request =
                    ResolveTagRequest { repository: repository.clone(), tag: tag.clone(), ..Default::default() };
                let answer = node.resolve_tag(request).await.unwrap().into_inner();
                assert!(matches!(answer.decision, Some(Decision::Revalidate(_))), "{answer:?}");
                let found = UpstreamOutcome { outcome: Some(Outcome::Found(TagFound { digest: manifest_of(image) })) };
                node.report_tag(ReportTagRequest { repository, tag, outcome: Some(found) }).await.unwrap();
            }
            Kind::LookUp => {
                let request = GetLinksRequest { repository, digest: manifest_of(image) };
                assert!(node.get_links(request).await.unwrap().into_inner().link.is_some());
            }
            Kind::Record => {
                let new = digest(Uuid::now_v7().as_bytes());
                node.record_link(self.blob(image, &new)).await.unwrap();
            }
            Kind::Count => {
                let rows = (0..IMAGES).map(|image| Usage {
                    repository: Some(self.repository(image)),
                    digest: manifest_of(image),
                    hits: 3,
                    last_pulled_at: roadstead_proto::time::timestamp(1_800_000_000_000),
                    ..Usage::default()
                });
                let batch = RecordUsageRequest { batch_id: Uuid::now_v7().to_string(), usage: rows.collect() };
                // Writers wait for each other, for a while; nodes send a batch again, too.
                while let Err(status) = node.record_usage(batch.clone()).await {
                    assert_eq!(status.code(), Code::Unavailable, "{status}");
                }
            }
        }
    }

    fn blob(&self, image: usize, digest: &str) -> RecordLinkRequest {
        let link = Link {
            digest: digest.to_owned(),
            kind: ContentKind::Blob.into(),
            size_bytes: 1_000_000,
            media_type: String::new(),
        };
        RecordLinkRequest {
            proof: LinkProof::Fetched.into(),
            repository: Some(self.repository(image)),
            link: Some(link),
            ..Default::default()
        }
    }

    fn repository(&self, image: usize) -> RepositoryRef {
        let repository = format!("library/app-{image}");
        RepositoryRef { group_id: self.group_id.clone(), upstream: "docker.io".into(), repository }
    }
}

fn manifest_of(image: usize) -> String {
    digest(format!("manifest {image}").as_bytes())
}

fn layer_of(image: usize, layer: usize) -> String {
    digest(format!("layer {image} {layer}").as_bytes())
}
