//! What is refused leaves the folder as it was.

use super::*;
use crate::error::{ErrorKind, Misuse};
use crate::fs::Fs;

fn files(disk: &SimFs) -> Vec<(PathBuf, Vec<u8>)> {
    disk.paths().into_iter().map(|path| (path.clone(), disk.read_file(&path).unwrap())).collect()
}

#[track_caller]
fn refused(folder: &Folder, change: Change<'_>) -> Error {
    let before = files(&folder.disk);
    let error = apply(&folder.disk, folder.key.as_ref(), change).unwrap_err();
    assert!(files(&folder.disk) == before, "nothing is changed");
    error
}

#[track_caller]
fn misuse(folder: &Folder, change: Change<'_>) {
    let error = refused(folder, change);
    assert!(matches!(error, Error::Misuse(Misuse::State(_))), "{error}");
}

#[test]
fn a_change_that_does_not_fit_is_refused() {
    let new = key(9);
    let rotate = Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek };
    let locked = load("1-autolocked");
    misuse(&locked, Change::Lock { new: &new });
    misuse(&locked, Change::ForceNewCluster);
    let same = UnlockKey::from_key(locked.key.as_ref().unwrap().secret().duplicate());
    misuse(&locked, Change::RotateUnlockKey { new: &same, rekey: Rekey::NewDek });
    let clear = load("3-unlocked");
    misuse(&clear, rotate);
    misuse(&clear, Change::AutolockOff);
    // What concerns the whole cluster is not one member's to change.
    let member = load("three-managers-m1");
    misuse(&member, rotate);
    misuse(&member, Change::AutolockOff);
    misuse(&member, Change::Lock { new: &new });
}

/// A member's folder whose key file still has the key before the cluster's, and the cluster's key.
fn lagging(kek_version: u64) -> (Folder, UnlockKey) {
    let folder = load("three-managers-m1");
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    let file = KeyFile::parse(&folder.disk.read_file(&path).unwrap()).unwrap();
    let keys = file.unlock(folder.key.as_ref()).unwrap();
    let old = key(3);
    let contents = crate::swarm::key_file::Contents {
        tls_key: &keys.tls_key,
        kek_version,
        current: keys.current.as_ref(),
        pending: None,
        needs_rotation: false,
        cipher: crate::swarm::record::Cipher::SecretBox,
    };
    contents.replace(&folder.disk, &path, Some(&old)).unwrap();
    let cluster = UnlockKey::from_key(folder.key.as_ref().unwrap().secret().duplicate());
    (Folder { key: Some(old), ..folder }, cluster)
}

#[test]
fn a_member_takes_the_key_that_the_cluster_has() {
    // A version beyond the log does not keep it away.
    for kek_version in [0, u64::MAX] {
        let (folder, cluster) = lagging(kek_version);
        let change = Change::RotateUnlockKey { new: &cluster, rekey: Rekey::NewDek };
        let report = folder.check(change, Some(&cluster));
        assert!(report.new_dek && report.kek_version > 0);
    }
    // Within it, the file's is newer than what the node knows of the cluster.
    let (folder, cluster) = lagging(1);
    let version = cluster_key(&folder.disk, folder.key.as_ref()).1;
    let (folder, _) = lagging(version);
    misuse(&folder, Change::RotateUnlockKey { new: &cluster, rekey: Rekey::NewDek });
}

#[test]
fn a_wrong_key_and_a_running_manager_are_refused() {
    let folder = load("1-autolocked");
    let wrong = open(&folder.disk, Some(&key(1))).unwrap_err();
    assert!(matches!(wrong, Error::WrongKey));
    assert!(matches!(open(&folder.disk, None).unwrap_err(), Error::KeyRequired));
    let held = open(&folder.disk, folder.key.as_ref()).unwrap();
    let busy = open(&folder.disk, folder.key.as_ref()).unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    drop(held);
    open(&folder.disk, folder.key.as_ref()).unwrap();
}

/// Dockerd makes new ones, over what is there.
#[test]
fn a_missing_key_file_or_dek_is_not_replaced() {
    let folder = load("1-autolocked");
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    let text = folder.disk.read_file(&path).unwrap();
    let mut block = crate::swarm::pem::Block::parse(&text).unwrap();
    block.headers.retain(|(name, _)| !name.expose().starts_with(b"raft-dek"));
    for (content, kind) in [(None, ErrorKind::Missing), (Some(block.encode()), ErrorKind::Damaged)]
    {
        match &content {
            Some(content) => folder.disk.write_file(&path, content.expose()).unwrap(),
            None => folder.disk.remove(&path).unwrap(),
        }
        let before = files(&folder.disk);
        assert_eq!(open(&folder.disk, folder.key.as_ref()).unwrap_err().kind(), kind);
        assert!(files(&folder.disk) == before);
    }
}

#[test]
fn damage_is_refused() {
    let folder = load("1-autolocked");
    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let name = &state.raft.segments[0].name;
    let path = Path::new(DIR).join("raft/wal-v3-encrypted").join(name);
    let whole = folder.disk.read_file(&path).unwrap();
    let used = usize::try_from(state.raft.segments[0].used).unwrap();
    for at in [used / 3, used / 2, used - 40] {
        let mut bytes = whole.clone();
        bytes[at] ^= 4;
        folder.disk.write_file(&path, &bytes).unwrap();
        let error = refused(&folder, Change::RotateDek);
        assert_eq!(error.kind(), ErrorKind::Damaged, "{at}: {error}");
    }
    // Cut off, with a state that knows of more.
    folder.disk.write_file(&path, &whole[..used / 2 / 8 * 8]).unwrap();
    let error = apply(&folder.disk, folder.key.as_ref(), Change::RotateDek);
    assert!(error.is_err() || secrets(&folder.disk, folder.key.as_ref()).is_ok());
}

/// What makes dockerd panic is an error here: a ciphertext that is not whole blocks, and a length
/// word beyond all bounds.
#[test]
fn what_makes_dockerd_panic_is_an_error() {
    let folder = load("1-autolocked");
    let path = Path::new(DIR).join("certificates/swarm-node.key");
    let text = folder.disk.read_file(&path).unwrap();
    let mut block = crate::swarm::pem::Block::parse(&text).unwrap();
    let body = block.body.expose().to_vec();
    // The OCTET STRING at the end, and all lengths around it, one byte shorter.
    let mut shorter = body[..body.len() - 1].to_vec();
    let at = shorter.len() - 143 - 1;
    shorter[at] -= 1;
    shorter[2] -= 1;
    block.body = crate::secret::SecretBytes::from_vec(shorter);
    folder.disk.write_file(&path, block.encode().expose()).unwrap();
    let error = open(&folder.disk, folder.key.as_ref()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    folder.disk.write_file(&path, &text).unwrap();

    let state = State::read_in(&folder.disk, Path::new(DIR), folder.key.as_ref()).unwrap();
    let segment = &state.raft.segments[0];
    let path = Path::new(DIR).join("raft/wal-v3-encrypted").join(&segment.name);
    let mut bytes = folder.disk.read_file(&path).unwrap();
    let at = usize::try_from(segment.used).unwrap();
    bytes.resize(at + 64, 0);
    bytes[at..at + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x81]);
    folder.disk.write_file(&path, &bytes).unwrap();
    // A length word at the end of the log that runs over it is a write that did not finish.
    folder.check(Change::RotateDek, folder.key.as_ref());
}
