use super::id::SecretId;
use super::target::{Mode, Target};
use super::wire::{choice, record};
use crate::error::{Misuse, Result};

/// Which version of a secret a service wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Follow {
    /// The one that is current when a task is created or refreshed.
    #[default]
    Current,
    /// Always this one.
    Pinned(u64),
}

choice!(Follow { 0 => Current, 1 => Pinned(number) });

/// A developer's wish: this secret, as that file, for that user.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[expect(clippy::exhaustive_structs, reason = "callers make it field by field")]
pub struct Reference {
    /// The secret.
    pub secret: SecretId,
    /// The secret's name, which must be the one that it has.
    pub name: String,
    /// Which of its versions.
    pub follow: Follow,
    /// Where its file stands.
    pub target: Target,
    /// The file's owner.
    pub uid: u32,
    /// The file's group.
    pub gid: u32,
    /// The file's permissions.
    pub mode: Mode,
}

record!(Reference { secret, name, follow, target, uid, gid, mode });

impl Reference {
    /// The current version of a secret, with Docker's defaults: a file of the secret's name that
    /// belongs to root and that everybody may read.
    ///
    /// # Errors
    ///
    /// [`Misuse::Grant`] if the name is no [`Target`].
    pub fn new(secret: SecretId, name: &str) -> Result<Self> {
        Ok(Self {
            secret,
            name: name.to_owned(),
            follow: Follow::Current,
            target: Target::new(name)?,
            uid: 0,
            gid: 0,
            mode: Mode::DEFAULT,
        })
    }

    /// The same with another target.
    #[must_use]
    pub fn at(mut self, target: Target) -> Self {
        self.target = target;
        self
    }
}

/// Checks references that are to stand together: owners that there can be, and no file in another's
/// place. One secret may stand under two targets.
///
/// # Errors
///
/// [`Misuse::Grant`].
pub fn check_references(references: &[Reference]) -> Result<()> {
    // The kernel takes it for "no change".
    if references.iter().any(|r| r.uid == u32::MAX || r.gid == u32::MAX) {
        return Err(Misuse::Grant("a uid or gid is below 4294967295").into());
    }
    let mut targets: Vec<&str> = references.iter().map(|r| r.target.as_str()).collect();
    targets.sort_unstable();
    if targets.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Misuse::Grant("two secrets have the same target").into());
    }
    // Every folder on the way to a target is looked for among the targets.
    let folders = targets.iter().flat_map(|t| t.match_indices('/').map(|(at, _)| &t[..at]));
    if folders.into_iter().any(|folder| targets.binary_search(&folder).is_ok()) {
        return Err(Misuse::Grant("one secret's target is a folder of another's").into());
    }
    Ok(())
}

/// Docker's `--secret-rm` and `--secret-add`: takes away every reference to a secret of one of the
/// names `remove`, whatever its target, then adds `add`. A name that is not there is no error.
///
/// This is the rotation known from Docker: `--secret-rm old --secret-add source=new,target=old`.
///
/// # Errors
///
/// As [`check_references`], for the result.
pub fn edit_references(
    references: &[Reference],
    remove: &[&str],
    add: &[Reference],
) -> Result<Vec<Reference>> {
    let stay = references.iter().filter(|reference| !remove.contains(&reference.name.as_str()));
    let edited: Vec<_> = stay.chain(add).cloned().collect();
    check_references(&edited)?;
    Ok(edited)
}
