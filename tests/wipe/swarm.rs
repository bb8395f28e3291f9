//! A change of a Swarm manager's folder: everything in it passes through the memory.

use nodeseal::swarm::{Change, KeyFile, Manager, State};
use nodeseal::{Rekey, UnlockKey};

use super::capture::Capture;
use super::watch::wiped;

#[test]
fn a_folder_whose_keys_change() {
    let capture = Capture::unpack("1-autolocked");
    let (dir, old) = (capture.dir(), capture.key().unwrap());
    let text = std::fs::read(dir.join("certificates/swarm-node.key")).unwrap();
    let keys = KeyFile::parse(&text).unwrap().unlock(Some(&old)).unwrap();
    let dek = *keys.current.unwrap().expose();
    // The private scalar, in the middle of the DER.
    let tls_key = keys.tls_key.expose()[36..68].to_vec();
    let state = State::read(&dir, Some(&old)).unwrap();
    let secrets = state.objects.secrets.into_values();
    let payload = secrets.map(|one| one.payload).max_by_key(|payload| payload.len()).unwrap();
    let payload = payload.expose()[..64].to_vec();
    let old = *old.secret().expose();
    let new = UnlockKey::generate().unwrap();
    let watched: [(&str, &[u8]); 5] = [
        ("the old unlock key", &old),
        ("the new unlock key", new.secret().expose()),
        ("the DEK", &dek),
        ("the TLS key", &tls_key),
        ("a payload", &payload),
    ];
    wiped("another unlock key", &watched, || {
        let old = capture.key().unwrap();
        let manager = Manager::open(&dir, Some(&old)).unwrap();
        let change = Change::RotateUnlockKey { new: &new, rekey: Rekey::NewDek };
        manager.apply(change, &mut |_| {}).unwrap();
    });
    wiped("autolock off, refused and done", &watched, || {
        let manager = Manager::open(&dir, Some(&new)).unwrap();
        manager.plan(Change::Lock { new: &new }).unwrap_err();
        manager.apply(Change::AutolockOff, &mut |_| {}).unwrap();
    });
}
