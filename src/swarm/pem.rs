//! PEM as Go reads and writes it: with headers, lenient about what stands around the block.

use base64ct::{Base64, Encoding};

use crate::error::{Error, Result};
use crate::secret::SecretBytes;

/// Largest text that is looked at, in bytes. A key file of Swarm's has some 600.
const LIMIT: usize = 1 << 20;

const BEGIN: &[u8] = b"-----BEGIN ";
const LINE_AND_BEGIN: &[u8] = b"\n-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const PROC_TYPE: &[u8] = b"Proc-Type";
/// How many characters of base64 a line has.
const LINE: usize = 64;

/// A PEM block. Header values may be keys in the clear, and a damaged body line with a colon in it
/// is taken for a header: so names and values are kept as secrets.
pub(crate) struct Block {
    /// What stands after `BEGIN`.
    pub(crate) label: Vec<u8>,
    /// Name and value, by ascending name, each name once.
    pub(crate) headers: Vec<(SecretBytes, SecretBytes)>,
    pub(crate) body: SecretBytes,
    /// Whether a header stood there more than once; the last one counts.
    pub(crate) repeated: bool,
    /// Whether anything but the block stands in the text, white space after it aside.
    pub(crate) surrounded: bool,
}

impl Block {
    /// The first block of `text` that is well formed.
    ///
    /// The rules are those of Go's `encoding/pem`:
    ///
    /// - `-----BEGIN ` at the start of a line, the label, `-----`; what stands before is skipped.
    /// - Lines with a colon that follow are headers, split at the first colon, both sides trimmed.
    ///   The first line without a colon ends them; it need not be empty.
    /// - `-----END `, the same label and `-----` must end the body, blanks aside.
    /// - In the base64, blanks and line ends are ignored. Lines may end in CR LF.
    /// - A block that is not so is skipped, and the search goes on after its headers.
    ///
    /// In one point it is stricter: base64 whose unused bits are not zero is no base64. Each byte
    /// is looked at a fixed number of times, however many blocks begin.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if there is no such block, or the text is larger than 1 MiB.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        if text.len() > LIMIT {
            return Err(Error::damaged("larger than any PEM file of a key"));
        }
        let none = || Error::damaged("no PEM block");
        let mut rest = text;
        loop {
            rest = after_begin(rest).ok_or_else(none)?;
            let before = text.len() - rest.len() - BEGIN.len();
            let (line, next) = split_line(rest);
            rest = next;
            let Some(label) = line.strip_suffix(DASHES) else { continue };
            let (headers, next) = split_headers(rest).ok_or_else(none)?;
            rest = next;
            let Some((body, after)) = split_body(rest, label, headers.is_empty()) else { continue };
            let Some(body) = decode(body) else { continue };

            let (headers, repeated) = sorted(headers);
            return Ok(Self {
                label: label.to_vec(),
                headers,
                body,
                repeated,
                surrounded: before > 0 || !after.trim_ascii().is_empty(),
            });
        }
    }

    /// The text, as Go writes it: `Proc-Type` first among the headers, the others by their names, an
    /// empty line behind them; base64 in lines of 64 characters.
    pub(crate) fn encode(&self) -> SecretBytes {
        let first = |(name, _): &&(SecretBytes, SecretBytes)| name.expose() == PROC_TYPE;
        let mut rest: Vec<_> = self.headers.iter().filter(|header| !first(header)).collect();
        rest.sort_by(|(a, _), (b, _)| a.expose().cmp(b.expose()));
        let mut text = SecretBytes::with_capacity(LIMIT.min(2 * self.body.len() + 1024));
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| text.extend_from_slice(part));
        put(&[BEGIN, &self.label, DASHES, b"\n"]);
        for (name, value) in self.headers.iter().filter(first).chain(rest) {
            put(&[name.expose(), b": ", value.expose(), b"\n"]);
        }
        if !self.headers.is_empty() {
            put(&[b"\n"]);
        }
        for line in to_base64(self.body.expose()).expose().chunks(LINE) {
            put(&[line, b"\n"]);
        }
        put(&[END, &self.label, DASHES, b"\n"]);
        text
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers
            .iter()
            .find(|(found, _)| found.expose() == name.as_bytes())
            .map(|(_, value)| value.expose())
    }
}

type Headers = Vec<(SecretBytes, SecretBytes)>;

/// What follows the next `-----BEGIN ` that starts a line. `text` starts a line itself.
fn after_begin(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(BEGIN).or_else(|| {
        let at = find(text, LINE_AND_BEGIN)?;
        text.get(at + LINE_AND_BEGIN.len()..)
    })
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

/// The first line without its end and without blanks at its end, and what follows it.
fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let (mut line, rest) = match text.iter().position(|&byte| byte == b'\n') {
        Some(at) => (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default()),
        None => (text, &[][..]),
    };
    if line.len() < text.len() {
        line = line.strip_suffix(b"\r").unwrap_or(line);
    }
    while let [start @ .., b' ' | b'\t'] = line {
        line = start;
    }
    (line, rest)
}

/// The headers and what follows them, or nothing if the text ends in them.
fn split_headers(mut text: &[u8]) -> Option<(Headers, &[u8])> {
    let mut headers = Vec::new();
    loop {
        if text.is_empty() {
            return None;
        }
        let (line, next) = split_line(text);
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            return Some((headers, text));
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        headers.push((trimmed(name), trimmed(value)));
        text = next;
    }
}

fn trimmed(bytes: &[u8]) -> SecretBytes {
    SecretBytes::from(bytes.trim_ascii())
}

/// Sorts by name, keeps the last of equal ones, and says whether there were any.
fn sorted(mut headers: Headers) -> (Headers, bool) {
    let count = headers.len();
    headers.reverse();
    headers.sort_by(|(a, _), (b, _)| a.expose().cmp(b.expose()));
    headers.dedup_by(|(later, _), (kept, _)| later.expose() == kept.expose());
    let repeated = headers.len() < count;
    (headers, repeated)
}

/// The base64 up to the END line, which must carry `label`, and what follows that line.
fn split_body<'a>(text: &'a [u8], label: &[u8], bare: bool) -> Option<(&'a [u8], &'a [u8])> {
    // Without headers the END line may follow at once. The body is only base64 and white space,
    // so it is enough to look up to the first dash: each byte is passed once.
    let dash = text.iter().position(|&byte| byte == b'-')?;
    let (body, end) = text.split_at(dash);
    let starts_a_line = match body {
        [] => bare,
        [.., last] => *last == b'\n',
    };
    let trailer = end.strip_prefix(END).filter(|_| starts_a_line)?;
    let trailer = trailer.strip_prefix(label)?.strip_prefix(DASHES)?;
    let (blank, after) = split_line(trailer);
    blank.is_empty().then_some((body, after))
}

/// Decodes base64 with blanks and line ends in it.
fn decode(text: &[u8]) -> Option<SecretBytes> {
    let is_space = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut packed = SecretBytes::with_capacity(text.len());
    for run in text.split(|&byte| is_space(byte)) {
        packed.extend_from_slice(run);
    }
    base64(packed.expose())
}

/// Base64 with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> SecretBytes {
    let mut text = SecretBytes::new();
    text.resize(bytes.len().div_ceil(3) * 4);
    let len = Base64::encode(bytes, text.expose_mut()).map_or(0, str::len);
    text.resize(len);
    text
}

/// Decodes base64 with padding and nothing else in it.
pub(crate) fn base64(text: &[u8]) -> Option<SecretBytes> {
    let mut decoded = SecretBytes::new();
    decoded.resize(text.len() / 4 * 3);
    let len = Base64::decode(text, decoded.expose_mut()).ok()?.len();
    decoded.resize(len);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BLOCK: &str = "-----BEGIN X-----\na: 1\n\nAAEC\n-----END X-----\n";

    fn parse(text: &str) -> Block {
        Block::parse(text.as_bytes()).unwrap()
    }

    fn body(text: &str) -> Vec<u8> {
        parse(text).body.expose().to_vec()
    }

    fn refused(text: &str) -> bool {
        match Block::parse(text.as_bytes()) {
            Ok(_) => false,
            Err(Error::Damaged { what: "no PEM block", .. }) => true,
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn a_block_has_label_headers_and_body() {
        let block = parse(BLOCK);
        assert_eq!(block.label, b"X");
        assert_eq!(block.header("a"), Some(&b"1"[..]));
        assert_eq!(block.header("A"), None);
        assert_eq!(block.body.expose(), [0, 1, 2]);
        assert!(!block.repeated && !block.surrounded);
    }

    #[test]
    fn headers_split_at_the_first_colon_and_the_last_duplicate_wins() {
        let block = parse("-----BEGIN X-----\nb:2\n a :\tx: y \t\nb: 3\nAAEC\n-----END X-----\n");
        assert_eq!(block.header("a"), Some(&b"x: y"[..]));
        assert_eq!(block.header("b"), Some(&b"3"[..]));
        let names: Vec<_> = block.headers.iter().map(|(name, _)| name.expose()).collect();
        assert_eq!(names, [b"a", b"b"]);
        assert!(block.repeated);
        assert_eq!(block.body.expose(), [0, 1, 2]);
    }

    #[test]
    fn cr_lf_blanks_and_junk_around_do_not_matter() {
        assert_eq!(body(&BLOCK.replace('\n', "\r\n")), [0, 1, 2]);
        assert_eq!(body(&BLOCK.replace('\n', " \t\n")), [0, 1, 2]);
        assert_eq!(body(&BLOCK.replace("AAEC", "A A\tE\n\r\n C")), [0, 1, 2]);
        assert_eq!(body(BLOCK.trim_end()), [0, 1, 2]);
        for around in [format!("junk\n{BLOCK}"), format!("{BLOCK}junk"), format!("\n{BLOCK}")] {
            assert_eq!(body(&around), [0, 1, 2]);
            assert!(parse(&around).surrounded, "{around:?}");
        }
        assert!(!parse(&format!("{BLOCK}\r\n \n")).surrounded);
    }

    #[test]
    fn the_body_may_be_empty() {
        assert_eq!(body("-----BEGIN X-----\n-----END X-----"), b"");
        assert_eq!(body("-----BEGIN X-----\n\n-----END X-----"), b"");
        assert_eq!(body("-----BEGIN X-----\na: b\n\n-----END X-----"), b"");
        // Go finds no END here, as the header's line took the line end before it.
        assert!(refused("-----BEGIN X-----\na: b\n-----END X-----"));
    }

    #[test]
    fn what_is_no_block_is_refused() {
        assert!(refused(""));
        assert!(refused("AAEC"));
        assert!(refused(&format!(" {BLOCK}")));
        assert!(refused(&BLOCK.replace("END X", "END Y")));
        assert!(refused(&BLOCK.replace("END X", "END X ")));
        assert!(refused(&BLOCK.replace("END X-----", "END X----")));
        assert!(refused(&BLOCK.replace("END X-----", "END X-----x")));
        assert!(refused(&BLOCK.replace("BEGIN X-----", "BEGIN X----")));
        assert!(refused(&BLOCK.replace("\n-----END", "-----END")));
        assert!(refused(&BLOCK.replace("AAEC", "AAE")));
        assert!(refused(&BLOCK.replace("AAEC", "AAE*")));
        assert!(refused(&BLOCK.replace("AAEC", "AA==AAEC")));
        assert!(refused(&BLOCK.replace("AAEC", "AAE_")));
        // Go takes this one.
        assert!(refused(&BLOCK.replace("AAEC", "AB==")));
        assert!(refused("-----BEGIN X-----\na: b\n"));
    }

    #[test]
    fn after_a_bad_block_the_search_goes_on() {
        let bad_base64 = BLOCK.replace("AAEC", "A*EC");
        let other_end = BLOCK.replace("END X", "END Y");
        for bad in [bad_base64.as_str(), other_end.as_str(), "-----BEGIN \n", "-----BEGIN Z-----\n"]
        {
            let block = parse(&format!("{bad}{BLOCK}"));
            assert_eq!((&block.label[..], block.body.expose()), (&b"X"[..], &[0, 1, 2][..]));
            assert!(block.surrounded);
        }
    }

    #[test]
    fn hostile_text_takes_linear_time() {
        let begun = std::time::Instant::now();
        for unit in ["-----BEGIN X-----\n", "-----BEGIN X-----\nAAEC\n", "a:\n", "\n", "-"] {
            let text = format!("-----BEGIN X-----\n{}", unit.repeat(900_000 / unit.len()));
            assert!(refused(&text));
            let ended = format!("{text}\n-----END X-----\n");
            let _ = Block::parse(ended.as_bytes());
            let _ = Block::parse(format!("{text}-----END Y-----\n{BLOCK}").as_bytes());
        }
        // Quadratic, any one of them would take hours.
        assert!(begun.elapsed().as_secs() < 60);
        assert!(Block::parse(&vec![b'\n'; LIMIT + 1]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_does_no_harm(text in "(-----(BEGIN|END) X?-----|[a:=A \\r]|\\n){0,40}") {
            let _ = Block::parse(text.as_bytes());
        }

        #[test]
        fn what_is_written_so_is_read_so(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut text = vec![0; 300];
            let text = Base64::encode(&body, &mut text).unwrap();
            let lines: Vec<_> = text.as_bytes().chunks(64).map(|l| str::from_utf8(l).unwrap()).collect();
            let text = format!("-----BEGIN X-----\n{}\n-----END X-----\n", lines.join("\n"));
            prop_assert_eq!(self::body(&text), body);
        }
    }
}
