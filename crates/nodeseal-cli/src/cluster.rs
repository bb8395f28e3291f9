//! Secrets, services and tasks of an embedded single-node store.

pub(crate) mod args;
mod attempts;
mod audit;
#[cfg(target_os = "linux")]
mod deliver;
mod node;
mod secret;
mod service;
mod session;
mod table;
mod task;
mod words;

use std::path::Path;
use std::process::ExitCode;

use nodeseal::secret::SecretBytes;

use crate::fail::{Failure, Result};
use crate::stdio;
use args::{Audit, Deliver, Init, Node, Secret, Service, Task};
use session::Session;

pub(crate) fn init(init: &Init) -> Result<ExitCode> {
    let Some(key) = session::create(init)? else {
        eprintln!("nodeseal: the key file is NOT locked: whoever reads it has everything");
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("nodeseal: the unlock key is shown this once; without it nothing opens again:");
    stdio::write_out(key.to_text().as_bytes())?;
    stdio::write_out(b"\n")?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn secret(command: Secret) -> Result<ExitCode> {
    match command {
        Secret::Create { name, file, labels, policy, data } => {
            let payload = payload(&file, &data)?;
            in_session(&data, |session| secret::create(session, &name, &labels, &policy, &payload))
        }
        Secret::Update { secret, labels, policy, any_service, any_node, data } => {
            in_session(&data, |session| {
                secret::update(session, &secret, &labels, &policy, any_service, any_node)
            })
        }
        Secret::Ls { quiet, format, filters, data } => {
            in_session(&data, |session| secret::list(session, quiet, format, &filters))
        }
        Secret::Inspect { secrets, data } => {
            in_session(&data, |session| secret::inspect(session, &secrets))
        }
        Secret::Rm { secrets, data } => {
            in_session(&data, |session| each(&secrets, |word| secret::remove(session, word)))
        }
        Secret::Rotate { secret, file, refresh, data } => {
            let payload = payload(&file, &data)?;
            in_session(&data, |session| secret::rotate(session, &secret, &payload, refresh))
        }
    }
}

pub(crate) fn service(command: Service) -> Result<ExitCode> {
    match command {
        Service::Create { name, secrets, labels, data } => {
            in_session(&data, |session| service::create(session, name, &labels, &secrets))
        }
        Service::Update { service, labels, secret_add, secret_remove, rollback, data } => {
            in_session(&data, |session| {
                if rollback {
                    service::roll_back(session, &service)
                } else {
                    service::update(session, &service, &labels, &secret_remove, &secret_add)
                }
            })
        }
        Service::Rm { services, data } => {
            in_session(&data, |session| each(&services, |word| service::remove(session, word)))
        }
    }
}

pub(crate) fn node(command: Node) -> Result<ExitCode> {
    match command {
        Node::Add { node, labels, data } => {
            in_session(&data, |session| node::add(session, &node, &labels))
        }
        Node::Ls { quiet, data } => in_session(&data, |session| node::list(session, quiet)),
        Node::Inspect { nodes, data } => {
            in_session(&data, |session| node::inspect(session, &nodes))
        }
        Node::Update { node, labels, data } => {
            in_session(&data, |session| node::update(session, &node, &labels))
        }
        Node::Rm { nodes, data } => {
            in_session(&data, |session| each(&nodes, |word| node::remove(session, word)))
        }
    }
}

pub(crate) fn task(command: Task) -> Result<ExitCode> {
    match command {
        Task::Run { service, node, data } => {
            in_session(&data, |session| task::run(session, &service, &node))
        }
        Task::Stop { tasks, data } => {
            in_session(&data, |session| each(&tasks, |id| task::stop(session, id)))
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) fn deliver(command: &Deliver) -> Result<ExitCode> {
    in_session(&command.data, |session| deliver::run(session, command))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn deliver(_: &Deliver) -> Result<ExitCode> {
    Err(Failure::Refused("secrets are delivered on Linux only".to_owned()))
}

pub(crate) fn audit(command: &Audit) -> Result<ExitCode> {
    match command {
        Audit::Verify { data } => in_session(data, |session| audit::verify(session)),
        Audit::Restart { data } => audit::restart(data),
    }
}

fn payload(file: &Path, data: &args::Data) -> Result<SecretBytes> {
    let stdin = Some(Path::new("-"));
    if Some(file) == stdin && data.unlock_key_file.as_deref() == stdin {
        let why = "only one of payload and unlock key can come from standard input";
        return Err(Failure::Refused(why.to_owned()));
    }
    stdio::payload(file)
}

/// Runs a command on the store. What it changed is noted also if it fails.
fn in_session(
    data: &args::Data,
    command: impl FnOnce(&mut Session) -> Result<ExitCode>,
) -> Result<ExitCode> {
    let mut session = Session::open(data)?;
    let done = command(&mut session);
    let closed = session.close();
    let code = done?;
    closed.map(|()| code)
}

/// Does something for each word and prints those for which it was done; goes on after an error, and
/// fails in the end if there was one.
fn each(words: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for word in words {
        match act(word) {
            Ok(()) => stdio::write_out(format!("{word}\n").as_bytes())?,
            Err(failure) => {
                eprintln!("nodeseal: {failure}");
                code = failure.code();
            }
        }
    }
    Ok(code)
}

fn print_line(line: &str) -> Result<ExitCode> {
    stdio::write_out(format!("{line}\n").as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
