use std::process::ExitCode;

use nodeseal::cluster::{Labels, Request, TaskState};
use nodeseal::grant::{NodeId, TaskId};

use super::session::Session;
use super::{print_line, words};
use crate::fail::Result;

pub(super) fn run(session: &mut Session, service: &str, node: &str) -> Result<ExitCode> {
    let service = words::service(&session.cluster, service)?.id;
    let node = NodeId::new(node)?;
    if session.cluster.node(&node).is_none() {
        let labels = Labels::new();
        session.propose(Request::PutNode { node: node.clone(), labels, public_key: None })?;
    }
    let task = TaskId::new(&words::new_id()?)?;
    session.propose(Request::CreateTask {
        task: task.clone(),
        service,
        node: Some(node),
        state: TaskState::Running,
    })?;
    print_line(task.as_str())
}

/// Ends a task and forgets it.
pub(super) fn stop(session: &mut Session, id: &str) -> Result<()> {
    let task = TaskId::new(id)?;
    let state = TaskState::Shutdown;
    session.propose(Request::UpdateTask { task: task.clone(), node: None, state })?;
    session.propose(Request::RemoveTask { task }).map(drop)
}
