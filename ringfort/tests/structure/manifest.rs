//! Reads the dependency tables of a `Cargo.toml`, and nothing else of it.

use std::collections::BTreeMap;

/// The kind of a dependency table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    Normal,
    Dev,
    Build,
}

/// The dependencies of one manifest, by kind; names as on the registry (renames are resolved).
pub type Dependencies = BTreeMap<Kind, Vec<String>>;

/// Collects all dependency tables, those of `[target.…]` too.
pub fn dependencies(text: &str) -> Dependencies {
    let mut found = Dependencies::new();
    let mut table = Table::Other;
    let mut depth = 0;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        // The rest of an array or inline table that began on an earlier line.
        let inside = depth > 0;
        depth += balance(line);
        if inside {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            depth = 0;
            table = Table::of(header.rsplit_once(']').map_or(header, |(header, _)| header));
            if let Table::One(kind, name) = &table {
                found.entry(*kind).or_default().push(name.clone());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        match &table {
            Table::All(kind) => {
                let name = key.split('.').next().unwrap_or(key).trim_matches('"');
                found.entry(*kind).or_default().push(renamed(value).unwrap_or(name).to_owned());
            }
            Table::One(kind, _) if key == "package" => {
                if let Some(last) = found.entry(*kind).or_default().last_mut() {
                    *last = value.trim_matches('"').to_owned();
                }
            }
            Table::One(..) | Table::Other => {}
        }
    }
    found
}

enum Table {
    /// `[dependencies]`: one dependency per line.
    All(Kind),
    /// `[dependencies.name]`: one dependency.
    One(Kind, String),
    Other,
}

impl Table {
    fn of(header: &str) -> Self {
        if header.starts_with("workspace") {
            return Self::Other;
        }
        for (key, kind) in [
            ("dev-dependencies", Kind::Dev),
            ("build-dependencies", Kind::Build),
            ("dependencies", Kind::Normal),
        ] {
            if header == key || header.ends_with(&format!(".{key}")) {
                return Self::All(kind);
            }
            let within = header.strip_prefix(&format!("{key}.")).or_else(|| {
                let (_, rest) = header.strip_prefix("target.")?.rsplit_once(&format!(".{key}."))?;
                Some(rest)
            });
            if let Some(name) = within {
                return Self::One(kind, name.trim_matches('"').to_owned());
            }
        }
        Self::Other
    }
}

/// The value of `package = "…"` in an inline table.
fn renamed(value: &str) -> Option<&str> {
    let (_, after) = value.split_once("package")?;
    after.trim_start().strip_prefix('=')?.split('"').nth(1)
}

/// Opening minus closing brackets outside of strings.
fn balance(line: &str) -> i32 {
    line.split('"')
        .step_by(2)
        .flat_map(str::chars)
        .map(|c| match c {
            '[' | '{' => 1,
            ']' | '}' => -1,
            _ => 0,
        })
        .sum()
}

#[test]
fn reads_every_way_of_writing_a_dependency() {
    let text = r#"
[package]
name = "x"
tokio = "not a dependency"

[dependencies] # comment
a.workspace = true
b = "1"
c = { workspace = true, features = ["x"] }
d = { version = "1", package = "real-d" }
e = { version = "1", features = [
    "f",
    "g",
] }

[dependencies.h]
version = "1"
package = "real-h"

[target.'cfg(unix)'.dependencies]
i = "1"

[target.'cfg(unix)'.dev-dependencies.j]
version = "1"

[dev-dependencies]
k.path = "../k"

[build-dependencies]
l = "1"

[features]
m = ["dep:a"]
"#;
    let found = dependencies(text);
    assert_eq!(found[&Kind::Normal], ["a", "b", "c", "real-d", "e", "real-h", "i"]);
    assert_eq!(found[&Kind::Dev], ["j", "k"]);
    assert_eq!(found[&Kind::Build], ["l"]);
}
