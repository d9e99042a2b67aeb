//! A file of results: one JSON object a line, appended to and never rewritten.

use crate::Result;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Appends lines, in one write: lines of two programs that share the file do not mix. A last line that was
/// torn when a program was killed stays what it is; what is appended begins on a line of its own.
pub fn append(path: &Path, lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let named = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(named)?;
    let mut text = String::new();
    if !ends_with_newline(&mut file).map_err(named)? {
        text.push('\n');
    }
    for line in lines {
        text += line;
        text.push('\n');
    }
    Ok(file.write_all(text.as_bytes()).map_err(named)?)
}

fn ends_with_newline(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_torn_line_begins_on_its_own() {
        let path = std::env::temp_dir().join(format!("ringfort-lines-{}", std::process::id()));
        std::fs::write(&path, "{\"a\":1}\n{\"b\"").unwrap();
        append(&path, &["{\"c\":2}".to_owned()]).unwrap();
        append(&path, &[]).unwrap();
        append(&path, &["{\"d\":3}".to_owned()]).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"b\"\n{\"c\":2}\n{\"d\":3}\n");
    }
}
