use super::Cluster;

/// What was counted since this value was made, and is not part of the encoded state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) applied: u64,
    pub(super) refused: u64,
    /// Length of all sealed payloads, in bytes; part of the state, as it follows from it.
    pub(super) payload_bytes: u64,
}

/// Numbers for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub struct Stats {
    /// Commands that were applied by this value, also the refused ones.
    pub applied: u64,
    /// Of these, the refused ones.
    pub refused: u64,
    /// Secrets.
    pub secrets: usize,
    /// Versions of secrets.
    pub versions: usize,
    /// Length of all sealed payloads, in bytes.
    pub payload_bytes: u64,
    /// Versions that are sealed under an old payload key.
    pub to_reseal: usize,
    /// Services.
    pub services: usize,
    /// Tasks.
    pub tasks: usize,
    /// Nodes.
    pub nodes: usize,
    /// Objects of the author's own that refer to secrets.
    pub referrers: usize,
}

impl Cluster {
    /// Numbers for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let sealed = |held: &super::keys::HeldKey| held.seals.len();
        let versions = self.keys.payload.iter().map(sealed).sum();
        Stats {
            applied: self.counters.applied,
            refused: self.counters.refused,
            secrets: self.secrets.len(),
            versions,
            payload_bytes: self.counters.payload_bytes,
            to_reseal: versions - self.keys.current().map_or(0, sealed),
            services: self.services.len(),
            tasks: self.tasks.len(),
            nodes: self.nodes.len(),
            referrers: self.referrers.len(),
        }
    }
}
