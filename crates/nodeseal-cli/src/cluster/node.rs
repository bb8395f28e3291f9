use std::process::ExitCode;

use nodeseal::cluster::{NodeInfo, Request};
use nodeseal::grant::NodeId;

use super::args::LabelChange;
use super::session::Session;
use super::{print_line, table, words};
use crate::fail::{Failure, Result};
use crate::stdio;

pub(super) fn add(session: &mut Session, word: &str, labels: &[String]) -> Result<ExitCode> {
    let node = NodeId::new(word)?;
    if session.cluster.node(&node).is_some() {
        return Err(Failure::Refused(format!("node {node} already exists")));
    }
    let labels = words::labels(labels);
    session.propose(Request::PutNode { node, labels, public_key: None })?;
    print_line(word)
}

pub(super) fn list(session: &Session, quiet: bool) -> Result<ExitCode> {
    let nodes = session.cluster.nodes();
    let mut text = String::new();
    if quiet {
        nodes.iter().for_each(|node| text.extend([node.id.as_str(), "\n"]));
    } else {
        let mut rows = vec![["ID", "TASKS", "LABELS"].map(str::to_owned)];
        rows.extend(nodes.iter().map(|node| {
            [node.id.to_string(), node.tasks.to_string(), words::listed(&node.labels)]
        }));
        text = table::table(&rows);
    }
    stdio::write_out(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints those that are there, and fails in the end if one is not.
pub(super) fn inspect(session: &Session, wanted: &[String]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut nodes: Vec<NodeInfo> = Vec::new();
    for word in wanted {
        match found(session, word) {
            Ok(node) => nodes.push(node),
            Err(failure) => {
                eprintln!("nodeseal: {failure}");
                code = failure.code();
            }
        }
    }
    stdio::write_json_as_docker(&nodes)?;
    Ok(code)
}

pub(super) fn update(session: &mut Session, word: &str, change: &LabelChange) -> Result<ExitCode> {
    let NodeInfo { id: node, labels, public_key, .. } = found(session, word)?;
    // As Docker does for nodes, and for nothing else.
    if let Some(key) = change.remove.iter().find(|key| !labels.contains_key(*key)) {
        return Err(Failure::Refused(format!("key {key} doesn't exist in node's labels")));
    }
    let labels = words::changed(&labels, change);
    session.propose(Request::PutNode { node, labels, public_key })?;
    print_line(word)
}

pub(super) fn remove(session: &mut Session, word: &str) -> Result<()> {
    let node = found(session, word)?.id;
    session.propose(Request::RemoveNode { node }).map(drop)
}

fn found(session: &Session, word: &str) -> Result<NodeInfo> {
    let node = NodeId::new(word).ok().and_then(|id| session.cluster.node(&id));
    node.ok_or_else(|| Failure::Refused(format!("node {word} not found")))
}
