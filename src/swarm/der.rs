//! DER, writing: the few forms that a private key is made of.

use crate::secret::SecretBytes;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const SEQUENCE: u8 = 0x30;

/// A value of `parts`, joined, with its tag and its length. The result holds keys, so it is wiped.
pub(crate) fn tlv(tag: u8, parts: &[&[u8]]) -> SecretBytes {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = SecretBytes::with_capacity(len + 2 + size_of::<usize>());
    let digits = len.to_be_bytes();
    let digits = digits.get(digits.iter().take_while(|digit| **digit == 0).count()..);
    let digits = digits.unwrap_or_default();
    match (digits, u8::try_from(digits.len())) {
        ([], _) => out.extend_from_slice(&[tag, 0]),
        ([short @ 0..0x80], _) => out.extend_from_slice(&[tag, *short]),
        (_, count) => {
            out.extend_from_slice(&[tag, 0x80 | count.unwrap_or(0)]);
            out.extend_from_slice(digits);
        }
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (len, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
        ] {
            let out = tlv(OCTET_STRING, &[&vec![7; len]]);
            assert_eq!((out.len(), &out.expose()[..head.len()]), (head.len() + len, head));
        }
        assert_eq!(tlv(SEQUENCE, &[b"a", b"bc"]).expose(), b"\x30\x03abc");
    }
}
