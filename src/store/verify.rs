//! Everything opened once, at the start.

use super::Store;
use super::options::Progress;
use super::replay::Damage;
use crate::error::{Error, ErrorKind, Place, Result};

impl Store {
    /// Opens every entry; with `skip`, gives those that do not open.
    pub(super) fn verify(
        &self,
        mut progress: Box<dyn FnMut(Progress) + '_>,
        skip: bool,
    ) -> Result<Vec<Damage>> {
        let held = self.inner.index().range();
        let of = held.end - held.start;
        let (mut next, mut lost) = (held.start, Vec::new());
        loop {
            let read: Result<()> = self.read(next..held.end, |id, _| {
                next = id.index + 1;
                let entries = next - held.start;
                if entries.is_multiple_of(4096) || entries == of {
                    progress(Progress { entries, of });
                }
                Ok(())
            });
            match read {
                Ok(()) => return Ok(lost),
                Err(error)
                    if skip && matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Key) =>
                {
                    let mut damage = match error {
                        Error::Damaged { what, place } => Damage { what, place },
                        _ => {
                            Damage { what: "an entry that does not open", place: Place::default() }
                        }
                    };
                    damage.place.index = Some(next);
                    lost.push(damage);
                    next += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
}
