//! What a node is sent, in the clear and sealed to it: what decodes encodes to the same bytes. The
//! first byte chooses: an assignment, one that is first sealed by the target, a sealed one as it
//! is, an audit event.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nodeseal::Error;
use nodeseal::audit::Event;
use nodeseal::grant::{Assignment, NodeKey};
use nodeseal_fuzz::split_mode;

fn known(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::Unsupported { .. } | Error::Unauthentic)
}

fuzz_target!(|data: &[u8]| {
    let key = NodeKey::from_bytes(&[7; 32]).expect("32 bytes");
    let (mode, data) = split_mode(data);
    match mode % 4 {
        0 => match Assignment::decode(data) {
            Ok(assignment) => assert_eq!(assignment.encode().expose(), data),
            Err(error) => assert!(known(&error)),
        },
        1 => {
            if let Ok(assignment) = Assignment::decode(data) {
                let sealed = assignment.seal_to(&key.public()).expect("sealed");
                assert_eq!(key.open(&sealed).expect("opened").encode().expose(), data);
            }
        }
        2 => match key.open(data) {
            Ok(assignment) => drop(assignment.encode()),
            Err(error) => assert!(known(&error)),
        },
        _ => match Event::decode(data) {
            Ok(event) => {
                assert_eq!(event.encode(), data);
                assert!(!event.to_string().contains('\n'), "an event is one line");
            }
            Err(error) => assert!(known(&error)),
        },
    }
});
