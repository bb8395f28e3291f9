//! What the tests of several modules share: files of vectors, and a runner for sealers.

use crate::error::{Error, Result};

/// One case of a file of vectors.
pub(crate) struct Case<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Case<'a> {
    /// The text of a field.
    pub(crate) fn text(&self, name: &str) -> &'a str {
        let found = self.0.iter().find(|(field, _)| *field == name);
        found.unwrap_or_else(|| panic!("no field {name} in {:?}", self.0)).1
    }

    /// The bytes of a field that is in hexadecimal.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        hex(self.text(name))
    }

    /// As [`Case::bytes`], of a known length.
    pub(crate) fn array<const N: usize>(&self, name: &str) -> [u8; N] {
        self.bytes(name).try_into().unwrap()
    }

    /// A decimal number.
    pub(crate) fn number(&self, name: &str) -> u32 {
        self.text(name).parse().unwrap()
    }

    /// Whether a field says `yes`; anything but `no` is otherwise a fault of the file.
    pub(crate) fn yes(&self, name: &str) -> bool {
        match self.text(name) {
            "yes" => true,
            "no" => false,
            other => panic!("{name} = {other}"),
        }
    }
}

/// The cases of a file: lines `name = value`, an empty line after each case, `#` for comments.
///
/// Fails unless there are `expected` of them, so that a file that is cut short is noticed.
pub(crate) fn cases(file: &str, expected: usize) -> Vec<Case<'_>> {
    let mut cases = vec![Case(Vec::new())];
    for line in file.lines().filter(|line| !line.starts_with('#')) {
        match line.split_once('=') {
            Some((name, value)) => cases.last_mut().unwrap().0.push((name.trim(), value.trim())),
            None if line.is_empty() => cases.push(Case(Vec::new())),
            None => panic!("not a field: {line}"),
        }
    }
    cases.retain(|case| !case.0.is_empty());
    assert_eq!(cases.len(), expected);
    cases
}

/// Bytes from hexadecimal.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert!(text.is_ascii() && text.len().is_multiple_of(2), "not hexadecimal: {text}");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// `len` bytes without a short period.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0u64..)
        .flat_map(|n| (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes())
        .take(len)
        .collect()
}

/// Something that seals and opens whole messages.
pub(crate) trait Sealer {
    /// How many bytes a sealed message begins with that are judged before its tag; where they are
    /// altered, any error is right.
    const HEAD: usize;
    /// How much longer a sealed message is than its plaintext, in bytes.
    const OVERHEAD: usize;

    /// Seals.
    fn seal(&self, plain: &[u8]) -> Vec<u8>;

    /// Opens in place; gives the plaintext's place in `sealed`.
    fn open<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a [u8]>;
}

/// Proves what holds for every sealer: what it sealed it opens, nothing else opens, and a buffer
/// that did not open is as it was. `other` differs from `sealer` in its key, place or AAD.
pub(crate) fn run<S: Sealer>(sealer: &S, other: &S) {
    for len in 0..=300 {
        let plain = pattern(len);
        let sealed = sealer.seal(&plain);
        assert_eq!(sealed.len(), len + S::OVERHEAD);
        // By chance, a shorter ciphertext may equal its plaintext.
        assert!(len < 16 || !sealed.ends_with(&plain), "{len} bytes were not encrypted");
        assert_eq!(sealer.open(&mut sealed.clone()).unwrap(), plain);
        assert!(matches!(refused(other, &sealed), Error::Unauthentic | Error::WrongKey));
        for longer in [&[0][..], &[0; 16]] {
            assert!(matches!(refused(sealer, &[&sealed, longer].concat()), Error::Unauthentic));
        }
    }
    for len in [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65] {
        let sealed = sealer.seal(&pattern(len));
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = refused(sealer, &altered);
            assert!(bit / 8 < S::HEAD || matches!(error, Error::Unauthentic), "{bit}: {error}");
        }
        for cut in 0..sealed.len() {
            match refused(sealer, &sealed[..cut]) {
                Error::Unauthentic => assert!(cut >= S::OVERHEAD),
                Error::Damaged { .. } => assert!(cut < S::OVERHEAD),
                error => panic!("{error}"),
            }
        }
    }
}

/// The error with which `sealed` is refused; fails if it opens or is changed.
fn refused(sealer: &impl Sealer, sealed: &[u8]) -> Error {
    let mut buffer = sealed.to_vec();
    let error = sealer.open(&mut buffer).err();
    assert_eq!(buffer, sealed, "changed by a failed open");
    error.expect("opened what was altered")
}
