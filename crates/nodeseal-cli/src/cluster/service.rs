use std::process::ExitCode;

use nodeseal::cluster::Request;
use nodeseal::grant::{ServiceId, edit_references};

use super::args::LabelChange;
use super::session::Session;
use super::{print_line, words};
use crate::fail::Result;

pub(super) fn create(
    session: &mut Session,
    name: String,
    labels: &[String],
    secrets: &[String],
) -> Result<ExitCode> {
    let references = words::references(&session.cluster, secrets)?;
    let service = ServiceId::new(&words::new_id()?)?;
    let labels = words::labels(labels);
    session.propose(Request::CreateService {
        service: service.clone(),
        name,
        labels,
        references,
    })?;
    print_line(service.as_str())
}

pub(super) fn update(
    session: &mut Session,
    word: &str,
    labels: &LabelChange,
    remove: &[String],
    add: &[String],
) -> Result<ExitCode> {
    let service = words::service(&session.cluster, word)?;
    let add = words::references(&session.cluster, add)?;
    let remove: Vec<&str> = remove.iter().map(String::as_str).collect();
    let references = edit_references(&service.references, &remove, &add)?;
    session.propose(Request::UpdateService {
        service: service.id,
        version: service.index,
        labels: words::changed(&service.labels, labels),
        references,
    })?;
    print_line(word)
}

pub(super) fn roll_back(session: &mut Session, word: &str) -> Result<ExitCode> {
    let service = words::service(&session.cluster, word)?;
    session.propose(Request::RollbackService { service: service.id, version: service.index })?;
    print_line(word)
}

/// With its tasks, as Docker does.
pub(super) fn remove(session: &mut Session, word: &str) -> Result<()> {
    let service = words::service(&session.cluster, word)?.id;
    for task in session.cluster.tasks_of(&service) {
        session.propose(Request::RemoveTask { task: task.id })?;
    }
    session.propose(Request::RemoveService { service }).map(drop)
}
