//! Copies the library's sources, with modules that seal nothing in place of those that do. The library
//! itself has no way to leave sealing out.

use std::path::{Path, PathBuf};
use std::{env, error, fs, io};

/// The modules that are replaced, each in the directory `crypto`.
const REPLACED: [&str; 3] = ["random.rs", "secretbox.rs", "xchacha.rs"];

fn main() -> Result<(), Box<dyn error::Error>> {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?).join("library");
    let sources = here.join("../../../src");
    println!("cargo:rerun-if-changed={}", sources.display());
    println!("cargo:rerun-if-changed={}", here.display());
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    copy(&sources, &out)?;
    for name in REPLACED {
        let replaced = out.join("crypto").join(name);
        // One that was moved would be left as it is, and the comparison would seal.
        fs::metadata(&replaced).map_err(|e| format!("{}: {e}", replaced.display()))?;
        fs::copy(here.join(name), replaced)?;
    }
    // A file that is included has no inner attributes.
    let root = out.join("lib.rs");
    let text = fs::read_to_string(&root)?;
    let kept: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("//!") && !line.starts_with("#!")).collect();
    fs::write(root, kept.join("\n"))?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
