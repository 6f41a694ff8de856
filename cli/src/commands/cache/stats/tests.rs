use super::*;

#[test]
fn figures_and_days_read_well() {
    let answer = GetStatsResponse { images: 1, manifests: 2, blobs: 9, bytes: 1 << 20, hits: 3, misses: 1 };
    assert_eq!(
        details(&answer).to_string(),
        "Images:      1\nManifests:   2\nBlobs:       9\nSize:        1.0 MiB\nHits:        3\nMisses:      1\n\
         Hit rate:    75%\n"
    );
    let day = |day: &str, hits, misses| DailyUsage { day: day.into(), hits, misses };
    assert_eq!(
        table(&[day("2026-11-22", 0, 0), day("2026-11-23", 3, 1)]).to_string(),
        "DAY          HITS   MISSES   HIT RATE\n\
         2026-11-22   0      0        -\n\
         2026-11-23   3      1        75%\n"
    );
}
