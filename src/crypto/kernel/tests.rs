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

#[test]
fn every_alignment_agrees() {
    for kernel in Kernel::available() {
        for offset in 0..64 {
            for len in [63, 64, 65, 225, 481, 1057, 1500] {
                agree(kernel, offset, len, offset);
            }
        }
    }
}

#[test]
fn long_messages_agree() {
    let kib = 1 << 10;
    for kernel in Kernel::available() {
        for edge in [2 * kib + 32, 8 * kib + 32, 16 * kib + 544, 32 * kib + 544] {
            for len in edge - 66..edge + 66 {
                agree(kernel, len, len, len % 7);
            }
        }
        for (seed, noise) in pattern(240).chunks_exact(8).enumerate() {
            let noise = u64::from_le_bytes(noise.try_into().unwrap());
            agree(kernel, seed, usize::try_from(noise % 200_000).unwrap(), seed % 64);
        }
    }
}

/// Keys and blocks at which sums carry the furthest, or stand just beside 2¹³⁰ - 5.
#[test]
fn the_edges_of_poly1305_agree() {
    let key =
        |r: u128, pad: u128| [r.to_le_bytes(), pad.to_le_bytes()].concat().try_into().unwrap();
    let r = [0, 1, 2, 4, 5, 1 << 44, 1 << 88, (1 << 44) - 1, u128::MAX, 0x0fff_fffc << 96];
    let blocks = [0, 1, 4, 5, u128::MAX, u128::MAX - 1, u128::MAX - 4, u128::MAX << 64, 1 << 127];
    for kernel in Kernel::available() {
        for r in r {
            for pad in [0, 1, u128::MAX] {
                let key: [u8; 32] = key(r, pad);
                for (i, block) in blocks.into_iter().enumerate() {
                    for count in [0, 1, 2, 3, 4, 5, 8, 16, 17, 24, 31, 32, 33, 63, 64, 72, 128] {
                        let mut data = block.to_le_bytes().repeat(count);
                        if let Some(last) = data.last_chunk_mut() {
                            *last = blocks[(i + count) % blocks.len()].to_le_bytes();
                        }
                        for cut in [0, 1, 15] {
                            let data = &data[..data.len().saturating_sub(cut)];
                            let tag = Kernel::Portable.mac(&key, data);
                            assert_eq!(
                                kernel.mac(&key, data),
                                tag,
                                "{r:x} {pad:x} {block:x} {count}"
                            );
                        }
                    }
                }
            }
        }
    }
}

/// The same with eight texts at once, so that each lane has carries of its own.
#[test]
fn the_edges_of_poly1305_agree_abreast() {
    let r = [0, 1, 4, 5, 1 << 44, 1 << 88, u128::MAX, 0x0fff_fffc << 96];
    let blocks = [0, 1, 4, 5, u128::MAX, u128::MAX - 1, u128::MAX - 4, u128::MAX << 64];
    let pads = [0, 1, u128::MAX, 1 << 64, (1 << 64) - 1, u128::MAX << 64, 5, 1 << 127];
    for turn in 0..64 {
        let mut keys = [[0; 64]; 8];
        for (i, key) in keys.iter_mut().enumerate() {
            key[..16].copy_from_slice(&r[(i + turn) % 8].to_le_bytes());
            key[16..32].copy_from_slice(&pads[(i + turn / 8) % 8].to_le_bytes());
        }
        for count in [1, 3, 4, 5, 8, 16, 28, 29, 32, 64] {
            for (fewest, cut) in [(count, 0), (count, 1), (4, 0), (0, 5)] {
                let text = |lane: usize| {
                    let mut text = blocks[(lane + turn) % 8].to_le_bytes().repeat(count);
                    text[16 * (count - 1)..].copy_from_slice(&blocks[lane].to_le_bytes());
                    let len = if lane == turn % 8 { 16 * fewest.min(count) } else { text.len() };
                    text.truncate(len.saturating_sub(cut * (lane % 3)));
                    text
                };
                let texts: Vec<_> = (0..8).map(text).collect();
                let texts: Vec<_> = texts.iter().map(|text| &text[..]).collect();
                for lanes in 1..=8 {
                    let expected = Kernel::Portable.macs(&keys, &texts[..lanes]);
                    for kernel in Kernel::available() {
                        let tags = kernel.macs(&keys, &texts[..lanes]);
                        assert_eq!(
                            tags[..lanes],
                            expected[..lanes],
                            "{turn} {count} {fewest} {cut}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn texts_of_all_lengths_agree_abreast() {
    let keys = core::array::from_fn(|lane| array::<64>(3 * lane));
    let text = pattern(2000);
    for shortest in 0..140 {
        for step in [0, 1, 5, 16, 17, 100] {
            let texts: Vec<_> =
                (0..8).map(|lane| &text[lane..][..shortest + lane * step]).collect();
            for lanes in 1..=8 {
                // The shortest is not always the first.
                let mut texts = texts[..lanes].to_vec();
                texts.rotate_left(shortest % lanes);
                let expected = Kernel::Portable.macs(&keys, &texts);
                for kernel in Kernel::available() {
                    let tags = kernel.macs(&keys, &texts);
                    assert_eq!(tags[..lanes], expected[..lanes], "{shortest} {step}");
                }
            }
        }
    }
}

/// The messages of a batch, with lengths from `lens`.
fn batch(seed: usize, lens: &[usize]) -> Vec<([u8; 8], Vec<u8>)> {
    let message =
        |(i, len): (usize, &usize)| (array(seed + 8 * i), pattern(16 + i + len)[i..].to_vec());
    lens.iter().enumerate().map(message).collect()
}

fn messages(batch: &mut [([u8; 8], Vec<u8>)]) -> Vec<Message<'_>> {
    let parts = batch.iter_mut().map(|(suffix, sealed)| (*suffix, sealed));
    parts.map(|(suffix, sealed)| Message { suffix, sealed, right: false }).collect()
}

#[track_caller]
fn batch_agrees(kernel: Kernel, seed: usize, lens: &[usize]) {
    let key = array(seed);
    let plain = batch(seed, lens);
    let mut expected = plain.clone();
    let mut parts = messages(&mut expected);
    Kernel::Portable.seal_many(&key, &mut parts);
    assert!(parts.iter().all(|message| message.right));

    let mut data = plain.clone();
    let mut parts = messages(&mut data);
    kernel.seal_many(&key, &mut parts);
    assert!(parts.iter().all(|message| message.right));
    assert!(data == expected, "{lens:?}");

    // Each third one is damaged, somewhere.
    for (i, (_, sealed)) in data.iter_mut().enumerate().filter(|(i, _)| i % 3 == seed % 3) {
        let at = (seed * 7 + i * 31) % sealed.len();
        sealed[at] ^= 1 << (i % 8);
    }
    let damaged = data.clone();
    let mut parts = messages(&mut data);
    kernel.open_many(&key, &mut parts);
    for (i, message) in parts.iter().enumerate() {
        assert_eq!(message.right, i % 3 != seed % 3, "{lens:?}");
        match message.right {
            true => assert!(message.sealed[16..] == plain[i].1[16..], "{lens:?}"),
            false => assert!(message.sealed == damaged[i].1, "{lens:?}"),
        }
    }
}

#[test]
fn batches_agree() {
    for kernel in Kernel::available() {
        batch_agrees(kernel, 0, &[]);
        for count in 1..40 {
            for len in [0, 1, 31, 32, 33, 64, 95, 96, 97, 160, 700, 800, 992, 1024, 1056, 1057] {
                batch_agrees(kernel, count + len, &vec![len; count]);
            }
        }
        for seed in 0..300 {
            let noise = pattern(seed + 40);
            let lens: Vec<_> =
                noise[seed..].iter().map(|n| usize::from(*n).pow(3) / 9001).collect();
            batch_agrees(kernel, seed, &lens);
        }
    }
}

/// Beyond 256 GiB: no message of a test is as long.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_counter_carries_into_its_high_word() {
    use salsa20::SalsaCore;
    use salsa20::cipher::consts::U10;
    use salsa20::cipher::{KeyIvInit, StreamCipherCore, StreamCipherSeekCore};

    let (key, suffix) = (array::<32>(1), array::<8>(2));
    for counter in [0, 1, 2, 3, 5, 8, 15, 16, 20, 40, 60, 80].map(|before| (1 << 32) - before) {
        for blocks in (1..20).chain([32, 33, 40, 48, 49, 55, 64, 65, 80, 81]) {
            let len = 64 * blocks - 7;
            let mut expected = vec![0; len];
            let mut stream = SalsaCore::<U10>::new((&key).into(), (&suffix).into());
            stream.set_block_pos(counter);
            stream.apply_keystream_partial((&mut *expected).into());
            for kernel in Kernel::available() {
                let mut data = vec![0; len];
                match kernel {
                    Kernel::Avx512(kernel) => {
                        many::Lanes::stream(kernel, &key, &suffix, counter, &mut data);
                    }
                    Kernel::Avx2(kernel) => {
                        many::Lanes::stream(kernel, &key, &suffix, counter, &mut data);
                    }
                    Kernel::Portable => continue,
                }
                assert!(data == expected, "{kernel:?} {counter} {blocks}");
            }
        }
    }
}

#[test]
fn what_is_shorter_than_a_tag_is_no_message() {
    for kernel in Kernel::available() {
        let mut data = vec![([1; 8], vec![5; 15]), ([2; 8], vec![6; 16])];
        let mut parts = messages(&mut data);
        kernel.seal_many(&[3; 32], &mut parts);
        assert_eq!((parts[0].right, parts[1].right), (false, true));
        kernel.open_many(&[3; 32], &mut parts);
        assert_eq!((parts[0].right, parts[1].right), (false, true));
        assert_eq!(data[0].1, [5; 15]);
    }
}

#[test]
fn a_kernel_can_be_forced() {
    for kernel in Kernel::available() {
        assert_eq!(force::on(kernel, Kernel::current), kernel);
    }
    assert_eq!(Some(Kernel::current()), Kernel::available().next());
}
