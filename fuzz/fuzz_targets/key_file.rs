//! The text of the native key file, as it comes and with a check line that fits.
//!
//! It opens only if it is one of the files that were made with the fixed keys. Argon2 never runs:
//! no passphrase is tried.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nodeseal::keyring::SlotInfo;
use nodeseal::{Error, Keyring};
use nodeseal_fuzz::fixed;
use nodeseal_fuzz::key_file::checked;

static GENUINE: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| [0, 1].map(fixed::node_keys));

fuzz_target!(|data: &[u8]| {
    read(data);
    let lines = match data.windows(7).rposition(|window| window == b"\ncheck ") {
        Some(end) => &data[..=end],
        None => data,
    };
    read(&checked(lines));
});

fn read(file: &[u8]) {
    let (disk, location) = fixed::disk(file);
    let inspected = Keyring::inspect(location.clone());
    let opened = fixed::open(location);
    match &inspected {
        Ok(facts) => {
            // What was understood, written down again, is how the file begins.
            let mut lines = str::from_utf8(file).expect("ASCII").lines();
            let expected = format!(
                "nodeseal-keys 1\ncluster {}\nnode {}\nepoch {}\nkek-version {}",
                facts.identity.cluster(),
                facts.identity.node(),
                facts.epoch,
                facts.kek_version,
            );
            assert!(lines.by_ref().take(5).eq(expected.lines()));
            for slot in &facts.slots {
                let word = match slot {
                    SlotInfo::None => "none",
                    SlotInfo::Unlock => "unlock",
                    SlotInfo::Passphrase(_) => "passphrase",
                    SlotInfo::Unknown(word) => word,
                    _ => panic!("a new kind of slot"),
                };
                let line = lines.next().and_then(|line| line.strip_prefix("slot "));
                assert_eq!(line.and_then(|line| line.split(' ').next()), Some(word));
            }
            assert!(lines.next().is_some_and(|line| line.starts_with("commit ")));
            assert!(lines.next().is_some_and(|line| line.starts_with("sealed ")));
            assert!(lines.next().is_some_and(|line| line.starts_with("check ")));
            assert_eq!(lines.next(), None);
            assert_eq!(facts.file_bytes, file.len());
        }
        Err(error) => {
            assert!(matches!(error, Error::Damaged { .. } | Error::Unsupported { .. }));
            assert!(opened.is_err());
            let text = error.to_string();
            assert!(text.len() < 200 && !text.contains(char::is_control), "{text:?}");
        }
    }
    if opened.is_ok() {
        assert!(GENUINE.iter().any(|genuine| genuine == file), "a forged file opens");
    }
    // Reading changes nothing.
    let path = std::path::Path::new(fixed::DIR).join("node.keys");
    assert_eq!(disk.read_file(&path).as_deref(), Some(file));
}
