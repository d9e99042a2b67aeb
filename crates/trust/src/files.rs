//! Small whole files: read at once, replaced atomically.

use crate::verified::look;
use ringfort_base::world::{Disk, DiskFile};
use ringfort_base::{Error, Result};
use std::io::ErrorKind::NotFound;
use std::sync::Arc;

/// The bytes of a file, unverified; at most `max + 1` of them, so that a longer one shows. `None` if there is none.
pub(crate) fn read_whole(disk: &dyn Disk, path: &str, max: usize) -> Result<Option<Vec<u8>>> {
    let failed = |error| Error::io("read", path, &error);
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let bytes = file.read_at(Vec::new(), 0, max + 1).map_err(failed)?;
    Ok(Some(look(bytes)))
}

/// Replaces `dir`/`name` by `bytes`, synced with its directory: after a crash at any point the file is
/// the old one or the new one, whole. Returns the new file, open for writing.
pub(crate) fn replace(disk: &dyn Disk, dir: &str, name: &str, bytes: &[u8]) -> Result<Arc<dyn DiskFile>> {
    let path = join(dir, name);
    let temporary = format!("{path}.new");
    let failed = |doing| {
        let path = path.clone();
        move |error| Error::io(doing, &path, &error)
    };
    remove(disk, &temporary)?;
    let file = disk.create(&temporary).map_err(failed("create"))?;
    file.write_at(bytes, 0).map_err(failed("write"))?;
    file.sync().map_err(failed("sync"))?;
    disk.rename(&temporary, &path).map_err(failed("put in place"))?;
    disk.sync_dir(dir).map_err(failed("sync the directory of"))?;
    Ok(file)
}

/// Removes a file if it is there. Durable after a sync of the directory.
pub(crate) fn remove(disk: &dyn Disk, path: &str) -> Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != NotFound => Err(Error::io("remove", path, &error)),
        _ => Ok(()),
    }
}

/// The path of `name` in `dir` (`""` is the root).
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
