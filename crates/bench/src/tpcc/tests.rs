//! TPC-C on a store in memory: what is planted against a consistency condition is named, and nothing else.

use super::schema::{Customer, District, History, Key, Order, OrderLine, Row, Stock, Table, Warehouse};
use super::*;
use crate::transactional::{Transaction, Visit, Work};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// One transaction at a time.
#[derive(Default)]
struct Memory(Mutex<Rows>);

struct Txn<'m> {
    rows: &'m mut Rows,
    /// What stood there before, in the order of the writes.
    before: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Memory {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap()
    }
}

impl Transactional for Memory {
    fn transact(&self, _read_only: bool, work: &mut Work<'_>) -> Result<u64> {
        let mut rows = self.rows();
        let mut txn = Txn { rows: &mut rows, before: Vec::new() };
        let end = work(&mut txn);
        let before = txn.before;
        if !matches!(end, Ok(End::Commit)) {
            for (key, value) in before.into_iter().rev() {
                match value {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
        }
        end.map(|_| 0)
    }

    fn load(&self, entries: &[(Vec<u8>, Vec<u8>)]) -> Result<()> {
        self.rows().extend(entries.iter().cloned());
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

impl Transaction for Txn<'_> {
    fn get(&mut self, key: &[u8], _for_update: bool, value: &mut Vec<u8>) -> Result<bool> {
        value.clear();
        let found = self.rows.get(key);
        value.extend_from_slice(found.map(Vec::as_slice).unwrap_or_default());
        Ok(found.is_some())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let before = self.rows.insert(key.to_vec(), value.to_vec());
        self.before.push((key.to_vec(), before));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        let before = self.rows.remove(key);
        self.before.push((key.to_vec(), before));
        Ok(())
    }

    fn scan(
        &mut self,
        from: &[u8],
        to: &[u8],
        reverse: bool,
        limit: usize,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let mut range = self.rows.range(from.to_vec()..to.to_vec());
        for _ in 0..limit {
            let entry = if reverse { range.next_back() } else { range.next() };
            let Some((key, value)) = entry else { break };
            visit(key, value)?;
        }
        Ok(())
    }
}

/// Changes one row.
fn change<R: Row>(rows: &mut Rows, key: &Key, change: impl FnOnce(&mut R)) {
    let value = rows.get_mut(&key.0).expect("the row is there");
    let mut row = R::decode(value).unwrap();
    change(&mut row);
    *value = row.encode();
}

const W: u32 = 1;
const D: u32 = 4;

fn district(rows: &mut Rows, d: u32, to: impl FnOnce(&mut District)) {
    change(rows, &Key::of(Table::District, &[W, d]), to);
}

fn customer(rows: &mut Rows, c: u32, to: impl FnOnce(&mut Customer)) {
    change(rows, &Key::of(Table::Customer, &[W, D, c]), to);
}

fn order(rows: &mut Rows, o: u32, to: impl FnOnce(&mut Order)) {
    change(rows, &Key::of(Table::Order, &[W, D, o]), to);
}

fn lines(rows: &mut Rows, o: u32, to: impl Fn(&mut OrderLine)) {
    let prefix = Key::of(Table::OrderLine, &[W, D, o]);
    let keys: Vec<_> =
        rows.range(prefix.0.clone()..prefix.end().0).map(|(key, _)| Key(key.clone())).collect();
    keys.iter().for_each(|key| change(rows, key, &to));
}

fn move_key(rows: &mut Rows, from: &Key, to: &Key) {
    let row = rows.remove(&from.0).expect("the row is there");
    assert_eq!(rows.insert(to.0.clone(), row), None);
}

/// An order in the middle of those that wait is delivered, with everything that belongs to it.
fn deliver_out_of_turn(rows: &mut Rows) {
    const O: u32 = 2500;
    rows.remove(&Key::of(Table::NewOrder, &[W, D, O]).0).expect("it waits");
    let mut of = 0;
    order(rows, O, |row| {
        row.carrier = 1;
        of = row.customer;
    });
    lines(rows, O, |line| line.delivered = 1);
    let prefix = Key::of(Table::OrderLine, &[W, D, O]);
    let amounts = rows.range(prefix.0.clone()..prefix.end().0);
    let amount: i64 = amounts.map(|(_, row)| OrderLine::decode(row).unwrap().amount).sum();
    customer(rows, of, |row| {
        row.balance += amount;
        row.deliveries += 1;
    });
}

type Plant = fn(&mut Rows);

/// What is changed, and the conditions that no longer hold then. 8, 9 for all districts, and 1 are two equations and
/// their sum, so 1 and 8 are never alone; that each is looked at shows from the pairs.
const PLANTED: &[(&str, Plant, &[u32])] = &[
    (
        "a warehouse's takings",
        |rows| {
            change::<Warehouse>(rows, &Key::of(Table::Warehouse, &[W]), |row| row.ytd += 1);
        },
        &[1, 8],
    ),
    ("a district's takings", |rows| district(rows, D, |row| row.ytd += 1), &[1, 9]),
    (
        "a district is missing",
        |rows| {
            // Its takings with it, so that the sums are as before.
            change::<District>(rows, &Key::of(Table::District, &[W, 9]), |row| row.ytd += 3_000_000);
            rows.remove(&Key::of(Table::District, &[W, 10]).0);
        },
        &[1, 9],
    ),
    ("the next order's number", |rows| district(rows, D, |row| row.next_order += 1), &[2]),
    (
        "the last order is lost from those that wait",
        |rows| {
            rows.remove(&Key::of(Table::NewOrder, &[W, D, 3000]).0);
        },
        &[2, 5, 11],
    ),
    ("a delivery out of turn", deliver_out_of_turn, &[3]),
    (
        "a line of an order that is not there",
        |rows| {
            let line = rows[&Key::of(Table::OrderLine, &[W, D, 1, 1]).0].clone();
            rows.insert(Key::of(Table::OrderLine, &[W, D, 9999, 1]).0, line);
        },
        &[4],
    ),
    (
        "an order that waits was never entered as such",
        |rows| {
            order(rows, 7, |row| row.carrier = 0);
            lines(rows, 7, |line| line.delivered = 0);
        },
        &[5],
    ),
    ("a carrier without a delivery", |rows| order(rows, 2900, |row| row.carrier = 3), &[5, 7]),
    (
        "two orders' counts of lines",
        |rows| {
            order(rows, 7, |row| row.lines += 1);
            order(rows, 8, |row| row.lines -= 1);
        },
        &[6],
    ),
    (
        "a line changes its order",
        |rows| {
            move_key(
                rows,
                &Key::of(Table::OrderLine, &[W, D, 7, 5]),
                &Key::of(Table::OrderLine, &[W, D, 8, 77]),
            );
        },
        &[6],
    ),
    (
        "a line that is not delivered",
        |rows| {
            change::<OrderLine>(rows, &Key::of(Table::OrderLine, &[W, D, 7, 1]), |row| row.delivered = 0);
        },
        &[7],
    ),
    (
        "a payment of another amount",
        |rows| {
            change::<History>(rows, &Key::of(Table::History, &[W, D, 0, 0, 5]), |row| row.amount += 1);
        },
        &[8, 9, 10],
    ),
    (
        "takings of one district in another",
        |rows| {
            district(rows, D, |row| row.ytd += 1);
            district(rows, D + 1, |row| row.ytd -= 1);
        },
        &[9],
    ),
    ("a customer's balance", |rows| customer(rows, 5, |row| row.balance += 1), &[10, 12]),
    (
        "a balance and what was paid",
        |rows| {
            customer(rows, 5, |row| {
                row.balance += 1;
                row.ytd_payment -= 1;
            });
        },
        &[10],
    ),
    (
        "a payment by another customer",
        |rows| {
            change::<History>(rows, &Key::of(Table::History, &[W, D, 0, 0, 5]), |row| row.customer = 6);
        },
        &[10],
    ),
    ("a delivery that is counted twice", |rows| customer(rows, 5, |row| row.deliveries += 1), &[11]),
    ("what a customer has paid", |rows| customer(rows, 5, |row| row.ytd_payment += 1), &[12]),
];

/// The numbers of the conditions that are named.
fn named(violations: &[String]) -> BTreeSet<u32> {
    let number = |text: &String| -> u32 {
        let rest = text.strip_prefix("condition ").expect("it is named");
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    violations.iter().map(number).collect()
}

fn plan(terminals: u32) -> Plan {
    let (warm_up, duration) = (Duration::ZERO, Duration::from_millis(700));
    Plan { warehouses: 1, terminals, warm_up, duration, seed: 5 }
}

#[test]
fn each_condition_finds_what_is_planted_against_it() {
    let store = Memory::default();
    load(&store, &plan(1)).unwrap();
    assert_eq!(check(&store, 1).unwrap(), [""; 0], "what was loaded is consistent");
    let loaded = store.rows().clone();
    let mut found = BTreeSet::new();
    for (what, plant, expected) in PLANTED {
        plant(&mut store.rows());
        let violations = check(&store, 1).unwrap();
        assert_eq!(named(&violations), expected.iter().copied().collect(), "{what}: {violations:?}");
        let place = if *expected == [1, 8] { "warehouse 1" } else { "1/" };
        assert!(violations.iter().any(|text| text.contains(place)), "{what}: {violations:?}");
        found.extend(expected.iter().copied());
        // Only what is looked at may have been changed.
        store.rows().clone_from(&loaded);
    }
    assert_eq!(found, (1..=12).collect());
}

#[test]
fn the_population_is_that_of_the_specification() {
    let store = Memory::default();
    load(&store, &plan(1)).unwrap();
    let rows = store.rows();
    let count = |table: Table| rows.keys().filter(|key| key[0] == table as u8).count();
    assert_eq!([count(Table::Warehouse), count(Table::District)], [1, 10]);
    assert_eq!([count(Table::Customer), count(Table::History), count(Table::Order)], [30_000; 3]);
    assert_eq!([count(Table::NewOrder), count(Table::Item), count(Table::Stock)], [9_000, 100_000, 100_000]);
    assert!((290_000..310_000).contains(&count(Table::OrderLine)), "10 lines an order, about");
    assert_eq!([count(Table::CustomerByName), count(Table::OrderByCustomer)], [30_000; 2]);
    let all = |table: Table| rows.range(vec![table as u8]..vec![table as u8 + 1]).map(|(_, row)| row);
    let customers: Vec<_> = all(Table::Customer).map(|row| Customer::decode(row).unwrap()).collect();
    let bad = customers.iter().filter(|row| row.credit == "BC").count();
    assert!((2_700..3_300).contains(&bad), "a tenth has bad credit: {bad}");
    // The first thousand of a district have one name each (4.3.3.1).
    let names: BTreeSet<_> = customers[..1000].iter().map(|row| &row.last).collect();
    assert_eq!(names.len(), 1000);
    let stocks = all(Table::Stock).map(|row| Stock::decode(row).unwrap());
    assert!(stocks.clone().all(|row| (10..=100).contains(&row.quantity) && row.dists.len() == 240));
    let original = stocks.filter(|row| row.data.contains(random::ORIGINAL)).count();
    assert!((9_400..10_600).contains(&original), "{original}");
}

/// Two runs on one database, of several terminals each: all five kinds in their shares, and consistent afterwards.
#[test]
fn runs_follow_each_other_on_one_database() {
    let store = Memory::default();
    load(&store, &plan(1)).unwrap();
    let first = run(&store, &plan(3)).unwrap();
    assert_eq!(first.violations, [""; 0]);
    let payments = store.rows().keys().filter(|key| key[0] == Table::History as u8).count();
    let second = run(&store, &plan(2)).unwrap();
    assert_eq!(second.violations, [""; 0], "the second run's payments do not replace the first's");
    assert!(store.rows().keys().filter(|key| key[0] == Table::History as u8).count() > payments);
    let ended = |name: &str| {
        let of =
            |outcome: &Outcome| outcome.run.kind(name).map_or(0, |kind| kind.committed + kind.rolled_back);
        (of(&first) + of(&second)) as f64
    };
    let all: f64 = Kind::ALL.iter().map(|kind| ended(kind.name())).sum();
    assert!(all > 500.0, "{all}");
    for (kind, share) in Kind::ALL.iter().zip([0.45, 0.43, 0.04, 0.04, 0.04]) {
        let found = ended(kind.name()) / all;
        assert!((found / share - 1.0).abs() < 0.5, "{}: {found} instead of {share}", kind.name());
    }
    assert!(first.run.kinds.iter().all(|kind| kind.rolled_back == 0 || kind.transaction == "New-Order"));
}

/// The shares that the terminals' input has (2.4.1, 2.5.1, 2.6.1).
#[test]
fn terminals_enter_what_the_specification_says() {
    let mut random = Random::new(3, Constants::of_load(7).of_run());
    let mut draw = |kind| Input::draw(kind, &mut random, (2, 3, 5), 0, [1, 1, 1]);
    let (mut lines, mut remote, mut rolled_back) = (0, 0, 0);
    for _ in 0..20_000 {
        let (all, far, unused) = draw(Kind::NewOrder).lines(2);
        assert!((5..=15).contains(&all));
        (lines, remote, rolled_back) = (lines + all, remote + far, rolled_back + usize::from(unused));
    }
    assert!((195_000..205_000).contains(&lines), "10 lines on the average: {lines}");
    assert!((1_700..2_300).contains(&remote), "1 of a hundred lines is remote: {remote}");
    assert!((140..260).contains(&rolled_back), "1 of a hundred is rolled back: {rolled_back}");
    let (mut remote, mut by_name) = (0, 0);
    for _ in 0..20_000 {
        let Input::Payment { customer: (w, _, who), w: home, .. } = draw(Kind::Payment) else { panic!() };
        (remote, by_name) = (remote + u32::from(w != home), by_name + u32::from(who.is_name()));
    }
    assert!((2_800..3_200).contains(&remote), "15 of a hundred pay elsewhere: {remote}");
    assert!((11_700..12_300).contains(&by_name), "60 of a hundred say their name: {by_name}");
}
