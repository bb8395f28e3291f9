//! How a command changes the state: checked whole, then done whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Cluster;
use super::command::{Command, Request};
use super::object::{Meta, Secret, Service, Task};
use super::outcome::{Kind, Outcome, Refusal};
use super::policy::Labels;
use crate::audit::{Action, Event};
use crate::grant::{Folded, NodeId, SecretId, ServiceId, TaskId, Time};

mod assign;
mod keys;
mod nodes;
mod secrets;
mod services;
mod tasks;

/// Largest sum of an object's labels, in bytes.
const MAX_LABELS: usize = 64 << 10;

pub(super) use assign::needed;

type Done = Result<(), Refusal>;

/// One command on its way.
struct Step<'a> {
    state: &'a mut Cluster,
    index: u64,
    at: Time,
    by: String,
    woken: BTreeSet<NodeId>,
    events: Vec<Event>,
}

impl Cluster {
    /// Applies the command at `index`, which must be greater than that of the command before. The
    /// same commands give every replica the same state and the same outcomes.
    ///
    /// Costs what the command changes, whatever the size of the state; a view that was taken before
    /// stays what it was.
    pub fn apply(&mut self, index: u64, command: Command) -> Outcome {
        let Command { at, by, request } = command;
        if index <= self.applied {
            let result = Err(Refusal::Applied { last: self.applied });
            return Outcome { index, result, woken: Vec::new(), events: Vec::new() };
        }
        self.applied = index;
        let mut step =
            Step { state: self, index, at, by, woken: BTreeSet::new(), events: Vec::new() };
        let result = step.request(request);
        if let Err(refusal) = &result {
            debug_assert!(step.events.is_empty() && step.woken.is_empty());
            step.event(Action::Refused).detail = Some(refusal.to_string());
        }
        let Step { woken, events, .. } = step;
        let refused = u64::from(result.is_err());
        self.counters.applied += 1;
        self.counters.refused += refused;
        Outcome { index, result, woken: woken.into_iter().collect(), events }
    }
}

impl Step<'_> {
    fn request(&mut self, request: Request) -> Done {
        match request {
            Request::CreateSecret { secret, name, labels, internal, dates, selector, payload } => {
                self.create_secret(secret, &name, labels, internal, dates, selector, payload)
            }
            Request::UpdateSecret { secret, version, change } => {
                self.update_secret(&secret, version, change)
            }
            Request::AddVersion { secret, number, payload, current } => {
                self.add_version(&secret, number, payload, current)
            }
            Request::RemoveVersion { secret, number } => self.remove_version(&secret, number),
            Request::RemoveSecret { secret } => self.remove_secret(&secret),
            Request::CreateService { service, name, labels, references } => {
                self.create_service(service, &name, labels, references)
            }
            Request::UpdateService { service, version, labels, references } => {
                self.update_service(&service, version, labels, references)
            }
            Request::RollbackService { service, version } => {
                self.rollback_service(&service, version)
            }
            Request::RemoveService { service } => self.remove_service(&service),
            Request::CreateTask { task, service, node, state } => {
                self.create_task(task, &service, node.as_ref(), state)
            }
            Request::UpdateTask { task, node, state } => {
                self.update_task(&task, node.as_ref(), state)
            }
            Request::RefreshTask { task } => self.refresh_task(&task),
            Request::RemoveTask { task } => self.remove_task(&task),
            Request::PutNode { node, labels, public_key } => {
                self.put_node(node, labels, public_key)
            }
            Request::ReportKeys { node, report } => self.report_keys(&node, report),
            Request::RemoveNode { node } => self.remove_node(&node),
            Request::PutReferrer { referrer, secrets } => self.put_referrer(referrer, secrets),
            Request::RemoveReferrer { referrer } => self.remove_referrer(&referrer),
            Request::SetLock { record, rotation } => self.set_lock(record, rotation),
            Request::AddPayloadKey { key, exposed } => self.add_payload_key(key, exposed),
            Request::Reseal { payloads } => self.reseal(payloads),
            Request::ConfirmUnlockKey { version } => self.confirm_unlock_key(version),
            Request::WithdrawUnlockKey { version } => self.withdraw_unlock_key(version),
        }
    }

    /// Notes that `action` happened; the caller says to what.
    fn event(&mut self, action: Action) -> &mut Event {
        let mut event = Event::new(action, self.at);
        event.index = Some(self.index);
        event.by.clone_from(&self.by);
        self.events.push(event);
        let last = self.events.len() - 1;
        &mut self.events[last]
    }

    fn created(&self) -> Meta {
        Meta { created: self.at, updated: self.at, index: self.index }
    }

    fn touch(&self, meta: &mut Meta) {
        meta.updated = self.at;
        meta.index = self.index;
    }

    fn secret(&self, id: &SecretId) -> Result<&Arc<Secret>, Refusal> {
        self.state.secrets.get(id).ok_or_else(|| Refusal::not_found(Kind::Secret, id))
    }

    fn service(&self, id: &ServiceId) -> Result<&Arc<Service>, Refusal> {
        self.state.services.get(id).ok_or_else(|| Refusal::not_found(Kind::Service, id))
    }

    fn task(&self, id: &TaskId) -> Result<&Task, Refusal> {
        self.state.tasks.get(id).ok_or_else(|| Refusal::not_found(Kind::Task, id))
    }
}

const fn expect_version(meta: &Meta, version: u64) -> Done {
    if meta.index == version { Ok(()) } else { Err(Refusal::OutOfSequence { version: meta.index }) }
}

/// Swarm's rule for the names of secrets: that of ids, and that the last character is a letter or a
/// digit as well. Gives the name as it is compared.
fn check_name(name: &str) -> Result<Folded, Refusal> {
    let ends_well = name.as_bytes().last().is_some_and(u8::is_ascii_alphanumeric);
    Folded::new(name).filter(|_| ends_well).ok_or_else(|| {
        Refusal::invalid(
            "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end \
             character must be [a-zA-Z0-9]",
        )
    })
}

fn check_labels(labels: &Labels) -> Done {
    let len: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
    if labels.keys().any(String::is_empty) {
        Err(Refusal::invalid("a label has no key"))
    } else if len > MAX_LABELS {
        Err(Refusal::invalid("labels have 65536 bytes at most"))
    } else {
        Ok(())
    }
}
