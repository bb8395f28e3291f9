//! Secrets as undefined memory (Langley, ctgrind, 2010).

use std::hint::black_box;
use std::process::ExitCode;

use nodeseal::hazmat;
use nodeseal::secret::SecretKey;

use crate::work::{BOXES, CURVES, OTHERS};

/// valgrind's requests: `valgrind.h`, `memcheck.h`.
const RUNNING: usize = 0x1001;
const UNDEFINED: usize = 0x4d43_0001;
const DEFINED: usize = 0x4d43_0002;

/// Asks valgrind for something; gives 0 where no valgrind listens.
#[cfg(target_arch = "x86_64")]
fn request(code: usize, start: usize, len: usize) -> usize {
    let arguments = [code, start, len, 0, 0, 0];
    let mut result = 0_usize;
    // SAFETY: four rotations by 128 bits in all, and an exchange of a register with itself, do
    // nothing; valgrind knows them as a request, reads the six words and sets rdx.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const arguments,
            inout("rdx") result,
            options(nostack),
        );
    }
    result
}

#[cfg(not(target_arch = "x86_64"))]
fn request(_: usize, _: usize, _: usize) -> usize {
    0
}

fn mark<T>(code: usize, what: &mut [T]) {
    request(code, what.as_mut_ptr().addr(), size_of_val(what));
    black_box(what);
}

/// Says that `what` is not secret.
pub(crate) fn defined<T>(what: &mut [T]) {
    mark(DEFINED, what);
}

fn secret_key() -> SecretKey {
    SecretKey::init(|bytes| {
        bytes.copy_from_slice(black_box(b"a key that nobody must ever see."));
        mark(UNDEFINED, bytes);
    })
}

/// Runs everything on one kernel.
pub(crate) fn secrets(kernel: &str) -> ExitCode {
    verdicts_are_public();
    everything(kernel)
}

/// Everybody sees whether something opens.
fn verdicts_are_public() {
    hazmat::on_verdict(|right| defined(core::slice::from_mut(right)));
}

fn everything(kernel: &str) -> ExitCode {
    if request(RUNNING, 0, 0) == 0 {
        eprintln!("this must run under valgrind");
        return ExitCode::from(2);
    }
    let lengths = [0, 1, 15, 16, 63, 64, 100, 256, 480, 481, 1024, 1500, 4096, 20_000, 40_000];
    let ran = hazmat::on_kernel(kernel, || {
        for work in BOXES.iter().chain(OTHERS).chain(CURVES) {
            for len in lengths {
                let key = secret_key();
                let mut text = vec![7_u8; len];
                mark(UNDEFINED, &mut text);
                (work.run)(&key, &mut text);
            }
        }
    });
    if ran.is_none() {
        eprintln!("no kernel {kernel} here");
        return ExitCode::from(3);
    }
    ExitCode::SUCCESS
}

/// Makes a mistake.
pub(crate) fn planted(mistake: &str) -> ExitCode {
    // Nobody says that a verdict is public: the branch on it is one on a secret, deep in the kernel.
    if let Some(kernel) = mistake.strip_prefix("verdict-") {
        return everything(kernel);
    }
    verdicts_are_public();
    let key = secret_key();
    let byte = if mistake == "opened" { opened(&key) } else { key.expose()[5] };
    let table: [u8; 256] = core::array::from_fn(|n| n.to_le_bytes()[0]);
    let found = match mistake {
        "branch" | "opened" if black_box(byte) & 1 == 1 => black_box(1),
        "branch" | "opened" => black_box(0),
        _ => black_box(&table)[usize::from(byte)],
    };
    black_box(found);
    ExitCode::SUCCESS
}

/// A byte that was sealed and opened by the crate one of whose branches is left out (`verdicts.supp`).
fn opened(key: &SecretKey) -> u8 {
    let mut message = [0; 41];
    let sealed = hazmat::xchacha_seal(key, &[], &mut message);
    let opened = hazmat::xchacha_open(key, &[], &mut message);
    assert!(sealed.is_ok() && opened.is_ok());
    message[40]
}
