//! Tidiness that a machine can see.

use crate::is_unfinished;
use crate::source::{Code, files, is_test_file, read};

const FILE_LINES_MAX: usize = 1200;
const FUNCTION_LINES_MAX: usize = 70;

/// Functions that are longer, with their length. It only shrinks: a listed function that grew, or
/// that is short again, fails the test.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

#[test]
fn files_stay_readable() {
    let long: Vec<String> = files("rs")
        .into_iter()
        .map(|path| (read(&path).lines().count(), path))
        .filter(|(lines, _)| *lines >= FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "split by role: {long:#?}");
}

#[test]
fn functions_fit_a_screen() {
    let mut broken = Vec::new();
    let mut used = Vec::new();
    for path in files("rs").iter().filter(|path| !is_test_file(path)) {
        let functions = Code::new(&read(path)).functions();
        for function in functions.iter().filter(|f| !f.in_test && f.lines > FUNCTION_LINES_MAX) {
            let entry = LONG_FUNCTIONS.iter().find(|(file, name, _)| path == file && function.name == *name);
            used.extend(entry);
            if entry.is_none_or(|(.., lines)| function.lines > *lines) {
                broken.push(format!(
                    "{path}:{}: {} has {} lines",
                    function.line, function.name, function.lines
                ));
            }
        }
    }
    broken.extend(
        LONG_FUNCTIONS
            .iter()
            .filter(|entry| !used.contains(entry))
            .map(|entry| format!("{}: {} is short now: take it off the list", entry.0, entry.1)),
    );
    assert!(broken.is_empty(), "more than {FUNCTION_LINES_MAX} lines: {broken:#?}");
}

#[test]
fn every_module_opens_with_its_chapter() {
    let bare: Vec<String> = files("rs")
        .into_iter()
        .filter(|path| !is_unfinished(path) && !opens_with_chapter(&read(path)))
        .collect();
    assert!(bare.is_empty(), "no `//!` at the top: {bare:#?}");
}

fn opens_with_chapter(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let title = first.strip_prefix("//!").unwrap_or_default().trim();
    !title.is_empty() && title != "placeholder"
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here so that this file does not find itself.
    let words = ["TO", "FIX", "X", "HA"].iter().zip(["DO", "ME", "XX", "CK"]).map(|(a, b)| format!("{a}{b}"));
    let words: Vec<String> = words.collect();
    let mut found = Vec::new();
    for path in files("rs").iter().chain(&files("toml")).filter(|path| !is_unfinished(path)) {
        let text = read(path);
        for (nth, line) in text.lines().enumerate() {
            let mut tokens = line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            if tokens.any(|token| words.iter().any(|word| token == word)) {
                found.push(format!("{path}:{}", nth + 1));
            }
        }
        let code = Code::new(&text);
        for at in
            [format!("{}!(", "todo"), format!("{}!(", "unimplemented")].iter().flat_map(|m| code.find_all(m))
        {
            found.push(format!("{path}:{}", code.line(at)));
        }
    }
    assert!(found.is_empty(), "reminders in the source: {found:#?}");
}

#[test]
fn documents_have_a_title() {
    let untitled: Vec<String> = files("md")
        .into_iter()
        .filter(|path| !read(path).lines().next().is_some_and(|line| line.starts_with("# ")))
        .collect();
    assert!(untitled.is_empty(), "no `# Title` in the first line: {untitled:#?}");
}
