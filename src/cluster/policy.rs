use std::collections::BTreeMap;

use crate::grant::wire::record;

/// Labels of an object. An update replaces them all.
pub type Labels = BTreeMap<String, String>;

/// Labels that an object must have: each key, and the value that stands for it, or any if `None`.
pub type Required = BTreeMap<String, Option<String>>;

/// An operator's policy for a secret: only to services and on nodes with these labels. Developers'
/// grants are checked against it when they are made, and again when a task is assigned to a node;
/// a policy that becomes stricter takes a secret away from the nodes where it may no more be.
///
/// The empty selector allows every service and node.
///
/// ```
/// use nodeseal::cluster::{Labels, Selector};
///
/// let mut selector = Selector::default();
/// selector.nodes.insert("zone".to_owned(), Some("pci".to_owned()));
/// let labels = Labels::from([("zone".to_owned(), "pci".to_owned())]);
/// assert!(selector.allows_node(&labels) && !selector.allows_node(&Labels::new()));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct Selector {
    /// Labels that a service must have.
    pub services: Required,
    /// Labels that a node must have.
    pub nodes: Required,
}

record!(Selector { services, nodes });

impl Selector {
    /// Whether a service with `labels` may be granted the secret.
    #[must_use]
    pub fn allows_service(&self, labels: &Labels) -> bool {
        has(labels, &self.services)
    }

    /// Whether the secret may be on a node with `labels`.
    #[must_use]
    pub fn allows_node(&self, labels: &Labels) -> bool {
        has(labels, &self.nodes)
    }
}

/// Whether `labels` has all that is `required`.
pub(super) fn has(labels: &Labels, required: &Required) -> bool {
    required.iter().all(|(key, wanted)| {
        labels.get(key).is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value))
    })
}
