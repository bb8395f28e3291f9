//! What the lines of a run show.

use std::collections::HashMap;

/// Judges a run by its log. A line stands before another if what it reports came first.
#[derive(Default)]
pub(crate) struct Verdict {
    /// Whether the sync that was to fail was made.
    pub(crate) failed: bool,
    /// How many entries were acknowledged that, or one before them, no successful sync of their file
    /// covers that ended before the failed one.
    pub(crate) late: usize,
    /// How many syncs began while another of the same file ran.
    pub(crate) beside: usize,
    pub(crate) acknowledged: Vec<u64>,
}

/// A sync that has begun.
struct Sync<'a> {
    kind: &'a str,
    file: &'a str,
    begun: usize,
}

struct Entry<'a> {
    index: u64,
    /// The file that got it.
    file: &'a str,
    written: usize,
    durable: bool,
}

impl Verdict {
    pub(crate) fn of(log: &str) -> Self {
        let mut verdict = Self::default();
        let mut entries: Vec<Entry<'_>> = Vec::new();
        let mut running: HashMap<&str, Sync<'_>> = HashMap::new();
        let mut writing = None;
        for (at, line) in log.lines().enumerate() {
            let fields: Vec<&str> = line.split(' ').collect();
            match fields[..] {
                ["b", id, kind, file] => {
                    let same = |sync: &Sync<'_>| sync.kind != "d" && sync.file == file;
                    verdict.beside += usize::from(running.values().any(same));
                    running.insert(id, Sync { kind, file, begun: at });
                }
                ["e", id, "0"] => {
                    let sync = running.remove(id).unwrap();
                    let covers = |entry: &&mut Entry<'_>| {
                        entry.file == sync.file && entry.written < sync.begun
                    };
                    // After a failed one it counts for nothing, whatever it says.
                    let counts = !verdict.failed;
                    entries.iter_mut().filter(covers).for_each(|entry| entry.durable |= counts);
                }
                ["e", id, "-1"] => {
                    running.remove(id).unwrap();
                    assert!(!verdict.failed, "two faults");
                    verdict.failed = true;
                }
                ["<", index] => writing = Some(index.parse().unwrap()),
                ["p", "s", file] => {
                    // Opening may write too.
                    let Some(index) = writing else { continue };
                    // Room may have been made first: the last write is the entry's.
                    entries.pop_if(|entry| entry.index == index);
                    entries.push(Entry { index, file, written: at, durable: false });
                }
                ["p", ..] => {}
                [">", _] => writing = None,
                ["a", index] => {
                    let index = index.parse().unwrap();
                    let place = entries.iter().position(|entry| entry.index == index).unwrap();
                    // An entry counts only with all those before it.
                    let durable = entries.iter().take(place + 1).all(|entry| entry.durable);
                    assert!(durable || verdict.failed, "{index} was acknowledged without a sync");
                    verdict.late += usize::from(!durable);
                    verdict.acknowledged.push(index);
                }
                _ => panic!("an unknown line: {line}"),
            }
        }
        verdict
    }
}
