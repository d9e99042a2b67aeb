//! `docs/threat-model.md` and the tables of rows say the same. `RINGFORT_BLESS=1` rewrites the
//! tables in the document; the difference is for a reviewer to read.

use crate::matrix::{Expect, Row};
use std::path::PathBuf;

const TABLES: [(&str, &[Row]); 6] = [
    ("log_rows::attacks_on_the_log", crate::log_rows::ROWS),
    ("meta_rows::attacks_on_manifest_and_keys", crate::meta_rows::ROWS),
    ("table_rows::attacks_on_tables", crate::table_rows::ROWS),
    ("loaded_rows::attacks_on_loaded_tables", crate::loaded_rows::ROWS),
    ("value_rows::attacks_on_values", crate::value_rows::ROWS),
    ("rollback_rows::old_and_foreign_states", crate::rollback_rows::ROWS),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn word(expect: Expect) -> &'static str {
    match expect {
        Expect::Refused(..) => "refused at open",
        Expect::OnRead(..) => "refused at open or on read",
        Expect::Crash => "as a crash",
        Expect::Harmless => "no effect",
        Expect::Noticed => "no effect, or refused",
        Expect::Outside(_) => "N/A-STATED",
    }
}

fn render(test: &str, rows: &[Row]) -> String {
    let mut out = format!(
        "<!-- table {test} -->\n| attack | what is changed | rule, countermeasure | `software` | `hardware` | `twin` |\n|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let [software, hardware, twin] = row.expect.map(word);
        out.push_str(&format!(
            "| `{}` | {} | {} | {software} | {hardware} | {twin} |\n",
            row.id, row.what, row.by
        ));
    }
    out + "<!-- end -->"
}

#[test]
fn the_document_has_every_row_with_its_outcome() {
    let path = root().join("docs/threat-model.md");
    let mut text = std::fs::read_to_string(&path).unwrap();
    let mut stale = Vec::new();
    for (test, rows) in TABLES {
        let begin =
            text.find(&format!("<!-- table {test} -->")).unwrap_or_else(|| panic!("no table for {test}"));
        let end = begin + text[begin..].find("<!-- end -->").expect("the table ends") + "<!-- end -->".len();
        let table = render(test, rows);
        if text[begin..end] != table {
            stale.push(test);
            text.replace_range(begin..end, &table);
        }
    }
    if std::env::var_os("RINGFORT_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&path, text).unwrap();
    } else {
        assert!(
            stale.is_empty(),
            "docs/threat-model.md is out of date: {stale:?}; RINGFORT_BLESS=1 rewrites it"
        );
    }
}

/// Every test that the document names, as `crate/tests/file.rs::name` or `crate/src/file.rs::name`
/// (`ringfort` stands beside the crates), exists.
#[test]
fn every_test_that_the_document_names_exists() {
    let text = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let mut named = 0;
    for name in text.split('`').skip(1).step_by(2).filter(|name| name.contains(".rs::")) {
        let (file, test) = name.split_once("::").unwrap();
        let place = if file.starts_with("ringfort/") { root() } else { root().join("crates") };
        let source = std::fs::read_to_string(place.join(file));
        let source = source.unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(source.contains(&format!("fn {test}(")), "{name} is not there");
        named += 1;
    }
    assert!(named > 25, "the document names tests: {named}");
}

/// No two rows have one name.
#[test]
fn rows_have_names_of_their_own() {
    let mut ids: Vec<&str> = TABLES.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.id)).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}
