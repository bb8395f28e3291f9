//! A file system of two files, over the kernel's protocol: `disk`, and `position`, whose content is
//! how many events the disk has recorded.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, Event};

const ROOT: u64 = 1;
const DISK: u64 = 2;
const POSITION: u64 = 3;

const ENOENT: i32 = 2;
const EIO: i32 = 5;
const ENOSYS: i32 = 38;

/// Most bytes of one write.
const MAX_WRITE: u32 = 1 << 20;
const DIRECT_IO: u32 = 1;
const BIG_WRITES: u32 = 1 << 5;
const MAX_PAGES: u32 = 1 << 22;

type Answer = Result<Vec<u8>, i32>;

/// Answers the kernel until the file system is unmounted.
pub(crate) fn serve(mut device: &File, disk: &Arc<Mutex<Disk>>) {
    let mut buffer = vec![0; (64 << 10) + usize::try_from(MAX_WRITE).unwrap()];
    // An error is the end of the file system, or a request that was taken back.
    let mut errors = 0;
    while errors < 100 {
        let Ok(len) = device.read(&mut buffer) else {
            errors += 1;
            continue;
        };
        errors = 0;
        let request = Request(&buffer[..len]);
        let Some(answer) = request.answer(&mut disk.lock().unwrap()) else { continue };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let mut out = Vec::new();
        put32(&mut out, &[u32::try_from(16 + body.len()).unwrap()]);
        out.extend_from_slice(&error.to_le_bytes());
        put64(&mut out, &[request.u64(8)]);
        out.extend_from_slice(&body);
        // It fails where the one who asked is gone.
        let _ = device.write(&out);
    }
}

struct Request<'a>(&'a [u8]);

impl Request<'_> {
    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap())
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    /// What is answered; `None` for what takes no answer.
    fn answer(&self, disk: &mut Disk) -> Option<Answer> {
        let (opcode, node) = (self.u32(4), self.u64(16));
        // Where what belongs to the operation begins.
        let body = 40;
        let mut out = Vec::new();
        match opcode {
            // FORGET, INTERRUPT, BATCH_FORGET
            2 | 36 | 42 => return None,
            // LOOKUP
            1 => {
                let node = match &self.0[body..] {
                    b"disk\0" => DISK,
                    b"position\0" => POSITION,
                    _ => return Some(Err(ENOENT)),
                };
                put64(&mut out, &[node, 0, 3600, 3600]);
                put32(&mut out, &[0, 0]);
                attributes(&mut out, node, disk.size);
            }
            // GETATTR, SETATTR
            3 | 4 => {
                put64(&mut out, &[3600]);
                put32(&mut out, &[0, 0]);
                attributes(&mut out, node, disk.size);
            }
            // OPEN, OPENDIR
            14 | 27 => {
                let flags = if node == POSITION { DIRECT_IO } else { 0 };
                put64(&mut out, &[0]);
                put32(&mut out, &[flags, 0]);
            }
            // READ
            15 => {
                let (offset, len) = (self.u64(body + 8), self.u32(body + 16));
                let len = u64::from(len);
                if node == POSITION {
                    let text =
                        if offset == 0 { disk.events.len().to_string() } else { String::new() };
                    out = text.into_bytes();
                } else {
                    let len = len.min(disk.size.saturating_sub(offset));
                    out = disk.read(offset, usize::try_from(len).unwrap());
                }
            }
            // WRITE
            16 => {
                let (offset, len) = (self.u64(body + 8), self.u32(body + 16));
                if !disk.write(offset, &self.0[body + 40..]) {
                    return Some(Err(EIO));
                }
                put32(&mut out, &[len, 0]);
            }
            // STATFS
            17 => {
                put64(&mut out, &[0; 5]);
                put32(&mut out, &[4096, 255, 4096]);
                put32(&mut out, &[0; 7]);
            }
            // FSYNC
            20 => disk.take(Event::Flush),
            // RELEASE, FLUSH, RELEASEDIR, ACCESS, DESTROY
            18 | 25 | 29 | 34 | 38 => {}
            // INIT
            26 => {
                put32(&mut out, &[7, 31, self.u32(body + 8)]);
                put32(&mut out, &[self.u32(body + 12) & (BIG_WRITES | MAX_PAGES)]);
                // At most 12 requests in the background, of so many bytes, on a clock of 1 ns.
                put32(&mut out, &[12 | 9 << 16, MAX_WRITE, 1]);
                put32(&mut out, &[MAX_WRITE / 4096, 0]);
                put32(&mut out, &[0; 7]);
            }
            // FALLOCATE: nothing but to make a range zeros.
            43 => {
                let (offset, len) = (self.u64(body + 8), self.u64(body + 16));
                disk.take(Event::Zeros(offset, len));
            }
            _ => return Some(Err(ENOSYS)),
        }
        Some(Ok(out))
    }
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn put64(out: &mut Vec<u8>, values: &[u64]) {
    values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
}

fn attributes(out: &mut Vec<u8>, node: u64, size: u64) {
    let (mode, size) = match node {
        ROOT => (0o040_700, 0),
        DISK => (0o100_600, size),
        _ => (0o100_400, 0),
    };
    put64(out, &[node, size, size / 512, 0, 0, 0]);
    put32(out, &[0, 0, 0, mode, 1, 0, 0, 0, 4096, 0]);
}
