//! Work on several threads whose results are taken in order.

use core::num::NonZeroUsize;
use core::ops::ControlFlow;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// How often a thread looks whether its turn has come before it sleeps.
const SPINS: u32 = 20;

/// Has `threads` threads, the caller's among them, take jobs with `next` until it gives `false`, do
/// each with `work`, and end it with `done`.
///
/// A thread has one job at a time, whose memory it uses again. `next` and `done` are called by one
/// thread at a time, in the order of the jobs. The error that comes first in that order ends
/// everything: the jobs before it have been ended, none after it is.
pub(crate) fn ordered<J: Default, E: Send>(
    threads: NonZeroUsize,
    next: impl FnMut(&mut J) -> Result<bool, E> + Send,
    work: impl Fn(&mut J) -> Result<(), E> + Sync,
    done: impl FnMut(&mut J) -> Result<(), E> + Send,
) -> Result<(), E> {
    let source = Mutex::new(Source { next, taken: 0, over: false });
    let turns = Turns {
        state: Mutex::new(Turn { now: 0, over: false, error: None }),
        done: Mutex::new(done),
        changed: Condvar::new(),
    };
    let run = || {
        let _guard = OverOnPanic(&turns);
        let mut job = J::default();
        while let Some((at, taken)) = take(&source, &mut job) {
            let result = taken.and_then(|()| work(&mut job));
            if turns.end(at, result, &mut job).is_break() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            // Where the system has no more threads, fewer do the work.
            if thread::Builder::new().spawn_scoped(scope, run).is_err() {
                break;
            }
        }
        run();
    });
    let turn = turns.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    turn.error.map_or(Ok(()), Err)
}

/// Where jobs come from.
struct Source<N> {
    next: N,
    taken: u64,
    over: bool,
}

/// Takes a job, and says which one it is; also one that failed has its turn.
fn take<J, E>(
    source: &Mutex<Source<impl FnMut(&mut J) -> Result<bool, E>>>,
    job: &mut J,
) -> Option<(u64, Result<(), E>)> {
    let source = &mut *lock(source);
    // Also if `next` panics, nobody calls it again.
    if core::mem::replace(&mut source.over, true) {
        return None;
    }
    let taken = match (source.next)(job) {
        Ok(false) => return None,
        Ok(true) => {
            source.over = false;
            Ok(())
        }
        Err(error) => Err(error),
    };
    source.taken += 1;
    Some((source.taken - 1, taken))
}

/// Whose job may be ended.
struct Turns<D, E> {
    state: Mutex<Turn<E>>,
    /// Held only by the one whose turn it is.
    done: Mutex<D>,
    changed: Condvar,
}

struct Turn<E> {
    now: u64,
    over: bool,
    error: Option<E>,
}

impl<D, E> Turns<D, E> {
    /// Waits until it is the turn of job `at`, and ends it.
    fn end<J>(&self, at: u64, result: Result<(), E>, job: &mut J) -> ControlFlow<()>
    where
        D: FnMut(&mut J) -> Result<(), E>,
    {
        let mut turn = lock(&self.state);
        // Most turns come within microseconds, and to sleep and wake takes longer.
        for _ in 0..SPINS {
            if turn.now == at || turn.over {
                break;
            }
            drop(turn);
            (0..64).for_each(|_| core::hint::spin_loop());
            turn = lock(&self.state);
        }
        while turn.now != at && !turn.over {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        if turn.over {
            return ControlFlow::Break(());
        }
        drop(turn);
        let ended = result.and_then(|()| lock(&self.done)(job));
        let mut turn = lock(&self.state);
        turn.now += 1;
        turn.over = ended.is_err();
        turn.error = ended.err();
        self.changed.notify_all();
        if turn.over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Lets nobody wait for a job whose thread has panicked.
struct OverOnPanic<'a, D, E>(&'a Turns<D, E>);

impl<D, E> Drop for OverOnPanic<'_, D, E> {
    fn drop(&mut self) {
        if thread::panicking() {
            lock(&self.0.state).over = true;
            self.0.changed.notify_all();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicUsize, Ordering};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// What is done with the jobs 0…99 of which `wrong` fails, in `fails`: the jobs that were ended.
    fn run(threads: usize, fails: &str, wrong: u64) -> (Vec<u64>, Result<(), u64>) {
        let mut count = 0..100;
        let mut ended = Vec::new();
        let fail = |here, job| if here == fails && job == wrong { Err(job) } else { Ok(()) };
        let result = ordered(
            NonZeroUsize::new(threads).unwrap(),
            |job: &mut u64| match count.next() {
                Some(at) => {
                    *job = at;
                    fail("next", at).map(|()| true)
                }
                None => Ok(false),
            },
            |job| {
                // The later ones are ready first.
                thread::sleep(core::time::Duration::from_micros(200 / (1 + *job % 7)));
                fail("work", *job)
            },
            |job| {
                fail("done", *job)?;
                ended.push(*job);
                Ok(())
            },
        );
        (ended, result)
    }

    #[test]
    fn jobs_end_in_order() {
        for threads in [1, 2, 3, 8, 200] {
            assert_eq!(run(threads, "", 0), ((0..100).collect(), Ok(())));
        }
    }

    #[test]
    fn nothing_ends_after_the_first_error() {
        for threads in [1, 2, 5] {
            for fails in ["next", "work", "done"] {
                for wrong in [0, 1, 50, 99] {
                    assert_eq!(run(threads, fails, wrong), ((0..wrong).collect(), Err(wrong)));
                }
            }
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_nobody_waits_for_it() {
        for place in ["next", "work", "done"] {
            let count = AtomicUsize::new(0);
            let here = |at, name| assert!(at != 5 || name != place, "job 5");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                ordered(
                    NonZeroUsize::new(4).unwrap(),
                    |job: &mut usize| {
                        *job = count.fetch_add(1, Ordering::Relaxed);
                        here(*job, "next");
                        Ok::<_, ()>(*job < 1000)
                    },
                    |job| {
                        here(*job, "work");
                        Ok(())
                    },
                    |job| {
                        here(*job, "done");
                        Ok(())
                    },
                )
            }));
            assert!(panicked.is_err(), "{place}");
            assert!(count.load(Ordering::Relaxed) < 1000, "{place}");
        }
    }
}
