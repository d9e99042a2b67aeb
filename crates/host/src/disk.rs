//! A directory of the operating system as a [`Disk`].
//!
//! - Every path is relative to the directory's descriptor: it may be moved while it is in use.
//! - Files are `0600` and directories `0700`; a symbolic link in place of a file is not followed,
//!   and a pipe or device in place of a file is refused rather than waited for.
//! - [`DiskFile::sync`] is `fdatasync`, which covers the length; [`Disk::sync_dir`] is `fsync` of the
//!   directory. A call that a signal interrupts is repeated; reads and writes go on until done.
//! - A file that is reserved for appends has its newest bytes in a file beside it; see [`tail`].
//! - Locks are `flock`: they belong to the open file, so two [`OsDisk`]s of one process conflict as
//!   those of two processes do, and the kernel frees them when the process dies.
//!
//! An error is what the system said; that of a sync is never retried (after a failed `fsync` the
//! kernel may have dropped the data, R11).

use crate::direct::Direct;
use crate::tail::{self, Overlay, Tail};
use ringfort_base::Untrusted;
use ringfort_base::world::{Disk, DiskFile, DiskLock, is_plain_path};
use rustix::buffer::spare_capacity;
use rustix::fd::OwnedFd;
use rustix::fs::{Advice, AtFlags, CWD, Dir, FallocateFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A [`Disk`] on the file system; see the module.
pub struct OsDisk {
    root: Arc<OwnedFd>,
    path: PathBuf,
}

const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);
const DIR_MODE: u32 = 0o700;
/// For all files: not inherited by children, no link followed, no waiting for a pipe's other end.
const FILE_FLAGS: OFlags = OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK);
const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl OsDisk {
    /// The directory `path`, which must exist.
    pub fn open(path: &Path) -> Result<Self> {
        let root = retry_on_intr(|| rustix::fs::openat(CWD, path, DIR_FLAGS, Mode::empty()))
            .map_err(|e| named(&path.display().to_string(), e))?;
        Ok(Self { root: Arc::new(root), path: path.to_owned() })
    }

    /// The directory `path`, created with its parents if needed.
    pub fn create(path: &Path) -> Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(DIR_MODE)
            .create(path)
            .map_err(|e| Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Self::open(path)
    }

    /// Where it is (or was, when it was opened).
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn open_file(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        check(path)?;
        let fd = retry_on_intr(|| rustix::fs::openat(&*self.root, path, flags | FILE_FLAGS, FILE_MODE))
            .map_err(|e| named(path, e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| named(path, e))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(fd),
            FileType::Directory => Err(named(path, Errno::ISDIR)),
            _ => Err(Error::new(ErrorKind::InvalidInput, format!("{path}: not a regular file"))),
        }
    }

    fn open_for_reading(&self, path: &str) -> Result<OsFile> {
        let fd = self.open_file(path, OFlags::RDONLY)?;
        let mut file = OsFile { fd, place: None, tail: OnceLock::new(), overlay: None, direct: None };
        file.overlay = Overlay::load(&self.root, path, |offset, len| file.read(Vec::new(), offset, len));
        Ok(file)
    }

    fn open_dir(&self, dir: &str) -> Result<OwnedFd> {
        if !dir.is_empty() {
            check(dir)?;
        }
        let dir = shown(dir);
        retry_on_intr(|| rustix::fs::openat(&*self.root, dir, DIR_FLAGS, Mode::empty()))
            .map_err(|e| named(dir, e))
    }

    fn lock_by(&self, path: &str, operation: FlockOperation) -> Result<Box<dyn DiskLock>> {
        let file = self.open_file(path, OFlags::RDWR | OFlags::CREATE)?;
        retry_on_intr(|| rustix::fs::flock(&file, operation)).map_err(|e| named(path, e))?;
        Ok(Box::new(OsLock { _file: file }))
    }
}

impl Disk for OsDisk {
    fn create(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let fd = self.open_file(path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        let place = Some((Arc::clone(&self.root), path.to_owned()));
        Ok(Arc::new(OsFile { fd, place, tail: OnceLock::new(), overlay: None, direct: None }))
    }

    fn open(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(self.open_for_reading(path)?))
    }

    fn open_uncached(&self, path: &str) -> Result<Arc<dyn DiskFile>> {
        let mut file = self.open_for_reading(path)?;
        // What was written through the page cache is in it still; its error is none.
        let _ = rustix::fs::fadvise(&file.fd, 0, None, Advice::DontNeed);
        file.direct = self.open_file(path, OFlags::RDONLY | OFlags::DIRECT).ok().map(Direct::new);
        Ok(Arc::new(file))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>> {
        let fd = self.open_dir(dir)?;
        let mut names = Vec::new();
        for entry in Dir::new(fd).map_err(|e| named(shown(dir), e))? {
            let entry = entry.map_err(|e| named(shown(dir), e))?;
            // A name that is no text is none of ours; it is shown mangled rather than hidden.
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        check(dir)?;
        let ends = dir.match_indices('/').map(|(at, _)| at).chain([dir.len()]);
        for end in ends {
            let part = &dir[..end];
            match rustix::fs::mkdirat(&*self.root, part, Mode::from_raw_mode(DIR_MODE)) {
                Ok(()) => {}
                // It must be a directory then, not a file.
                Err(Errno::EXIST) => drop(self.open_dir(part)?),
                Err(e) => return Err(named(part, e)),
            }
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        check(from)?;
        check(to)?;
        rustix::fs::renameat(&*self.root, from, &*self.root, to)
            .map_err(|e| named(&format!("{from} to {to}"), e))
    }

    fn remove(&self, path: &str) -> Result<()> {
        check(path)?;
        tail::remove(&self.root, path);
        rustix::fs::unlinkat(&*self.root, path, AtFlags::empty()).map_err(|e| named(path, e))
    }

    fn sync_dir(&self, dir: &str) -> Result<()> {
        let fd = self.open_dir(dir)?;
        rustix::fs::fsync(&fd).map_err(|e| named(shown(dir), e))
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        self.lock_by(path, FlockOperation::NonBlockingLockExclusive)
    }

    fn lock_wait(&self, path: &str) -> Result<Box<dyn DiskLock>> {
        self.lock_by(path, FlockOperation::LockExclusive)
    }

    fn describe(&self) -> String {
        self.path.display().to_string()
    }
}

struct OsLock {
    /// Closing it frees the lock.
    _file: OwnedFd,
}

impl DiskLock for OsLock {}

struct OsFile {
    fd: OwnedFd,
    /// Of a file that was created: where, for the name of its tail.
    place: Option<(Arc<OwnedFd>, String)>,
    /// Of a file that is reserved for appends.
    tail: OnceLock<Tail>,
    /// Of a file that was opened: what a killed process left in its tail.
    overlay: Option<Overlay>,
    /// Of a file whose reader keeps what it reads.
    direct: Option<Direct>,
}

impl OsFile {
    /// Reads from the file alone.
    fn read(&self, mut buf: Vec<u8>, offset: u64, len: usize) -> Result<Vec<u8>> {
        if let Some(done) = self.direct.as_ref().and_then(|direct| direct.read(&mut buf, offset, len)) {
            return done.map(|()| buf);
        }
        buf.clear();
        buf.reserve_exact(len);
        // A buffer that fits is filled as it is; one that is much larger would make the kernel read
        // more than was asked for, so its front is cleared first and filled then.
        if buf.capacity() - len <= len / 16 {
            while buf.len() < len {
                let at = beyond(offset, buf.len())?;
                if retry_on_intr(|| rustix::io::pread(&self.fd, spare_capacity(&mut buf), at))? == 0 {
                    break;
                }
            }
            buf.truncate(len);
        } else {
            buf.resize(len, 0);
            let mut done = 0;
            while done < len {
                let at = beyond(offset, done)?;
                match retry_on_intr(|| rustix::io::pread(&self.fd, &mut buf[done..], at))? {
                    0 => break,
                    n => done += n,
                }
            }
            buf.truncate(done);
        }
        Ok(buf)
    }

    /// Writes to the file itself.
    fn write(&self, data: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let at = beyond(offset, done)?;
            match retry_on_intr(|| rustix::io::pwrite(&self.fd, &data[done..], at))? {
                0 => return Err(Error::from(ErrorKind::WriteZero)),
                n => done += n,
            }
        }
        Ok(())
    }

    /// Whether the space is reserved now: a help, not a promise; without it the file grows as it is
    /// written.
    fn reserve(&self, len: u64) -> Result<bool> {
        if len == 0 {
            return Ok(false);
        }
        match retry_on_intr(|| rustix::fs::fallocate(&self.fd, FallocateFlags::empty(), 0, len)) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// All that was written is in the file itself from here on.
    fn flush_tail(&self) -> Result<()> {
        self.tail.get().map_or(Ok(()), |tail| tail.flush(|data, offset| self.write(data, offset)))
    }
}

impl DiskFile for OsFile {
    fn read_at(&self, buf: Vec<u8>, offset: u64, len: usize) -> Result<Untrusted<Vec<u8>>> {
        self.flush_tail()?;
        let mut read = self.read(buf, offset, len)?;
        if let Some(overlay) = &self.overlay {
            overlay.cover(&mut read, offset);
        }
        Ok(Untrusted::new(read))
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        match self.tail.get() {
            Some(tail) => tail.append(data, offset, |data, offset| self.write(data, offset)),
            None => self.write(data, offset),
        }
    }

    fn allocate(&self, len: u64) -> Result<()> {
        self.reserve(len).map(drop)
    }

    fn allocate_for_appends(&self, len: u64) -> Result<()> {
        if let (true, Some((root, path))) = (self.reserve(len)?, &self.place)
            && let Some(tail) = Tail::create(root, path, len)
        {
            self.tail.get_or_init(|| tail);
        }
        Ok(())
    }

    fn write_back(&self, offset: u64, len: u64) {
        // For dirty pages this advice begins their write-back and keeps them cached; its error is none.
        let _ = rustix::fs::fadvise(&self.fd, offset, std::num::NonZeroU64::new(len), Advice::DontNeed);
    }

    fn truncate(&self, len: u64) -> Result<()> {
        self.flush_tail()?;
        Ok(retry_on_intr(|| rustix::fs::ftruncate(&self.fd, len))?)
    }

    fn sync(&self) -> Result<()> {
        self.flush_tail()?;
        Ok(rustix::fs::fdatasync(&self.fd)?)
    }

    fn len(&self) -> Result<Untrusted<u64>> {
        self.flush_tail()?;
        let size = rustix::fs::fstat(&self.fd)?.st_size;
        // A negative size is nonsense of the host's; it is shown as one that nothing can match.
        Ok(Untrusted::new(u64::try_from(size).unwrap_or(u64::MAX)))
    }
}

impl Drop for OsFile {
    fn drop(&mut self) {
        // A tail that cannot be written into the file stays, for who opens it next.
        if self.tail.get().is_some()
            && self.flush_tail().is_ok()
            && let Some((root, path)) = &self.place
        {
            tail::remove(root, path);
        }
    }
}

fn beyond(offset: u64, done: usize) -> Result<u64> {
    offset.checked_add(done as u64).ok_or_else(|| Error::from(ErrorKind::FileTooLarge))
}

/// The root is `""` to callers and `.` to the system and to people.
const fn shown(dir: &str) -> &str {
    if dir.is_empty() { "." } else { dir }
}

fn check(path: &str) -> Result<()> {
    if is_plain_path(path) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, format!("not a plain relative path: {path:?}")))
}

fn named(path: &str, errno: Errno) -> Error {
    let error = Error::from(errno);
    Error::new(error.kind(), format!("{path}: {error}"))
}
