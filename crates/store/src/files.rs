//! File names and small helpers over [`Disk`].

use ringfort_base::world::{Disk, DiskFile};
use ringfort_base::{Error, FileNo, Result, Untrusted};

/// The host may name files as it likes; no number of ours comes near this one.
const FILE_NO_MAX: u64 = 1 << 62;

/// Parses `prefix` + at least eight digits + `suffix`.
pub(crate) fn parse_numbered(name: &str, prefix: &str, suffix: &str) -> Option<FileNo> {
    let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
    if digits.len() < 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| *number <= FILE_NO_MAX).map(FileNo)
}

/// The number in a table's name.
pub(crate) fn parse_table_name(name: &str) -> Option<FileNo> {
    parse_numbered(name, "", ".sst")
}

/// The number in a value file's name.
pub(crate) fn parse_blob_name(name: &str) -> Option<FileNo> {
    parse_numbered(name, "", ".blob")
}

/// The names in a directory; a directory that does not exist is empty.
pub(crate) fn list(disk: &dyn Disk, dir: &str) -> Result<Vec<String>> {
    match disk.list(dir) {
        Ok(names) => Ok(names),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("list", &place(disk, dir), &e)),
    }
}

/// Reads a whole file, at most `max` bytes. The claimed length only sizes the reads: bytes are
/// taken as they come.
pub(crate) fn read_all(file: &dyn DiskFile, path: &str, max: u64) -> Result<Untrusted<Vec<u8>>> {
    const PIECE: usize = 4 << 20;
    let mut all = Untrusted::new(Vec::new());
    loop {
        let offset = all.len() as u64;
        if offset > max {
            return Err(Error::evidence(
                ringfort_base::EvidenceKind::Inconsistent,
                path,
                offset,
                format!("longer than the {max} bytes that such a file can have"),
            ));
        }
        let piece = file.read_at(Vec::new(), offset, PIECE).map_err(|e| Error::io("read", path, &e))?;
        let got = piece.len();
        if all.is_empty() {
            all = piece;
        } else {
            all.append(piece);
        }
        if got < PIECE {
            return Ok(all);
        }
    }
}

/// A path with its volume, for messages.
pub(crate) fn place(disk: &dyn Disk, path: &str) -> String {
    format!("{}/{path}", disk.describe())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_parse() {
        assert_eq!(parse_numbered("00000012.log", "", ".log"), Some(FileNo(12)));
        assert_eq!(parse_numbered("MANIFEST-123456789", "MANIFEST-", ""), Some(FileNo(123_456_789)));
        for bad in
            ["12.log", "0000001a.log", "00000001.log.tmp", "x00000001.log", "99999999999999999999999.log"]
        {
            assert_eq!(parse_numbered(bad, "", ".log"), None, "{bad}");
        }
    }
}
