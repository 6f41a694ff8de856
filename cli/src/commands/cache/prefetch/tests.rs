use super::*;

#[test]
fn progress_and_its_end_read_well() {
    let step = PrefetchImageResponse {
        total_bytes: 4 << 20,
        cached_bytes: 1 << 20,
        fetched_bytes: 512 << 10,
        objects: 1,
        done: true,
        digest: "sha256:00".into(),
    };
    assert_eq!(line("alpine", &step), "alpine: 1.0 MiB of 4.0 MiB, 1 object so far");
    assert_eq!(
        details(&step).to_string(),
        "Digest:    sha256:00\nSize:      4.0 MiB\nFetched:   512 KiB\nObjects:   1\n"
    );
}
