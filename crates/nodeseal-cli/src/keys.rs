use core::fmt::Write as _;
use std::process::ExitCode;

use nodeseal::keyring::{Inspection, SlotInfo};

use crate::args::Keys;
use crate::fail::Result;
use crate::stdio;

pub(crate) fn run(command: &Keys) -> Result<ExitCode> {
    let Keys::Inspect { file, json } = command;
    let found = Inspection::read(file)?;
    if *json {
        stdio::write_json(&found)?;
    } else {
        stdio::write_out(text(&found).as_bytes())?;
    }
    if !found.is_locked() {
        eprintln!("nodeseal: this key file is NOT locked: whoever reads it has all its keys");
    }
    Ok(ExitCode::SUCCESS)
}

fn text(found: &Inspection) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn core::fmt::Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<12} {value}");
    };
    line("cluster", &found.identity.cluster());
    line("node", &found.identity.node());
    line("epoch", &found.epoch);
    line("kek-version", &found.kek_version);
    line("locked", &if found.is_locked() { "yes" } else { "NO" });
    for slot in &found.slots {
        match slot {
            SlotInfo::None => line("slot", &"none: the file key stands in the clear"),
            SlotInfo::Unlock => line("slot", &"unlock key"),
            SlotInfo::Passphrase(costs) => line(
                "slot",
                &format_args!(
                    "passphrase (Argon2id, {} MiB, {} passes, {} lanes)",
                    costs.memory_kib() >> 10,
                    costs.passes(),
                    costs.lanes()
                ),
            ),
            SlotInfo::Unknown(kind) => line("slot", &format_args!("{kind} (unknown here)")),
            _ => line("slot", &"unknown here"),
        }
    }
    line("sealed", &format_args!("{} bytes", found.sealed_bytes));
    line("file", &format_args!("{} bytes", found.file_bytes));
    text
}
