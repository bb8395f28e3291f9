//! Brings a folder in line with what is assigned to a node: once, as a node's daemon would do it
//! after every change.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use nodeseal::delivery::{Assigned, Deliveries, Delivery, Missing, Options};
use nodeseal::grant::{NodeId, TaskId, Time};

use super::args::Deliver;
use super::session::Session;
use crate::fail::{Failure, Result};
use crate::stdio;

pub(super) fn run(session: &Session, command: &Deliver) -> Result<ExitCode> {
    let node = NodeId::new(&command.node)?;
    let sink = session.audit();
    let mut assigned = Assigned::new(node.clone());
    // A node that no task was run on yet has nothing, and what it had is to go.
    if let Some(dispatch) = session.cluster.dispatch(&node, None) {
        assigned.take(dispatch.open(Time::now(), session.by(), &*sink)?)?;
    }
    let folder =
        Deliveries::open_audited(&command.dir, options(command), Arc::clone(&sink) as Arc<_>)?;
    let found = folder.recover(assigned.tasks().cloned())?;
    let mut code = ExitCode::SUCCESS;
    let mut fail = |what: &str, failure: &dyn core::fmt::Display| {
        eprintln!("nodeseal: {what}: {failure}");
        code = ExitCode::FAILURE;
    };
    for (name, error) in &found.failed {
        fail(name, error);
    }
    let mut kept: BTreeMap<TaskId, Delivery> =
        found.kept.into_iter().map(|delivery| (delivery.task().clone(), delivery)).collect();
    let mut text = String::new();
    let mut missing: Vec<Missing> = Vec::new();
    for task in assigned.tasks() {
        let Some(secrets) = assigned.task(task) else { continue };
        let delivered = match kept.remove(task) {
            Some(mut delivery) => match delivery.update(&secrets) {
                Ok(_) => Ok(delivery),
                // The task goes on with what it has.
                Err(error) => {
                    delivery.detach();
                    Err(error)
                }
            },
            None => folder.deliver(&secrets),
        };
        match delivered {
            Ok(delivery) => {
                text += &format!("{task} {}\n", delivery.path().display());
                let report = delivery.report().missing().iter();
                missing.extend(
                    report.filter(|one| !missing.contains(one)).cloned().collect::<Vec<_>>(),
                );
                delivery.detach();
            }
            Err(error) => fail(task.as_str(), &Failure::from(error)),
        }
    }
    for name in &found.removed {
        eprintln!("nodeseal: took away what {name} had");
    }
    for one in missing {
        eprintln!("nodeseal: {one}");
    }
    stdio::write_out(text.as_bytes())?;
    Ok(code)
}

fn options(command: &Deliver) -> Options {
    let mut options = Options::new();
    if command.require_no_swap {
        options = options.require_no_swap();
    }
    if command.in_place {
        options = options.in_place();
    }
    if command.allow_disk {
        options = options.allow_disk();
    }
    options
}
