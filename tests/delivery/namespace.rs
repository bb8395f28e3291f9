//! Runs a test again in a mount namespace of its own, so that nothing stays mounted.

use std::env;
use std::process::{Command, Stdio};

/// Who a test is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    /// The system's root.
    Root,
    /// The root of a user namespace, where nobody else exists.
    User,
}

const WHO: &str = "NODESEAL_TEST_AS";

impl As {
    const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::User => "the root of a user namespace",
        }
    }

    fn unshare(self) -> Command {
        let mut command = Command::new("unshare");
        if self == Self::User {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--propagation", "private", "--"]);
        command
    }
}

/// Runs `test` as root and as the root of a user namespace, in a process of its own each. What the
/// machine does not allow is passed over, and said.
pub(crate) fn in_namespaces(name: &str, test: impl FnOnce(As)) {
    for who in [As::Root, As::User] {
        if env::var(WHO).is_ok_and(|set| set == who.name()) {
            return test(who);
        }
    }
    for who in [As::Root, As::User] {
        let probe = who.unshare().arg("true").stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            println!("SKIPPED as {}: this machine allows no such mount namespace", who.name());
            continue;
        }
        let status = who
            .unshare()
            .arg(env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(WHO, who.name())
            .status()
            .unwrap();
        assert!(status.success(), "{name} as {}", who.name());
    }
}

/// This test again as a child, to be killed: `child` runs in it and does not return.
pub(crate) fn child(name: &str, role: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args([name, "--exact", "--nocapture"]).env("NODESEAL_TEST_ROLE", role);
    command.stdout(Stdio::null());
    command
}

/// What [`child`] asked for.
pub(crate) fn role() -> Option<String> {
    env::var("NODESEAL_TEST_ROLE").ok()
}
