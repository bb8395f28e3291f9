//! What becomes of a follower to whom a snapshot comes: late, in pieces that are lost, beside one of
//! its own, and amid a crash.

use std::time::Duration;

use nodeseal::fs::Loss;
use openraft::{BasicNode, Config};

use crate::support::network::{Fate, Message, Network};
use crate::support::node::{Node, config};
use crate::support::until;
use crate::{holds, leader, start, stop, write};

/// Cuts off node 3, which holds the first values, while the others write so many that the entries it
/// would need are purged; then lets it hear them again.
async fn left_behind(network: &Network, nodes: &[Node]) {
    network.side(3, 1);
    write(&nodes[..2], 50..200).await;
    until("purges", || nodes[..2].iter().all(|node| node.purged() > 100)).await;
    network.side(3, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_builds_slowly_keeps_the_leaders_newer_snapshot() {
    let network = Network::new(1);
    let mut nodes = start(&network, 3, config).await;
    write(&nodes, 0..50).await;
    until("the first values", || holds(&nodes[2], 0..50)).await;
    let building = nodes[2].machine.building.clone();
    building.set(true);
    nodes[2].raft.trigger().snapshot().await.unwrap();
    until("a build", || building.within() == 1).await;
    left_behind(&network, &nodes).await;
    until("the leader's snapshot", || holds(&nodes[2], 0..200)).await;
    let newer = nodes[2].store.snapshot_at().unwrap().index;

    building.set(false);
    until("the end of the build", || building.within() == 0).await;
    assert!(nodes[2].store.snapshot_at().unwrap().index >= newer);
    let follower = nodes.pop().unwrap();
    nodes.push(follower.crash(&network, Loss::Dropped, 1, config()).await);
    write(&nodes, 200..210).await;
    until("the new values", || holds(&nodes[2], 0..210)).await;
    stop(&network, nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_amid_an_installation_leaves_the_log_that_was_there() {
    let network = Network::new(2);
    let mut nodes = start(&network, 3, config).await;
    write(&nodes, 0..50).await;
    until("the first values", || holds(&nodes[2], 0..50)).await;
    let last = nodes[2].store.state().last;
    let installing = nodes[2].machine.installing.clone();
    installing.set(true);
    left_behind(&network, &nodes).await;
    until("an installation", || installing.within() == 1).await;
    // openraft purges up to the snapshot without waiting for it.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let held = nodes[2].store.id_at(last.index).is_some();
        assert!(held, "the log went before the snapshot came");
    }

    let follower = nodes.pop().unwrap();
    nodes.push(follower.crash(&network, Loss::Dropped, 2, config()).await);
    until("all values", || holds(&nodes[2], 0..200)).await;
    write(&nodes, 200..210).await;
    until("the new values", || holds(&nodes[2], 0..210)).await;
    stop(&network, nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_come_amid_an_installation_wait_for_it() {
    let network = Network::new(3);
    let nodes = start(&network, 3, config).await;
    write(&nodes, 0..50).await;
    until("the first values", || holds(&nodes[2], 0..50)).await;
    let installing = nodes[2].machine.installing.clone();
    installing.set(true);
    left_behind(&network, &nodes).await;
    until("an installation", || installing.within() == 1).await;
    // The leader gives up waiting for it, and tries entries again.
    let before = network.appends(3);
    write(&nodes[..2], 200..210).await;
    until("entries", || network.appends(3) > before).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    installing.set(false);
    until("the new values", || holds(&nodes[2], 0..210)).await;
    stop(&network, nodes).await;
}

/// A learner that comes late, to which the first pieces of a snapshot fare as `fate` says. Returns
/// the offsets that were sent to it until it had all.
async fn late(
    seed: u64,
    config: impl Fn() -> Config,
    mut fate: impl FnMut(u64) -> Option<Fate> + Send + 'static,
) -> Vec<u64> {
    let network = Network::new(seed);
    let mut nodes = start(&network, 3, &config).await;
    write(&nodes, 0..200).await;
    until("purges", || nodes.iter().all(|node| node.purged() > 100)).await;
    network.rule(move |_, to, message| match message {
        Message::Snapshot(offset, _) if to == 4 => fate(offset),
        _ => None,
    });
    let late = Node::start(&network, 4, config()).await;
    let leading = leader(&nodes).await;
    let learner = nodes[leading].raft.add_learner(4, BasicNode::default(), false);
    learner.await.unwrap();
    until("all values", || holds(&late, 0..200)).await;
    let pieces = network.pieces(4);
    // It continues from there.
    write(&nodes, 200..210).await;
    until("the new values", || holds(&late, 0..210)).await;
    nodes.push(late);
    stop(&network, nodes).await;
    pieces
}

/// A leader and a transfer that stay, however slow the machine is.
fn steady() -> Config {
    Config {
        heartbeat_interval: 1000,
        election_timeout_min: 10_000,
        election_timeout_max: 20_000,
        install_snapshot_timeout: 20_000,
        ..config()
    }
}

fn count(pieces: &[u64], offset: u64) -> usize {
    pieces.iter().filter(|piece| **piece == offset).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_piece_whose_reply_is_lost_comes_again_and_the_transfer_goes_on() {
    // The first piece and the third one, twice each.
    let mut lost = vec![0, 0, 500, 500];
    let pieces = late(4, steady, move |offset| {
        let at = lost.iter().position(|lost| *lost == offset)?;
        lost.remove(at);
        Some(Fate { reply_lost: true, ..Fate::default() })
    });
    let pieces = pieces.await;
    let sent = [0, 250, 500, 750, 1000].map(|offset| count(&pieces, offset));
    assert_eq!(sent, [3, 1, 3, 1, 1], "{pieces:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_that_is_given_up_begins_again() {
    let config = || Config { install_snapshot_timeout: 300, ..steady() };
    let mut slow = 0;
    let pieces = late(5, config, move |offset| {
        // Too late for the sender, who begins again at 0, and then the whole again.
        let fate = Fate { delay: Some(Duration::from_secs(1)), ..Fate::default() };
        slow += u32::from(offset == 500);
        (offset == 500 && slow <= 2).then_some(fate)
    });
    let pieces = pieces.await;
    assert!(count(&pieces, 0) >= 3 && count(&pieces, 500) >= 3, "{pieces:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pieces_that_the_network_repeats_do_no_harm() {
    let pieces = late(6, steady, move |offset| {
        let later = Duration::from_millis(if offset % 500 == 0 { 0 } else { 30 });
        Some(Fate { repeated: Some(later), ..Fate::default() })
    });
    assert!(pieces.await.len() > 4);
}
