//! What people see: a progress line where standard error is a terminal, plain lines where it is
//! not, and the table of attacks.

use super::attacks::Row;
use std::io::{IsTerminal, Write};

const BAR: usize = 30;

/// The progress display.
pub(crate) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    /// How far it is. Shown only where it can be drawn over.
    pub(crate) fn at(&self, doing: &str, done: u64, of: u64) {
        if self.terminal {
            let filled = (done.min(of) as usize * BAR).checked_div(of as usize).unwrap_or(BAR);
            let (bar, percent) = ("#".repeat(filled), done.min(of) * 100 / of.max(1));
            let _ = write!(std::io::stderr(), "\r\x1b[K[{bar:<BAR$}] {percent:>3} %  {doing}");
        }
    }

    /// Something is done.
    pub(crate) fn line(&self, text: &str) {
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        let _ = writeln!(std::io::stderr(), "{clear}{text}");
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if self.terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

/// The table, as wide as it must be.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = ["attack", "what was changed", "expected", "got", "ms", "ok"].map(str::to_owned);
    let mut cells = vec![head];
    for row in rows {
        let ok = if row.ok { "ok" } else { "NOT OK" };
        let ms = row.took.as_millis().to_string();
        let texts = [row.name, &row.changed, row.expected, &row.got, &ms, ok];
        cells.push(texts.map(str::to_owned));
    }
    let widths: [usize; 6] =
        std::array::from_fn(|nth| cells.iter().map(|row| row[nth].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for (nth, row) in cells.iter().enumerate() {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(padded.collect::<Vec<_>>().join(" | ").trim_end());
        out.push('\n');
        if nth == 0 {
            out.push_str(&widths.map(|width| "-".repeat(width)).join("-|-"));
            out.push('\n');
        }
    }
    out
}

/// A JSON string.
pub(crate) fn json(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::json;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(json("a\"b\\c\nd\u{1}é"), "\"a\\\"b\\\\c\\nd\\u0001é\"");
    }
}
