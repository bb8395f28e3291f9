use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Done, Step, check_labels};
use crate::cluster::few::Few;
use crate::cluster::node::{Journal, KeyReport, Node};
use crate::cluster::object::Referrer;
use crate::cluster::outcome::{Kind, Refusal, User};
use crate::cluster::policy::Labels;
use crate::grant::{NodeId, NodePublicKey, SecretId};

/// Longest kind or id of a referrer, in bytes.
const MAX_REFERRER: usize = 255;

impl Step<'_> {
    pub(super) fn put_node(
        &mut self,
        id: NodeId,
        labels: Labels,
        public_key: Option<NodePublicKey>,
    ) -> Done {
        check_labels(&labels)?;
        let Some(node) = self.state.nodes.get(&id) else {
            let node = Node {
                id: id.clone(),
                labels,
                public_key,
                meta: self.created(),
                keys: None,
                sequence: self.index,
                tasks: Few::new(),
                held: None,
                journal: Journal::new(self.index),
            };
            self.state.nodes.insert(id, Arc::new(node));
            return Ok(());
        };
        let affected =
            if labels == node.labels { Vec::new() } else { node.tasks.keys().cloned().collect() };
        let mut meta = node.meta;
        self.touch(&mut meta);
        let seen = self.look_at_all(affected);
        if let Some(node) = self.state.node_mut(&id) {
            node.labels = labels;
            node.public_key = public_key;
            node.meta = meta;
        }
        self.settle_all(seen);
        Ok(())
    }

    pub(super) fn report_keys(&mut self, id: &NodeId, report: KeyReport) -> Done {
        let Some(node) = self.state.node_mut(id) else {
            return Err(Refusal::not_found(Kind::Node, id));
        };
        node.keys = Some(report);
        Ok(())
    }

    pub(super) fn remove_node(&mut self, id: &NodeId) -> Done {
        let node = self.state.nodes.get(id).ok_or_else(|| Refusal::not_found(Kind::Node, id))?;
        if !node.tasks.is_empty() {
            let tasks = node.tasks.keys().filter_map(|task| self.state.tasks.get(task));
            let services: BTreeSet<_> = tasks.map(|task| &task.service).collect();
            let services = services.into_iter().filter_map(|id| self.state.services.get(id));
            let by = services.map(|service| User::Tasks(service.name.to_string())).collect();
            return Err(Refusal::InUse { kind: Kind::Node, name: id.to_string(), by });
        }
        self.state.nodes.remove(id);
        Ok(())
    }

    pub(super) fn put_referrer(&mut self, referrer: Referrer, secrets: Vec<SecretId>) -> Done {
        for part in [&referrer.kind, &referrer.id] {
            if part.is_empty() || part.len() > MAX_REFERRER || part.chars().any(char::is_control) {
                return Err(Refusal::invalid(
                    "a referrer's kind and id have 1 to 255 bytes, no control characters",
                ));
            }
        }
        let unknown = secrets.iter().filter(|id| !self.state.secrets.contains(*id));
        let unknown: Vec<_> = unknown.map(ToString::to_string).collect();
        if !unknown.is_empty() {
            return Err(Refusal::SecretsNotFound(unknown));
        }
        self.forget(&referrer);
        let secrets: BTreeSet<SecretId> = secrets.into_iter().collect();
        for id in &secrets {
            if let Some(secret) = self.state.secret_mut(id) {
                secret.users.referrers.insert(referrer.clone(), ());
            }
        }
        self.state.referrers.insert(referrer, secrets.into_iter().collect());
        Ok(())
    }

    pub(super) fn remove_referrer(&mut self, referrer: &Referrer) -> Done {
        if !self.state.referrers.contains(referrer) {
            let Referrer { kind, id } = referrer;
            return Err(Refusal::not_found(Kind::Referrer, format_args!("{kind} {id}")));
        }
        self.forget(referrer);
        Ok(())
    }

    fn forget(&mut self, referrer: &Referrer) {
        let secrets = self.state.referrers.remove(referrer);
        for id in secrets.iter().flat_map(|secrets| &**secrets) {
            if let Some(secret) = self.state.secret_mut(id) {
                secret.users.referrers.remove(referrer);
            }
        }
    }
}
