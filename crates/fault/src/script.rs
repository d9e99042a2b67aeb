//! A disk that fails on schedule and keeps a record of what was asked of it.
//!
//! ```text
//!   store ── FaultDisk ── any Disk
//!              ├ counts   calls per class, mutating calls together
//!              ├ plan     at the n-th call: an error, a short write, a lie, a full disk, death
//!              ├ journal  every call with path, offset, length and outcome
//!              └ tap      every byte written, with the file it went to
//! ```
//!
//! A sweep over all places where a workload can fail is: run once to count, then for each `n` run
//! again with [`When::Mutating`]`(n)`. Numbers start at 1.

use parking_lot::Mutex;
use ringfort_base::Untrusted;
use ringfort_base::world::{Disk, DiskFile, DiskLock};
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

/// The class of a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "each is the method of Disk or DiskFile with that name")]
pub enum Op {
    Create,
    Open,
    List,
    CreateDir,
    Rename,
    Remove,
    SyncDir,
    /// `lock` and `lock_wait`.
    Lock,
    Read,
    Write,
    Allocate,
    Truncate,
    Sync,
    Len,
}

impl Op {
    /// Whether a call of this class can change what the disk holds or keeps.
    #[must_use]
    pub const fn is_mutating(self) -> bool {
        match self {
            Self::Create | Self::CreateDir | Self::Rename | Self::Remove | Self::SyncDir => true,
            Self::Write | Self::Allocate | Self::Truncate | Self::Sync => true,
            Self::Open | Self::List | Self::Lock | Self::Read | Self::Len => false,
        }
    }

    const fn needs_space(self) -> bool {
        matches!(self, Self::Create | Self::CreateDir | Self::Write | Self::Allocate)
    }
}

/// Which call a fault hits. Numbers count from 1, since the disk was wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// The n-th call of the class.
    Nth(Op, u64),
    /// The n-th and every later call of the class.
    From(Op, u64),
    /// The n-th of all mutating calls.
    Mutating(u64),
}

/// What happens there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The call fails and does nothing.
    Error(ErrorKind),
    /// A write reaches the file with this many of its first bytes, then fails (`WriteZero`). Any
    /// other call fails and does nothing.
    ShortWrite(usize),
    /// A sync (of a file or a directory) reports success and does nothing. Other calls are not
    /// affected.
    LyingSync,
    /// This and every later call that needs space fails with `StorageFull`, until
    /// [`FaultDisk::make_room`]; as on a copy-on-write file system, overwriting needs space too.
    DiskFull,
    /// This and every later call fails and does nothing: for the disk the process is dead.
    Freeze,
}

/// A call, as the journal has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Its class.
    pub op: Op,
    /// The path; of a rename `from -> to`.
    pub path: String,
    /// Where in the file; 0 if it is no read or write.
    pub offset: u64,
    /// How many bytes: of a read as asked, of `allocate` and `truncate` the new length.
    pub len: u64,
    /// The fault that hit it.
    pub fault: Option<Fault>,
}

/// A [`Disk`] around another; see the module. A clone is the same disk.
#[derive(Clone)]
pub struct FaultDisk {
    inner: Arc<dyn Disk>,
    script: Arc<Mutex<Script>>,
}

#[derive(Default)]
struct Script {
    counts: BTreeMap<Op, u64>,
    mutating: u64,
    plan: Vec<(When, Fault)>,
    full: bool,
    frozen: bool,
    journal: Option<Vec<Call>>,
    tap: Option<Vec<(String, Vec<u8>)>>,
}

/// What is left of a call after the script had its say.
enum Verdict {
    Go,
    Short(usize),
    Lie,
}

impl FaultDisk {
    /// Wraps `inner`; nothing fails yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, script: Arc::default() }
    }

    /// Adds to the plan. If two faults hit the same call, the one added first does.
    pub fn inject(&self, when: When, fault: Fault) {
        self.script.lock().plan.push((when, fault));
    }

    /// Empties the plan; a full disk stays full and a dead process dead.
    pub fn clear_plan(&self) {
        self.script.lock().plan.clear();
    }

    /// Ends a [`Fault::DiskFull`].
    pub fn make_room(&self) {
        self.script.lock().full = false;
    }

    /// Makes every later call fail, as [`Fault::Freeze`] does.
    pub fn freeze(&self) {
        self.script.lock().frozen = true;
    }

    /// Whether the process is dead for the disk.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.script.lock().frozen
    }

    /// How many calls of the class there were, failed ones too; none are counted after a freeze.
    #[must_use]
    pub fn count(&self, op: Op) -> u64 {
        self.script.lock().counts.get(&op).copied().unwrap_or(0)
    }

    /// How many mutating calls there were.
    #[must_use]
    pub fn count_mutating(&self) -> u64 {
        self.script.lock().mutating
    }

    /// Starts a new journal.
    pub fn start_journal(&self) {
        self.script.lock().journal = Some(Vec::new());
    }

    /// The journal since [`FaultDisk::start_journal`]; it goes on.
    #[must_use]
    pub fn journal(&self) -> Vec<Call> {
        self.script.lock().journal.clone().unwrap_or_default()
    }

    /// Starts a new recording of all bytes that are handed over to be written.
    pub fn start_tap(&self) {
        self.script.lock().tap = Some(Vec::new());
    }

    /// What was handed over since [`FaultDisk::start_tap`]: path and bytes, in order, also of
    /// writes that failed. The recording goes on.
    #[must_use]
    pub fn tapped(&self) -> Vec<(String, Vec<u8>)> {
        self.script.lock().tap.clone().unwrap_or_default()
    }

    fn enter(&self, op: Op, path: &str) -> Result<Verdict> {
        self.enter_at(op, path, 0, 0)
    }

    fn enter_at(&self, op: Op, path: &str, offset: u64, len: u64) -> Result<Verdict> {
        self.script.lock().enter(op, path, offset, len)
    }

    fn file(&self, path: &str, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultFile { inner, path: path.to_owned(), disk: self.clone() })
    }
}

impl Script {
    fn enter(&mut self, op: Op, path: &str, offset: u64, len: u64) -> Result<Verdict> {
        if self.frozen {
            return Err(dead());
        }
        let count = self.counts.entry(op).or_insert(0);
        *count += 1;
        let nth = *count;
        self.mutating += u64::from(op.is_mutating());
        let hit = self.plan.iter().find(|(when, _)| match *when {
            When::Nth(class, n) => class == op && nth == n,
            When::From(class, n) => class == op && nth >= n,
            When::Mutating(n) => op.is_mutating() && self.mutating == n,
        });
        let fault = hit.map(|(_, fault)| *fault);
        if let Some(journal) = &mut self.journal {
            journal.push(Call { op, path: path.to_owned(), offset, len, fault });
        }
        match fault {
            Some(Fault::Freeze) => {
                self.frozen = true;
                return Err(dead());
            }
            Some(Fault::Error(kind)) => return Err(injected(kind)),
            Some(Fault::ShortWrite(bytes)) if op == Op::Write => return Ok(Verdict::Short(bytes)),
            Some(Fault::ShortWrite(_)) => return Err(injected(ErrorKind::WriteZero)),
            Some(Fault::LyingSync) if matches!(op, Op::Sync | Op::SyncDir) => return Ok(Verdict::Lie),
            Some(Fault::DiskFull) => self.full = true,
            Some(Fault::LyingSync) | None => {}
        }
        if self.full && op.needs_space() {
            return Err(injected(ErrorKind::StorageFull));
        }
        Ok(Verdict::Go)
    }
}

impl Disk for FaultDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.enter(Op::Create, path)?;
        Ok(self.file(path, self.inner.create(path)?))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.enter(Op::Open, path)?;
        Ok(self.file(path, self.inner.open(path)?))
    }

    fn open_uncached(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        self.enter(Op::Open, path)?;
        Ok(self.file(path, self.inner.open_uncached(path)?))
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
        format!("{} (with planned faults)", self.inner.describe())
    }
}

struct FaultFile {
    inner: Arc<dyn DiskFile>,
    path: String,
    disk: FaultDisk,
}

impl DiskFile for FaultFile {
    fn read_at(&self, buf: Vec<u8>, offset: u64, len: usize) -> Result<Untrusted<Vec<u8>>> {
        self.disk.enter_at(Op::Read, &self.path, offset, len as u64)?;
        self.inner.read_at(buf, offset, len)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        if let Some(tap) = &mut self.disk.script.lock().tap {
            tap.push((self.path.clone(), data.to_vec()));
        }
        match self.disk.enter_at(Op::Write, &self.path, offset, data.len() as u64)? {
            Verdict::Short(bytes) => {
                self.inner.write_at(&data[..bytes.min(data.len())], offset)?;
                Err(injected(ErrorKind::WriteZero))
            }
            Verdict::Go | Verdict::Lie => self.inner.write_at(data, offset),
        }
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.disk.enter_at(Op::Allocate, &self.path, 0, len)?;
        self.inner.allocate(len)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.disk.enter_at(Op::Truncate, &self.path, 0, len)?;
        self.inner.truncate(len)
    }

    fn sync(&self) -> Result<()> {
        match self.disk.enter(Op::Sync, &self.path)? {
            Verdict::Lie => Ok(()),
            Verdict::Go | Verdict::Short(_) => self.inner.sync(),
        }
    }

    fn len(&self) -> Result<Untrusted<u64>> {
        self.disk.enter(Op::Len, &self.path)?;
        self.inner.len()
    }
}

fn dead() -> Error {
    Error::other("the process is dead for this disk")
}

fn injected(kind: ErrorKind) -> Error {
    Error::new(kind, "planned fault")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{CrashChoice, MemDisk};

    fn wrapped() -> (MemDisk, FaultDisk) {
        let inner = MemDisk::new();
        (inner.clone(), FaultDisk::new(Arc::new(inner)))
    }

    #[test]
    fn counts_by_class_and_together() {
        let (_, disk) = wrapped();
        let file = disk.create("a").unwrap();
        file.write_at(b"x", 0).unwrap();
        file.write_at(b"y", 1).unwrap();
        file.sync().unwrap();
        disk.sync_dir("").unwrap();
        disk.list("").unwrap();
        assert_eq!((disk.count(Op::Write), disk.count(Op::Sync), disk.count(Op::List)), (2, 1, 1));
        assert_eq!(disk.count_mutating(), 5);
    }

    #[test]
    fn an_error_hits_the_planned_call_only_and_does_nothing() {
        let (inner, disk) = wrapped();
        disk.inject(When::Nth(Op::Write, 2), Fault::Error(ErrorKind::Interrupted));
        let file = disk.create("a").unwrap();
        file.write_at(b"1", 0).unwrap();
        assert_eq!(file.write_at(b"2", 0).unwrap_err().kind(), ErrorKind::Interrupted);
        assert_eq!(inner.bytes_of("a").unwrap(), b"1");
        file.write_at(b"3", 0).unwrap();
        assert_eq!(inner.bytes_of("a").unwrap(), b"3");
    }

    #[test]
    fn from_hits_every_later_call() {
        let (_, disk) = wrapped();
        disk.inject(When::From(Op::Sync, 2), Fault::Error(ErrorKind::Other));
        let file = disk.create("a").unwrap();
        let got: Vec<bool> = (0..4).map(|_| file.sync().is_ok()).collect();
        assert_eq!(got, [true, false, false, false]);
        disk.clear_plan();
        file.sync().unwrap();
    }

    #[test]
    fn a_short_write_leaves_a_prefix() {
        let (inner, disk) = wrapped();
        disk.inject(When::Mutating(2), Fault::ShortWrite(3));
        let file = disk.create("a").unwrap();
        assert!(file.write_at(b"abcdef", 0).is_err());
        assert_eq!(inner.bytes_of("a").unwrap(), b"abc");
    }

    #[test]
    fn a_lying_sync_saves_nothing() {
        let (inner, disk) = wrapped();
        disk.inject(When::Nth(Op::Sync, 1), Fault::LyingSync);
        disk.inject(When::Nth(Op::SyncDir, 2), Fault::LyingSync);
        let file = disk.create("a").unwrap();
        disk.sync_dir("").unwrap();
        file.write_at(b"x", 0).unwrap();
        file.sync().unwrap();
        disk.create("b").unwrap();
        disk.sync_dir("").unwrap();
        let cut = inner.crash(CrashChoice::LoseAll);
        assert_eq!(cut.files().into_iter().collect::<Vec<_>>(), [("a".to_owned(), Vec::new())]);
    }

    #[test]
    fn a_full_disk_refuses_what_needs_space_until_there_is_room() {
        let (_, disk) = wrapped();
        let file = disk.create("a").unwrap();
        file.write_at(b"x", 0).unwrap();
        disk.inject(When::Nth(Op::Write, 2), Fault::DiskFull);
        for _ in 0..2 {
            assert_eq!(file.write_at(b"y", 1).unwrap_err().kind(), ErrorKind::StorageFull);
        }
        assert_eq!(disk.create("b").err().unwrap().kind(), ErrorKind::StorageFull);
        file.sync().unwrap();
        disk.remove("a").unwrap();
        disk.make_room();
        disk.create("b").unwrap();
    }

    #[test]
    fn after_a_freeze_nothing_works_and_nothing_changes() {
        let (inner, disk) = wrapped();
        let file = disk.create("a").unwrap();
        disk.inject(When::Mutating(2), Fault::Freeze);
        assert!(file.write_at(b"x", 0).is_err());
        assert!(disk.is_frozen());
        assert!(file.len().is_err() && disk.list("").is_err() && disk.lock("LOCK").is_err());
        assert_eq!(inner.bytes_of("a").unwrap(), b"");
        assert_eq!(disk.count(Op::Write), 1);
    }

    #[test]
    fn the_journal_tells_every_call() {
        let (_, disk) = wrapped();
        disk.start_journal();
        disk.inject(When::Nth(Op::Rename, 1), Fault::Error(ErrorKind::Other));
        let file = disk.create("a").unwrap();
        file.write_at(b"xyz", 7).unwrap();
        disk.rename("a", "b").unwrap_err();
        let journal = disk.journal();
        assert_eq!(
            journal.iter().map(|call| call.op).collect::<Vec<_>>(),
            [Op::Create, Op::Write, Op::Rename]
        );
        let write = Call { op: Op::Write, path: "a".to_owned(), offset: 7, len: 3, fault: None };
        assert_eq!(journal[1], write);
        assert_eq!(journal[2].path, "a -> b");
        assert_eq!(journal[2].fault, Some(Fault::Error(ErrorKind::Other)));
    }

    #[test]
    fn the_tap_sees_bytes_of_failed_writes_too() {
        let (_, disk) = wrapped();
        disk.start_tap();
        disk.inject(When::Nth(Op::Write, 2), Fault::Error(ErrorKind::Other));
        let file = disk.create("a").unwrap();
        file.write_at(b"one", 0).unwrap();
        file.write_at(b"two", 0).unwrap_err();
        let path = || "a".to_owned();
        assert_eq!(disk.tapped(), [(path(), b"one".to_vec()), (path(), b"two".to_vec())]);
    }
}
