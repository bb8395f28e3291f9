use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Done, Step, check_labels, check_name, expect_version};
use crate::audit::Action;
use crate::cluster::few::Few;
use crate::cluster::map::Map;
use crate::cluster::object::Service;
use crate::cluster::outcome::{Kind, Refusal, User};
use crate::cluster::policy::Labels;
use crate::grant::{Folded, Follow, Reference, SecretId, ServiceId, check_references};

impl Step<'_> {
    pub(super) fn create_service(
        &mut self,
        id: ServiceId,
        name: &str,
        labels: Labels,
        references: Vec<Reference>,
    ) -> Done {
        let folded = check_name(name)?;
        check_labels(&labels)?;
        self.check_grants(name, &labels, &references)?;
        let name: Arc<str> = name.into();
        if self.state.service_names.contains(&folded) {
            return Err(Refusal::exists(Kind::Service, name));
        }
        if self.state.services.contains(&id) {
            return Err(Refusal::exists(Kind::Service, id));
        }
        self.state.service_names.insert(folded, id.clone());
        let service = Service {
            id: id.clone(),
            name,
            labels,
            meta: self.created(),
            spec: references.into(),
            previous: None,
            generations: Few::new(),
            last_generation: 0,
            tasks: Map::new(),
        };
        self.tell_grants(&id, &[], &service.spec);
        let mentions = service.mentions().into_iter().cloned().collect();
        self.state.services.insert(id.clone(), Arc::new(service));
        self.refer(&id, &BTreeSet::new(), &mentions);
        Ok(())
    }

    pub(super) fn update_service(
        &mut self,
        id: &ServiceId,
        version: u64,
        labels: Labels,
        references: Vec<Reference>,
    ) -> Done {
        let service = self.service(id)?;
        expect_version(&service.meta, version)?;
        check_labels(&labels)?;
        self.check_grants(&service.name, &labels, &references)?;
        // Only the labels can change what tasks have now: references are for those to come.
        let affected = if labels == service.labels {
            Vec::new()
        } else {
            service.tasks.keys().cloned().collect()
        };
        let seen = self.look_at_all(affected);
        self.replace(id, references.into(), Some(labels));
        self.settle_all(seen);
        Ok(())
    }

    pub(super) fn rollback_service(&mut self, id: &ServiceId, version: u64) -> Done {
        let service = self.service(id)?;
        expect_version(&service.meta, version)?;
        let Some(previous) = service.previous.clone() else {
            let text = format!("service {} does not have a previous specification", service.name);
            return Err(Refusal::State(text));
        };
        self.check_grants(&service.name, &service.labels, &previous)?;
        self.replace(id, previous, None);
        Ok(())
    }

    pub(super) fn remove_service(&mut self, id: &ServiceId) -> Done {
        let service = Arc::clone(self.service(id)?);
        if !service.tasks.is_empty() {
            let name = service.name.to_string();
            let by = vec![User::Tasks(name.clone())];
            return Err(Refusal::InUse { kind: Kind::Service, name, by });
        }
        self.tell_grants(id, &service.spec, &[]);
        let mentions = service.mentions().into_iter().cloned().collect();
        self.refer(id, &mentions, &BTreeSet::new());
        if let Some(folded) = Folded::new(&service.name) {
            self.state.service_names.remove(&folded);
        }
        self.state.services.remove(id);
        Ok(())
    }

    /// Makes `spec` the service's references, and what they were the previous ones.
    fn replace(&mut self, id: &ServiceId, spec: Arc<[Reference]>, labels: Option<Labels>) {
        let (at, index) = (self.at, self.index);
        let mut before = None;
        self.edit_service(id, |service| {
            let old = core::mem::replace(&mut service.spec, Arc::clone(&spec));
            before = Some(Arc::clone(&old));
            service.previous = Some(old);
            service.meta.updated = at;
            service.meta.index = index;
            if let Some(labels) = labels {
                service.labels = labels;
            }
        });
        self.tell_grants(id, before.as_deref().unwrap_or_default(), &spec);
    }

    /// Changes a service, and with it who is said to refer to its secrets.
    pub(super) fn edit_service(&mut self, id: &ServiceId, edit: impl FnOnce(&mut Service)) {
        let Some(service) = self.state.service_mut(id) else { return };
        let before: BTreeSet<SecretId> = service.mentions().into_iter().cloned().collect();
        edit(service);
        let after: BTreeSet<SecretId> = service.mentions().into_iter().cloned().collect();
        self.refer(id, &before, &after);
    }

    fn refer(&mut self, id: &ServiceId, before: &BTreeSet<SecretId>, after: &BTreeSet<SecretId>) {
        for gone in before.difference(after) {
            if let Some(secret) = self.state.secret_mut(gone) {
                secret.users.services.remove(id);
            }
        }
        for come in after.difference(before) {
            if let Some(secret) = self.state.secret_mut(come) {
                secret.users.services.insert(id.clone(), ());
            }
        }
    }

    /// Whether a service of this name, with these labels, may have these references: every secret
    /// is there under its name, and its policy allows it.
    fn check_grants(&self, name: &str, labels: &Labels, references: &[Reference]) -> Done {
        check_references(references).map_err(|error| Refusal::invalid(error.to_string()))?;
        let missing = references.iter().filter(|reference| {
            self.state.secrets.get(&reference.secret).is_none_or(|s| *s.name != *reference.name)
        });
        let missing: Vec<_> = missing.map(|reference| reference.name.clone()).collect();
        if !missing.is_empty() {
            return Err(Refusal::SecretsNotFound(missing));
        }
        for reference in references {
            let secret = self.secret(&reference.secret)?;
            if let Follow::Pinned(number) = reference.follow
                && !secret.versions.contains(&number)
            {
                return Err(Refusal::not_found(Kind::Version, number));
            }
            if !secret.selector.allows_service(labels) {
                let (secret, name) = (secret.name.to_string(), name.to_owned());
                return Err(Refusal::Denied { secret, kind: Kind::Service, name });
            }
        }
        Ok(())
    }

    fn tell_grants(&mut self, id: &ServiceId, before: &[Reference], after: &[Reference]) {
        let gone = before.iter().filter(|r| !after.contains(r)).map(|r| (Action::Revoked, r));
        let come = after.iter().filter(|r| !before.contains(r)).map(|r| (Action::Granted, r));
        for (action, reference) in gone.chain(come) {
            let event = self.event(action);
            event.service = Some(id.clone());
            event.secret = Some(reference.secret.clone());
            if let Follow::Pinned(number) = reference.follow {
                event.version = Some(number);
            }
            event.detail = Some(reference.target.to_string());
        }
    }
}
