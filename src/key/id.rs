use core::fmt;

use crate::error::{Misuse, Result};
use crate::grant::{NodeId, is_name};

/// Whose keys these are: one node of one cluster.
///
/// Both names have 1 to 64 characters of `[A-Za-z0-9._-]`, the first a letter or a digit, as every
/// [`NodeId`]. They are bound into every key and every sealed byte, so that nothing opens on another
/// node or in another cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Identity {
    cluster: String,
    node: NodeId,
}

impl Identity {
    /// The node `node` of the cluster `cluster`.
    ///
    /// # Errors
    ///
    /// [`Misuse::Name`] if a name is not of the form above.
    pub fn new(cluster: &str, node: &str) -> Result<Self> {
        valid_name("cluster", cluster)?;
        let node = NodeId::new(node).map_err(|_| Misuse::Name("node"))?;
        Ok(Self { cluster: cluster.to_owned(), node })
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        self.node.as_str()
    }

    /// Returns the node's name as its id in the cluster.
    #[must_use]
    pub const fn node_id(&self) -> &NodeId {
        &self.node
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.node)
    }
}

/// Refuses what is not of the form of an id.
pub(crate) fn valid_name(what: &'static str, name: &str) -> Result<()> {
    if is_name(name) { Ok(()) } else { Err(Misuse::Name(what).into()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Identity::new("prod", &"n".repeat(64)).is_ok());
        let long = "n".repeat(65);
        for bad in ["", "a b", "a\n", "ä", ".", "..", ".m1", "-m1", "_m1", "m1/", &long] {
            assert!(Identity::new("prod", bad).is_err(), "{bad:?}");
            assert!(Identity::new(bad, "m1").is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn names_and_ids_have_one_form(name in "[A-Za-z0-9._-]{0,3}[A-Za-z0-9._-]{0,62}|\\PC{0,8}") {
            let is_id = NodeId::new(&name).is_ok();
            prop_assert_eq!(is_id, valid_name("log", &name).is_ok());
            prop_assert_eq!(is_id, Identity::new("prod", &name).is_ok());
            prop_assert_eq!(is_id, Identity::new(&name, "m1").is_ok());
        }
    }
}
