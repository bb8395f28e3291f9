//! The picture: throughput over the length of a record, as SVG.

use std::fmt::Write;

use crate::measure::{Figure, Path, SIZES};
use crate::{bytes, label};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 470.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 650.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 410.0;
const COLOURS: [&str; 10] = [
    "#c0392b", "#e67e22", "#f1b467", "#1f5fa8", "#6fa8dc", "#7f8c8d", "#27ae60", "#8e44ad",
    "#16a085", "#795548",
];

/// One line of the picture.
struct Line {
    name: String,
    dashed: bool,
    points: Vec<(usize, f64)>,
}

/// Sealing: each implementation with a nonce that is given, and batches of nodeseal and of the best
/// peer dashed.
pub(crate) fn svg(figures: &[Figure]) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for figure in figures {
        let batch = match figure.path {
            Path::Seal => false,
            Path::BatchSeal => true,
            Path::Open | Path::BatchOpen => continue,
        };
        let best = figures.iter().find(|other| other.name == figure.name);
        if batch
            && !(["nodeseal", "dryoc"].contains(&figure.name)
                && best.is_some_and(|best| best.kernel == figure.kernel))
        {
            continue;
        }
        let name = label(figure) + if batch { ", 32 records" } else { "" };
        let point = (figure.size, figure.size as f64 / figure.ns);
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push(point),
            None => lines.push(Line { name, dashed: batch, points: vec![point] }),
        }
    }
    draw(&lines)
}

fn draw(lines: &[Line]) -> String {
    let top =
        lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(1.0, f64::max).ceil();
    let first = (SIZES[0] as f64).log2();
    let span = (SIZES[SIZES.len() - 1] as f64).log2() - first;
    let x = |size: usize| LEFT + ((size as f64).log2() - first) / span * (RIGHT - LEFT);
    let y = |speed: f64| BOTTOM - speed / top * (BOTTOM - TOP);
    let mut out = String::new();
    let mut put = |text: String| writeln!(out, "{text}").expect("a string takes everything");
    put(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">"#
    ));
    put(format!(r##"<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"##));
    put(format!(
        r#"<text x="{LEFT}" y="26" font-size="15">Sealing on one core, GB/s over the length of a record</text>"#
    ));
    let mut speed = 0.0;
    while speed <= top {
        let at = y(speed);
        put(format!(r##"<path d="M{LEFT} {at:.1}H{RIGHT}" stroke="#dddddd"/>"##));
        put(format!(
            r#"<text x="{}" y="{:.1}" text-anchor="end">{speed}</text>"#,
            LEFT - 8.0,
            at + 4.0
        ));
        speed += 1.0;
    }
    for size in SIZES {
        let at = x(size);
        put(format!(r##"<path d="M{at:.1} {BOTTOM}v5" stroke="#333333"/>"##));
        put(format!(
            r#"<text x="{at:.1}" y="{}" text-anchor="middle">{}</text>"#,
            BOTTOM + 20.0,
            bytes(size)
        ));
    }
    put(format!(
        r#"<text x="{LEFT}" y="{}">dashed: batches of whole records with random nonces</text>"#,
        BOTTOM + 44.0
    ));
    let mut colours = std::collections::HashMap::new();
    for (n, line) in lines.iter().enumerate() {
        let base = line.name.trim_end_matches(", 32 records");
        let fresh = COLOURS[colours.len() % COLOURS.len()];
        let colour = *colours.entry(base).or_insert(fresh);
        let path: Vec<_> = line
            .points
            .iter()
            .map(|(size, speed)| format!("{:.1} {:.1}", x(*size), y(*speed)))
            .collect();
        let width = if base.starts_with("nodeseal") { 2.5 } else { 1.5 };
        let dash = if line.dashed { r#" stroke-dasharray="5 4""# } else { "" };
        let style = format!(r#"fill="none" stroke="{colour}" stroke-width="{width}"{dash}"#);
        put(format!(r#"<path d="M{}" {style}/>"#, path.join("L")));
        let row = TOP + 22.0 * n as f64;
        put(format!(r#"<path d="M{} {row}h24" {style}/>"#, RIGHT + 14.0));
        put(format!(r#"<text x="{}" y="{}">{}</text>"#, RIGHT + 44.0, row + 4.0, line.name));
    }
    put("</svg>".into());
    out
}
