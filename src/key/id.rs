use core::fmt;

use crate::error::{Misuse, Result};

/// Whose keys these are: one node of one cluster.
///
/// Both names have 1 to 64 characters of `[A-Za-z0-9._-]`. They are bound into every key and every
/// sealed byte, so that nothing opens on another node or in another cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Identity {
    cluster: String,
    node: String,
}

impl Identity {
    /// The node `node` of the cluster `cluster`.
    ///
    /// # Errors
    ///
    /// [`Misuse::Name`] if a name is not of the form above.
    pub fn new(cluster: &str, node: &str) -> Result<Self> {
        valid_name("cluster", cluster)?;
        valid_name("node", node)?;
        Ok(Self { cluster: cluster.to_owned(), node: node.to_owned() })
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.cluster, self.node)
    }
}

/// Refuses a name that is not 1 to 64 of `[A-Za-z0-9._-]`.
pub(crate) fn valid_name(what: &'static str, name: &str) -> Result<()> {
    let valid = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if valid { Ok(()) } else { Err(Misuse::Name(what).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Identity::new("prod", &"n".repeat(64)).is_ok());
        for bad in ["", "a b", "a\n", "ä", &"n".repeat(65)] {
            assert!(Identity::new("prod", bad).is_err(), "{bad:?}");
            assert!(Identity::new(bad, "m1").is_err(), "{bad:?}");
        }
    }
}
