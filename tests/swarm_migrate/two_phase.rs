//! A new certificate that a crash kept from taking its place: Swarm puts it there when it starts.

use std::fs;
use std::path::Path;

use nodeseal::swarm::{self, FindingKind, Severity, attest, export, import, redact, verify};

use crate::{Capture, beside, segment};

const OWN: &str = "certificates/swarm-node.crt";
const NEW: &str = "certificates/.swarm-node.crt";

fn certificate_errors(dir: &Path, capture: &Capture) -> Vec<String> {
    let found = swarm::inspect(dir, capture.key().as_ref()).unwrap();
    let wrong = |one: &&swarm::Finding| {
        one.kind == FindingKind::Certificate && one.severity == Severity::Error
    };
    found.findings.iter().filter(wrong).map(ToString::to_string).collect()
}

#[test]
fn the_certificate_of_the_key_is_used_where_a_crash_left_it() {
    let other = Capture::unpack("3-unlocked");
    let foreign = fs::read(other.dir().join(OWN)).unwrap();
    // An old one stands in its place, or none.
    for old in [Some(&foreign), None] {
        let capture = Capture::unpack("1-autolocked");
        let (dir, key) = (capture.dir(), capture.key());
        let certificate = fs::read(dir.join(OWN)).unwrap();
        segment::replace(&dir.join(NEW), &certificate);
        fs::remove_file(dir.join(OWN)).unwrap();
        if let Some(old) = old {
            segment::replace(&dir.join(OWN), old);
        }
        assert_eq!(certificate_errors(&dir, &capture), [""; 0]);
        let attested = attest(&dir, key.as_ref()).unwrap();
        assert!(verify(&dir, key.as_ref(), &attested).unwrap().is_intact());
        assert!(swarm::doctor(&dir, key.as_ref()).unwrap().is_well());

        let (native, back) = (beside(&capture, "native"), beside(&capture, "back"));
        export(&dir, &native, key.as_ref()).unwrap();
        import(&native, &back, key.as_ref()).unwrap();
        assert_eq!(fs::read(back.join(OWN)).unwrap(), certificate);
        let copy = beside(&capture, "copy");
        redact(&dir, &copy, key.as_ref()).unwrap();
        assert_eq!(fs::read(copy.join(OWN)).unwrap(), certificate);
    }
}

#[test]
fn a_certificate_of_no_key_is_still_told() {
    let other = Capture::unpack("3-unlocked");
    let capture = Capture::unpack("1-autolocked");
    for name in [OWN, NEW] {
        fs::copy(other.dir().join(OWN), capture.dir().join(name)).unwrap();
    }
    let found = certificate_errors(&capture.dir(), &capture);
    assert!(found.iter().any(|one| one.contains("of the key")), "{found:?}");
    assert!(attest(capture.dir(), capture.key().as_ref()).is_err());
    // Nothing better is there to be copied.
    let copy = beside(&capture, "copy");
    redact(capture.dir(), &copy, capture.key().as_ref()).unwrap();
    let text = fs::read(other.dir().join(OWN)).unwrap();
    assert_eq!(fs::read(copy.join(OWN)).unwrap(), text);
}
