//! Troubles, one after the other, with quiet times between them in which everything has to be right again.

use std::time::{Duration, Instant};

use roadstead_tests::{
    fleet::{Fleet, Member, Purpose},
    link::Mode,
};

use super::{Dice, judge::Judge};

/// A kind of trouble, and the sentence that allows its consequences.
const TROUBLES: [(Trouble, &str); 10] = [
    (Trouble::KillControl, "a replica dies: calls go to another replica (docs/cluster.md)"),
    (Trouble::PauseControl, "a replica hangs: calls go to another replica (docs/cluster.md)"),
    (Trouble::KillNode, "a node dies: its own clients' downloads break off (docs/cluster.md)"),
    (
        Trouble::PauseNode,
        "a node hangs: its clients notice a pause, and refuses until it has caught up (docs/cluster.md)",
    ),
    (Trouble::CutNode, "a node without control plane serves what it knows (docs/outages.md)"),
    (Trouble::CutStore, "the store is away: what is not here is not served (docs/storage.md)"),
    (Trouble::CutPeers, "nodes do not reach each other: each fetches for itself (docs/cluster.md)"),
    (Trouble::CutDatabase, "a replica without its database refuses calls (docs/postgresql.md)"),
    (Trouble::RestartDatabase, "the database restarts (docs/postgresql.md)"),
    (Trouble::CutUpstream, "upstream is away: what is cached is served (docs/outages.md)"),
];

#[derive(Clone, Copy, Debug)]
enum Trouble {
    KillControl,
    PauseControl,
    KillNode,
    PauseNode,
    CutNode,
    CutStore,
    CutPeers,
    CutDatabase,
    RestartDatabase,
    CutUpstream,
}

/// Makes trouble until then, and heals it; purges now and then meanwhile.
pub async fn run(fleet: &Fleet, judge: &Judge, mut dice: Dice, until: Instant) {
    while Instant::now() < until {
        let (trouble, why) = TROUBLES[dice.roll(TROUBLES.len() as u64) as usize];
        let lasts = Duration::from_millis(500 + dice.roll(4000));
        let (control, node) = (&fleet.controls[dice.roll(2) as usize], &fleet.nodes[dice.roll(3) as usize]);
        println!("{trouble:?} for {lasts:?}: {} {}", control.name, node.name);
        judge.begin(why);
        make(trouble, lasts, fleet, control, node).await;
        judge.end();
        tokio::time::sleep(Duration::from_millis(dice.roll(8000))).await;
        if dice.roll(3) == 0 {
            purge(fleet, &mut dice).await;
        }
    }
}

async fn make(trouble: Trouble, lasts: Duration, fleet: &Fleet, control: &Member, node: &Member) {
    let wait = tokio::time::sleep(lasts);
    match trouble {
        Trouble::KillControl | Trouble::KillNode => {
            let member = if matches!(trouble, Trouble::KillControl) { control } else { node };
            member.kill();
            wait.await;
            member.start();
            member.ready().await;
        }
        Trouble::PauseControl | Trouble::PauseNode => {
            let member = if matches!(trouble, Trouble::PauseControl) { control } else { node };
            member.pause();
            wait.await;
            member.resume();
        }
        Trouble::CutNode => cut(node, Purpose::Control, lasts).await,
        Trouble::CutStore => cut(node, Purpose::Store, lasts).await,
        Trouble::CutPeers => cut(node, Purpose::Peer, lasts).await,
        Trouble::CutDatabase => cut(control, Purpose::Database, lasts).await,
        Trouble::RestartDatabase => {
            fleet.postgres.kill();
            wait.await;
            fleet.postgres.restart().await;
        }
        Trouble::CutUpstream => {
            fleet.upstream.set(Mode::Refuse).await;
            wait.await;
            fleet.upstream.set(Mode::Pass).await;
        }
    }
}

async fn cut(member: &Member, purpose: Purpose, lasts: Duration) {
    member.set_links(purpose, Mode::Refuse).await;
    tokio::time::sleep(lasts).await;
    member.set_links(purpose, Mode::Pass).await;
}

/// Everything, an image, or what nobody has pulled for a while. It may fail while a replica is away.
async fn purge(fleet: &Fleet, dice: &mut Dice) {
    let image = format!("app{}", dice.roll(4));
    let what: &[&str] = match dice.roll(3) {
        0 => &[],
        1 => &["--image", &image],
        _ => &["--older-than", "2s"],
    };
    fleet.cli(&[&["cache", "purge", "default", "--yes"], what].concat()).await;
}
