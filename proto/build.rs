//! Compiles the `.proto` files to Rust without protoc: protox parses them, tonic-prost-build writes the code, and the facts
//! that the contract states as options become a table (`methods.rs`).

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use protox::prost_reflect::{DescriptorPool, MethodDescriptor};

/// The folder of the packages that are our own.
const OWN: &str = "roadstead";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={OWN}");
    println!("cargo::rerun-if-changed=buf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(proto_files(Path::new(OWN))?)?;
    // Encoded by protox: a decoded `FileDescriptorSet` would have lost the options that are not protobuf's own.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    fs::write(out.join("methods.rs"), methods(&compiler.descriptor_pool())?)?;
    // Type names let the command line print any message as JSON through its descriptor.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    let mut files = compiler.file_descriptor_set();
    // Only options of ours are made of these.
    files.file.retain(|file| file.package() != "buf.validate");
    tonic_prost_build::configure().compile_fds_with_config(files, config)?;
    Ok(())
}

/// Every `.proto` file below a folder, in the order of their names.
fn proto_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(proto_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The table of all RPCs, by path.
fn methods(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let mut rows = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        rows.push((path.clone(), row(pool, &path, &method)?));
    }
    rows.sort();
    let mut table = String::from("pub(crate) const METHODS: &[Method] = &[\n");
    rows.iter().try_for_each(|(_, row)| writeln!(table, "    {row},"))?;
    table.push_str("];\n");
    Ok(table)
}

fn row(pool: &DescriptorPool, path: &str, method: &MethodDescriptor) -> Result<String, Box<dyn Error>> {
    let level = method.method_descriptor_proto().options.as_ref().and_then(|options| options.idempotency_level);
    let idempotency = match level {
        Some(0) => "Unknown",
        Some(1) => "NoSideEffects",
        Some(2) => "Idempotent",
        _ => return Err(format!("{path} has no idempotency_level").into()),
    };
    let extension = pool.get_extension_by_name("roadstead.v1.audit_action").ok_or("there is no option audit_action")?;
    let options = method.options();
    let action = options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned());
    let action = action.as_ref().and_then(|action| action.as_str());
    let streams = method.is_server_streaming() || method.is_client_streaming();
    Ok(format!(
        "Method {{ path: {path:?}, idempotency: Idempotency::{idempotency}, streams: {streams}, audit_action: {action:?} }}"
    ))
}
