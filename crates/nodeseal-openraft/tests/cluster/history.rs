//! What clients did and saw, and whether one order explains it.
//!
//! The state is a list to which each write appends a value of its own and learns its position; a
//! read sees a prefix. The state machines say the order, so that it remains to compare it with what
//! each client was told, and with the order of what came one after the other in time.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use crate::support::machine::Value;

#[derive(Debug, Clone)]
enum Operation {
    /// A value, and its position if it was acknowledged.
    Write(Value, Option<u64>),
    /// How many values there were, and what they were.
    Read(u64, u64),
}

#[derive(Debug, Clone)]
struct Event {
    invoked: u64,
    /// When it was answered; one that was not may take effect at any time.
    returned: Option<u64>,
    operation: Operation,
}

#[derive(Debug, Default)]
struct Events {
    clock: u64,
    all: Vec<Event>,
}

/// Everything that clients did, with the time at which they did it.
#[derive(Debug, Default)]
pub struct History(Mutex<Events>);

/// How much there was of what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub acknowledged: usize,
    pub unanswered: usize,
    pub reads: usize,
}

/// Names a prefix of a list.
pub fn digest(order: &[Value]) -> u64 {
    let mut hasher = DefaultHasher::new();
    order.hash(&mut hasher);
    hasher.finish()
}

impl History {
    /// Begins an operation: a point in time.
    pub fn begin(&self) -> u64 {
        let mut events = self.0.lock().unwrap();
        events.clock += 1;
        events.clock
    }

    /// A write that was acknowledged at a position, counted from 1, or not answered.
    pub fn wrote(&self, invoked: u64, value: Value, position: Option<u64>) {
        self.end(invoked, position.is_some(), Operation::Write(value, position));
    }

    /// A read that saw these values.
    pub fn read(&self, invoked: u64, order: &[Value]) {
        self.end(invoked, true, Operation::Read(order.len() as u64, digest(order)));
    }

    fn end(&self, invoked: u64, answered: bool, operation: Operation) {
        let mut events = self.0.lock().unwrap();
        events.clock += 1;
        let returned = answered.then_some(events.clock);
        events.all.push(Event { invoked, returned, operation });
    }

    pub fn counts(&self) -> Counts {
        let events = self.0.lock().unwrap();
        let count = |of: fn(&Operation) -> bool| {
            events.all.iter().filter(|event| of(&event.operation)).count()
        };
        Counts {
            acknowledged: count(|operation| matches!(operation, Operation::Write(_, Some(_)))),
            unanswered: count(|operation| matches!(operation, Operation::Write(_, None))),
            reads: count(|operation| matches!(operation, Operation::Read(..))),
        }
    }

    /// Compares what was seen with the order in which the values were applied.
    pub fn check(&self, order: &[Value]) -> Result<(), String> {
        let events = self.0.lock().unwrap();
        let places: BTreeMap<&Value, u64> = order.iter().zip(1..).collect();
        if places.len() != order.len() {
            return Err("a value was applied twice".to_owned());
        }
        let written = events.all.iter().filter_map(|event| match &event.operation {
            Operation::Write(value, _) => Some(value),
            Operation::Read(..) => None,
        });
        let written: BTreeSet<&Value> = written.collect();
        if let Some(value) = order.iter().find(|value| !written.contains(value)) {
            return Err(format!("{value:?} was applied, which nobody wrote"));
        }
        // When each began and ended, and the prefix that it shows to be there.
        let (mut begun, mut ended) = (Vec::new(), Vec::new());
        for event in &events.all {
            let (reached, is_write) = match &event.operation {
                Operation::Write(value, told) => match (places.get(value), told) {
                    (Some(place), Some(told)) if place != told => {
                        return Err(format!("{value:?} is at {place}, and {told} was told"));
                    }
                    (None, Some(_)) => return Err(format!("{value:?} was acknowledged, and lost")),
                    (None, None) => continue,
                    (Some(place), _) => (*place, true),
                },
                Operation::Read(len, seen) => {
                    let prefix = usize::try_from(*len).ok().and_then(|len| order.get(..len));
                    if prefix.map(digest) != Some(*seen) {
                        return Err(format!("a read saw {len} values that are no prefix"));
                    }
                    (*len, false)
                }
            };
            begun.push((event.invoked, reached, is_write));
            ended.extend(event.returned.map(|returned| (returned, reached)));
        }
        begun.sort_unstable();
        ended.sort_unstable();
        let mut ended = ended.into_iter().peekable();
        let mut shown = 0;
        for (invoked, reached, is_write) in begun {
            while let Some((_, before)) = ended.next_if(|(returned, _)| *returned < invoked) {
                shown = shown.max(before);
            }
            if reached < shown + u64::from(is_write) {
                let what = if is_write { "a write came before" } else { "a read did not see" };
                return Err(format!(
                    "{what} what had been acknowledged or seen: {reached}, {shown}"
                ));
            }
        }
        Ok(())
    }
}

#[test]
fn the_check_finds_what_is_wrong() {
    let value = |n: u64| Value(n.to_string());
    let order: Vec<Value> = (1..=3).map(value).collect();
    let history = |steps: &dyn Fn(&History)| {
        let history = History::default();
        steps(&history);
        for n in 1..=3 {
            let invoked = history.begin();
            history.wrote(invoked, value(n), None);
        }
        history
    };
    // One after the other, each acknowledged and read.
    let good = History::default();
    for n in 1..=3 {
        let invoked = good.begin();
        good.wrote(invoked, value(n), Some(n));
        let invoked = good.begin();
        good.read(invoked, &order[..usize::try_from(n).unwrap()]);
    }
    good.check(&order).unwrap();
    assert_eq!(good.counts(), Counts { acknowledged: 3, unanswered: 0, reads: 3 });
    let fails = |text: &str, history: History, order: &[Value]| {
        let found = history.check(order).unwrap_err();
        assert!(found.contains(text), "{found}");
    };
    let other = [value(1), value(3), value(2)];
    fails("and 2 was told", history(&|h| h.wrote(h.begin(), value(2), Some(2))), &other);
    fails("lost", history(&|h| h.wrote(h.begin(), value(4), Some(4))), &order);
    fails("twice", history(&|_| {}), &[value(1), value(1)]);
    fails("nobody wrote", history(&|_| {}), &[value(9)]);
    fails("no prefix", history(&|h| h.read(h.begin(), &[value(2)])), &order);
    // What is read or acknowledged stays, and what comes later is behind it.
    let back = history(&|h| {
        h.read(h.begin(), &[value(1)]);
        h.read(h.begin(), &[]);
    });
    fails("a read did not see", back, &order);
    let unseen = History::default();
    unseen.wrote(unseen.begin(), value(1), Some(1));
    unseen.read(unseen.begin(), &[]);
    fails("a read did not see", unseen, &order[..1]);
    let before = History::default();
    before.wrote(before.begin(), value(2), Some(2));
    before.wrote(before.begin(), value(1), Some(1));
    fails("a write came before", before, &order[..2]);
    let seen_early = History::default();
    seen_early.read(seen_early.begin(), &order[..1]);
    seen_early.wrote(seen_early.begin(), value(1), Some(1));
    fails("a write came before", seen_early, &order[..1]);
    // At the same time, any order will do.
    let together = History::default();
    let (first, second) = (together.begin(), together.begin());
    together.wrote(first, value(2), Some(2));
    together.wrote(second, value(1), Some(1));
    together.check(&order[..2]).unwrap();
}
