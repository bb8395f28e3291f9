use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nodeseal::Store;
use tokio::sync::oneshot;

use crate::disk::Disk;

/// Something that is here, or away with a thread that uses the disk.
pub(super) enum Slot<T> {
    Here(Box<T>),
    Away(oneshot::Receiver<Box<T>>),
    /// The thread panicked.
    Gone,
}

impl<T: Send + 'static> Slot<T> {
    /// Waits until it is here; `None` if it is gone.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<&mut T>> {
        if let Self::Away(back) = self {
            *self = match ready!(Pin::new(back).poll(context)) {
                Ok(thing) => Self::Here(thing),
                Err(_) => Self::Gone,
            };
        }
        Poll::Ready(self.here())
    }

    pub(super) fn here(&mut self) -> Option<&mut T> {
        match self {
            Self::Here(thing) => Some(thing),
            _ => None,
        }
    }

    /// Lets a thread work on it.
    pub(super) fn send(&mut self, disk: &Disk, work: impl FnOnce(&mut T, &Store) + Send + 'static) {
        if let Self::Here(mut thing) = core::mem::replace(self, Self::Gone) {
            *self = Self::Away(disk.start(move |store| {
                work(&mut thing, store);
                thing
            }));
        }
    }

    /// Takes it out, if it is here.
    pub(super) fn take(&mut self) -> Option<Box<T>> {
        match core::mem::replace(self, Self::Gone) {
            Self::Here(thing) => Some(thing),
            other => {
                *self = other;
                None
            }
        }
    }

    /// Takes it out, for a thread to drop it: that closes a file, or removes one.
    pub(super) fn dispose(&mut self, disk: &Disk) {
        match core::mem::replace(self, Self::Gone) {
            Self::Here(thing) => disk.dispose(thing),
            // One that still comes back finds nobody, and is dropped where it is.
            Self::Away(mut back) => {
                back.close();
                if let Ok(thing) = back.try_recv() {
                    disk.dispose(thing);
                }
            }
            Self::Gone => {}
        }
    }
}
