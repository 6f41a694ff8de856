use super::*;

#[test]
fn progress_and_corruption_read_well() {
    let step = CheckCacheResponse { total: 10, checked: 4, read_bytes: 1 << 20, ..Default::default() };
    assert_eq!(line("acme", &step), "acme: 4 of 10 checked, 1.0 MiB read");
    let corruption = Corruption {
        images: vec!["docker.io/library/alpine".into()],
        digest: "sha256:00".into(),
        kind: CorruptionKind::Size.into(),
        size_bytes: 1 << 20,
        found_bytes: 1 << 10,
        ..Default::default()
    };
    let text = table(&[corruption], true, SystemTime::now()).wide().to_string();
    let row = text.lines().nth(1).unwrap().split("   ").filter(|cell| !cell.is_empty()).collect::<Vec<_>>();
    assert_eq!(row[..3], ["docker.io/library/alpine", "sha256:00", "wrong size"]);
    assert_eq!((row[3].trim(), row[4].trim(), row.last().unwrap().trim()), ("1.0 MiB", "1.0 KiB", "no"));
}
