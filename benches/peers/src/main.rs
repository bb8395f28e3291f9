//! Times sealing and opening against the peers: one record with a nonce that is given, and batches of
//! whole records with random nonces.
//!
//! One process, one thread; at each size the implementations take turns, so that whatever else the
//! machine does hits all of them. A figure is the median over nine rounds. Where an implementation
//! opens in place it is given a fresh copy of the record each time, and the time of the copy,
//! measured in the same round, is taken off.
//!
//! `cargo run --release [--features libsodium,aws-lc-rs] -- [--json FILE] [--picture FILE]`

mod measure;
mod picture;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use measure::{Figure, Path, SIZES, measure};

/// Who is compared with whom, besides everything with the fastest kernel: on the same instructions.
const LIKE: [(&str, &str, &str); 2] =
    [("dryoc", "avx2", "avx2"), ("salsa20+poly1305", "", "portable")];

fn main() -> io::Result<()> {
    let (json, image) = arguments()?;
    let json = json.map(File::create).transpose()?.map(BufWriter::new);
    let mut figures = Vec::new();
    for path in Path::ALL {
        for &size in path.setting().2 {
            eprintln!("{} {size}", path.name());
            figures.extend(measure(path, size));
        }
    }
    if let Some(mut json) = json {
        figures.iter().try_for_each(|figure| writeln!(json, "{}", line(figure)))?;
        json.flush()?;
    }
    if let Some(file) = image {
        let mut image = BufWriter::new(File::create(file)?);
        image.write_all(picture::svg(&figures).as_bytes())?;
        image.flush()?;
    }
    table(&figures);
    Ok(())
}

/// The files for the figures and for the picture, where they are wanted.
fn arguments() -> io::Result<(Option<PathBuf>, Option<PathBuf>)> {
    let usage =
        || io::Error::new(io::ErrorKind::InvalidInput, "usage: [--json FILE] [--picture FILE]");
    let (mut json, mut image) = (None, None);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(option) = arguments.next() {
        let file = arguments.next().map(PathBuf::from).ok_or_else(usage)?;
        match option.to_str() {
            Some("--json") => json = Some(file),
            Some("--picture") => image = Some(file),
            _ => return Err(usage()),
        }
    }
    Ok((json, image))
}

fn line(figure: &Figure) -> String {
    let (nonce, batch, _) = figure.path.setting();
    let kernel = figure.kernel.map_or("null".into(), |name| format!("{name:?}"));
    format!(
        r#"{{"path": "{}", "impl": "{}", "kernel": {kernel}, "nonce": "{nonce}", "batch": {batch}, "size": {}, "ns": {:.1}}}"#,
        figure.path.name(),
        figure.name,
        figure.size,
        figure.ns,
    )
}

fn label(figure: &Figure) -> String {
    [figure.name, figure.kernel.unwrap_or_default()].join(" ").trim_end().into()
}

/// Prints everything in Markdown.
fn table(figures: &[Figure]) {
    let sizes = SIZES.map(bytes).join(" | ");
    println!("ns a record, and how many times nodeseal's time on its fastest kernel\n");
    println!("| | | {sizes} |\n|---|---|{}", "---|".repeat(SIZES.len()));
    for path in Path::ALL {
        let of_path = || figures.iter().filter(move |figure| figure.path == path);
        let first = of_path().next().map_or(0, |figure| figure.size);
        for who in of_path().filter(|figure| figure.size == first) {
            let name = label(who);
            print!("| {} | {name} |", path.name());
            for size in SIZES {
                let mut here = of_path().filter(|figure| figure.size == size);
                let ours = here.clone().next();
                let who = here.find(|figure| label(figure) == name);
                match who.zip(ours) {
                    Some((who, ours)) => print!(" {:.0} ({:.2}) |", who.ns, who.ns / ours.ns),
                    None => print!(" |"),
                }
            }
            println!();
        }
    }
    println!("\nOn the same instructions: how many times the time of nodeseal's kernel\n");
    println!("| | | {sizes} |\n|---|---|{}", "---|".repeat(SIZES.len()));
    for path in Path::ALL {
        for (other, held, kernel) in LIKE {
            print!("| {} | {other} / nodeseal {kernel} |", path.name());
            for size in SIZES {
                let find = |name, kernel| {
                    let is = |figure: &&Figure| {
                        (figure.path, figure.name, figure.size) == (path, name, size)
                            && figure.kernel.unwrap_or_default() == kernel
                    };
                    figures.iter().find(is).map(|figure| figure.ns)
                };
                match find(other, held).zip(find("nodeseal", kernel)) {
                    Some((theirs, ours)) => print!(" {:.2} |", theirs / ours),
                    None => print!(" |"),
                }
            }
            println!();
        }
    }
}

fn bytes(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}
