//! A transaction against a model of it: own writes, savepoints, merges, deleted ranges and scans, over a store whose
//! entries lie in memory and in tables; and for an optimistic one, whether its commit conflicts, exactly.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use common::{MODES, Machine, small};
use proptest::prelude::*;
use ringfort_base::{ErrorKind, KeyspaceId};
use ringfort_store::txn::transaction::{Concurrency, Transaction, TxnOptions};
use ringfort_store::{KeyspaceOptions, Store, WriteBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::task::Poll;

/// Keys are single bytes below this.
const KEYS: u8 = 20;

/// A keyspace's number, and a key.
type Name = (usize, u8);

#[derive(Clone, Debug)]
enum Op {
    Get(Name, bool),
    MultiGet(usize, Vec<u8>),
    Put(Name, u16),
    Merge(Name, u8),
    Delete(Name),
    DeleteRange(usize, u8, u8),
    Scan {
        ks: usize,
        from: u8,
        to: Option<u8>,
        reverse: bool,
        limit: usize,
    },
    Batch(Vec<(Name, u16)>, Option<(u8, u8)>),
    Savepoint,
    RollBackTo,
    Pop,
    /// Somebody else, outside of transactions; not while a pessimistic one holds locks.
    Outside(Name, Option<u16>),
    OutsideRange(usize, u8, u8),
    Flush,
}

#[derive(Clone, Debug)]
struct Work {
    how: Concurrency,
    ops: Vec<Op>,
    commits: bool,
}

fn name() -> impl Strategy<Value = Name> {
    (0..2usize, 0..KEYS)
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    let to = prop_oneof![3 => key().prop_map(Some), 1 => Just(None)];
    prop_oneof![
        4 => (name(), any::<bool>()).prop_map(|(name, update)| Op::Get(name, update)),
        2 => (0..2usize, prop::collection::vec(key(), 0..6)).prop_map(|(ks, keys)| Op::MultiGet(ks, keys)),
        4 => (name(), any::<u16>()).prop_map(|(name, value)| Op::Put(name, value)),
        3 => (name(), any::<u8>()).prop_map(|(name, value)| Op::Merge(name, value)),
        2 => name().prop_map(Op::Delete),
        1 => (0..2usize, key(), key()).prop_map(|(ks, from, to)| Op::DeleteRange(ks, from, to)),
        3 => (0..2usize, key(), to, any::<bool>(), prop_oneof![0..6usize, Just(usize::MAX)])
            .prop_map(|(ks, from, to, reverse, limit)| Op::Scan { ks, from, to, reverse, limit }),
        1 => (prop::collection::vec((name(), any::<u16>()), 0..4), prop::option::of((key(), key())))
            .prop_map(|(puts, range)| Op::Batch(puts, range)),
        2 => Just(Op::Savepoint),
        2 => Just(Op::RollBackTo),
        1 => Just(Op::Pop),
        2 => (name(), prop::option::of(any::<u16>())).prop_map(|(name, value)| Op::Outside(name, value)),
        1 => (0..2usize, key(), key()).prop_map(|(ks, from, to)| Op::OutsideRange(ks, from, to)),
        1 => Just(Op::Flush),
    ]
}

fn work() -> impl Strategy<Value = Work> {
    let how = prop_oneof![
        Just(Concurrency::Pessimistic),
        Just(Concurrency::Optimistic),
        Just(Concurrency::Snapshot)
    ];
    (how, prop::collection::vec(op(), 0..30), prop::bool::weighted(0.8))
        .prop_map(|(how, ops, commits)| Work { how, ops, commits })
}

/// Long enough that some lie in value files.
fn value(n: u16) -> Vec<u8> {
    vec![n as u8; 8 + usize::from(n % 64)]
}

type Map = BTreeMap<Name, Vec<u8>>;

/// What a transaction sees, and what it decided by itself.
#[derive(Clone, Default)]
struct Seen {
    map: Map,
    /// Put or deleted, so that what lies under it does not matter.
    decided: BTreeSet<Name>,
    /// Operands onto whatever is there when it commits.
    operands: Map,
    wrote: bool,
}

impl Seen {
    fn delete_range(&mut self, ks: usize, from: u8, to: u8) {
        if from < to {
            self.wrote = true;
            self.map.retain(|&(in_ks, key), _| in_ks != ks || !(from..to).contains(&key));
            self.operands.retain(|&(in_ks, key), _| in_ks != ks || !(from..to).contains(&key));
            self.decided.extend((from..to).map(|key| (ks, key)));
        }
    }

    fn delete(&mut self, name: Name) {
        self.wrote = true;
        self.map.remove(&name);
        self.operands.remove(&name);
        self.decided.insert(name);
    }

    fn merge(&mut self, name: Name, operand: u8) {
        self.wrote = true;
        self.map.entry(name).or_default().push(operand);
        if !self.decided.contains(&name) {
            self.operands.entry(name).or_default().push(operand);
        }
    }

    fn put(&mut self, name: Name, value: Vec<u8>) {
        self.wrote = true;
        self.map.insert(name, value);
        self.operands.remove(&name);
        self.decided.insert(name);
    }
}

struct Run {
    store: Store,
    ks: [KeyspaceId; 2],
    /// What is committed.
    base: Map,
}

fn now<F: Future>(future: F) -> F::Output {
    match common::poll(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nobody is in its way"),
    }
}

impl Run {
    fn outside(&mut self, batch: WriteBatch) {
        now(self.store.hold(&batch)).unwrap().apply(batch).unwrap();
    }

    fn transaction(&mut self, work: &Work) {
        let mut txn = self.store.begin(TxnOptions { concurrency: work.how, age: None });
        let mut model =
            Model { seen: Seen { map: self.base.clone(), ..Seen::default() }, ..Model::default() };
        for op in &work.ops {
            self.step(&mut txn, &mut model, work.how, op);
        }
        if !work.commits {
            return;
        }
        let is_writer = model.seen.wrote && work.how != Concurrency::Snapshot;
        match now(txn.commit()) {
            Ok(_) => {
                let conflicts = work.how == Concurrency::Optimistic && is_writer;
                assert!(!conflicts || model.read.is_disjoint(&model.changed), "a conflict was missed");
                if is_writer {
                    // What others wrote meanwhile stays where this one decided nothing.
                    for (name, value) in model.changes(&self.base) {
                        match value {
                            Some(value) => self.base.insert(name, value),
                            None => self.base.remove(&name),
                        };
                    }
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                assert!(work.how == Concurrency::Optimistic && is_writer, "{error}");
                assert!(!model.read.is_disjoint(&model.changed), "nothing that it read was changed");
            }
        }
    }

    fn step(&mut self, txn: &mut Transaction, model: &mut Model, how: Concurrency, op: &Op) {
        let writes = how != Concurrency::Snapshot;
        match op {
            Op::Get((ks, key), for_update) => {
                let found = match for_update {
                    false => now(txn.get(self.ks[*ks], &[*key])),
                    true => now(txn.get_for_update(self.ks[*ks], &[*key])),
                };
                let found = found.unwrap().map(|value| value.to_vec());
                assert_eq!(found.as_ref(), model.get((*ks, *key)));
            }
            Op::MultiGet(ks, keys) => {
                let names: Vec<[u8; 1]> = keys.iter().map(|key| [*key]).collect();
                let found = now(txn.multi_get(self.ks[*ks], &names)).unwrap();
                for (key, found) in keys.iter().zip(found) {
                    assert_eq!(found.map(|value| value.to_vec()).as_ref(), model.get((*ks, *key)));
                }
            }
            Op::Scan { ks, from, to, reverse, limit } => {
                let to_key = to.map(|to| [to]);
                let to_bytes = to_key.as_ref().map(|to| &to[..]);
                let found = now(txn.scan(self.ks[*ks], &[*from], to_bytes, *reverse, *limit)).unwrap();
                assert_eq!(found, model.scan(*ks, (*from, to.unwrap_or(KEYS)), *reverse, *limit));
            }
            Op::Savepoint => {
                txn.set_savepoint();
                model.savepoints.push(model.seen.clone());
            }
            Op::RollBackTo => match model.savepoints.pop() {
                Some(seen) => {
                    txn.rollback_to_savepoint().unwrap();
                    model.seen = seen;
                }
                None => assert_eq!(txn.rollback_to_savepoint().unwrap_err().kind(), ErrorKind::NotFound),
            },
            Op::Pop => assert_eq!(txn.pop_savepoint().is_ok(), model.savepoints.pop().is_some()),
            Op::Flush => {
                self.store.flush(None).unwrap();
                while self.store.maintenance_step().unwrap() == ringfort_store::Step::Worked {}
            }
            Op::Outside(..) | Op::OutsideRange(..) if how == Concurrency::Pessimistic => {}
            Op::Outside((ks, key), value) => self.outside_put(model, (*ks, *key), *value),
            Op::OutsideRange(ks, from, to) => self.outside_delete(model, *ks, *from, *to),
            _ if !writes => {
                let refused = now(txn.put(self.ks[0], b"k", b"v")).unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Invalid);
            }
            _ => self.write(txn, model, op),
        }
    }

    fn outside_put(&mut self, model: &mut Model, (ks, key): Name, n: Option<u16>) {
        let mut batch = WriteBatch::new();
        match n {
            Some(n) => {
                batch.put(self.ks[ks], [key], value(n));
                self.base.insert((ks, key), value(n));
            }
            None => {
                batch.delete(self.ks[ks], [key]);
                self.base.remove(&(ks, key));
            }
        }
        model.changed.insert((ks, key));
        self.outside(batch);
    }

    fn outside_delete(&mut self, model: &mut Model, ks: usize, from: u8, to: u8) {
        let mut batch = WriteBatch::new();
        batch.delete_range(self.ks[ks], [from], [to]);
        self.base.retain(|&(in_ks, key), _| in_ks != ks || !(from..to).contains(&key));
        model.changed.extend((from..to).map(|key| (ks, key)));
        self.outside(batch);
    }

    fn write(&mut self, txn: &mut Transaction, model: &mut Model, op: &Op) {
        match op {
            Op::Put((ks, key), n) => {
                now(txn.put(self.ks[*ks], &[*key], &value(*n))).unwrap();
                model.seen.put((*ks, *key), value(*n));
            }
            // Only the second keyspace has an operator.
            Op::Merge((_, key), n) => {
                now(txn.merge(self.ks[1], &[*key], &[*n])).unwrap();
                model.seen.merge((1, *key), *n);
            }
            Op::Delete((ks, key)) => {
                now(txn.delete(self.ks[*ks], &[*key])).unwrap();
                model.seen.delete((*ks, *key));
            }
            Op::DeleteRange(ks, from, to) => {
                now(txn.delete_range(self.ks[*ks], &[*from], &[*to])).unwrap();
                model.seen.delete_range(*ks, *from, *to);
            }
            Op::Batch(puts, range) => {
                let mut batch = WriteBatch::new();
                if let Some((from, to)) = range {
                    batch.delete_range(self.ks[0], [*from], [*to]);
                    model.seen.delete_range(0, *from, *to);
                }
                for ((ks, key), n) in puts {
                    batch.put(self.ks[*ks], [*key], value(*n));
                    model.seen.put((*ks, *key), value(*n));
                }
                now(txn.write(&batch)).unwrap();
            }
            _ => unreachable!("it is no write"),
        }
    }
}

/// What a transaction is to see and to find at its end.
#[derive(Default)]
struct Model {
    seen: Seen,
    savepoints: Vec<Seen>,
    /// What it read of the store.
    read: BTreeSet<Name>,
    /// What others wrote since its begin.
    changed: BTreeSet<Name>,
}

impl Model {
    fn get(&mut self, name: Name) -> Option<&Vec<u8>> {
        if !self.seen.decided.contains(&name) {
            self.read.insert(name);
        }
        self.seen.map.get(&name)
    }

    fn scan(
        &mut self,
        ks: usize,
        (from, to): (u8, u8),
        reverse: bool,
        limit: usize,
    ) -> Vec<(Vec<u8>, Vec<u8>)> {
        let inside = |&(in_ks, key): &Name| in_ks == ks && from <= key && key < to;
        let mut all: Vec<(u8, Vec<u8>)> = self
            .seen
            .map
            .iter()
            .filter(|(name, _)| inside(name))
            .map(|(name, value)| (name.1, value.clone()))
            .collect();
        if reverse {
            all.reverse();
        }
        all.truncate(limit);
        let (mut low, mut high) = (from, to);
        if all.len() == limit {
            // It looked no further than its last entry.
            match (all.last(), reverse) {
                (Some((last, _)), false) => high = last + 1,
                (Some((last, _)), true) => low = *last,
                (None, _) => high = low,
            }
        }
        self.read.extend((low..high).map(|key| (ks, key)));
        all.into_iter().map(|(key, value)| (vec![key], value)).collect()
    }

    /// What a commit makes of the committed state.
    fn changes(&self, base: &Map) -> Vec<(Name, Option<Vec<u8>>)> {
        let names = (0..2).flat_map(|ks| (0..KEYS).map(move |key| (ks, key)));
        let changes = names.filter_map(|name| {
            if self.seen.decided.contains(&name) {
                return Some((name, self.seen.map.get(&name).cloned()));
            }
            let operands = self.seen.operands.get(&name)?;
            let under = base.get(&name).cloned().unwrap_or_default();
            Some((name, Some([under.as_slice(), operands].concat())))
        });
        changes.collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if long() { 5000 } else { 150 }, ..ProptestConfig::default() })]

    #[test]
    fn a_transaction_is_what_its_model_is(mode in 0..3usize, work in prop::collection::vec(work(), 1..8)) {
        let machine = Machine::new(MODES[mode], 5);
        let store = machine.open().unwrap();
        let options = KeyspaceOptions { separate_values_from_bytes: 60, ..small() };
        let appends = KeyspaceOptions { merge_operator: Some("append".into()), ..options.clone() };
        let ks = [store.create_keyspace("a", options).unwrap(), store.create_keyspace("b", appends).unwrap()];
        let mut run = Run { store, ks, base: Map::new() };
        for work in &work {
            run.transaction(work);
        }
        // What is committed is what the model says, for whoever begins now.
        let mut view = run.store.begin(TxnOptions { concurrency: Concurrency::Snapshot, age: None });
        for (nth, ks) in run.ks.into_iter().enumerate() {
            let found = now(view.scan(ks, b"", None, false, usize::MAX)).unwrap();
            let expected: Vec<(Vec<u8>, Vec<u8>)> = run
                .base
                .iter()
                .filter(|((in_ks, _), _)| *in_ks == nth)
                .map(|((_, key), value)| (vec![*key], value.clone()))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}

fn long() -> bool {
    std::env::var_os("RINGFORT_LONG").is_some_and(|v| v == "1")
}
