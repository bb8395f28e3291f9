use super::{Event, Sink, Value};
use crate::error::Result;

/// Gives events to the `tracing` subscriber, at the level `INFO` and with the target
/// `nodeseal::audit`.
///
/// The fields have the names that [`Event::fields`] gives them, and `action` and `time`. No event has
/// a payload or a key in it.
///
/// ```
/// use nodeseal::audit::{Action, Event, Sink, TracingSink};
/// use nodeseal::grant::Time;
///
/// TracingSink.record(&Event::new(Action::SecretCreated, Time::now()))?;
/// # Ok::<(), nodeseal::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

impl Sink for TracingSink {
    fn record(&self, event: &Event) -> Result<()> {
        let field =
            |wanted: &str| event.fields().find(|(name, _)| *name == wanted).map(|(_, value)| value);
        let text = |name: &str| match field(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        };
        let number = |name: &str| match field(name) {
            Some(Value::Number(number)) => Some(number),
            _ => None,
        };
        tracing::info!(
            target: "nodeseal::audit",
            action = event.action.name(),
            time = %event.time,
            index = number("index"),
            by = text("by"),
            secret = text("secret"),
            version = number("version"),
            service = text("service"),
            task = text("task"),
            node = text("node"),
            detail = text("detail"),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests;
