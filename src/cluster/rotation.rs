//! Making new payload keys, and re-sealing under them.

use super::Cluster;
use super::command::{Request, Resealed};
use super::payload::PayloadKey;
use crate::audit::{Action, Event, Sink};
use crate::error::{Error, Misuse, Result};
use crate::grant::Time;

/// Payloads in one step of re-sealing, at most.
const STEP: usize = 64;
/// Bytes after which a step takes no further payload.
const STEP_BYTES: usize = 1 << 20;

impl Cluster {
    /// The payload key that seals, to be taken along: none before the first
    /// [`Request::AddPayloadKey`].
    #[must_use]
    pub fn payload_key(&self) -> Option<PayloadKey> {
        self.keys.current().map(|held| held.key.clone())
    }

    /// The request that brings the first payload key, or the next one. `exposed` says that those
    /// before are to count as exposed. Make it once and replicate it.
    ///
    /// # Errors
    ///
    /// [`Error::Random`] if the system's generator fails.
    pub fn new_payload_key(&self, exposed: bool) -> Result<Request> {
        let last = self.keys.current().map_or(0, |held| held.key.version());
        let next = last.checked_add(1).ok_or(Misuse::OutOfBounds("a payload key's version"))?;
        Ok(Request::AddPayloadKey { key: PayloadKey::generate(next)?, exposed })
    }

    /// The request that brings some more payloads under the current payload key: at most 64 of
    /// them, and no more after a mebibyte. `None` when nothing is left under an old one. Make it on
    /// one node and replicate it; what was changed meanwhile stays as it is.
    ///
    /// Each opening is told to `sink` before it happens.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`] if a payload was altered;
    /// [`Error::Random`]; the sink's error.
    pub fn reseal(&self, at: Time, by: &str, sink: &dyn Sink) -> Result<Option<Request>> {
        let Some((current, old)) = self.keys.payload.split_last() else { return Ok(None) };
        let mut payloads = Vec::new();
        let mut bytes = 0;
        let left = old.iter().flat_map(|held| held.seals.keys().map(move |what| (held, what)));
        for (held, (secret, number)) in left {
            if payloads.len() == STEP || bytes >= STEP_BYTES {
                break;
            }
            let version = self.secrets.get(secret).and_then(|s| s.versions.get(number));
            let version = version.ok_or(Error::damaged("a payload is not there"))?;
            let mut event = Event::new(Action::PayloadOpened, at);
            by.clone_into(&mut event.by);
            event.secret = Some(secret.clone());
            event.version = Some(*number);
            event.detail = Some("to be re-sealed".to_owned());
            sink.record(&event)?;
            let plain = held.key.open(secret, *number, &version.payload)?;
            let payload = current.key.seal(secret, *number, plain.expose())?;
            bytes += payload.sealed_len();
            let (secret, number, from) = (secret.clone(), *number, held.key.version());
            payloads.push(Resealed { secret, number, from, payload });
        }
        Ok((!payloads.is_empty()).then_some(Request::Reseal { payloads }))
    }
}
