//! The gRPC contract of Roadstead, compiled from the `.proto` files beside this crate, and the words that both
//! planes share: [`Digest`] and its incremental hasher, [`GroupPath`], [`UpstreamHost`], [`RepositoryName`],
//! [`ImageName`], [`ImagePattern`], [`Tag`] and [`Reference`]. All of them are parsed once, at the edge, and trusted from then on.

pub mod client;
mod digest;
mod group_path;
mod image;
mod image_pattern;
mod methods;
mod reference;
mod requests;
pub mod time;
mod words;

pub use digest::{Algorithm, Digest, DigestHasher, InvalidDigest};
pub use group_path::{GroupPath, InvalidGroupPath};
pub use image::{ImageName, InvalidImageName, RepositoryName, UpstreamHost};
pub use image_pattern::{ImagePattern, ImageRefused, InvalidImagePattern, glob, may_pull_image};
pub use methods::{Idempotency, Method};
pub use reference::{InvalidReference, InvalidTag, Reference, Tag};
pub use requests::DEFAULT_RESERVE_PERCENT;
pub use words::*;

/// `roadstead.v1`: the services for users.
#[allow(missing_docs, clippy::all, unused_qualifications)]
pub mod v1 {
    tonic::include_proto!("roadstead.v1");
}

/// `roadstead.node.v1`: the service for data-plane nodes.
pub mod node {
    /// Version 1.
    #[allow(missing_docs, clippy::all, unused_qualifications)]
    pub mod v1 {
        tonic::include_proto!("roadstead.node.v1");
    }
}

/// The encoded `FileDescriptorSet` of all our packages, for gRPC reflection and for printing messages as JSON.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The service name and audience of registry tokens, and the `service` of the challenge.
pub const REGISTRY_SERVICE: &str = "dependency_proxy";

/// The audience of tickets that nodes show each other.
pub const PEER_SERVICE: &str = "roadstead-peer";

/// The path segments between a group's path and an image's name in everything clients write.
pub const PROXY_INFIX: &str = "dependency_proxy/containers";
