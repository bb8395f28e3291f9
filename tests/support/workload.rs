//! Eight threads that use a store in every way, in a process of their own; each change is told to
//! the oracle before it is made, and when it was acknowledged.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use nodeseal::store::Step;
use nodeseal::{Error, Keyring, Reason, Store};

use crate::model::{self, ERA, Model, NAMES, Op};
use crate::oracle::Node;

const DIR: &str = "NODESEAL_WORK_DIR";
const ORACLE: &str = "NODESEAL_WORK_ORACLE";
const POSITION: &str = "NODESEAL_WORK_POSITION";
const SEED: &str = "NODESEAL_WORK_SEED";
const CHANGES: &str = "NODESEAL_WORK_CHANGES";
const APPENDS: &str = "NODESEAL_WORK_APPENDS";

/// How many threads make changes, unless the environment says otherwise.
const THREADS: u64 = 8;

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Numbers that look random and are the same for the same seed.
#[derive(Debug)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// A number below `end`.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}

type Failed = Box<dyn std::error::Error>;

/// How the process is started.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) node: Node,
    /// A file that says where the disk is.
    pub(crate) position: Option<PathBuf>,
    pub(crate) seed: u64,
    /// How many changes it makes; without end if 0.
    pub(crate) changes: u64,
    /// Nothing but appends.
    pub(crate) appends: bool,
}

impl Workload {
    /// Starts `test` of this binary as the process that does the work.
    pub(crate) fn start(&self, test: &str) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--include-ignored", "--nocapture"])
            .env(DIR, &self.node.dir)
            .env(ORACLE, &self.node.oracle)
            .env(SEED, self.seed.to_string())
            .env(CHANGES, self.changes.to_string())
            .env(APPENDS, self.appends.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(position) = &self.position {
            command.env(POSITION, position);
        }
        command.spawn().unwrap()
    }

    /// Does the work, if this is the process for it; else `false`.
    pub(crate) fn run_here() -> bool {
        let Some(dir) = var(DIR) else { return false };
        let node = Node { dir: dir.into(), oracle: var(ORACLE).unwrap().into() };
        let position = var(POSITION).map(PathBuf::from);
        let number = |name| var(name).unwrap().parse().unwrap();
        let (seed, changes) = (number(SEED), number(CHANGES));
        let appends = var(APPENDS).unwrap() == "true";
        Self { node, position, seed, changes, appends }.run();
        true
    }

    fn run(&self) {
        let oracle = self.node.oracle();
        let (keyring, store) = self.node.open(false).unwrap();
        let started = oracle.ops.len();
        let (model, number) = (oracle.model(started), started);
        let order = Mutex::new(Order { model, number, draw: Draw(self.seed) });
        let left = if self.changes == 0 { u64::MAX } else { self.changes };
        let work = Work {
            store,
            order,
            building: Mutex::new(()),
            log: self.node.appending(),
            position: self.position.clone(),
            left: AtomicU64::new(left),
            stopped: AtomicBool::new(false),
            appends: self.appends,
        };
        thread::scope(|scope| {
            let threads = var("NODESEAL_WORK_THREADS").map_or(THREADS, |n| n.parse().unwrap());
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(|| work.changes())).collect();
            if !self.appends {
                scope.spawn(|| work.rotations(&keyring));
            }
            for thread in threads {
                thread.join().unwrap();
            }
            work.stop();
        });
    }
}

/// What is decided one after the other.
struct Order {
    model: Model,
    /// Of the last operation.
    number: usize,
    draw: Draw,
}

struct Work {
    store: Store,
    order: Mutex<Order>,
    /// Held by the thread that writes a snapshot.
    building: Mutex<()>,
    log: File,
    position: Option<PathBuf>,
    left: AtomicU64,
    stopped: AtomicBool,
    appends: bool,
}

impl Work {
    fn say(&self, line: &str) {
        (&self.log).write_all(line.as_bytes()).unwrap();
    }

    fn acknowledge(&self, number: usize) {
        let position = self.position.as_deref().map_or(0, read_position);
        self.say(&format!("ack {number} {position}\n"));
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap()
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Makes changes until there have been enough of them or one failed.
    fn changes(&self) {
        let next = |left: u64| left.checked_sub(1);
        while !self.stopped()
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
        {
            if let Err(e) = self.change() {
                eprintln!("{e}");
                self.stop();
            }
        }
    }

    fn change(&self) -> Result<(), Failed> {
        let mut order = self.order();
        let Order { model, number, draw } = &mut *order;
        if !self.appends && draw.below(25) == 0 && model.committed.0 > covered(model) {
            drop(order);
            return self.snapshot();
        }
        let op = if self.appends { append(draw, model) } else { draw_op(draw, model) };
        let change = model.change(&op, self.store.change())?;
        if self.stopped() {
            return Ok(());
        }
        self.say(&op.line());
        // No operation may follow one of which nobody knows.
        let pending = self.store.write(change).inspect_err(|_| self.stop())?;
        model.apply(&op);
        *number += 1;
        let number = *number;
        drop(order);
        pending.wait()?;
        self.acknowledge(number);
        Ok(())
    }

    fn snapshot(&self) -> Result<(), Failed> {
        let Ok(_building) = self.building.try_lock() else { return Ok(()) };
        let (mut op, at, content) = {
            let mut order = self.order();
            let Order { model, draw, .. } = &mut *order;
            let number = 1 + draw.below(10_000);
            let op = Op { snapshot: Some((model.committed.0, number)), ..Op::default() };
            (op.clone(), model.covered(&op), model::content(number))
        };
        let mut writer = self.store.write_snapshot()?;
        writer.write_all(&content)?;
        let snapshot = writer.finish(at, b"")?;

        let mut order = self.order();
        let Order { model, number, draw } = &mut *order;
        if draw.below(2) == 0 {
            op.purge = Some(at.index - draw.below(at.index - model.purged.0));
        }
        let change = model.change(&op, self.store.change())?;
        if self.stopped() {
            return Ok(());
        }
        self.say(&op.line());
        self.store.install(snapshot, change).inspect_err(|_| self.stop())?;
        model.apply(&op);
        *number += 1;
        self.acknowledge(*number);
        Ok(())
    }

    /// Rotates the DEK over and over.
    fn rotations(&self, keyring: &Keyring) {
        let mut reasons = [Reason::Requested, Reason::Leaked].into_iter().cycle();
        let mut rotate = || {
            keyring.rotate_dek(reasons.next().unwrap_or(Reason::Leaked))?;
            let mut rotation = self.store.rotation().budget(16 << 10);
            while !self.stopped() && rotation.step()? != Step::Done {
                thread::sleep(Duration::from_millis(1));
            }
            Ok::<(), Error>(())
        };
        while !self.stopped() {
            if let Err(e) = rotate() {
                eprintln!("rotation: {e}");
                self.stop();
            }
            thread::sleep(Duration::from_millis(15));
        }
    }
}

fn read_position(path: &Path) -> u64 {
    let mut text = String::new();
    File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text.trim().parse().unwrap()
}

fn covered(model: &Model) -> u64 {
    model.snapshot.map_or(0, |(at, _)| at.0)
}

fn append(draw: &mut Draw, model: &Model) -> Op {
    let era = model.last.1.max(ERA + 1);
    Op { append: Some((model.last.0 + 1, 1 + draw.below(3), era)), ..Op::default() }
}

/// Something that an engine may do next.
fn draw_op(draw: &mut Draw, model: &Model) -> Op {
    let (last, committed) = (model.last.0, model.committed.0);
    let mut op = match draw.below(20) {
        // Another leader: what was not committed may be replaced.
        0 | 1 if last > committed => {
            let from = committed + 1 + draw.below(last - committed);
            let era = model.last.1.max(model.committed.1).max(ERA) + 1;
            let append = (draw.below(4) != 0).then(|| (from, 1 + draw.below(3), era));
            Op { truncate: Some(from), append, ..Op::default() }
        }
        2 => Op { vote: Some(model.vote + 1), ..Op::default() },
        3 => {
            let name = draw.below(u64::try_from(NAMES.len()).unwrap());
            Op { meta: Some((name, draw.below(6))), ..Op::default() }
        }
        4 if covered(model) > model.purged.0 => {
            let more = 1 + draw.below(covered(model) - model.purged.0);
            Op { purge: Some(model.purged.0 + more), ..Op::default() }
        }
        _ => append(draw, model),
    };
    if draw.below(4) == 0 && last > committed && op.truncate.is_none() {
        op.committed = Some(committed + 1 + draw.below(last - committed));
    }
    if draw.below(10) == 0 {
        op.vote = Some(model.vote + 1);
    }
    op
}
