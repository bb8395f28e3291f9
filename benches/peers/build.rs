//! Builds dryoc once more, held to AVX2, as a library that is linked beside the ordinary one.
//!
//! dryoc asks the processor only with its feature `std`; without it, it takes what the compiler was
//! told. Cargo compiles a package once, with one set of flags, so this copy is a build of its own.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(dryoc_avx2)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=dryoc-avx2");
    let var = |name| std::env::var(name).unwrap_or_default();
    if var("CARGO_CFG_TARGET_ARCH") != "x86_64" || var("TARGET") != var("HOST") {
        return;
    }
    let target = PathBuf::from(var("OUT_DIR")).join("dryoc-avx2");
    // The processors that have AVX2 and no AVX-512.
    let flags = "-Ctarget-cpu=x86-64-v3";
    let built = Command::new(var("CARGO"))
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--manifest-path",
            "dryoc-avx2/Cargo.toml",
        ])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("RUSTFLAGS")
        .status();
    if built.is_ok_and(|status| status.success()) {
        let folder = target.join("release");
        println!("cargo::rustc-link-search=native={}", folder.display());
        println!("cargo::rustc-link-lib=dylib=dryoc_avx2");
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", folder.display());
        println!("cargo::rustc-cfg=dryoc_avx2");
    } else {
        println!("cargo::warning=dryoc held to AVX2 could not be built: its rows are left out");
    }
}
