//! A disk in memory that knows what a power cut would leave.
//!
//! ```text
//!            clone: the same disk, the same process
//!            second_process: the same disk, another process (locks conflict)
//!  MemDisk ─ process_kill: the same disk, the old process is dead, its locks are free
//!            fork: a copy of the disk (a snapshot, a cloned machine)
//!            crash: a copy after a power cut: unsynced steps lost, torn, reordered
//! ```
//!
//! # What it guarantees
//!
//! - What a sync covered survives every cut; what none covered may survive, or not, or in part (see
//!   [`Fate`]). File data and names are apart: a file whose directory was not synced may be gone
//!   though its bytes were synced.
//! - A file that was removed stays readable through open handles, as on Linux.
//! - The same calls and the same choice give the same disk.
//!
//! It is stricter than Linux file systems where they promise more than POSIX does, so what is
//! correct here is correct there.

mod content;
mod crash;
mod inode;
mod tree;

#[cfg(test)]
mod crash_test;

pub use crash::{CrashChoice, Fate, Unsynced};
pub use inode::SECTOR;

use content::Content;
use inode::Inode;
use parking_lot::{Condvar, Mutex, MutexGuard};
use ringfort_base::Untrusted;
use ringfort_base::world::{Disk, DiskFile, DiskLock};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use tree::Tree;

/// A [`Disk`] in memory; see the module.
#[derive(Clone)]
pub struct MemDisk {
    shared: Arc<Shared>,
    process: u64,
}

struct Shared {
    world: Mutex<World>,
    unlocked: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    File(u64),
    Dir(u64),
}

impl Node {
    const fn as_file(self) -> Option<u64> {
        match self {
            Self::File(ino) => Some(ino),
            Self::Dir(_) => None,
        }
    }
}

struct World {
    tree: Tree,
    inodes: BTreeMap<u64, Inode>,
    /// Held locks: path to (process, ticket).
    locks: BTreeMap<String, (u64, u64)>,
    dead: BTreeSet<u64>,
    /// The last number given out: to inodes, steps, processes and lock tickets alike.
    last_number: u64,
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::over(World::new())
    }

    fn over(mut world: World) -> Self {
        let process = world.number();
        Self { shared: Arc::new(Shared { world: Mutex::new(world), unlocked: Condvar::new() }), process }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.shared.world.lock()
    }

    /// The world, unless this process is dead.
    fn alive(&self) -> Result<MutexGuard<'_, World>> {
        let world = self.world();
        world.check_alive(self.process)?;
        Ok(world)
    }

    /// A copy of the disk as it is, unsynced steps included: a snapshot of the directory, or the
    /// disk of a cloned machine. Nothing is shared and no lock is held.
    #[must_use]
    pub fn fork(&self) -> Self {
        let world = self.world();
        let tree = world.tree.clone();
        let mut inodes = world.inodes.clone();
        inodes.values_mut().for_each(|inode| inode.handles = 0);
        Self::over(World { tree, inodes, ..World::new() }.continuing(&world))
    }

    /// The same disk as another living process sees it.
    #[must_use]
    pub fn second_process(&self) -> Self {
        let process = self.world().number();
        Self { shared: Arc::clone(&self.shared), process }
    }

    /// Ends this process: every call through its handles fails from now on and its locks are free.
    /// What it wrote stays, unsynced as it was. Returns the disk as the next process sees it.
    #[must_use]
    pub fn process_kill(&self) -> Self {
        let mut world = self.world();
        world.dead.insert(self.process);
        let dead = self.process;
        world.locks.retain(|_, (process, _)| *process != dead);
        drop(world);
        self.shared.unlocked.notify_all();
        self.second_process()
    }

    /// Frees all locks, whoever holds them.
    pub fn unlock_all(&self) {
        self.world().locks.clear();
        self.shared.unlocked.notify_all();
    }

    /// All files by name, with their present bytes.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        world.tree.files().into_iter().map(|(name, ino)| (name, world.bytes(ino))).collect()
    }

    /// The present bytes of a file.
    pub fn bytes_of(&self, path: &str) -> Result<Vec<u8>> {
        let world = self.world();
        Ok(world.bytes(world.tree.file(path)?))
    }

    /// What a failed sync does to a file on Linux: its unsynced steps stay visible, but a later sync
    /// that reports success does not save them (R11). Use it with a planned error of
    /// [`FaultDisk`](crate::script::FaultDisk).
    pub fn fail_sync(&self, path: &str) -> Result<()> {
        let mut world = self.world();
        let ino = world.tree.file(path)?;
        world.inode(ino)?.forget_pending();
        Ok(())
    }

    /// Changes bytes of a file in place, behind the back of whoever has it open; the change needs
    /// no sync. What lies beyond the end grows the file.
    pub fn poke(&self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut world = self.world();
        let ino = world.tree.file(path)?;
        world.inode(ino)?.tamper(bytes, offset);
        Ok(())
    }
}

impl Default for MemDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    fn new() -> Self {
        Self {
            tree: Tree::new(),
            inodes: BTreeMap::new(),
            locks: BTreeMap::new(),
            dead: BTreeSet::new(),
            last_number: 0,
        }
    }

    /// A copy must not give out numbers that its original used for the steps that it carries.
    fn continuing(mut self, original: &Self) -> Self {
        self.last_number = original.last_number;
        self
    }

    const fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn check_alive(&self, process: u64) -> Result<()> {
        if self.dead.contains(&process) {
            return Err(Error::other("the process of this handle was killed"));
        }
        Ok(())
    }

    fn inode(&mut self, ino: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or_else(|| Error::from(ErrorKind::NotFound))
    }

    fn bytes(&self, ino: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Some(inode) = self.inodes.get(&ino) {
            inode.current().read(&mut bytes, 0, usize::MAX);
        }
        bytes
    }

    fn create(&mut self, path: &str) -> Result<u64> {
        let ino = self.number();
        let at = self.number();
        self.tree.link(at, path, ino)?;
        self.inodes.insert(ino, Inode::settled(Content::default()));
        Ok(ino)
    }

    /// Forgets files that no name, no power cut and no handle can bring back.
    fn collect(&mut self) {
        let in_use = self.tree.files_in_use();
        self.inodes.retain(|ino, inode| inode.handles > 0 || in_use.contains(ino));
    }

    fn try_lock(&mut self, path: &str, process: u64) -> Result<u64> {
        if self.locks.contains_key(path) {
            return Err(Error::new(ErrorKind::WouldBlock, format!("{path} is locked")));
        }
        if self.tree.file(path).is_err_and(|e| e.kind() == ErrorKind::NotFound) {
            self.create(path)?;
        }
        self.tree.file(path)?;
        let ticket = self.number();
        self.locks.insert(path.to_owned(), (process, ticket));
        Ok(ticket)
    }
}

impl MemDisk {
    fn handle(&self, world: &mut World, ino: u64, writable: bool) -> Result<Arc<dyn DiskFile>> {
        world.inode(ino)?.handles += 1;
        Ok(Arc::new(MemFile { disk: self.clone(), ino, writable }))
    }

    fn guard(&self, path: &str, ticket: u64) -> Box<dyn DiskLock> {
        Box::new(MemLock { disk: self.clone(), path: path.to_owned(), ticket })
    }
}

impl Disk for MemDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let mut world = self.alive()?;
        let ino = world.create(path)?;
        self.handle(&mut world, ino, true)
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let mut world = self.alive()?;
        let ino = world.tree.file(path)?;
        self.handle(&mut world, ino, false)
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        self.alive()?.tree.list(dir)
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        let world = &mut *self.alive()?;
        let last_number = &mut world.last_number;
        let number = || {
            *last_number += 1;
            *last_number
        };
        world.tree.create_dir(number, dir)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut world = self.alive()?;
        let at = world.number();
        world.tree.rename(at, from, to)
    }

    fn remove(&self, path: &str) -> Result<()> {
        let mut world = self.alive()?;
        let at = world.number();
        world.tree.unlink(at, path)
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        let mut world = self.alive()?;
        world.tree.sync_dir(dir)?;
        world.collect();
        Ok(())
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        let ticket = self.alive()?.try_lock(path, self.process)?;
        Ok(self.guard(path, ticket))
    }

    fn lock_wait(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        let mut world = self.alive()?;
        loop {
            match world.try_lock(path, self.process) {
                Ok(ticket) => return Ok(self.guard(path, ticket)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.shared.unlocked.wait(&mut world),
                Err(e) => return Err(e),
            }
            world.check_alive(self.process)?;
        }
    }

    fn describe(&self) -> String {
        "a disk in memory".to_owned()
    }
}

struct MemFile {
    disk: MemDisk,
    ino: u64,
    writable: bool,
}

impl MemFile {
    /// Runs a change as the next step of the disk's history.
    fn change(&self, change: impl FnOnce(&mut Inode, u64)) -> Result<()> {
        if !self.writable {
            return Err(Error::new(ErrorKind::PermissionDenied, "the file was opened for reading"));
        }
        let mut world = self.disk.alive()?;
        let at = world.number();
        change(world.inode(self.ino)?, at);
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn read_at(&self, mut buf: Vec<u8>, offset: u64, len: usize) -> Result<Untrusted<Vec<u8>>> {
        buf.clear();
        self.disk.alive()?.inode(self.ino)?.current().read(&mut buf, offset, len);
        Ok(Untrusted::new(buf))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > i64::MAX as u64) {
            return Err(Error::from(ErrorKind::FileTooLarge));
        }
        self.change(|inode, at| inode.write(at, data, offset))
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.change(|inode, at| {
            if len > inode.current().len() {
                inode.set_len(at, len);
            }
        })
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.change(|inode, at| inode.set_len(at, len))
    }

    fn sync(&self) -> Result<()> {
        self.disk.alive()?.inode(self.ino)?.sync();
        Ok(())
    }

    fn len(&self) -> Result<Untrusted<u64>> {
        Ok(Untrusted::new(self.disk.alive()?.inode(self.ino)?.current().len()))
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        if let Some(inode) = self.disk.world().inodes.get_mut(&self.ino) {
            inode.handles -= 1;
        }
    }
}

struct MemLock {
    disk: MemDisk,
    path: String,
    ticket: u64,
}

impl DiskLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        // After a kill the name may belong to somebody else.
        if world.locks.get(&self.path).is_some_and(|(_, ticket)| *ticket == self.ticket) {
            world.locks.remove(&self.path);
        }
        drop(world);
        self.disk.shared.unlocked.notify_all();
    }
}
