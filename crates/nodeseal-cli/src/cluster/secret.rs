use std::process::ExitCode;

use nodeseal::cluster::{
    Dates, MAX_PAYLOAD, PayloadKey, Request, Required, SealedPayload, SecretChange, SecretInfo,
    Selector,
};
use nodeseal::grant::{Follow, SecretId, Time};
use nodeseal::secret::SecretBytes;
use serde::Serialize;

use super::args::{Format, LabelChange, Policy};
use super::session::Session;
use super::{print_line, table, words};
use crate::fail::{Failure, Result};
use crate::stdio;

pub(super) fn create(
    session: &mut Session,
    name: &str,
    labels: &[String],
    policy: &Policy,
    payload: &SecretBytes,
) -> Result<ExitCode> {
    let selector = Selector {
        services: words::required(&policy.services)?,
        nodes: words::required(&policy.nodes)?,
    };
    let secret = SecretId::new(&words::new_id()?)?;
    let payload = seal(session, &secret, 1, payload)?;
    session.propose(Request::CreateSecret {
        secret: secret.clone(),
        name: name.to_owned(),
        labels: words::labels(labels),
        internal: false,
        dates: Dates::default(),
        selector,
        payload,
    })?;
    print_line(secret.as_str())
}

pub(super) fn update(
    session: &mut Session,
    word: &str,
    labels: &LabelChange,
    policy: &Policy,
    any_service: bool,
    any_node: bool,
) -> Result<ExitCode> {
    let secret = words::secret(&session.cluster, word)?;
    let selector = Selector {
        services: selected(secret.selector.services.clone(), &policy.services, any_service)?,
        nodes: selected(secret.selector.nodes.clone(), &policy.nodes, any_node)?,
    };
    let labels = words::changed(&secret.labels, labels);
    let mut version = secret.index;
    let mut changes = Vec::new();
    if labels != secret.labels {
        changes.push(SecretChange::Labels(labels));
    }
    if selector != secret.selector {
        changes.push(SecretChange::Selector(selector));
    }
    for change in changes {
        let secret = secret.id.clone();
        version = session.propose(Request::UpdateSecret { secret, version, change })?.index;
    }
    print_line(word)
}

/// What is asked for after a change: what is given takes the place of what there was.
fn selected(before: Required, given: &[String], any: bool) -> Result<Required> {
    if any {
        Ok(Required::new())
    } else if given.is_empty() {
        Ok(before)
    } else {
        words::required(given)
    }
}

pub(super) fn rotate(
    session: &mut Session,
    word: &str,
    payload: &SecretBytes,
    refresh: bool,
) -> Result<ExitCode> {
    let secret = words::secret(&session.cluster, word)?;
    let payload = seal(session, &secret.id, secret.next, payload)?;
    let (id, number) = (secret.id.clone(), secret.next);
    session.propose(Request::AddVersion { secret: id, number, payload, current: true })?;
    let mut behind = Vec::new();
    for service in session.cluster.services() {
        let mut references = service.references.iter();
        if references.any(|one| one.secret == secret.id && one.follow == Follow::Current) {
            behind.extend(session.cluster.tasks_behind(&service.id));
        }
    }
    if refresh {
        for task in behind {
            session.propose(Request::RefreshTask { task })?;
        }
    } else if !behind.is_empty() {
        let tasks = behind.len();
        eprintln!("nodeseal: {tasks} running tasks keep what they have (--refresh changes them)");
    }
    print_line(&number.to_string())
}

/// Docker's limits, in its words.
fn seal(
    session: &Session,
    secret: &SecretId,
    version: u64,
    payload: &SecretBytes,
) -> Result<SealedPayload> {
    if payload.is_empty() || payload.len() > MAX_PAYLOAD {
        let limit = MAX_PAYLOAD + 1;
        return Err(Failure::Refused(format!(
            "secret data must be larger than 0 and less than {limit} bytes"
        )));
    }
    let key: Option<PayloadKey> = session.cluster.payload_key();
    let key = key.ok_or_else(|| Failure::Refused("the store has no payload key".to_owned()))?;
    Ok(key.seal(secret, version, payload.expose())?)
}

/// A line of `--format json`, as Docker prints it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed<'a> {
    created_at: String,
    driver: &'static str,
    #[serde(rename = "ID")]
    id: &'a str,
    labels: String,
    name: &'a str,
    updated_at: String,
}

pub(super) fn list(
    session: &Session,
    quiet: bool,
    format: Format,
    filters: &[String],
) -> Result<ExitCode> {
    let mut secrets = session.cluster.secrets(&words::filter(filters)?);
    secrets.sort_by(|a, b| table::natural(&a.name, &b.name));
    let now = Time::now();
    let mut text = String::new();
    if quiet {
        secrets.iter().for_each(|secret| text.extend([secret.id.as_str(), "\n"]));
    } else if matches!(format, Format::Json) {
        for secret in &secrets {
            let listed = Listed {
                created_at: table::ago(secret.created, now),
                driver: "",
                id: secret.id.as_str(),
                labels: words::listed(&secret.labels),
                name: &secret.name,
                updated_at: table::ago(secret.updated, now),
            };
            let line = serde_json::to_string(&listed).map_err(stdio::not_json)?;
            text.extend([line.as_str(), "\n"]);
        }
    } else {
        let mut rows = vec![["ID", "NAME", "DRIVER", "CREATED", "UPDATED"].map(str::to_owned)];
        rows.extend(secrets.iter().map(|secret| {
            let times = [secret.created, secret.updated].map(|time| table::ago(time, now));
            let [created, updated] = times;
            [secret.id.to_string(), secret.name.clone(), String::new(), created, updated]
        }));
        text = table::table(&rows);
    }
    stdio::write_out(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints those that are there, and fails in the end if one is not.
pub(super) fn inspect(session: &Session, wanted: &[String]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut found: Vec<SecretInfo> = Vec::new();
    for word in wanted {
        match words::secret(&session.cluster, word) {
            Ok(secret) => found.push(secret),
            Err(failure) => {
                eprintln!("nodeseal: {failure}");
                code = failure.code();
            }
        }
    }
    stdio::write_json_as_docker(&found)?;
    Ok(code)
}

pub(super) fn remove(session: &mut Session, word: &str) -> Result<()> {
    let secret = words::secret(&session.cluster, word)?.id;
    session.propose(Request::RemoveSecret { secret }).map(drop)
}
