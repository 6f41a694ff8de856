//! Compiles the `.proto` files to Rust without protoc: protox parses them, tonic-prost-build writes the code.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 25] = [
    "roadstead/v1/group.proto",
    "roadstead/v1/group_service.proto",
    "roadstead/v1/user.proto",
    "roadstead/v1/user_service.proto",
    "roadstead/v1/member.proto",
    "roadstead/v1/member_service.proto",
    "roadstead/v1/oidc.proto",
    "roadstead/v1/oidc_service.proto",
    "roadstead/v1/audit.proto",
    "roadstead/v1/audit_service.proto",
    "roadstead/v1/token.proto",
    "roadstead/v1/token_service.proto",
    "roadstead/v1/upstream.proto",
    "roadstead/v1/upstream_service.proto",
    "roadstead/v1/cache.proto",
    "roadstead/v1/cache_service.proto",
    "roadstead/v1/cluster.proto",
    "roadstead/v1/cluster_service.proto",
    "roadstead/node/v1/link.proto",
    "roadstead/node/v1/policy.proto",
    "roadstead/node/v1/fill.proto",
    "roadstead/node/v1/node.proto",
    "roadstead/node/v1/stored.proto",
    "roadstead/node/v1/saved.proto",
    "roadstead/node/v1/node_service.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=roadstead");
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(out, descriptors.encode_to_vec())?;
    // Type names let the command line print any message as JSON through its descriptor.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    Ok(())
}
