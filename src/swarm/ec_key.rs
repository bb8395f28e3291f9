//! The outline of an EC private key in DER: enough to tell one from any other bytes.
//!
//! The numbers in it are not looked at: whether the public point is the private scalar's, and
//! whether both are the certificate's, is for whoever reads the certificate.

use pkcs5::der::asn1::{BitStringRef, ObjectIdentifier, OctetStringRef};
use pkcs5::der::{Decode, Encode, Reader, Result, SliceReader, Tag, TagMode, TagNumber};

use super::der::{INTEGER, OCTET_STRING, SEQUENCE, tlv};
use crate::error::Error;
use crate::secret::SecretBytes;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// The curves, with the length of a coordinate in bytes. Swarm uses the first.
const CURVES: [(ObjectIdentifier, usize); 3] = [
    (ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"), 32),
    (ObjectIdentifier::new_unwrap("1.3.132.0.34"), 48),
    (ObjectIdentifier::new_unwrap("1.3.132.0.35"), 66),
];

/// Tag of the point in an `ECPrivateKey`.
const POINT: u8 = 0xa1;
/// More than the largest of a key's public parts takes, the point of P-521, in bytes.
const MAX_PUBLIC: usize = 160;
/// First byte of a point that is not compressed.
const UNCOMPRESSED: u8 = 4;

/// Whether `der` is a PKCS#8 `PrivateKeyInfo` with an EC key in it, to the last byte.
///
/// ```text
/// SEQUENCE { 0, SEQUENCE { ecPublicKey, curve }, OCTET STRING { ECPrivateKey } }
/// ```
pub(crate) fn is_pkcs8(der: &[u8]) -> bool {
    pkcs8(der).is_ok()
}

/// Whether `der` is a SEC 1 `ECPrivateKey` that names its curve, to the last byte.
///
/// ```text
/// SEQUENCE { 1, OCTET STRING scalar, [0] curve, [1] BIT STRING point }
/// ```
///
/// The point may be absent; inside PKCS#8, so may the curve.
pub(crate) fn is_sec1(der: &[u8]) -> bool {
    sec1(der, None).is_ok()
}

/// Where the private number of a PKCS#8 key stands in it.
pub(crate) fn scalar(der: &[u8]) -> Option<core::ops::Range<usize>> {
    if !is_pkcs8(der) {
        return None;
    }
    // The only octet string that begins right behind `ECPrivateKey`'s version.
    let version = [INTEGER, 1, 1, OCTET_STRING];
    let at = der.windows(version.len()).position(|window| window == version)?;
    let len = usize::from(*der.get(at + version.len())?);
    let start = at + version.len() + 1;
    CURVES.iter().any(|(_, known)| *known == len).then(|| start..start + len)
}

/// The public point in a key of either form, uncompressed, if it is there.
pub(crate) fn point(der: &[u8]) -> Option<&[u8]> {
    pkcs8(der).or_else(|_| sec1(der, None)).ok().flatten()
}

/// The key as PKCS#8: as it is, or, if it is SEC 1, the same key with its curve moved into the outer
/// form, as Docker converts it.
///
/// # Errors
///
/// [`Error::Damaged`] if it is neither.
pub(crate) fn to_pkcs8(key: &SecretBytes) -> crate::error::Result<SecretBytes> {
    let der = key.expose();
    if is_pkcs8(der) {
        return Ok(SecretBytes::from(der));
    }
    if !is_sec1(der) {
        return Err(Error::damaged("the TLS key has no known form"));
    }
    convert(der).map_err(|_| Error::damaged("the TLS key cannot be converted to PKCS#8"))
}

fn convert(der: &[u8]) -> Result<SecretBytes> {
    let mut reader = SliceReader::new(der)?;
    let (scalar, curve, point) = reader.sequence(|key| {
        u8::decode(key)?;
        let scalar = <&OctetStringRef>::decode(key)?;
        let curve = key.context_specific::<ObjectIdentifier>(TagNumber(0), TagMode::Explicit)?;
        let point = key.context_specific::<BitStringRef<'_>>(TagNumber(1), TagMode::Explicit)?;
        Result::Ok((scalar, curve, point))
    })?;
    let curve = curve.ok_or_else(|| Tag::Sequence.value_error())?;
    let (mut first, mut second) = ([0; MAX_PUBLIC], [0; MAX_PUBLIC]);
    let scalar = tlv(OCTET_STRING, &[scalar.as_bytes()]);
    let point = match point {
        Some(point) => tlv(POINT, &[point.encode_to_slice(&mut first)?]),
        None => SecretBytes::new(),
    };
    let key = tlv(SEQUENCE, &[&[INTEGER, 1, 1], scalar.expose(), point.expose()]);
    let oids = [EC_PUBLIC_KEY.encode_to_slice(&mut first)?, curve.encode_to_slice(&mut second)?];
    let algorithm = tlv(SEQUENCE, &oids);
    let key = tlv(OCTET_STRING, &[key.expose()]);
    Ok(tlv(SEQUENCE, &[&[INTEGER, 1, 0], algorithm.expose(), key.expose()]))
}

fn pkcs8(der: &[u8]) -> Result<Option<&[u8]>> {
    let mut reader = SliceReader::new(der)?;
    let point = reader.sequence(|info| {
        require(u8::decode(info)? == 0)?;
        let curve = info.sequence(|algorithm| {
            require(ObjectIdentifier::decode(algorithm)? == EC_PUBLIC_KEY)?;
            ObjectIdentifier::decode(algorithm)
        })?;
        sec1(<&OctetStringRef>::decode(info)?.as_bytes(), Some(curve))
    })?;
    reader.finish()?;
    Ok(point)
}

fn sec1(der: &[u8], outer: Option<ObjectIdentifier>) -> Result<Option<&[u8]>> {
    let mut reader = SliceReader::new(der)?;
    let point = reader.sequence(|key| {
        require(u8::decode(key)? == 1)?;
        let scalar = <&OctetStringRef>::decode(key)?.as_bytes();
        let inner = key.context_specific::<ObjectIdentifier>(TagNumber(0), TagMode::Explicit)?;
        let point = key.context_specific::<BitStringRef<'_>>(TagNumber(1), TagMode::Explicit)?;

        let curve = outer.or(inner);
        require(inner.is_none() || inner == curve)?;
        let coordinate = CURVES.iter().find(|(oid, _)| Some(*oid) == curve).map(|(_, len)| *len);
        require(coordinate == Some(scalar.len()))?;
        let point = point.map(|point| point.as_bytes());
        require(match point {
            None => true,
            Some(Some([UNCOMPRESSED, xy @ ..])) => xy.len() == 2 * scalar.len(),
            Some(_) => false,
        })
        .map(|()| point.flatten())
    })?;
    reader.finish()?;
    Ok(point)
}

fn require(holds: bool) -> Result<()> {
    if holds { Ok(()) } else { Err(Tag::Sequence.value_error().into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let value = parts.concat();
        let len = u8::try_from(value.len()).unwrap();
        let head = if len < 0x80 { vec![tag, len] } else { vec![tag, 0x81, len] };
        [head, value].concat()
    }

    const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
    const EC: &[u8] = &[6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

    fn sec1(len: usize, curve: Option<&[u8]>, point: Option<&[u8]>) -> Vec<u8> {
        let curve = curve.map(|oid| tlv(0xa0, &[oid])).unwrap_or_default();
        let point = point.map(|p| tlv(0xa1, &[&tlv(3, &[&[0], p])])).unwrap_or_default();
        tlv(0x30, &[&[2, 1, 1], &tlv(4, &[&vec![5; len]]), &curve, &point])
    }

    fn pkcs8(curve: &[u8], key: &[u8]) -> Vec<u8> {
        tlv(0x30, &[&[2, 1, 0], &tlv(0x30, &[EC, curve]), &tlv(4, &[key])])
    }

    fn point(len: usize) -> Vec<u8> {
        [vec![4], vec![9; 2 * len]].concat()
    }

    #[test]
    fn swarms_keys_are_known() {
        let with_point = pkcs8(P256, &sec1(32, None, Some(&point(32))));
        assert_eq!(with_point.len(), 138);
        assert!(is_pkcs8(&with_point) && !is_sec1(&with_point));
        assert_eq!(super::point(&with_point), Some(&point(32)[..]));
        assert_eq!(&with_point[scalar(&with_point).unwrap()], [5; 32]);
        assert!(is_pkcs8(&pkcs8(P256, &sec1(32, None, None))));
        assert!(is_pkcs8(&pkcs8(P256, &sec1(32, Some(P256), None))));
        assert!(is_pkcs8(&pkcs8(P384, &sec1(48, None, Some(&point(48))))));
        let plain = sec1(32, Some(P256), Some(&point(32)));
        assert!(is_sec1(&plain) && !is_pkcs8(&plain));
    }

    #[test]
    fn sec1_becomes_pkcs8() {
        for (curve, len) in [(P256, 32), (P384, 48)] {
            for point in [None, Some(&point(len)[..])] {
                let old = SecretBytes::from_vec(sec1(len, Some(curve), point));
                let new = pkcs8(curve, &sec1(len, None, point));
                assert_eq!(to_pkcs8(&old).unwrap().expose(), new);
                assert_eq!(to_pkcs8(&SecretBytes::from(&new[..])).unwrap().expose(), new);
            }
        }
        assert!(to_pkcs8(&SecretBytes::from(&b"no key"[..])).is_err());
    }

    #[test]
    fn what_does_not_fit_together_is_no_key() {
        assert!(!is_sec1(&sec1(32, None, None)));
        assert!(!is_sec1(&sec1(31, Some(P256), None)));
        assert!(!is_sec1(&sec1(32, Some(P384), None)));
        assert!(!is_sec1(&sec1(32, Some(EC), None)));
        assert!(!is_sec1(&sec1(32, Some(P256), Some(&point(31)))));
        assert!(!is_sec1(&sec1(32, Some(P256), Some(&[3; 33]))));
        assert!(!is_pkcs8(&pkcs8(P256, &sec1(32, Some(P384), None))));
        assert!(!is_pkcs8(&pkcs8(P384, &sec1(32, None, None))));
    }

    #[test]
    fn every_byte_counts() {
        let key = pkcs8(P256, &sec1(32, None, Some(&point(32))));
        for len in 0..key.len() {
            assert!(!is_pkcs8(&key[..len]), "{len} bytes");
        }
        assert!(!is_pkcs8(&[&key[..], &[0]].concat()));
        // The scalar and the point's coordinates are numbers, all else has one form.
        let numbers = |at| (36..68).contains(&at) || (74..138).contains(&at);
        for bit in 0..key.len() * 8 {
            let mut flipped = key.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(is_pkcs8(&flipped), numbers(bit / 8), "bit {bit}");
        }
    }
}
