//! Images made on the spot: real gzip layers that engines unpack, in Docker's and in OCI's words, and content of any
//! size that nothing compresses.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// Docker's manifest, version 2, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's list of manifests.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI's manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI's index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `sha256:…` of some content.
pub fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(content)))
}

/// `sha512:…` of some content.
pub fn digest_sha512(content: &[u8]) -> String {
    format!("sha512:{}", hex::encode(Sha512::digest(content)))
}

/// `size` bytes that look random and are the same for the same `seed`.
pub fn random_bytes(seed: u64, size: usize) -> Bytes {
    // splitmix64: no quality needed beyond "does not compress and does not repeat".
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let words = (0..size.div_ceil(8)).flat_map(|_| {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)).to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.collect();
    bytes.truncate(size);
    bytes.into()
}

/// The media types of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Docker v2.
    Docker,
    /// OCI.
    Oci,
}

/// An image: a manifest, a config, layers.
#[derive(Clone, Debug)]
pub struct Image {
    /// The manifest's bytes.
    pub manifest: Bytes,
    /// The manifest's media type.
    pub media_type: String,
    /// The config's bytes.
    pub config: Bytes,
    /// The layers' bytes, compressed.
    pub layers: Vec<Bytes>,
    /// Its architecture, as an index names it.
    pub architecture: String,
}

impl Image {
    /// An image for linux/amd64 with one small file, told apart by `seed`.
    pub fn small(seed: u64) -> Self {
        ImageBuilder::new(Format::Docker).file("greeting.txt", format!("hello {seed}\n").as_bytes()).build()
    }

    /// The digest of its manifest.
    pub fn digest(&self) -> String {
        digest(&self.manifest)
    }

    /// Its config and its layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.config).chain(&self.layers)
    }
}

/// Makes an [`Image`].
#[derive(Clone, Debug)]
pub struct ImageBuilder {
    format: Format,
    architecture: String,
    files: Vec<(String, Vec<u8>)>,
}

impl ImageBuilder {
    /// For linux/amd64, with nothing in it.
    pub fn new(format: Format) -> Self {
        Self { format, architecture: "amd64".into(), files: Vec::new() }
    }

    /// For another architecture.
    pub fn architecture(self, architecture: &str) -> Self {
        Self { architecture: architecture.into(), ..self }
    }

    /// One more layer, with one file.
    pub fn file(mut self, name: &str, content: &[u8]) -> Self {
        self.files.push((name.into(), content.into()));
        self
    }

    /// The image.
    pub fn build(self) -> Image {
        let (media_type, config_type, layer_type) = match self.format {
            Format::Docker => (
                DOCKER_MANIFEST,
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
            Format::Oci => (
                OCI_MANIFEST,
                "application/vnd.oci.image.config.v1+json",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            ),
        };
        let tars: Vec<Vec<u8>> = self.files.iter().map(|(name, content)| tar(name, content)).collect();
        let layers: Vec<Bytes> = tars.iter().map(|tar| gzip(tar)).collect();
        let diff_ids: Vec<String> = tars.iter().map(|tar| digest(tar)).collect();
        let config = pretty(&json!({
            "architecture": self.architecture,
            "os": "linux",
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["/greeting"], "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": tars.iter().map(|_| json!({"created": "2026-01-01T00:00:00Z"})).collect::<Vec<_>>(),
        }));
        let manifest = pretty(&json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config_type, &config),
            "layers": layers.iter().map(|layer| descriptor(layer_type, layer)).collect::<Vec<_>>(),
        }));
        Image { manifest, media_type: media_type.into(), config, layers, architecture: self.architecture }
    }
}

/// A list of images for several platforms.
#[derive(Clone, Debug)]
pub struct Index {
    /// The index's bytes.
    pub manifest: Bytes,
    /// The index's media type.
    pub media_type: String,
    /// Its entries.
    pub images: Vec<Image>,
}

impl Index {
    /// Lists `images`.
    pub fn new(format: Format, images: Vec<Image>) -> Self {
        let media_type = if format == Format::Docker { DOCKER_LIST } else { OCI_INDEX };
        let manifests: Vec<Value> = images
            .iter()
            .map(|image| {
                let mut entry = descriptor(&image.media_type, &image.manifest);
                entry["platform"] = json!({"architecture": image.architecture, "os": "linux"});
                entry
            })
            .collect();
        let manifest = pretty(&json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}));
        Self { manifest, media_type: media_type.into(), images }
    }

    /// For linux/amd64 and linux/arm64, told apart from others by `seed`.
    pub fn two_platforms(format: Format, seed: u64) -> Self {
        let image = |architecture: &str| {
            let text = format!("{architecture} {seed}\n");
            ImageBuilder::new(format).architecture(architecture).file("platform.txt", text.as_bytes()).build()
        };
        Self::new(format, vec![image("amd64"), image("arm64")])
    }
}

/// An OCI manifest of an artifact that refers to `subject`.
pub fn artifact(artifact_type: &str, subject: &Image) -> Bytes {
    pretty(&json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor("application/vnd.oci.empty.v1+json", b"{}")],
        "subject": descriptor(&subject.media_type, &subject.manifest),
    }))
}

/// The description of content in manifests.
pub fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

/// JSON as people write it: clients must not re-encode it.
pub fn pretty(value: &Value) -> Bytes {
    let mut text = serde_json::to_vec_pretty(value).unwrap();
    text.push(b'\n');
    text.into()
}

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_mtime(1_767_225_600);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

/// Compressed, as layers are.
pub fn gzip(content: &[u8]) -> Bytes {
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap().into()
}
