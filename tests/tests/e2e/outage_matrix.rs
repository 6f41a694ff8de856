//! Pulls while upstream is in trouble: every known kind of trouble, with everything that is pulled, cached and not.
//!
//! The rules are asserted here; what exactly was seen is `docs/outages.md`, which has to be what this test sees. With
//! `ROADSTEAD_BLESS=1` it writes the file instead.

mod seen;
mod stage;
mod troubles;

use std::{env, fs, path::Path};

use futures_util::{StreamExt, stream};

use seen::Seen;
use stage::{Cell, Stage};
use troubles::{Trouble, Word, troubles};

/// Troubles that are looked at side by side; most of the time is spent waiting for time limits.
const AT_ONCE: usize = 3;

const INTRODUCTION: &str = include_str!("outage_matrix/introduction.md");

#[tokio::test]
async fn every_trouble_upstream_comes_to_what_the_docs_say() {
    let rows: Vec<(String, Vec<String>)> = stream::iter(troubles()).map(row).buffered(AT_ONCE).collect().await;
    let (rows, broken): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let seen = format!("{INTRODUCTION}{}\n", rows.join("\n"));
    println!("{seen}");
    let broken = broken.concat();
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/outages.md");
    if env::var_os("ROADSTEAD_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        return fs::write(file, seen).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let differing: Vec<_> = seen.lines().filter(|line| !committed.lines().any(|there| there == *line)).collect();
    assert_eq!(committed, seen, "docs/outages.md is not what was seen (ROADSTEAD_BLESS=1 writes it): {differing:#?}");
}

/// One trouble: everything is pulled once, in a world of its own. The row of the table, and which rules were broken.
async fn row(trouble: Trouble) -> (String, Vec<String>) {
    let stage = Stage::set(&trouble).await;
    let (mut row, mut broken) = (format!("| {} |", trouble.name), Vec::new());
    for cell in Cell::ALL {
        let seen = stage.pull(&trouble, cell).await;
        row.push_str(&format!(" {seen} |"));
        if let Err(rule) = check(&trouble, cell, &seen) {
            let asked = stage.hub.log();
            broken.push(format!("{}, {cell:?}: {rule}: {seen:?}\nupstream was asked:\n{asked}", trouble.name));
        }
    }
    (row, broken)
}

/// Checks the rules for all kinds of trouble, and the expected results of this one.
fn check(trouble: &Trouble, cell: Cell, seen: &Seen) -> Result<(), String> {
    let rule = |holds: bool, rule: &str| if holds { Ok(()) } else { Err(rule.to_owned()) };
    rule(seen.took < cell.time_limit(), "answers come in time")?;
    rule(seen.status != 200 || !seen.is_complete || seen.is_right, "no wrong bytes pass for right ones")?;
    let is_served = seen.status == 200 && seen.is_complete;
    match (cell, trouble.word) {
        (Cell::CachedDigest | Cell::CachedBlob, _) => {
            rule(is_served && seen.cache == "hit" && seen.asked.is_empty(), "what is cached needs nothing of upstream")
        }
        (Cell::CachedTag, Word::None) => {
            rule(is_served, "a cached tag is served")?;
            rule((seen.cache == "stale") == trouble.tag_is_stale, "it is stale if it could not be confirmed")?;
            let warning = if trouble.keeps_missing { "110" } else { "111" };
            rule((seen.cache == "stale") == (seen.warning == warning), "it says so")?;
            rule(seen.cache != "stale" || seen.has_age, "it says since when")
        }
        (Cell::CachedTag, Word::Refuses(status)) => {
            rule(seen.status == status && !seen.code.is_empty(), "upstream's word counts for cached tags too")
        }
        (Cell::Tag | Cell::Digest | Cell::Blob, _) => {
            let expected = trouble.expected(cell);
            rule(seen.outcome() == expected, &format!("this has to come to {expected}"))
        }
    }
}
