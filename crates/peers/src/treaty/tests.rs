//! The command's points, its tables and its figures, over numbers that are made up.

use super::*;
use crate::Cli;
use crate::transactions::cells::Cell;
use crate::transactions::cells::tests::cell;
use clap::Parser;

pub fn cells_of(cells: Vec<Cell>) -> Cells {
    Cells(cells)
}

pub fn at_fresh(mut cell: Cell) -> Cell {
    cell.point.level = Level::Fresh;
    cell
}

fn parsed(line: &[&str]) -> Args {
    match Cli::parse_from([&["x", "treaty"], line].concat()).command {
        crate::Command::Treaty(args) => args,
        _ => panic!("not treaty"),
    }
}

fn panel() -> Cells {
    let load = parsed(&[]).load(Workload::Ycsb80);
    let mut cells = Vec::new();
    for clients in [1, 64] {
        cells.push(cell("rocksdb", By::Pessimistic, load, clients, &[300.0, 100.0, 200.0]));
        cells.push(cell("ringfort", By::Pessimistic, load, clients, &[300.0, 200.0, 400.0]));
        cells.push(at_fresh(cell("ringfort", By::Pessimistic, load, clients, &[150.0, 100.0, 200.0])));
    }
    Cells(cells)
}

#[test]
fn six_configurations_take_turns_at_every_point() {
    let args = parsed(&[]);
    let round = args.round(Workload::Tpcc, By::Optimistic, 16);
    assert_eq!((round.len(), args.clients.len(), args.warehouses), (6, 8, 10));
    for (point, configuration) in round.iter().zip(CONFIGURATIONS) {
        let is: Vec<&str> =
            CONFIGURATIONS.iter().filter(|one| one.is_of(point)).map(|one| one.name).collect();
        assert_eq!(is, [configuration.name]);
        // One process has a store open, whatever its level.
        let latency_us = if point.store == "ringfort" { 2000 } else { 0 };
        assert_eq!(point.counter_latency_us, latency_us);
        assert!(stores::by_name(&point.store).unwrap().by.contains(&point.by));
    }
    // What two workloads load is the same, so that it is loaded once.
    assert_eq!(args.load(Workload::Ycsb80).data(), args.load(Workload::Ycsb20).data());
    assert_ne!(args.load(Workload::Tpcc).data(), args.load(Workload::Ycsb20).data());
    for workload in Workload::ALL {
        assert_eq!(Workload::of(&args.load(workload)), Some(workload));
    }
}

#[test]
fn a_rehearsal_is_small() {
    let quick = parsed(&["--quick", "--repeats=5"]).effective();
    assert_eq!((quick.clients.clone(), quick.turns.repeats, quick.warehouses), (vec![1, 16, 64], 1, 2));
    assert_eq!(quick.num, 100_000);
    let whole = parsed(&["--repeats=5"]).effective();
    assert_eq!((whole.turns.repeats, whole.warehouses, whole.num), (5, 10, 1_000_000));
}

#[test]
fn slowdowns_are_of_one_repeat_and_stand_beside_the_papers() {
    let tables = tables(&panel());
    assert_eq!(tables.matches("#### Figure 6").count(), 1, "{tables}");
    let row = tables.lines().find(|line| line.starts_with("| 64 |")).unwrap();
    let expected = "| 64 | 200 | – | – | – | **0.50** (0.50–1.00) | **1.00** (1.00–2.00) | 1.00 : 9.00 |";
    assert!(row.starts_with(expected), "{row}");
    let paper = tables.lines().find(|line| line.starts_with("| the paper")).unwrap();
    assert!(paper.contains("1.3x") && paper.contains("3.5x (SCONE)"), "{paper}");
    let columns = |line: &str| line.matches('|').count();
    assert_eq!((columns(row), columns(paper)), (columns(row), columns(row)));
}

#[test]
fn each_workload_of_a_figure_has_a_file() {
    let dir = std::env::temp_dir().join(format!("ringfort-treaty-{}", std::process::id()));
    let mut cells = panel();
    let of_7 = panel().0.into_iter().map(|mut cell| {
        cell.point.by = By::Optimistic;
        cell
    });
    cells.0.extend(of_7);
    let written = draw(&cells, &dir).unwrap();
    let names: Vec<String> =
        written.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    let text = std::fs::read_to_string(&written[0]).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(names, ["treaty-6-ycsb-80.svg", "treaty-7-ycsb-80.svg"]);
    // Three lines in each of the two halves.
    assert_eq!(text.matches("<polyline").count(), 6, "{text}");
    assert!(text.contains("sealed, fresh, clients 64: 150"), "{text}");
}

#[test]
fn of_two_sizes_the_last_is_shown() {
    let mut cells = panel();
    let larger = Load::Tpcc { warehouses: 3 };
    cells.0.push(cell("rocksdb", By::Pessimistic, Load::Tpcc { warehouses: 2 }, 1, &[1.0]));
    cells.0.push(cell("rocksdb", By::Pessimistic, larger, 1, &[2.0]));
    let tables = tables(&cells);
    assert!(tables.contains("3 warehouses") && !tables.contains("2 warehouses"), "{tables}");
}
