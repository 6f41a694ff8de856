//! The account at the end: what is stored is what is linked, and rows, open files and memory are within the bounds of docs/scale.md.

use roadstead_tests::{
    eventually::eventually_some,
    fleet::{BUCKET, Fleet, Member},
};

/// Open files of a process: the connections of this fleet and its clients, and the files that are being served (docs/scale.md).
const MOST_FILES: usize = 400;
/// Memory of a process of an unoptimised build, in bytes.
const MOST_MEMORY: u64 = 400 << 20;

/// Waits until what is left is what should be, and prints it.
pub async fn settle(fleet: &Fleet, images: usize) {
    let check = fleet.cli(&["cache", "check", "default", "--deep", "--output", "json"]).await.ok();
    assert_eq!(check.trim(), "[]", "everything linked is stored, byte by byte");
    // Nodes collect what nobody links, and abort uploads that broke off.
    let linked = "SELECT count(DISTINCT digest) FROM links";
    eventually_some(async || {
        let linked: usize = fleet.postgres.query(linked).await.trim().parse().unwrap();
        let blobs = |path: &&String| path.contains("/sha256/") || path.contains("sha256:");
        let objects = fleet.seaweed.objects(BUCKET).await;
        let (stored, uploads) = (objects.iter().filter(blobs).count(), fleet.seaweed.uploads(BUCKET).await);
        if linked == stored && uploads == 0 {
            println!("{stored} objects, as many linked, of {images} images; {uploads} unfinished uploads");
            return Ok(());
        }
        Err(format!("{linked} linked, {stored} stored, {uploads} unfinished uploads: {objects:?}"))
    })
    .await;
    for (table, most) in [("changes", 10_000), ("leases", 8_000), ("jobs", 100), ("usage_batches", 10_000)] {
        let rows: usize = fleet.postgres.query(&format!("SELECT count(*) FROM {table}")).await.trim().parse().unwrap();
        println!("{rows} rows in {table}");
        assert!(rows <= most, "{rows} rows in {table}");
    }
    for member in fleet.members() {
        let (files, memory, lines) = (member.open_files(), member.memory_bytes(), member.log().lines().count());
        println!("{}: {files} open files, {} MiB, {lines} lines in the log", member.name, memory >> 20);
        assert!(files <= MOST_FILES, "{}: {files} open files", member.name);
        assert!(memory <= MOST_MEMORY, "{}: {memory} bytes", member.name);
        panicked(member);
    }
}

fn panicked(member: &Member) {
    let log = member.log();
    let panic = log.lines().find(|line| line.contains("panicked at"));
    assert_eq!(panic, None, "{}", member.name);
}
