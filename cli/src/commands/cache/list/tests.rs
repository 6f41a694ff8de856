use std::time::{Duration, UNIX_EPOCH};

use prost_types::Timestamp;

use super::*;

fn digest(of: &str) -> String {
    format!("sha256:{}", of.repeat(64))
}

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

const NOW: Duration = Duration::from_secs(7200);

#[test]
fn a_list_of_manifests_reads_well() {
    let manifest = Manifest {
        image: "docker.io/library/alpine".into(),
        tags: vec!["3.20".into(), "latest".into()],
        digest: digest("0"),
        media_type: "application/vnd.oci.image.index.v1+json".into(),
        size_bytes: 3_500_000,
        cached_at: at(0),
        last_pulled_at: None,
        platforms: vec!["linux/amd64".into(), "linux/arm64".into()],
        pulls: 7,
        unique_bytes: 2048,
        shared_bytes: 3_497_952,
    };
    let narrow = manifests(std::slice::from_ref(&manifest), false, UNIX_EPOCH + NOW);
    assert!(narrow.fits_80_columns(), "{narrow}");
    let text = narrow.wide().to_string();
    assert_eq!(
        text.lines()
            .map(|line| line.split("   ").map(str::trim).filter(|c| !c.is_empty()).collect())
            .collect::<Vec<Vec<_>>>(),
        [
            vec!["IMAGE", "TAGS", "DIGEST", "TYPE", "PLATFORMS", "SIZE", "UNIQUE", "CACHED", "LAST PULLED", "PULLS"],
            vec![
                "docker.io/library/alpine",
                "3.20,latest",
                "000000000000",
                "OCI index",
                "linux/amd64,linux/arm64",
                "3.3 MiB",
                "2.0 KiB",
                "2 hours ago",
                "never",
                "7"
            ],
        ]
    );
    assert!(manifests(std::slice::from_ref(&manifest), true, UNIX_EPOCH + NOW).to_string().contains(&manifest.digest));
}

#[test]
fn lists_of_images_tags_and_blobs_read_well() {
    let image = CachedImage {
        image: "ghcr.io/a/b".into(),
        tags: 1,
        manifests: 2,
        blobs: 3,
        size_bytes: 1 << 20,
        pulls: 4,
        cached_at: at(0),
        last_pulled_at: at(3600),
    };
    assert_eq!(
        images(&[image], UNIX_EPOCH + NOW).wide().to_string(),
        "IMAGE         TAGS   MANIFESTS   BLOBS   SIZE      CACHED        LAST PULLED   PULLS\n\
         ghcr.io/a/b   1      2           3       1.0 MiB   2 hours ago   1 hour ago    4\n"
    );
    let tag = CachedTag {
        image: "ghcr.io/a/b".into(),
        tag: "v1".into(),
        digest: digest("1"),
        previous_digest: String::new(),
        cached_at: at(0),
        checked_at: at(3600),
        last_pulled_at: None,
        pulls: 0,
        pinned: true,
    };
    assert_eq!(
        tags(&[tag], false, UNIX_EPOCH + NOW).wide().to_string(),
        "IMAGE         TAG   DIGEST         PREVIOUS   CACHED        CHECKED      LAST PULLED   PULLS   PINNED\n\
         ghcr.io/a/b   v1    111111111111   -          2 hours ago   1 hour ago   never         0       yes\n"
    );
    let blob = Blob {
        image: "ghcr.io/a/b".into(),
        digest: digest("2"),
        size_bytes: 2048,
        cached_at: at(0),
        last_pulled_at: None,
        links: 2,
        pulls: 5,
    };
    assert_eq!(
        blobs(&[blob], false, UNIX_EPOCH + NOW).wide().to_string(),
        "IMAGE         DIGEST         SIZE      LINKS   CACHED        LAST PULLED   PULLS\n\
         ghcr.io/a/b   222222222222   2.0 KiB   2       2 hours ago   never         5\n"
    );
}
