use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Deliveries, Delivery};
use crate::error::{Error, Result};
use crate::grant::TaskId;

/// What [`Deliveries::recover`] found and did.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Recovered {
    /// The deliveries of tasks that still run. Which versions their files are of is not known until
    /// they are updated.
    pub kept: Vec<Delivery>,
    /// Tasks that still run and whose files are gone: unmounted, or lost with the machine's memory.
    pub lost: Vec<TaskId>,
    /// Tasks that do not run any more, whose files were wiped and removed.
    pub removed: Vec<String>,
    /// What could be neither kept nor removed.
    pub failed: Vec<(String, Error)>,
}

impl Deliveries {
    /// Finds what an earlier process left here: keeps what tasks that still run use, and wipes and
    /// removes the rest. Call it before anything is delivered; a second call finds this process's own
    /// deliveries too.
    ///
    /// # Errors
    ///
    /// [`Misuse::Forked`](crate::Misuse::Forked) in a forked process; [`Error::Io`] if the directory
    /// cannot be listed. A single place that fails is among
    /// [`Recovered::failed`].
    pub fn recover(&self, still_running: impl IntoIterator<Item = TaskId>) -> Result<Recovered> {
        self.inner.folder.own()?;
        let mut running: BTreeSet<TaskId> = still_running.into_iter().collect();
        let mut found = Recovered::default();
        for name in self.inner.folder.names()? {
            let task = TaskId::new(&name).ok();
            let runs = task.as_ref().is_some_and(|task| running.remove(task));
            if let Err(error) = self.judge(&name, task, runs, &mut found) {
                found.failed.push((name, error));
            }
        }
        found.lost.extend(running);
        Ok(found)
    }

    fn judge(
        &self,
        name: &str,
        task: Option<TaskId>,
        runs: bool,
        found: &mut Recovered,
    ) -> Result<()> {
        let (place, whole) = self.inner.folder.reopen(name)?;
        let Some(task) = task else {
            self.inner.folder.remove(place)?;
            found.removed.push(name.to_owned());
            return Ok(());
        };
        let cleared = place.tree.clear_staging();
        let delivery = Delivery {
            inner: Arc::clone(&self.inner),
            task,
            node: None,
            grants: Vec::new(),
            place: Some(place),
        };
        if runs && whole {
            found.kept.push(delivery);
            return cleared;
        }
        let task = delivery.task.clone();
        delivery.release()?;
        if runs {
            found.lost.push(task);
        } else {
            found.removed.push(name.to_owned());
        }
        Ok(())
    }
}
