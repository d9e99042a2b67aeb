//! A state machine: random operations on a store, mirrored in ordered maps, over kills and power cuts.

use crate::common::{self, Machine, settle, small};
use crate::model::{self, Change, End, History, Operator, State, batch};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use ringfort_base::{KeyspaceId, Level};
use ringfort_fault::memory::CrashChoice;
use ringfort_store::{Compression, KeyspaceOptions, Snapshot, Store};
use ringfort_trust::keyfile::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;

const KEYSPACES: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Commit(Vec<Change>, Level),
    Load(usize, BTreeMap<Vec<u8>, Vec<u8>>),
    TakeSnapshot,
    CheckSnapshots,
    DropSnapshot(usize),
    Range { keyspace: usize, from: Vec<u8>, to: Option<Vec<u8>>, reverse: bool, at: Option<usize> },
    Flush(Option<usize>),
    Settle,
    Background,
    Compact { keyspace: usize, from: Option<Vec<u8>>, to: Option<Vec<u8>> },
    Reopen,
    Kill,
    PowerCut(u64),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u8..24).prop_map(|i| format!("key{i:02}").into_bytes()),
        1 => Just(Vec::new()),
        1 => proptest::collection::vec(prop_oneof![Just(0u8), Just(b'k'), Just(0xff)], 0..4),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), prop_oneof![5 => 0usize..40, 2 => 200usize..900, 1 => Just(5000usize)])
        .prop_map(|(byte, len)| (0..len).map(|i| byte.wrapping_add((i / 7) as u8)).collect())
}

fn change() -> impl Strategy<Value = Change> {
    let ks = 0..KEYSPACES;
    prop_oneof![
        10 => (ks.clone(), key(), value()).prop_map(|(ks, key, value)| Change::Put(ks, key, value)),
        3 => (ks.clone(), key(), value()).prop_map(|(ks, key, value)| Change::PutStored(ks, key, value)),
        6 => (ks.clone(), key(), value())
            .prop_map(|(ks, key, operand)| Change::Merge(ks, key, operand, operator(ks))),
        4 => (ks.clone(), key()).prop_map(|(ks, key)| Change::Delete(ks, key)),
        2 => (ks.clone(), key(), key()).prop_map(|(ks, from, to)| Change::DeleteRange(ks, from, to)),
        1 => (ks, -5i64..9).prop_map(|(ks, delta)| Change::Count(ks, delta)),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let level = prop_oneof![6 => Just(Level::Buffered), 2 => Just(Level::Durable), 1 => Just(Level::Fresh)];
    prop_oneof![
        30 => (proptest::collection::vec(change(), 1..5), level).prop_map(|(changes, level)| Op::Commit(changes, level)),
        2 => (0..KEYSPACES, proptest::collection::btree_map(key(), value(), 0..12))
            .prop_map(|(keyspace, entries)| Op::Load(keyspace, entries)),
        4 => Just(Op::TakeSnapshot),
        3 => Just(Op::CheckSnapshots),
        3 => any::<usize>().prop_map(Op::DropSnapshot),
        8 => (0..KEYSPACES, key(), proptest::option::of(key()), any::<bool>(), proptest::option::of(any::<usize>()))
            .prop_map(|(keyspace, from, to, reverse, at)| Op::Range { keyspace, from, to, reverse, at }),
        4 => proptest::option::of(0..KEYSPACES).prop_map(Op::Flush),
        2 => Just(Op::Settle),
        5 => Just(Op::Background),
        2 => (0..KEYSPACES, proptest::option::of(key()), proptest::option::of(key()))
            .prop_map(|(keyspace, from, to)| Op::Compact { keyspace, from, to }),
        1 => Just(Op::Reopen),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::PowerCut),
    ]
}

/// The second keyspace has an operator of a user's.
fn operator(keyspace: usize) -> Operator {
    if keyspace == 1 { Operator::Prepend } else { Operator::Append }
}

fn options(keyspace: usize) -> KeyspaceOptions {
    let compression = [Compression::None, Compression::Lz4, Compression::Zstd][keyspace % 3];
    KeyspaceOptions {
        compression,
        write_buffer_bytes: 4096,
        table_bytes: 4096,
        level1_bytes: 8192,
        merge_operator: Some(
            match operator(keyspace) {
                Operator::Append => "append:2c",
                Operator::Prepend => "test.prepend",
            }
            .to_owned(),
        ),
        // In one of the keyspaces every value lies apart, in one the longer ones, in one none.
        separate_values_from_bytes: [0, 1, 20][keyspace % 3],
        prefix_bytes: keyspace % 3,
        ..small()
    }
}

/// As [`Machine::open`], with the operators that the keyspaces are bound to.
fn open(machine: &Machine) -> ringfort_base::Result<Store> {
    let mut options = machine.options();
    options.merge_operators.register(Arc::new(model::Prepend));
    Store::open(machine.world(), options)
}

struct Mirror {
    machine: Machine,
    store: Store,
    ids: Vec<KeyspaceId>,
    history: History,
    snapshots: Vec<(Snapshot, State)>,
}

impl Mirror {
    fn new(mode: Mode, seed: u64) -> Self {
        let machine = Machine::new(mode, seed);
        let store = open(&machine).unwrap();
        let names: Vec<String> = (0..KEYSPACES).map(|i| format!("ks{i}")).collect();
        let ids = names
            .iter()
            .enumerate()
            .map(|(i, name)| store.create_keyspace(name, options(i)).unwrap())
            .collect();
        let history = History { created: KEYSPACES, names, ..History::default() };
        Self { machine, store, ids, history, snapshots: Vec::new() }
    }

    /// A new process on what `end` left.
    fn reopen(&mut self, machine: Machine, end: End) -> Result<(), String> {
        self.snapshots.clear();
        self.machine = machine;
        self.store = open(&self.machine).map_err(|e| format!("refused after a {end:?}: {e}"))?;
        let left = self.history.check(&self.store, end)?;
        self.history.begin_with(left, &self.store);
        let ids: Vec<_> = self.history.names.iter().filter_map(|name| self.store.keyspace(name)).collect();
        if ids == self.ids { Ok(()) } else { Err(format!("ids {:?} became {ids:?}", self.ids)) }
    }

    fn run(&mut self, op: &Op) -> Result<(), String> {
        let failed = |e: ringfort_base::Error| e.to_string();
        match op {
            Op::Commit(changes, level) => {
                self.history.commits.push(changes.clone());
                batch(&self.store, &self.ids, changes)
                    .and_then(|batch| common::commit(&self.store, batch, *level))
                    .map_err(failed)?;
                self.history.applied = self.history.commits.len();
                if *level > Level::Buffered {
                    self.history.durable = self.history.applied;
                }
                Ok(())
            }
            Op::Load(keyspace, entries) => {
                let puts =
                    entries.iter().map(|(key, value)| Change::Put(*keyspace, key.clone(), value.clone()));
                self.history.commits.push(puts.collect());
                crate::common::now(self.store.bulk_load(self.ids[*keyspace], entries)).map_err(failed)?;
                self.history.applied = self.history.commits.len();
                if !entries.is_empty() {
                    self.history.durable = self.history.applied;
                }
                Ok(())
            }
            Op::TakeSnapshot => {
                self.snapshots.push((self.store.snapshot(), self.history.visible()));
                Ok(())
            }
            Op::CheckSnapshots => self.snapshots.iter().try_for_each(|(snapshot, state)| {
                (0..KEYSPACES).try_for_each(|ks| self.compare(ks, b"", None, false, snapshot, state))
            }),
            Op::DropSnapshot(n) => {
                if !self.snapshots.is_empty() {
                    let n = n % self.snapshots.len();
                    drop(self.snapshots.swap_remove(n));
                }
                Ok(())
            }
            Op::Range { keyspace, from, to, reverse, at } => {
                let at = at.and_then(|n| self.snapshots.get(n % self.snapshots.len().max(1)));
                match at {
                    Some((snapshot, state)) => {
                        self.compare(*keyspace, from, to.as_deref(), *reverse, snapshot, state)
                    }
                    None => {
                        let (snapshot, state) = (self.store.snapshot(), self.history.visible());
                        self.compare(*keyspace, from, to.as_deref(), *reverse, &snapshot, &state)
                    }
                }
            }
            Op::Flush(keyspace) => self.store.flush(keyspace.map(|ks| self.ids[ks])).map_err(failed),
            Op::Settle => settle(&self.store).map_err(failed),
            Op::Background => self.store.maintenance_step().map(drop).map_err(failed),
            Op::Compact { keyspace, from, to } => {
                self.store.compact_range(self.ids[*keyspace], from.as_deref(), to.as_deref()).map_err(failed)
            }
            Op::Reopen => {
                self.store.close().map_err(failed)?;
                self.history.durable = self.history.commits.len();
                self.reopen(self.machine.after_kill(), End::PowerCut)
            }
            Op::Kill => {
                let machine = self.machine.map(ringfort_fault::memory::MemDisk::fork);
                self.reopen(machine, End::Kill)
            }
            Op::PowerCut(seed) => {
                self.reopen(self.machine.after_power_cut(CrashChoice::Seeded(*seed)), End::PowerCut)
            }
        }
    }

    fn compare(
        &self,
        ks: usize,
        from: &[u8],
        to: Option<&[u8]>,
        reverse: bool,
        at: &Snapshot,
        state: &State,
    ) -> Result<(), String> {
        let empty = model::Space::default();
        let space = state.get(ks).unwrap_or(&empty);
        let mut expected: Vec<_> = space
            .entries
            .range(from.to_vec()..)
            .take_while(|(key, _)| to.is_none_or(|to| key.as_slice() < to))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if reverse {
            expected.reverse();
        }
        let iter = self.store.iter(self.ids[ks], from, to, reverse, at).map_err(|e| e.to_string())?;
        let seen: Vec<_> = iter.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        if seen != expected {
            let keys = |entries: &[(Vec<u8>, Vec<u8>)]| -> Vec<String> {
                entries
                    .iter()
                    .map(|(key, value)| format!("{}={}", String::from_utf8_lossy(key), value.len()))
                    .collect()
            };
            return Err(format!(
                "{from:?}..{to:?} reverse {reverse}: {:?} instead of {:?}",
                keys(&seen),
                keys(&expected)
            ));
        }
        for (key, value) in expected.iter().step_by(3) {
            let found = self.store.get(self.ids[ks], key, Some(at)).map_err(|e| e.to_string())?.value;
            if found.as_deref() != Some(value.as_slice()) {
                return Err(format!("get of {key:?} differs from the iterator"));
            }
        }
        self.compare_prefixes(ks, &expected, at, space)?;
        // Those that are there, twice and in no order, and some that are not.
        let absent = expected.iter().map(|(key, _)| [key.as_slice(), b"\0"].concat());
        let present = expected.iter().rev().chain(&expected).map(|(key, _)| key.clone());
        let keys: Vec<Vec<u8>> = present.chain(absent).collect();
        let found = self.store.multi_get(self.ids[ks], &keys, Some(at)).map_err(|e| e.to_string())?.value;
        for (key, value) in keys.iter().zip(&found) {
            if value.as_deref() != space.entries.get(key).map(Vec::as_slice) {
                return Err(format!("{key:?} among many differs from the iterator"));
            }
        }
        Ok(())
    }
}

impl Mirror {
    /// Scans over keys that share their first bytes, which filters may answer: of keys that are there,
    /// and of their neighbours.
    fn compare_prefixes(
        &self,
        ks: usize,
        some: &[(Vec<u8>, Vec<u8>)],
        at: &Snapshot,
        space: &model::Space,
    ) -> Result<(), String> {
        for (key, _) in some.iter().step_by(4) {
            for (len, step) in [(1, 0), (2, 0), (2, 1)] {
                let Some(mut prefix) = key.get(..len).map(<[u8]>::to_vec) else { continue };
                prefix[len - 1] = prefix[len - 1].wrapping_add(step);
                let behind = prefix.iter().rposition(|byte| *byte < u8::MAX).map(|last| {
                    let mut behind = prefix[..=last].to_vec();
                    behind[last] += 1;
                    behind
                });
                let iter = self.store.iter(self.ids[ks], &prefix, behind.as_deref(), false, at);
                let seen: Result<Vec<_>, _> = iter.and_then(Iterator::collect);
                let expected: Vec<_> = space
                    .entries
                    .range(prefix.clone()..)
                    .take_while(|(key, _)| key.starts_with(&prefix))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                if seen.map_err(|e| e.to_string())? != expected {
                    return Err(format!("a scan of the prefix {prefix:?} differs from the model"));
                }
            }
        }
        Ok(())
    }
}

/// Runs `cases` random sequences in `mode`, the same ones every time.
pub fn mirror(mode: Mode, cases: u32) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&(any::<u64>(), proptest::collection::vec(op(), 1..90)), |(seed, ops)| {
        let mut mirror = Mirror::new(mode, seed);
        for (n, op) in ops.iter().enumerate() {
            mirror.run(op).map_err(|why| TestCaseError::fail(format!("{mode}: operation {n}: {why}")))?;
        }
        // Whatever happened: it settles, verifies, and is all there in the next life.
        for op in [Op::CheckSnapshots, Op::Settle, Op::Kill, Op::Settle, Op::Reopen] {
            mirror
                .run(&op)
                .map_err(|why| TestCaseError::fail(format!("{mode}: at the end, {op:?}: {why}")))?;
        }
        mirror.store.verify_checksums().map_err(|e| TestCaseError::fail(e.to_string()))?;
        Ok(())
    });
    outcome.unwrap_or_else(|e| panic!("{e}"));
}
