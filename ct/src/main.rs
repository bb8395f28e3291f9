//! Whether what is done with secrets, and how long it takes, depends on them.
//!
//! - `secrets KERNEL`, under valgrind: keys and plaintexts are marked as undefined memory, and memcheck
//!   reports every branch and every address that depends on them.
//! - `planted branch|index|opened|verdict-KERNEL`, under valgrind: a mistake that memcheck must find.
//! - `timing [SAMPLES]`: a statistical test of every kernel, for those that valgrind cannot run.

mod memcheck;
mod timing;
mod work;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match &*arguments {
        ["secrets", kernel] => memcheck::secrets(kernel),
        ["planted", mistake] => memcheck::planted(mistake),
        ["timing"] => timing::run(200_000),
        ["timing", samples] if samples.parse::<usize>().is_ok() => {
            timing::run(samples.parse().unwrap_or_default())
        }
        _ => {
            eprintln!(
                "usage: secrets KERNEL | planted branch|index|opened|verdict-KERNEL | timing [SAMPLES]"
            );
            ExitCode::from(2)
        }
    }
}
