//! Everything opened once, at the start.

use core::num::NonZeroUsize;
use core::ops::Range;

use super::cursor::Span;
use super::options::Progress;
use super::read::BLOCK;
use super::replay::Damage;
use super::{Inner, Store};
use crate::error::{Error, ErrorKind, Place, Result};
use crate::seal::ordered;
use crate::secret::SecretBytes;

/// How many entries one thread opens in one go.
const ENTRIES: u64 = 4096;

/// What one thread opens in one go.
#[derive(Default)]
struct Job {
    range: Range<u64>,
    block: SecretBytes,
    /// What did not open.
    lost: Vec<Damage>,
}

impl Store {
    /// Opens every entry; with `skip`, gives those that do not open.
    pub(super) fn verify(
        &self,
        mut progress: Box<dyn FnMut(Progress) + Send + '_>,
        threads: NonZeroUsize,
        skip: bool,
    ) -> Result<Vec<Damage>> {
        let held = self.inner.index().range();
        let of = held.end - held.start;
        let (mut next, mut lost) = (held.start, Vec::new());
        ordered(
            threads,
            |job: &mut Job| {
                job.range = next..held.end.min(next.saturating_add(ENTRIES));
                next = job.range.end;
                Ok(!job.range.is_empty())
            },
            |job| self.inner.verify(job, skip),
            |job| {
                lost.append(&mut job.lost);
                progress(Progress { entries: job.range.end - held.start, of });
                Ok(())
            },
        )?;
        Ok(lost)
    }
}

impl Inner {
    fn verify(&self, job: &mut Job, skip: bool) -> Result<()> {
        let mut from = job.range.start;
        while from < job.range.end {
            let Err(error) = self.verify_run(&mut from, job.range.end, &mut job.block) else {
                continue;
            };
            self.stats.failed(&error);
            if !skip || !matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Key) {
                return Err(error);
            }
            let (what, mut place) = match error {
                Error::Damaged { what, place } => (what, place),
                _ => ("an entry that does not open", Place::default()),
            };
            place.index = Some(from);
            job.lost.push(Damage { what, place });
            from += 1;
        }
        Ok(())
    }

    /// Opens the next entries that can be read at once; `from` is then the first that it did not.
    fn verify_run(&self, from: &mut u64, end: u64, block: &mut SecretBytes) -> Result<()> {
        let Some(run) = self.run(&Span::of_any(*from, end), BLOCK)? else {
            *from = end;
            return Ok(());
        };
        self.load(&run, block)?;
        let (opened, failed) = self.open_run(&run, block);
        *from += u64::try_from(opened.count()).unwrap_or(u64::MAX);
        failed.map_or(Ok(()), Err)
    }
}
