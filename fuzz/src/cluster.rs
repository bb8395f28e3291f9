//! Commands, written by hand from the description of their bytes, and what they make.

use nodeseal::LockRecord;
use nodeseal::cluster::{Cluster, Command};

/// A text, or bytes, after their length.
fn text(bytes: &[u8]) -> Vec<u8> {
    assert!(bytes.len() < 128);
    [&[bytes.len() as u8], bytes].concat()
}

fn command(tag: u8, fields: &[&[u8]]) -> Vec<u8> {
    [&[1, 200, 1, 2, b'm', b'e', tag], fields.concat().as_slice()].concat()
}

fn payload(key: u8) -> Vec<u8> {
    [&[key], text(&[0x5a; 41]).as_slice()].concat()
}

fn reference(secret: &[u8], follow: &[u8], target: &[u8]) -> Vec<u8> {
    let owner = [1, 2, 0xa4, 2];
    [&text(secret)[..], &text(secret), follow, &text(target), &owner].concat()
}

/// A history with every request once, most of which are done.
#[must_use]
pub fn commands() -> Vec<Vec<u8>> {
    let [s1, s2, v1, w1, t1, t2] = [&b"s1"[..], b"s2", b"v1", b"w1", b"t1", b"t2"].map(text);
    let (label, none) = ([&[1][..], &text(b"k"), &text(b"v")].concat(), [0]);
    let selector = [&[1][..], &text(b"k"), &[1], &text(b"v"), &[1], &text(b"k"), &[0]].concat();
    let both =
        [&[2][..], &reference(b"s1", &[0], b"a"), &reference(b"s2", &[1, 1], b"b/c")].concat();
    let create = |id: &[u8], selector: &[u8]| {
        command(0, &[id, id, &label, &[0], &[1, 9], &[0], selector, &payload(1)])
    };
    vec![
        command(19, &[&[1], &[3; 32], &[0]]),
        create(&s1, &[0, 0]),
        create(&s2, &selector),
        command(2, &[&s1, &[2], &payload(1), &[1]]),
        command(5, &[&v1, &v1, &label, &both]),
        command(13, &[&w1, &label, &[1], &[9; 32]]),
        command(9, &[&t1, &v1, &[1], &w1, &[2]]),
        command(9, &[&t2, &v1, &none, &[1]]),
        command(6, &[&v1, &[5], &label, &[1], &reference(b"s1", &[0], b"a")]),
        command(10, &[&t2, &[1], &w1, &[7]]),
        command(11, &[&t1]),
        command(1, &[&s1, &[4], &[3], &[1]]),
        command(1, &[&s1, &[12], &[2], &selector]),
        command(7, &[&v1, &[9]]),
        command(14, &[&w1, &[1, 0, 2, 0, 1, 0]]),
        command(16, &[&text(b"volume"), &text(b"d"), &[1], &s2]),
        command(18, &[&text(LockRecord::off(7).encode().expose()), &[0]]),
        command(21, &[&[7]]),
        command(22, &[&[7]]),
        command(19, &[&[2], &[4; 32], &[1]]),
        command(20, &[&[1], &s1, &[1, 1], &payload(2)]),
        command(10, &[&t1, &none, &[8]]),
        command(12, &[&t1]),
        command(3, &[&s1, &[2]]),
        command(17, &[&text(b"volume"), &text(b"d")]),
        command(4, &[&s2]),
        command(8, &[&v1]),
        command(15, &[&w1]),
    ]
}

/// The state after the first `count` of them.
///
/// # Panics
///
/// If one does not decode.
#[must_use]
pub fn state(count: usize) -> Vec<u8> {
    let mut cluster = Cluster::new();
    for (index, bytes) in (1..).zip(commands().into_iter().take(count)) {
        cluster.apply(index, Command::decode(&bytes).expect("a command"));
    }
    cluster.encode().expose().to_vec()
}

/// An assignment with every kind of change.
#[must_use]
pub fn assignment() -> Vec<u8> {
    let [s1, s2, w1, t1, t2] = [&b"s1"[..], b"s2", b"w1", b"t1", b"t2"].map(text);
    let grant = [&s1[..], &[3], &text(b"a/b"), &[1, 2, 0xa4, 2]].concat();
    [
        &[1][..],
        &w1,
        &[1, 8, 9, 4],
        &[0],
        &s1,
        &[3],
        &text(b"payload"),
        &[1],
        &t1,
        &[1],
        &grant,
        &[2],
        &t2,
        &[3],
        &s2,
        &[1],
    ]
    .concat()
}
