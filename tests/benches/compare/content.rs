//! The pulled content: small content kept whole, and large blobs generated while they are sent.

use std::sync::LazyLock;

use bytes::Bytes;
use roadstead_tests::image::{DOCKER_MANIFEST, digest, random_bytes};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// 2^20 bytes.
pub const MIB: u64 = 1 << 20;

/// The repeated part of large blobs; random, so that it cannot be compressed.
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| random_bytes(1, MIB as usize));

/// A manifest or a blob.
#[derive(Clone, Debug)]
pub enum Content {
    /// Kept in memory as it is.
    Whole {
        /// All of it.
        bytes: Bytes,
        /// Its `Content-Type`.
        media_type: &'static str,
    },
    /// Eight bytes that tell it from others, then the same block again and again: costs neither memory nor disk.
    Large {
        /// The first eight bytes.
        number: [u8; 8],
        /// Its length in bytes.
        size: u64,
    },
}

impl Content {
    /// A blob that is told apart by `number`.
    pub fn large(number: u64, size: u64) -> Self {
        Self::Large { number: number.to_le_bytes(), size }
    }

    /// A blob of 1 KiB.
    pub fn small() -> Self {
        Self::Whole { bytes: random_bytes(2, 1024), media_type: "application/octet-stream" }
    }

    /// A manifest as images with five layers have it.
    pub fn manifest() -> Self {
        let entry = |media_type: &str, number: u64| {
            let content = random_bytes(number, 1024);
            json!({"mediaType": media_type, "size": content.len(), "digest": digest(&content)})
        };
        let layers: Vec<_> =
            (10..15).map(|number| entry("application/vnd.docker.image.rootfs.diff.tar.gzip", number)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": entry("application/vnd.docker.container.image.v1+json", 9),
            "layers": layers,
        });
        Self::Whole { bytes: format!("{manifest:#}").into(), media_type: DOCKER_MANIFEST }
    }

    /// A small blob that is told apart by `number`.
    pub fn layer(number: u64, size: usize) -> Self {
        Self::Whole { bytes: random_bytes(number, size), media_type: "application/octet-stream" }
    }

    /// The manifest of an image whose config is the first of these blobs.
    pub fn manifest_of(blobs: &[Self]) -> Self {
        let entry = |media_type: &str, blob: &Self| json!({"mediaType": media_type, "size": blob.size(), "digest": blob.digest()});
        let layer = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": blobs.first().map(|config| entry("application/vnd.docker.container.image.v1+json", config)),
            "layers": blobs.iter().skip(1).map(|blob| entry(layer, blob)).collect::<Vec<_>>(),
        });
        Self::Whole { bytes: format!("{manifest:#}").into(), media_type: DOCKER_MANIFEST }
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Whole { bytes, .. } => bytes.len() as u64,
            Self::Large { size, .. } => *size,
        }
    }

    /// Its `Content-Type`.
    pub fn media_type(&self) -> &'static str {
        match self {
            Self::Whole { media_type, .. } => media_type,
            Self::Large { .. } => "application/octet-stream",
        }
    }

    /// Some bytes from `offset` on; none at the end.
    pub fn chunk(&self, offset: u64) -> &[u8] {
        let rest = self.size().saturating_sub(offset);
        let bytes: &[u8] = match self {
            Self::Whole { bytes, .. } => bytes.get(offset as usize..).unwrap_or_default(),
            Self::Large { number, .. } if offset < 8 => &number[offset as usize..],
            Self::Large { .. } => &BLOCK[(offset % MIB) as usize..],
        };
        &bytes[..bytes.len().min(rest as usize)]
    }

    /// `sha256:…` of all of it.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        let mut offset = 0;
        while offset < self.size() {
            let chunk = self.chunk(offset);
            hasher.update(chunk);
            offset += chunk.len() as u64;
        }
        format!("sha256:{}", hex::encode(hasher.finalize()))
    }
}
