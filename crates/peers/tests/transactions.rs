//! `transactions` and `treaty` end to end, as small as they go: processes, files, tables, figures, and an
//! interruption. What numbers come out is no matter here.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("ringfort-peers-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What it printed, and what it said on its way.
fn peers(dir: &Path, line: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfort-peers"));
    let words = line.split_whitespace();
    let out = command.args(words).arg("--json").arg(dir.join("results.json")).output().unwrap();
    let (said, wrong) = (String::from_utf8(out.stdout).unwrap(), String::from_utf8(out.stderr).unwrap());
    assert!(out.status.success(), "{line}: {wrong}");
    (said, wrong)
}

fn rows<'a>(table: &'a str, begin: &str) -> Vec<&'a str> {
    table.lines().filter(|line| line.starts_with(begin)).collect()
}

#[test]
fn transactions_of_every_store_and_kind() {
    let dir = Dir::new("transactions");
    let at = dir.0.display();
    let line = format!(
        "transactions --dir {at} --num 300 --value_size 100 --seconds 0.05 --warm_up 0 --repeats 1 --mixes f"
    );
    let (said, wrong) = peers(&dir.0, &line);
    // One client: five stores by locks, four by checks (LMDB has one kind). Eight: the same, and ours uniform.
    assert_eq!(rows(&said, "| rocksdb |").len(), 4, "{said}");
    assert_eq!(rows(&said, "| ringfort |").len(), 6, "{said}");
    assert_eq!(rows(&said, "| lmdb |").len(), 2, "{said}");
    assert_eq!(rows(&said, "- zipfian by uniform").len(), 2, "{said}");
    assert!(!wrong.contains("from the file"), "{wrong}");
    let left: Vec<_> = std::fs::read_dir(&dir.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["results.json"], "stores are removed");
    let (again, wrong) = peers(&dir.0, &line);
    assert_eq!(wrong.matches("from the file").count(), 20, "{wrong}");
    let numbers =
        |text: &str| text.lines().filter(|line| line.starts_with('|')).collect::<Vec<_>>().join("\n");
    assert_eq!(numbers(&again), numbers(&said));
    let (tables, _) = peers(&dir.0, "tables");
    assert!(rows(&tables, "| one client, 10 operations").iter().all(|row| !row.contains("not measured |")));
    assert_eq!(rows(&tables, "| rocksdb |").len(), 4, "{tables}");
}

#[test]
fn treaty_goes_on_where_it_was_and_checks_tpcc() {
    let dir = Dir::new("treaty");
    let at = dir.0.display();
    let line = |by: &str, workloads: &str, clients: &str| {
        format!(
            "treaty --by {by} --dir {at} --out {at}/figures --num 300 --value_size 100 --warehouses 1 --seconds 0.1 --warm_up 0 \
             --repeats 1 --workloads {workloads} --clients {clients}"
        )
    };
    let (said, _) = peers(&dir.0, &line("pessimistic,optimistic", "ycsb-20", "4"));
    assert_eq!(rows(&said, "#### Figure").len(), 2, "{said}");
    let row = rows(&said, "| 4 |")[0].to_owned();
    assert!(row.matches("**").count() == 10 && !row.contains("| – |"), "{row}");
    let (said, wrong) = peers(&dir.0, &line("pessimistic", "ycsb-20,tpcc", "4"));
    assert_eq!(wrong.matches("from the file").count(), 6, "{wrong}");
    assert_eq!(wrong.matches("0 of TPC-C's conditions do not hold").count(), 2, "{wrong}");
    assert_eq!(rows(&said, "#### Figure").len(), 2, "{said}");
    assert!(rows(&said, "| 4 |").contains(&&*row), "{said}");
    let mut files: Vec<_> = std::fs::read_dir(dir.0.join("figures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let expected = ["treaty-6-tpcc.svg", "treaty-6-ycsb-20.svg", "treaty-7-ycsb-20.svg"];
    assert_eq!(files, expected);
}
