use core::fmt;

use super::assignment::Assignment;
use super::wire::{Reader, Wire};
use crate::crypto::{random, sealed_box, x25519};
use crate::error::{Error, Result};
use crate::secret::{SecretBytes, SecretKey};

/// How much longer a sealed assignment is than its encoding, in bytes.
pub const SEALED_OVERHEAD: usize = sealed_box::OVERHEAD;

/// The key with which a node opens what was sealed to it.
///
/// Keep it as an attachment of the node's key file; its public key stands in the cluster's state.
///
/// ```
/// use nodeseal::grant::{Assignment, NodeId, NodeKey, Scope};
/// use nodeseal::{Identity, Keyring, Protector, UnlockKey};
///
/// # let dir = tempfile::tempdir()?;
/// let key = NodeKey::generate()?;
/// let protector = Protector::unlock_key(&UnlockKey::generate()?);
/// let me = Identity::new("prod", "w1")?;
/// let keyring = Keyring::create(dir.path(), &me, protector, &[("delivery", key.expose())])?;
///
/// let assignment =
///     Assignment { node: NodeId::new("w1")?, scope: Scope::Complete, sequence: 1, changes: vec![] };
/// let sealed = assignment.seal_to(&key.public())?;
///
/// let kept = keyring.attachment("delivery").ok_or("no key")?;
/// assert_eq!(NodeKey::from_bytes(kept.expose())?.open(&sealed)?.sequence, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct NodeKey(SecretKey);

impl NodeKey {
    /// A new random key.
    ///
    /// # Errors
    ///
    /// [`Error::Random`] if the system's generator fails.
    pub fn generate() -> Result<Self> {
        random::key().map(Self)
    }

    /// The key from its 32 bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] for another number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; 32] =
            bytes.try_into().map_err(|_| Error::damaged("a node's key has 32 bytes"))?;
        Ok(Self(SecretKey::init(|key| key.copy_from_slice(bytes))))
    }

    /// The key's bytes.
    ///
    /// # Security
    ///
    /// A copy that the caller makes is the caller's to wipe.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose()
    }

    /// What others seal to.
    #[must_use]
    pub fn public(&self) -> NodePublicKey {
        NodePublicKey(x25519::public(&self.0))
    }

    /// Opens what [`Assignment::seal_to`] sealed.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthentic`] if it was sealed to another key or altered; [`Error::Damaged`] or
    /// [`Error::Unsupported`] if what was sealed is no assignment of this version.
    ///
    /// # Security
    ///
    /// That it opens says nothing of who sealed it: anybody can seal to a public key. The transport
    /// authenticates the sender.
    pub fn open(&self, sealed: &[u8]) -> Result<Assignment> {
        let mut sealed = SecretBytes::from(sealed);
        Assignment::decode(sealed_box::open(&self.0, sealed.expose_mut())?)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

/// The public part of a [`NodeKey`]: 32 bytes, an X25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodePublicKey([u8; 32]);

impl NodePublicKey {
    /// The key from its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    pub(super) fn seal(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let mut message = SecretBytes::with_capacity(SEALED_OVERHEAD + plain.len());
        message.resize(SEALED_OVERHEAD);
        message.extend_from_slice(plain);
        sealed_box::seal(&self.0, message.expose_mut())?;
        Ok(message.into_vec())
    }
}

impl fmt::Debug for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodePublicKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl Wire for NodePublicKey {
    fn put(&self, out: &mut SecretBytes) {
        self.0.put(out);
    }

    fn get(input: &mut Reader<'_>) -> Result<Self> {
        Wire::get(input).map(Self)
    }
}
