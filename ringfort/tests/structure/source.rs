//! Source files as data: finding them, and telling code from comments, strings and tests.
//!
//! No parser: it blanks out what is not code and then looks for words and braces. That is exact
//! enough for the rules here and has tests of its own.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// The workspace's directory.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of the workspace, by its path from the root.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// All files with this extension, as paths from the root, sorted; build output left out.
pub fn files(extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(root().join(&dir)).expect("a directory of the workspace") {
            let entry = entry.expect("a directory of the workspace can be listed");
            let path = dir.join(entry.file_name());
            let kind = entry.file_type().expect("a file has a type");
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if kind.is_dir() && !matches!(&*name, "target" | ".git" | "node_modules" | "ringfort-data") {
                todo.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|found| found == extension) {
                found.push(path.to_str().expect("paths are text").to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Whether all of a file is test code or an example, by its place or name.
pub fn is_test_file(path: &str) -> bool {
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    path.contains("/tests/")
        || path.contains("/benches/")
        || path.contains("/examples/")
        || path.contains("/fuzz/")
        || path.starts_with("fuzz/")
        || matches!(stem, "test" | "tests")
        || stem.ends_with("_test")
        || stem.ends_with("_tests")
}

/// A Rust file with everything but code blanked out. Offsets and lines are those of the file.
pub struct Code {
    bytes: Vec<u8>,
    tests: Vec<Range<usize>>,
}

/// A function: its name and the lines from `fn` to the closing brace.
#[derive(PartialEq, Eq, Debug)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
    pub in_test: bool,
}

impl Code {
    pub fn new(text: &str) -> Self {
        let bytes = blank(text.as_bytes());
        let tests = test_ranges(&bytes);
        Self { bytes, tests }
    }

    /// Where `needle` stands in code; `needle` must be plain ASCII.
    pub fn find_all(&self, needle: &str) -> Vec<usize> {
        let windows = self.bytes.windows(needle.len()).enumerate();
        windows.filter(|(_, found)| *found == needle.as_bytes()).map(|(at, _)| at).collect()
    }

    pub fn in_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    pub fn line(&self, at: usize) -> usize {
        1 + self.bytes[..at].iter().filter(|&&byte| byte == b'\n').count()
    }

    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for at in self.find_all("fn ") {
            let name_at = at + 3;
            if at > 0 && is_word(self.bytes[at - 1]) {
                continue;
            }
            let name: Vec<u8> = self.bytes[name_at..].iter().copied().take_while(|&b| is_word(b)).collect();
            if let (false, Some(end)) = (name.is_empty(), item_end(&self.bytes, name_at))
                && self.bytes[end] == b'}'
            {
                let name = String::from_utf8_lossy(&name).into_owned();
                let (line, last) = (self.line(at), self.line(end));
                found.push(Function { name, line, lines: last - line + 1, in_test: self.in_test(at) });
            }
        }
        found
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The offset of the `}` or `;` that ends the item which begins at `from`.
fn item_end(code: &[u8], from: usize) -> Option<usize> {
    let mut brackets = 0i32;
    let mut braces = 0i32;
    for (at, &byte) in code.iter().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return Some(at);
                }
            }
            b';' if braces == 0 && brackets == 0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// The items under `#[cfg(test)]` and `#[cfg(all(test, …))]`.
fn test_ranges(code: &[u8]) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for attribute in [b"#[cfg(test".as_slice(), b"#[cfg(all(test".as_slice()] {
        for at in 0..code.len().saturating_sub(attribute.len()) {
            let after = code.get(at + attribute.len()).copied().unwrap_or(b' ');
            if code[at..].starts_with(attribute) && matches!(after, b')' | b',') {
                let end = item_end(code, at).unwrap_or(code.len());
                found.push(at..end + 1);
            }
        }
    }
    found
}

/// Blanks comments, strings and character literals; newlines stay.
fn blank(text: &[u8]) -> Vec<u8> {
    let mut out = text.to_vec();
    let mut at = 0;
    while at < text.len() {
        let end = match text[at] {
            b'/' if text[at..].starts_with(b"//") => at + until(&text[at..], b'\n'),
            b'/' if text[at..].starts_with(b"/*") => at + block_comment(&text[at..]),
            b'"' => at + string(&text[at..]),
            b'r' if !(at > 0 && is_word(text[at - 1]) && text[at - 1] != b'b') => {
                match raw_string(&text[at..]) {
                    Some(len) => at + len,
                    None => {
                        at += 1;
                        continue;
                    }
                }
            }
            b'\'' => match character(&text[at..]) {
                Some(len) => at + len,
                None => {
                    at += 1;
                    continue;
                }
            },
            _ => {
                at += 1;
                continue;
            }
        };
        let end = end.min(text.len());
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end;
    }
    out
}

fn until(text: &[u8], stop: u8) -> usize {
    text.iter().position(|&byte| byte == stop).unwrap_or(text.len())
}

fn block_comment(text: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(text: &[u8]) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// The length of `r"…"` or `r#"…"#`, if `text` begins with one.
fn raw_string(text: &[u8]) -> Option<usize> {
    let hashes = text[1..].iter().take_while(|&&byte| byte == b'#').count();
    if text.get(1 + hashes) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let body = &text[2 + hashes..];
    let end = body.windows(close.len()).position(|window| window == close).unwrap_or(body.len());
    Some(2 + hashes + end + close.len())
}

/// The length of a character literal; `None` for a lifetime.
fn character(text: &[u8]) -> Option<usize> {
    if text.get(1) == Some(&b'\\') {
        return Some(3 + until(text.get(3..)?, b'\'') + 1);
    }
    // One character, of up to four bytes, and the closing quote.
    let len = (2..=5).find(|&at| text.get(at) == Some(&b'\''))?;
    (std::str::from_utf8(&text[1..len]).ok()?.chars().count() == 1).then_some(len + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_left() {
        let text = r####"a // fn x() {
/* fn y() /* { */ */ b "}\" fn z() {" c r#"fn " {"# d '{' e '\'' f 'life g b"{" h br"{" i"####;
        let code = Code::new(text);
        let left = String::from_utf8(code.bytes.clone()).unwrap();
        let words: Vec<&str> = left.split_whitespace().collect();
        assert_eq!(words, ["a", "b", "c", "d", "e", "f", "'life", "g", "b", "h", "b", "i"]);
        assert_eq!(code.bytes.len(), text.len());
    }

    #[test]
    fn functions_have_their_lines() {
        let code = Code::new(
            "fn one(a: [u8; 3]) -> u8 {\n    if a { b }\n}\n\ntrait T {\n    fn none(&self);\n}\n\
             #[cfg(test)]\nmod tests {\n    fn two() {}\n}\nfn three() {}\n#[cfg(test)]\nmod far;\nfn four() {}\n",
        );
        let functions = code.functions();
        let got: Vec<_> = functions.iter().map(|f| (f.name.as_str(), f.line, f.lines, f.in_test)).collect();
        let expected =
            [("one", 1, 3, false), ("two", 10, 1, true), ("three", 12, 1, false), ("four", 15, 1, false)];
        assert_eq!(got, expected);
    }

    #[test]
    fn test_files_are_known_by_their_place() {
        for path in [
            "crates/a/tests/x.rs",
            "crates/a/src/b/tests.rs",
            "a/src/crash_test.rs",
            "fuzz/x.rs",
            "a/examples/x.rs",
        ] {
            assert!(is_test_file(path), "{path}");
        }
        for path in ["crates/a/src/latest.rs", "crates/a/src/contest.rs", "crates/a/src/lib.rs"] {
            assert!(!is_test_file(path), "{path}");
        }
    }

    #[test]
    fn this_file_finds_itself() {
        assert!(files("rs").contains(&"ringfort/tests/structure/source.rs".to_owned()));
        assert!(files("rs").iter().all(|path| !path.contains("target/")));
    }
}
