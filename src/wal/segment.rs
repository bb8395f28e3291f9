use std::path::Path;

use super::block::{BlockFile, wide};
use super::frame::{Frame, Kind, Raw, WORD, plausible, read_raw, torn};
use crate::error::Result;
use crate::fs::File;
use crate::secret::SecretBytes;

/// What a record's CRC says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// It continues the chain.
    Good,
    /// It does not, but the next record does as if it had: the CRC itself was altered.
    FieldAltered,
    /// It does not, and the next record continues from the CRC as stated: the data was altered.
    DataAltered,
    /// It does not, and no record follows that could tell which of the two was altered.
    Unfollowed,
    /// The chain was lost before it, so that nothing vouches for its data.
    Unverified,
}

/// A record that was read. Its data is in [`SegmentReader::data`] until the next step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) kind: Kind,
    pub(crate) check: Check,
    /// The length word has bits that do not fit.
    pub(crate) odd_word: bool,
}

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Step {
    Record(Record),
    /// The chain does not go on from the segment before: another one belongs between them.
    ChainBroken {
        offset: u64,
    },
    /// Bytes from `offset` to `end` that cannot be read as frames, with frames behind them.
    Damage {
        offset: u64,
        #[cfg_attr(not(feature = "swarm"), allow(dead_code, reason = "what Docker would do"))]
        end: u64,
        what: &'static str,
        /// Etcd would take it for a torn write and cut the file here, with what follows.
        #[cfg_attr(not(feature = "swarm"), allow(dead_code, reason = "what Docker would do"))]
        cuttable: bool,
    },
    /// No further frames, and what stands there instead.
    End {
        offset: u64,
        tail: Tail,
    },
}

/// What stands behind a segment's last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing, or zeros.
    Clean,
    /// A write that did not finish; a repair cuts the file there. In a log's last segment only.
    Torn(&'static str),
    /// Bytes that are no frame and no torn write.
    Damaged(&'static str),
    /// The log ends, but from `at` on not all bytes are zero.
    Garbage {
        at: u64,
        /// What stands there has the form of a frame, but nothing vouches for it.
        frame: bool,
    },
}

/// Reads a segment frame by frame in bounded memory: one block and the longest record.
#[derive(Debug)]
pub(crate) struct SegmentReader<'a> {
    file: BlockFile<'a>,
    last: bool,
    offset: u64,
    /// The chain's value; `None` when it was lost.
    chain: Option<u32>,
    body: SecretBytes,
    data: core::ops::Range<usize>,
    /// How many more bytes may be looked at that turn out to be no frame. Keeps the work linear in
    /// the file's length, however many frames claim to be long.
    budget: u64,
    ended: bool,
}

impl Check {
    /// Whether the record's data is what was written.
    #[cfg(any(feature = "swarm", test))]
    pub(crate) const fn is_sound(self) -> bool {
        matches!(self, Self::Good | Self::FieldAltered)
    }
}

impl<'a> SegmentReader<'a> {
    /// Begins at the start. `chain` is the value where the segment before ended, `None` when it is
    /// not known; `last`: no segment follows.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn new(
        file: &'a dyn File,
        path: &'a Path,
        last: bool,
        chain: Option<u32>,
    ) -> Result<Self> {
        let file = BlockFile::new(file, path)?;
        let budget = file.len().saturating_mul(4).saturating_add(1 << 20);
        Ok(Self {
            file,
            last,
            offset: 0,
            chain,
            body: SecretBytes::new(),
            data: 0..0,
            budget,
            ended: false,
        })
    }

    /// Goes on at `offset`, where a frame ended with the chain at `chain`.
    pub(crate) fn from(mut self, offset: u64, chain: Option<u32>) -> Self {
        (self.offset, self.chain) = (offset, chain);
        self
    }

    /// The data of the record that the last step gave; empty where it has none.
    pub(crate) fn data(&self) -> &[u8] {
        self.body.expose().get(self.data.clone()).unwrap_or_default()
    }

    /// The chain's value behind what was read.
    pub(crate) const fn chain(&self) -> Option<u32> {
        self.chain
    }

    /// Offset behind what was read.
    pub(crate) const fn position(&self) -> u64 {
        self.offset
    }

    /// The file's length, in bytes.
    #[cfg(feature = "swarm")]
    pub(crate) const fn len(&self) -> u64 {
        self.file.len()
    }

    /// What comes next; after [`Step::End`], `None`.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(crate) fn next(&mut self) -> Result<Option<Step>> {
        if self.ended {
            return Ok(None);
        }
        self.data = 0..0;
        let offset = self.offset;
        match read_raw(&mut self.file, offset, &mut self.body)? {
            Raw::End => self.end_of_frames(offset).map(Some),
            Raw::Short(what) => self.unreadable(offset, what, self.last).map(Some),
            Raw::Bad(what) => {
                let cuttable = self.last && torn(offset, self.body.expose());
                self.unreadable(offset, what, cuttable).map(Some)
            }
            Raw::Frame(frame) if frame.kind == Kind::Crc && frame.data.is_none() => {
                self.crc_record(offset, &frame)
            }
            Raw::Frame(frame) => self.data_record(offset, frame).map(Some),
        }
    }

    fn crc_record(&mut self, offset: u64, frame: &Frame) -> Result<Option<Step>> {
        self.offset = frame.end;
        // A chain at zero takes any value on: that is how the first segment that is left begins.
        let broken = self.chain.is_some_and(|chain| chain != 0 && chain != frame.crc);
        self.chain = Some(frame.crc);
        if broken {
            return Ok(Some(Step::ChainBroken { offset }));
        }
        Ok(Some(Step::Record(Record {
            offset,
            kind: Kind::Crc,
            check: Check::Good,
            odd_word: frame.odd_word,
        })))
    }

    fn data_record(&mut self, offset: u64, frame: Frame) -> Result<Step> {
        self.data = frame.data.clone().unwrap_or(0..0);
        let computed = self.chain.map(|chain| crc32c::crc32c_append(chain, self.data()));
        let check = match computed {
            None => Check::Unverified,
            Some(computed) if computed == frame.crc => Check::Good,
            Some(computed) => {
                if self.last && torn(offset, self.body.expose()) {
                    return self.unreadable(offset, "a record with a wrong CRC", true);
                }
                match self.continued_from(frame.end, computed, frame.crc)? {
                    Continued::Computed => Check::FieldAltered,
                    Continued::Stated => Check::DataAltered,
                    Continued::Nothing => Check::Unfollowed,
                    // Perhaps it is the length that is wrong, and it swallowed what followed.
                    Continued::Neither => {
                        return self.unreadable(offset, "a record with a wrong CRC", false);
                    }
                }
            }
        };
        self.chain = match check {
            Check::FieldAltered => computed,
            Check::Unfollowed => None,
            Check::Good | Check::DataAltered | Check::Unverified => Some(frame.crc),
        };
        self.offset = frame.end;
        Ok(Step::Record(Record { offset, kind: frame.kind, check, odd_word: frame.odd_word }))
    }

    /// From which value the record at `offset` continues the chain.
    fn continued_from(&mut self, offset: u64, computed: u32, stated: u32) -> Result<Continued> {
        let mut body = SecretBytes::new();
        let raw = read_raw(&mut self.file, offset, &mut body)?;
        self.budget = self.budget.saturating_sub(wide(body.len()));
        Ok(match raw {
            Raw::End => Continued::Nothing,
            Raw::Short(_) | Raw::Bad(_) => Continued::Neither,
            Raw::Frame(frame) => {
                let data = body.expose().get(frame.data.unwrap_or(0..0)).unwrap_or_default();
                if crc32c::crc32c_append(computed, data) == frame.crc {
                    Continued::Computed
                } else if crc32c::crc32c_append(stated, data) == frame.crc {
                    Continued::Stated
                } else {
                    Continued::Neither
                }
            }
        })
    }

    /// Goes on where frames are found again, or ends.
    fn unreadable(&mut self, offset: u64, what: &'static str, cuttable: bool) -> Result<Step> {
        self.data = 0..0;
        self.budget = self.budget.saturating_sub(wide(self.body.len()));
        if self.budget > 0
            && let Some(end) = self.scan(offset.saturating_add(WORD))?
        {
            self.resume(end);
            return Ok(Step::Damage { offset, end, what, cuttable });
        }
        self.ended = true;
        // Behind a torn write, which is cut off, the log goes on where it began.
        self.chain = self.chain.filter(|_| cuttable);
        let tail = if cuttable { Tail::Torn(what) } else { Tail::Damaged(what) };
        Ok(Step::End { offset, tail })
    }

    fn end_of_frames(&mut self, offset: u64) -> Result<Step> {
        let Some(at) = self.file.find_nonzero(offset)? else {
            self.ended = true;
            return Ok(Step::End { offset, tail: Tail::Clean });
        };
        if let Some(end) = self.scan(at - at % 8)? {
            self.resume(end);
            let what = "zeros where a frame should be";
            return Ok(Step::Damage { offset, end, what, cuttable: false });
        }
        self.ended = true;
        let frame = match read_raw(&mut self.file, at - at % 8, &mut self.body)? {
            Raw::Frame(frame) => !matches!(frame.kind, Kind::Other(_)),
            Raw::End | Raw::Short(_) | Raw::Bad(_) => false,
        };
        Ok(Step::End { offset, tail: Tail::Garbage { at, frame } })
    }

    fn resume(&mut self, offset: u64) {
        self.offset = offset;
        self.chain = None;
    }

    /// The next frame at or after `from` whose successor continues the chain from its CRC.
    fn scan(&mut self, from: u64) -> Result<Option<u64>> {
        let mut body = SecretBytes::new();
        let mut at = from;
        while let Some(nonzero) = self.file.find_nonzero(at)? {
            at = nonzero - nonzero % 8;
            let rest = self.file.len() - at;
            if rest < WORD {
                break;
            }
            let mut word = [0; 8];
            self.file.read(at, &mut word)?;
            if plausible(u64::from_le_bytes(word), rest - WORD) {
                let found = self.vouched_for(at, &mut body)?;
                if found {
                    return Ok(Some(at));
                }
                if self.budget == 0 {
                    break;
                }
            }
            at += WORD;
        }
        Ok(None)
    }

    /// Whether a frame stands at `offset` and its successor continues the chain from its CRC.
    fn vouched_for(&mut self, offset: u64, body: &mut SecretBytes) -> Result<bool> {
        let first = read_raw(&mut self.file, offset, body)?;
        self.budget = self.budget.saturating_sub(wide(body.len()));
        let Raw::Frame(first) = first else { return Ok(false) };
        if matches!(first.kind, Kind::Other(_)) {
            return Ok(false);
        }
        let second = read_raw(&mut self.file, first.end, body)?;
        self.budget = self.budget.saturating_sub(wide(body.len()));
        let Raw::Frame(second) = second else { return Ok(false) };
        let data = body.expose().get(second.data.unwrap_or(0..0)).unwrap_or_default();
        // Without data any CRC is continued by an equal one: too little to go by.
        Ok(!data.is_empty() && crc32c::crc32c_append(first.crc, data) == second.crc)
    }
}

enum Continued {
    Computed,
    Stated,
    Neither,
    /// No record follows.
    Nothing,
}

#[cfg(test)]
mod tests;
