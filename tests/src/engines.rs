//! Real servers and clients, each with storage of its own: Docker Engine, podman, skopeo, containerd's `ctr`, and
//! Debian's `docker-registry`.

mod docker;
mod registry;
mod tools;

pub use docker::DockerEngine;
pub use registry::{DebianRegistry, PRIVATE_PASSWORD, PRIVATE_USER};
pub use tools::{Podman, grpcurl, skopeo, skopeo_with_home};
