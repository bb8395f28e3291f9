//! A store's directory that was changed: nothing panics, and what opens is the store that was closed,
//! or, where an operator accepts it, what is left of it.
//!
//! The first byte says which store, the second how its files are changed:
//! - a segment is replaced by the input;
//! - frames of genuine segments are swapped, repeated, left out, altered or taken from an older copy,
//!   their CRCs made right again;
//! - or files are corrupted: up to four times a contiguous part of one of them, or all of it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeseal_fuzz::segment::records;
use nodeseal_fuzz::store::oracle::Trial;
use nodeseal_fuzz::store::{Damage, Frames, Scene, scenes, segment_of};
use nodeseal_fuzz::take;

static SCENES: LazyLock<Vec<Scene>> = LazyLock::new(scenes);

/// What `edits` make of the frames, four bytes each.
fn edit(frames: &mut Frames, older: &Frames, edits: &[u8]) {
    for edit in edits.chunks_exact(4) {
        let [kind, one, other, byte] = [0, 1, 2, 3].map(|n| usize::from(edit[n]));
        if frames.is_empty() {
            return;
        }
        let (one, count) = (one % frames.len(), frames.len());
        match kind % 7 {
            0 => frames.swap(one, other % count),
            1 => drop(frames.remove(one)),
            2 => frames.insert(other % count, frames[one].clone()),
            3 => frames.truncate(one + 1),
            4 if !frames[one].1.is_empty() => {
                let data = &mut frames[one].1;
                let at = other * 37 % data.len();
                data[at] ^= byte as u8;
            }
            5 if !older.is_empty() => frames[one] = older[other % older.len()].clone(),
            // The sealed part of another frame.
            6 if frames[one].1.len() > byte => {
                let from = frames[other % count].1.get(byte..).unwrap_or_default().to_vec();
                frames[one].1.truncate(byte);
                frames[one].1.extend(from);
            }
            _ => {}
        }
    }
}

/// A segment that somebody wrote who has no key.
fn forge(scene: &Scene, mode: u8, rest: &[u8]) -> Option<(usize, Vec<u8>)> {
    let (which, rest) = rest.split_first()?;
    let segments: Vec<usize> = scene.segments().collect();
    let which = usize::from(*which) % segments.len();
    let segment = segments[which];
    if mode == 0 {
        return Some((segment, rest.to_vec()));
    }
    let mut frames = records(&scene.files[segment].bytes);
    let older = scene.older.get(which).map_or(&[][..], |frames| frames);
    edit(&mut frames, &older.to_vec(), rest);
    Some((segment, segment_of(&frames)))
}

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let [scene, mode, a, b, c, d] = take(&mut rest);
    let scene = &SCENES[usize::from(scene) % SCENES.len()];
    let mut contents = scene.contents();
    let lost_only = mode % 4 > 1;
    if lost_only {
        for _ in 0..4 {
            let Some(damage) = Damage::take(&mut rest) else { break };
            damage.apply(scene, &mut contents);
        }
    } else if let Some((segment, bytes)) = forge(scene, mode % 4, rest) {
        contents[segment] = Some(bytes);
    }
    let limits = [a, b, c, d];
    Trial { scene, contents: &contents, lost_only, limits }.run();
});
