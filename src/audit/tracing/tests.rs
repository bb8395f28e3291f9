use core::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

use super::*;
use crate::audit::Action;
use crate::grant::{TaskId, Time};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(format!("{} {}", event.metadata().level(), event.metadata().target()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn an_event_reaches_the_subscriber_with_all_its_fields() {
    let lines = Lines::default();
    let mut event = Event::new(Action::Delivered, Time::from_seconds(951_782_400));
    event.index = Some(7);
    event.task = Some(TaskId::new("t1").unwrap());
    event.detail = Some("a\nb".to_owned());
    tracing::subscriber::with_default(lines.clone(), || TracingSink.record(&event).unwrap());
    let expected = "INFO nodeseal::audit action=\"deliver\" time=2000-02-29T00:00:00Z index=7 \
                    task=\"t1\" detail=\"a\\nb\"";
    assert_eq!(*lines.0.lock().unwrap(), [expected]);
    // Whatever fields an event has, none of them is left out.
    event.by = "ops".to_owned();
    assert_eq!(event.fields().count(), 4);
}
