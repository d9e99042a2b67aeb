//! One power supply for all disks of a machine.
//!
//! ```text
//!   store ─┬─ data     ─┐
//!          ├─ trusted  ─┼─ Power: one numbering, one journal, one plan over all calls
//!          └─ platform ─┘
//! ```
//! A power cut hits every disk at the same moment, and an order of calls (R8: sync before advance)
//! crosses disks. So calls are numbered and recorded here, over all of them; what a single disk does
//! about a fault is the same as in `ringfort_fault::script`.
#![allow(dead_code, reason = "each test binary uses its part")]

use crate::common::Machine;
use parking_lot::Mutex;
use ringfort_base::Untrusted;
use ringfort_base::world::{Clock, Disk, DiskFile, DiskLock, Entropy};
use ringfort_fault::script::{Fault, Op};
use ringfort_store::World;
use ringfort_trust::keyfile::Mode;
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Which disk a call went to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    Data,
    Trusted,
    Platform,
}

/// A call, numbered over all disks.
#[derive(Clone, Debug)]
pub struct Call {
    pub disk: Which,
    pub op: Op,
    /// The path; of a rename `from -> to`.
    pub path: String,
    pub offset: u64,
    pub len: u64,
    /// The number among the mutating calls, from 1; of any other call the number of those before.
    pub nth: u64,
    pub fault: Option<Fault>,
}

impl Call {
    /// Whether it could change what a disk holds or keeps.
    pub fn is_mutating(&self) -> bool {
        self.op.is_mutating()
    }
}

type Plan = Box<dyn FnMut(&Call) -> Option<Fault> + Send>;

#[derive(Default)]
struct Supply {
    mutating: u64,
    dead: bool,
    failed: bool,
    plan: Option<Plan>,
    journal: Option<Vec<Call>>,
}

/// The supply. A clone is the same one.
#[derive(Clone, Default)]
pub struct Power(Arc<Mutex<Supply>>);

enum Verdict {
    Go,
    Short(usize),
    Lie,
}

impl Power {
    /// The machine's world with every disk on this supply.
    pub fn world(&self, machine: &Machine) -> World {
        let wire = |which, disk: &ringfort_fault::memory::MemDisk| -> Arc<dyn Disk> {
            Arc::new(Wire { which, inner: Arc::new(disk.clone()), power: self.clone() })
        };
        let entropy = Arc::clone(&machine.entropy) as Arc<dyn Entropy>;
        let device = SimDevice::new(wire(Which::Platform, &machine.platform_disk), Arc::clone(&entropy));
        World {
            data: wire(Which::Data, &machine.data),
            trusted: (machine.mode != Mode::Software).then(|| wire(Which::Trusted, &machine.trusted)),
            clock: Arc::clone(&machine.clock) as Arc<dyn Clock>,
            entropy,
            platform: Arc::new(SimPlatform::new(Arc::new(device))),
        }
    }

    /// Asks `plan` before every call what shall happen to it.
    pub fn plan(&self, plan: impl FnMut(&Call) -> Option<Fault> + Send + 'static) {
        self.0.lock().plan = Some(Box::new(plan));
    }

    /// Every later call goes as it should.
    pub fn unplan(&self) {
        self.0.lock().plan = None;
    }

    /// The n-th mutating call from now meets `fault`.
    pub fn at_mutating(&self, n: u64, fault: Fault) {
        let nth = self.mutating() + n;
        self.plan(move |call| (call.is_mutating() && call.nth == nth).then_some(fault));
    }

    pub fn mutating(&self) -> u64 {
        self.0.lock().mutating
    }

    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// Whether any call met a fault.
    pub fn has_failed(&self) -> bool {
        self.0.lock().failed
    }

    pub fn start_journal(&self) {
        self.0.lock().journal = Some(Vec::new());
    }

    pub fn journal(&self) -> Vec<Call> {
        self.0.lock().journal.clone().unwrap_or_default()
    }

    fn enter(&self, disk: Which, op: Op, path: &str, offset: u64, len: u64) -> Result<Verdict> {
        let mut supply = self.0.lock();
        let dead = || Error::other("the power is off");
        if supply.dead {
            return Err(dead());
        }
        supply.mutating += u64::from(op.is_mutating());
        let mut call =
            Call { disk, op, path: path.to_owned(), offset, len, nth: supply.mutating, fault: None };
        call.fault = supply.plan.as_mut().and_then(|plan| plan(&call));
        let fault = call.fault;
        supply.failed |= fault.is_some();
        if let Some(journal) = &mut supply.journal {
            journal.push(call);
        }
        match fault {
            None => Ok(Verdict::Go),
            Some(Fault::Freeze) => {
                supply.dead = true;
                Err(dead())
            }
            Some(Fault::Error(kind)) => Err(Error::new(kind, "planned fault")),
            Some(Fault::DiskFull) => Err(Error::new(ErrorKind::StorageFull, "planned fault")),
            Some(Fault::ShortWrite(bytes)) if op == Op::Write => Ok(Verdict::Short(bytes)),
            Some(Fault::ShortWrite(_)) => Err(Error::new(ErrorKind::WriteZero, "planned fault")),
            Some(Fault::LyingSync) if matches!(op, Op::Sync | Op::SyncDir) => Ok(Verdict::Lie),
            Some(Fault::LyingSync) => Ok(Verdict::Go),
        }
    }
}

struct Wire {
    which: Which,
    inner: Arc<dyn Disk>,
    power: Power,
}

impl Wire {
    fn enter(&self, op: Op, path: &str) -> Result<Verdict> {
        self.power.enter(self.which, op, path, 0, 0)
    }

    fn file(&self, path: &str, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WireFile { which: self.which, path: path.to_owned(), inner, power: self.power.clone() })
    }
}

impl Disk for Wire {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.enter(Op::Create, path)?;
        Ok(self.file(path, self.inner.create(path)?))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.enter(Op::Open, path)?;
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        self.enter(Op::List, dir)?;
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.enter(Op::CreateDir, dir)?;
        self.inner.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.enter(Op::Rename, &format!("{from} -> {to}"))?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.enter(Op::Remove, path)?;
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        match self.enter(Op::SyncDir, dir)? {
            Verdict::Lie => Ok(()),
            Verdict::Go | Verdict::Short(_) => self.inner.sync_dir(dir),
        }
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        self.enter(Op::Lock, path)?;
        self.inner.lock(path)
    }

    fn lock_wait(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        self.enter(Op::Lock, path)?;
        self.inner.lock_wait(path)
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

struct WireFile {
    which: Which,
    path: String,
    inner: Arc<dyn DiskFile>,
    power: Power,
}

impl WireFile {
    fn enter(&self, op: Op, offset: u64, len: u64) -> Result<Verdict> {
        self.power.enter(self.which, op, &self.path, offset, len)
    }
}

impl DiskFile for WireFile {
    fn read_at(&self, buf: Vec<u8>, offset: u64, len: usize) -> Result<Untrusted<Vec<u8>>> {
        self.enter(Op::Read, offset, len as u64)?;
        self.inner.read_at(buf, offset, len)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        match self.enter(Op::Write, offset, data.len() as u64)? {
            Verdict::Short(bytes) => {
                self.inner.write_at(&data[..bytes.min(data.len())], offset)?;
                Err(Error::new(ErrorKind::WriteZero, "planned fault"))
            }
            Verdict::Go | Verdict::Lie => self.inner.write_at(data, offset),
        }
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.enter(Op::Allocate, 0, len)?;
        self.inner.allocate(len)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.enter(Op::Truncate, 0, len)?;
        self.inner.truncate(len)
    }

    fn sync(&self) -> Result<()> {
        match self.enter(Op::Sync, 0, 0)? {
            Verdict::Lie => Ok(()),
            Verdict::Go | Verdict::Short(_) => self.inner.sync(),
        }
    }

    fn len(&self) -> Result<Untrusted<u64>> {
        self.enter(Op::Len, 0, 0)?;
        self.inner.len()
    }
}
