use core::fmt;
use std::io;

use super::content::{Write, wide};
use super::disk::{Disk, When};
use super::names::Inode;
use super::{File, FileId, Lock, SimFs};

/// The longest file that a system takes, in bytes.
const MAX_LEN: u64 = i64::MAX.unsigned_abs();

pub(super) struct SimFile {
    pub(super) fs: SimFs,
    pub(super) inode: Inode,
    pub(super) writable: bool,
}

impl SimFile {
    fn check(&self, end: Option<u64>) -> io::Result<()> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        end.filter(|end| *end <= MAX_LEN)
            .map(drop)
            .ok_or_else(|| io::ErrorKind::FileTooLarge.into())
    }

    fn write(&self, disk: &mut Disk, buf: &[u8], offset: u64) -> io::Result<()> {
        // As on a real system, writing nothing does not grow the file.
        if !buf.is_empty() {
            disk.file_mut(self.inode)?.make(Write::Bytes { offset, bytes: buf.to_vec() });
        }
        Ok(())
    }
}

impl File for SimFile {
    fn id(&self) -> io::Result<Option<FileId>> {
        Ok(Some(FileId::new(0, self.inode)))
    }

    fn len(&self) -> io::Result<u64> {
        self.fs.operation(|disk| Ok(disk.file(self.inode)?.live().len()))
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.fs.operation(|disk| Ok(disk.file(self.inode)?.live().read_at(buf, offset)))
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.fs.disk();
        let begun = disk.begin();
        let checked = self.check(offset.checked_add(wide(buf.len())));
        match begun {
            Ok(()) => checked.and_then(|()| self.write(&mut disk, buf, offset)),
            Err(fault) => {
                if fault.when != When::Off && checked.is_ok() {
                    let part = disk.part(buf.len());
                    self.write(&mut disk, buf.split_at(part).0, offset)?;
                }
                Err(fault.error)
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.fs.operation(|disk| {
            self.check(Some(len))?;
            disk.file_mut(self.inode)?.make(Write::Len(len));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.fs.disk();
        let begun = disk.begin();
        let file = disk.file_mut(self.inode)?;
        begun.map(|()| file.sync()).map_err(|fault| {
            if fault.when == When::Failed {
                file.fail_sync();
            }
            fault.error
        })?;
        #[cfg(test)]
        if let Some(call) = disk.after_sync.take() {
            drop(disk);
            call();
        }
        Ok(())
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.inode)
    }
}

/// A lock on a [`SimFs`]. After a power cut it holds nothing: the disk that comes up is another.
pub(super) struct SimLock {
    pub(super) fs: SimFs,
    pub(super) inode: Inode,
}

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.fs.disk().unlock(self.inode);
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimLock({})", self.inode)
    }
}
