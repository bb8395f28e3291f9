//! One line: an event as JSON, its number first and its chain last.

use core::fmt::{self, Write as _};

use super::Anchor;
use crate::audit::{Event, Value};
use crate::crypto::hmac;
use crate::secret::SecretKey;

/// Before the chain.
const CHAIN: &[u8] = b",\"chain\":\"";
/// After it.
const END: &[u8] = b"\"}";

/// Appends an event's line to `out`, and moves `at` behind it.
pub(super) fn write(event: &Event, key: &SecretKey, at: &mut Anchor, out: &mut Vec<u8>) {
    at.lines += 1;
    let start = out.len();
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = fields(event, at.lines, &mut text);
    out.extend_from_slice(text.as_bytes());
    at.chain = hmac::code(key, &[&at.chain, text.as_bytes()]);
    out.extend_from_slice(CHAIN);
    for byte in at.chain {
        out.extend([byte >> 4, byte & 15].map(|n| b"0123456789abcdef"[usize::from(n)]));
    }
    out.extend_from_slice(END);
    out.push(b'\n');
    at.len += u64::try_from(out.len() - start).unwrap_or(0);
}

fn fields(event: &Event, n: u64, out: &mut String) -> fmt::Result {
    write!(out, "{{\"n\":{n},\"time\":\"{}\",\"action\":\"{}\"", event.time, event.action.name())?;
    for (name, value) in event.fields() {
        match value {
            Value::Number(number) => write!(out, ",\"{name}\":{number}")?,
            Value::Text(text) => {
                write!(out, ",\"{name}\":\"")?;
                escape(text, out)?;
                out.push('"');
            }
        }
    }
    Ok(())
}

/// As RFC 8259 wants it; DEL and what else a terminal may take for a command as well.
fn escape(text: &str, out: &mut String) -> fmt::Result {
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.push(c),
        }
    }
    Ok(())
}

/// What a line without its end says: its number, and its event's index.
pub(super) struct Read {
    pub(super) n: u64,
    pub(super) index: Option<u64>,
    pub(super) chain: [u8; 32],
}

/// Reads a line that follows one of the chain `before`; `None` if it is not as it was written.
pub(super) fn read(line: &[u8], key: &SecretKey, before: &[u8; 32]) -> Option<Read> {
    let rest = line.strip_suffix(END)?;
    let (rest, digits) = rest.split_last_chunk::<64>()?;
    let body = rest.strip_suffix(CHAIN)?;
    let mut chain = [0; 32];
    for (byte, pair) in chain.iter_mut().zip(digits.chunks(2)) {
        *byte = pair.iter().try_fold(0u8, |byte, digit| match digit {
            b'0'..=b'9' => Some(byte << 4 | (digit - b'0')),
            b'a'..=b'f' => Some(byte << 4 | (digit - b'a' + 10)),
            _ => None,
        })?;
    }
    if !hmac::is_code(key, &[before, body], &chain) {
        return None;
    }
    // Authentic from here on, so as it was written.
    let body = core::str::from_utf8(body).ok()?;
    let n = number(body.strip_prefix("{\"n\":")?)?;
    let (_, action) = body.split_once("\"action\":\"")?;
    let (_, fields) = action.split_once('"')?;
    let index = fields.strip_prefix(",\"index\":").and_then(number);
    Some(Read { n, index, chain })
}

/// The number that a line which may not be authentic says it has.
pub(super) fn claims(line: &[u8]) -> Option<u64> {
    number(core::str::from_utf8(line.get(..32)?.strip_prefix(b"{\"n\":")?).ok()?)
}

fn number(text: &str) -> Option<u64> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    text.get(..len)?.parse().ok()
}
