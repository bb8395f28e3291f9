use super::*;
use crate::crypto::testing::pattern;

fn array<const N: usize>(seed: usize) -> [u8; N] {
    pattern(seed + N)[seed..].try_into().unwrap()
}

/// Whether `kernel` does what the portable one does.
fn agree(kernel: Kernel, seed: usize, len: usize, offset: usize) {
    let (key, prefix, suffix) = (array::<32>(seed), array::<16>(seed + 5), array::<8>(seed + 9));
    let plain = pattern(offset + len + 3);
    let (mut subkey, mut other) = ([0; 32], [0; 32]);
    Kernel::Portable.derive(&key, &prefix, &mut subkey);
    kernel.derive(&key, &prefix, &mut other);
    assert_eq!(other, subkey);

    let mut expected = plain.clone();
    let tag = Kernel::Portable.seal(&subkey, &suffix, &mut expected[offset..offset + len]);
    let what = (kernel.name(), len, offset);
    for derive in [false, true] {
        let mut data = plain.clone();
        let part = &mut data[offset..offset + len];
        let made = match derive {
            true => kernel.derive_seal(&key, &prefix, &suffix, part),
            false => kernel.seal(&subkey, &suffix, part),
        };
        assert_eq!(made, tag, "{what:?}");
        assert!(data == expected, "{what:?}");
        let mut wrong = tag;
        wrong[len % 16] ^= 1 << (seed % 8);
        for (tag, right) in [(wrong, false), (tag, true)] {
            let part = &mut data[offset..offset + len];
            let opened = match derive {
                true => kernel.derive_open(&key, &prefix, &suffix, &tag, part),
                false => kernel.open(&subkey, &suffix, &tag, part),
            };
            assert_eq!(opened, right, "{what:?}");
            assert!(data == if right { &plain } else { &expected }[..], "{what:?}");
        }
    }
}

#[test]
fn every_length_agrees() {
    for kernel in Kernel::available() {
        for len in 0..=2048 {
            agree(kernel, len, len, len % 67);
        }
    }
}
