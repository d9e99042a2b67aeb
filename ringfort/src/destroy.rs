//! Giving a store up, which is the one way to have its name again once its data is gone (R18).
//!
//! ```text
//! phrase right? ─► platform knows the name? ─► nobody uses the directory? ─► it holds this store?
//!      ─► remove the files, syncing ─► the platform forgets name and counter
//! ```
//!
//! In that order a crash in between leaves a store whose data is missing, which is refused, and
//! which can be destroyed again; never one that the platform does not know, with data.
//!
//! What this is worth (R15): on the simulated platform the data is *logically deleted*. Copies of
//! the files that somebody kept stay sealed, and can be opened by whoever also kept a copy of the
//! platform's state.

use crate::{Error, ErrorKind, EvidenceKind, Options, Result, StoreId};
use ringfort_base::world::{Disk, DiskLock};
use ringfort_host::disk::OsDisk;
use ringfort_trust::keyfile::KeyFile;
use ringfort_trust::platform::{Known, Platform};
use std::path::Path;

/// The lock of an open store.
const LOCK: &str = "LOCK";
/// The directories of log segments and tables.
const DIRS: [&str; 2] = ["wal", "tables"];
/// A trusted volume's claim record; its mark (`VOLUME`) stays, because the volume does.
const CLAIM: [&str; 2] = ["CLAIM", "CLAIM.lock"];

/// What has to be said to destroy the store `name`.
///
/// ```
/// assert_eq!(ringfort::destroy::phrase("accounts"), "destroy accounts");
/// ```
#[must_use]
pub fn phrase(name: &str) -> String {
    format!("destroy {name}")
}

/// Removes the store's files and has the platform forget it. `said` must be [`phrase`] of the
/// store's name (R17: on the simulated platform a phrase suffices). Returns whose data it was.
///
/// ```
/// use ringfort::{Db, Options, destroy};
///
/// # fn main() -> ringfort::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("ringfort-doc-{}", std::process::id()));
/// let options = Options::new(dir.join("data")).platform_state(dir.join("platform")).store_name("old");
/// Db::open(options.clone())?.close()?;
///
/// assert!(Db::destroy(&options, "yes").is_err());
/// Db::destroy(&options, &destroy::phrase("old"))?;
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok(())
/// # }
/// ```
pub fn destroy(options: &Options, said: &str) -> Result<StoreId> {
    let name = &options.store.name;
    if said != phrase(name) {
        let message = format!(
            "destroying store '{name}' cannot be undone; to confirm it, say exactly: {}",
            phrase(name)
        );
        return Err(Error::new(ErrorKind::Refused, message));
    }
    let platform = options.platform()?;
    let id = match platform.known(name)? {
        Known::Live(id) | Known::Creating(id) => id,
        Known::No => {
            let message = format!(
                "the platform knows no store named '{name}': nothing to destroy. Check --store and --platform-state"
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        }
    };
    let volumes: Vec<OsDisk> = [Some(options.path.as_path()), options.trusted.as_deref()]
        .into_iter()
        .flatten()
        .filter(|path| path.is_dir())
        .map(|path| OsDisk::open(path).map_err(|e| Error::io("open", &path.display().to_string(), &e)))
        .collect::<Result<_>>()?;
    let _locks: Vec<_> = volumes.iter().map(lock).collect::<Result<_>>()?;
    if let Some(data) = volumes.iter().find(|disk| disk.path() == options.path) {
        check_owner(data, &*platform, name, id)?;
    }
    volumes.iter().try_for_each(remove_files)?;
    platform.forget(name)?;
    Ok(id)
}

fn lock(disk: &OsDisk) -> Result<Box<dyn DiskLock>> {
    disk.lock(LOCK).map_err(|e| match e.kind() {
        std::io::ErrorKind::WouldBlock => {
            let message = format!("{} is in use by another process; stop it first", disk.describe());
            Error::new(ErrorKind::Busy, message)
        }
        _ => Error::io("lock", &disk.describe(), &e),
    })
}

/// Another store's directory is not ours to empty.
fn check_owner(data: &OsDisk, platform: &dyn Platform, name: &str, id: StoreId) -> Result<()> {
    // A key file that does not open is no reason to keep it: the store may be given up for that.
    let other =
        KeyFile::open_unanchored(data, platform).ok().map(|file| file.store).filter(|found| *found != id);
    other.map_or(Ok(()), |found| {
        let message = format!(
            "{} holds store {found}, not '{name}' ({id}); nothing was removed. Pass the directory of '{name}', or an \
             empty one if its data is gone",
            data.describe()
        );
        Err(Error::evidence(EvidenceKind::Foreign, data.describe(), 0, message).with_kind(ErrorKind::Refused))
    })
}

fn remove_files(disk: &OsDisk) -> Result<()> {
    for dir in DIRS {
        for file in list(disk, dir)? {
            remove(disk, &format!("{dir}/{file}"))?;
        }
        remove_dir(&disk.path().join(dir))?;
    }
    let ours = |name: &str| {
        let prefixed = ["KEYS.", "MANIFEST-", "CURRENT"].iter().any(|start| name.starts_with(start));
        prefixed || CLAIM.contains(&name) || name == LOCK
    };
    for file in list(disk, "")?.into_iter().filter(|name| ours(name)) {
        remove(disk, &file)?;
    }
    disk.sync_dir("").map_err(|e| Error::io("sync", &disk.describe(), &e))
}

fn list(disk: &OsDisk, dir: &str) -> Result<Vec<String>> {
    match disk.list(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|e| Error::io("list", dir, &e)),
    }
}

fn remove(disk: &OsDisk, path: &str) -> Result<()> {
    match disk.remove(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, &e)),
        _ => Ok(()),
    }
}

fn remove_dir(path: &Path) -> Result<()> {
    use std::io::ErrorKind::{DirectoryNotEmpty, NotFound};
    match std::fs::remove_dir(path) {
        // What is not ours stays, and so does its directory.
        Err(e) if !matches!(e.kind(), NotFound | DirectoryNotEmpty) => {
            Err(Error::io("remove", &path.display().to_string(), &e))
        }
        _ => Ok(()),
    }
}
