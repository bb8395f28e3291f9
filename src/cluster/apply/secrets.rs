use std::sync::Arc;

use super::{Done, Step, check_labels, check_name, expect_version};
use crate::audit::Action;
use crate::cluster::command::SecretChange;
use crate::cluster::few::Few;
use crate::cluster::object::{Dates, Secret, Users, Version};
use crate::cluster::outcome::{Kind, Refusal, User};
use crate::cluster::payload::SealedPayload;
use crate::cluster::policy::{Labels, Selector};
use crate::grant::{Folded, Follow, Reference, SecretId, TaskId};

impl Step<'_> {
    #[expect(clippy::too_many_arguments, reason = "the request's fields")]
    pub(super) fn create_secret(
        &mut self,
        id: SecretId,
        name: &str,
        labels: Labels,
        internal: bool,
        dates: Dates,
        selector: Selector,
        payload: SealedPayload,
    ) -> Done {
        let folded = check_name(name)?;
        check_labels(&labels)?;
        let name: Arc<str> = name.into();
        if self.state.secret_names.contains(&folded) {
            return Err(Refusal::exists(Kind::Secret, name));
        }
        if self.state.secrets.contains(&id) {
            return Err(Refusal::exists(Kind::Secret, id));
        }
        self.sealed(&id, 1, &payload)?;
        let meta = self.created();
        let versions = Few::one(1, Version { created: self.at, payload });
        self.state.secret_names.insert(folded, id.clone());
        let event = self.event(Action::SecretCreated);
        event.secret = Some(id.clone());
        event.version = Some(1);
        event.detail = Some(name.to_string());
        let secret = Secret {
            id: id.clone(),
            name,
            labels,
            internal,
            dates,
            selector,
            meta,
            current: 1,
            last: 1,
            versions,
            users: Users::default(),
        };
        self.state.secrets.insert(id, Arc::new(secret));
        Ok(())
    }

    pub(super) fn update_secret(
        &mut self,
        id: &SecretId,
        version: u64,
        change: SecretChange,
    ) -> Done {
        let secret = self.secret(id)?;
        expect_version(&secret.meta, version)?;
        let mut action = Action::SecretUpdated;
        let mut seen = Vec::new();
        match &change {
            SecretChange::Labels(labels) => check_labels(labels)?,
            SecretChange::Dates(_) => {}
            SecretChange::Selector(selector) if *selector == secret.selector => {}
            SecretChange::Selector(_) => {
                let services: Vec<_> = secret.users.services.keys().cloned().collect();
                let tasks: Vec<TaskId> = services
                    .iter()
                    .filter_map(|service| self.state.services.get(service))
                    .flat_map(|service| service.tasks.keys().cloned())
                    .collect();
                seen = self.look_at_all(tasks);
            }
            SecretChange::Current(number) => {
                if !secret.versions.contains(number) {
                    return Err(Refusal::not_found(Kind::Version, number));
                }
                action = Action::SecretRotated;
            }
        }
        let mut meta = self.secret(id)?.meta;
        self.touch(&mut meta);
        if let Some(secret) = self.state.secret_mut(id) {
            secret.meta = meta;
            match change {
                SecretChange::Labels(labels) => secret.labels = labels,
                SecretChange::Dates(dates) => secret.dates = dates,
                SecretChange::Selector(selector) => secret.selector = selector,
                SecretChange::Current(number) => secret.current = number,
            }
            let current = (action == Action::SecretRotated).then_some(secret.current);
            let event = self.event(action);
            event.secret = Some(id.clone());
            event.version = current;
        }
        self.settle_all(seen);
        Ok(())
    }

    pub(super) fn add_version(
        &mut self,
        id: &SecretId,
        number: u64,
        payload: SealedPayload,
        current: bool,
    ) -> Done {
        let secret = self.secret(id)?;
        if secret.last.checked_add(1) != Some(number) {
            return Err(Refusal::OutOfSequence { version: secret.last });
        }
        let mut meta = secret.meta;
        self.touch(&mut meta);
        self.sealed(id, number, &payload)?;
        let version = Version { created: self.at, payload };
        if let Some(secret) = self.state.secret_mut(id) {
            secret.meta = meta;
            secret.last = number;
            secret.versions.insert(number, version);
            if current {
                secret.current = number;
            }
        }
        let event = self.event(Action::SecretRotated);
        event.secret = Some(id.clone());
        event.version = Some(number);
        Ok(())
    }

    pub(super) fn remove_version(&mut self, id: &SecretId, number: u64) -> Done {
        let secret = self.secret(id)?;
        let Some(version) = secret.versions.get(&number) else {
            return Err(Refusal::not_found(Kind::Version, number));
        };
        if secret.current == number {
            let text = format!("version {number} of secret '{}' is the current one", secret.name);
            return Err(Refusal::State(text));
        }
        let by = self.users(secret, Some(number));
        if !by.is_empty() {
            let name = format!("{} version {number}", secret.name);
            return Err(Refusal::InUse { kind: Kind::Secret, name, by });
        }
        let (payload, mut meta) = (version.payload.clone(), secret.meta);
        self.touch(&mut meta);
        if let Some(secret) = self.state.secret_mut(id) {
            secret.meta = meta;
            secret.versions.remove(&number);
        }
        let event = self.event(Action::VersionRemoved);
        event.secret = Some(id.clone());
        event.version = Some(number);
        self.unsealed(id, number, &payload);
        self.drop_empty_keys();
        Ok(())
    }

    pub(super) fn remove_secret(&mut self, id: &SecretId) -> Done {
        let secret = Arc::clone(self.secret(id)?);
        if !secret.users.is_empty() {
            let (name, by) = (secret.name.to_string(), self.users(&secret, None));
            return Err(Refusal::InUse { kind: Kind::Secret, name, by });
        }
        if let Some(folded) = Folded::new(&secret.name) {
            self.state.secret_names.remove(&folded);
        }
        self.state.secrets.remove(id);
        let event = self.event(Action::SecretRemoved);
        event.secret = Some(id.clone());
        event.detail = Some(secret.name.to_string());
        for (number, version) in secret.versions.iter() {
            self.unsealed(id, *number, &version.payload);
        }
        self.drop_empty_keys();
        Ok(())
    }

    /// Who needs the secret, or this version of it: each service once.
    fn users(&self, secret: &Secret, version: Option<u64>) -> Vec<User> {
        let wants = |reference: &Reference| {
            reference.secret == secret.id
                && version.is_none_or(|number| reference.follow == Follow::Pinned(number))
        };
        let services = secret.users.services.keys().filter_map(|id| self.state.services.get(id));
        let services = services.filter_map(|service| {
            let name = service.name.to_string();
            if service.spec.iter().any(wants) {
                Some(User::Service(name))
            } else if service.previous.iter().flat_map(|spec| &**spec).any(wants) {
                Some(User::Previous(name))
            } else if version.is_none_or(|number| service.needs(&secret.id, number)) {
                Some(User::Tasks(name))
            } else {
                None
            }
        });
        let referrers = secret.users.referrers.keys().filter(|_| version.is_none());
        services.chain(referrers.cloned().map(User::Referrer)).collect()
    }
}
