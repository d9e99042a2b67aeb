//! What a store must hold: a history of batches, and which of them were acknowledged at which level.
//!
//! ```text
//!   commits   c0 c1 c2 c3 c4 c5 c6
//!                  │        │     └ submitted: may or may not have happened
//!                  │        └ applied:  after the death of the process everything up to here is there
//!                  └ durable: after a power cut at least everything up to here is there
//! ```
//! In both cases what is there is a *prefix* of the history, whole batches, over all keyspaces.
#![allow(dead_code, reason = "each test binary uses its part")]

use crate::common::{dump, poll};
use ringfort_base::KeyspaceId;
use ringfort_store::txn::prepared::Prepared;
use ringfort_store::txn::transaction::TxnOptions;
use ringfort_store::{CannotMerge, MergeOperator, Store, StoredValue, WriteBatch};
use std::collections::{BTreeMap, BTreeSet};
use std::task::Poll;

/// A keyspace's content.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Space {
    pub entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub count: i64,
    /// In the first keyspace: the names of all prepared transactions of the store that are not decided.
    pub in_doubt: BTreeSet<Vec<u8>>,
}

/// All keyspaces, by index.
pub type State = Vec<Space>;

/// What the keyspace of a merge is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operator {
    /// The built-in `append:2c`.
    Append,
    /// [`Prepend`].
    Prepend,
}

/// An operator of a user's, which merges nothing partially and refuses the operand `poison`.
pub struct Prepend;

impl MergeOperator for Prepend {
    fn name(&self) -> &str {
        "test.prepend"
    }

    fn full_merge(
        &self,
        _: &[u8],
        existing: Option<&[u8]>,
        operands: &[&[u8]],
    ) -> Result<Vec<u8>, CannotMerge> {
        if operands.iter().any(|operand| *operand == b"poison") {
            return Err(CannotMerge("refused by the test"));
        }
        let parts: Vec<&[u8]> = operands.iter().rev().copied().chain(existing).collect();
        Ok(parts.join(&b'|'))
    }
}

/// One operation on the keyspace with this index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    Put(usize, Vec<u8>, Vec<u8>),
    /// A put whose value was written by the piece, before the batch.
    PutStored(usize, Vec<u8>, Vec<u8>),
    Merge(usize, Vec<u8>, Vec<u8>, Operator),
    Delete(usize, Vec<u8>),
    DeleteRange(usize, Vec<u8>, Vec<u8>),
    Count(usize, i64),
    /// A transaction is prepared.
    Prepare(Vec<u8>),
    /// It is decided, and does this.
    Decide(Vec<u8>, Vec<Change>),
}

/// Carries out one batch.
pub fn apply(state: &mut State, commit: &[Change]) {
    for change in commit {
        match change {
            Change::Put(ks, key, value) | Change::PutStored(ks, key, value) => {
                state[*ks].entries.insert(key.clone(), value.clone());
            }
            Change::Merge(ks, key, operand, operator) => {
                let existing = state[*ks].entries.remove(key);
                let value = match (existing, operator) {
                    (None, _) => operand.clone(),
                    (Some(value), Operator::Append) => [&value[..], operand].join(&b','),
                    (Some(value), Operator::Prepend) => [operand, &value[..]].join(&b'|'),
                };
                state[*ks].entries.insert(key.clone(), value);
            }
            Change::Delete(ks, key) => {
                state[*ks].entries.remove(key);
            }
            Change::DeleteRange(ks, from, to) => {
                state[*ks].entries.retain(|key, _| !(from <= key && key < to));
            }
            Change::Count(ks, delta) => state[*ks].count += delta,
            Change::Prepare(name) => drop(state[0].in_doubt.insert(name.clone())),
            Change::Decide(name, changes) => {
                assert!(state[0].in_doubt.remove(name), "only what is in doubt is decided");
                apply(state, changes);
            }
        }
    }
}

/// A value that is written by the piece, in pieces that are none of the store's.
pub fn stored(store: &Store, value: &[u8]) -> ringfort_base::Result<StoredValue> {
    let mut writer = store.value_writer();
    value.chunks((value.len() / 3).max(7)).try_for_each(|piece| writer.write(piece))?;
    assert_eq!(writer.len(), value.len());
    writer.finish()
}

/// Prepares a transaction that makes these changes. `None`: others hold what it needs.
pub fn prepare(
    store: &Store,
    ids: &[KeyspaceId],
    name: &[u8],
    changes: &[Change],
) -> ringfort_base::Result<Option<Prepared>> {
    let work = async {
        let mut txn = store.begin(TxnOptions::default());
        for change in changes {
            match change {
                Change::Put(ks, key, value) => txn.put(ids[*ks], key, value).await?,
                Change::Merge(ks, key, operand, _) => txn.merge(ids[*ks], key, operand).await?,
                Change::Delete(ks, key) => txn.delete(ids[*ks], key).await?,
                Change::DeleteRange(ks, from, to) => txn.delete_range(ids[*ks], from, to).await?,
                Change::Count(ks, delta) => txn.count(ids[*ks], *delta),
                other => panic!("no transaction does {other:?}"),
            }
        }
        txn.prepare(name).await
    };
    match poll(work) {
        Poll::Ready(prepared) => prepared.map(Some),
        Poll::Pending => Ok(None),
    }
}

/// A plain write of what the transaction writes waits for it.
pub fn check_locks(store: &Store, ids: &[KeyspaceId], changes: &[Change]) -> Result<(), String> {
    for change in changes {
        let (ks, key) = match change {
            Change::Put(ks, key, _) | Change::Merge(ks, key, ..) | Change::Delete(ks, key) => (ks, key),
            Change::DeleteRange(ks, from, to) if from < to => (ks, from),
            _ => continue,
        };
        let mut batch = WriteBatch::new();
        batch.put(ids[*ks], key, b"plain");
        if poll(store.hold(&batch)).is_ready() {
            return Err(format!("key {:?} is not locked", String::from_utf8_lossy(key)));
        }
    }
    Ok(())
}

/// The batch that the store is given.
pub fn batch(store: &Store, ids: &[KeyspaceId], commit: &[Change]) -> ringfort_base::Result<WriteBatch> {
    let mut batch = WriteBatch::new();
    for change in commit {
        match change {
            Change::Put(ks, key, value) => batch.put(ids[*ks], key.clone(), value.clone()),
            Change::PutStored(ks, key, value) => {
                batch.put_stored(ids[*ks], key, stored(store, value)?);
            }
            Change::Merge(ks, key, operand, _) => batch.merge(ids[*ks], key, operand),
            Change::Delete(ks, key) => batch.delete(ids[*ks], key.clone()),
            Change::DeleteRange(ks, from, to) => batch.delete_range(ids[*ks], from.clone(), to.clone()),
            Change::Count(ks, delta) => batch.count(ids[*ks], *delta),
            Change::Prepare(_) | Change::Decide(..) => panic!("no batch prepares or decides"),
        }
    }
    Ok(batch)
}

/// How the store's process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Everything written is there.
    Kill,
    /// What was not synced may be lost.
    PowerCut,
}

/// The history of a store and what was promised about it.
#[derive(Clone, Default, Debug)]
pub struct History {
    /// Names of the keyspaces, by index; those behind `created` were not acknowledged.
    pub names: Vec<String>,
    pub created: usize,
    /// The state before the first commit.
    pub base: State,
    pub commits: Vec<Vec<Change>>,
    /// What transactions that were ever prepared do, by their names, none of which is used again.
    pub prepared: BTreeMap<Vec<u8>, Vec<Change>>,
    pub applied: usize,
    pub durable: usize,
}

impl History {
    /// The state after the first `n` commits.
    pub fn state(&self, n: usize) -> State {
        let mut state = self.base.clone();
        state.resize(self.names.len(), Space::default());
        self.commits[..n].iter().for_each(|commit| apply(&mut state, commit));
        state
    }

    /// The state that readers see now.
    pub fn visible(&self) -> State {
        self.state(self.applied)
    }

    /// Compares an opened store with what it may be: the number of commits that it holds.
    pub fn check(&self, store: &Store, end: End) -> Result<usize, String> {
        let seen = self.observe(store)?;
        let promised = if end == End::Kill { self.applied } else { self.durable };
        let mut state = self.state(0);
        let mut found = None;
        for n in 0..=self.commits.len() {
            if n > 0 {
                apply(&mut state, &self.commits[n - 1]);
            }
            if state == seen {
                found = Some(n);
                if n >= promised {
                    return Ok(n);
                }
            }
        }
        Err(match found {
            Some(n) => format!("only {n} commits are left after a {end:?}, {promised} were acknowledged"),
            None => format!(
                "the state is no prefix of the history (a {end:?}, {promised} of {} commits acknowledged): {}",
                self.commits.len(),
                difference(&self.state(promised), &seen)
            ),
        })
    }

    /// What is promised after `end`, before the store opened again.
    pub fn survive(&mut self, end: End) {
        if end == End::PowerCut {
            self.applied = self.durable;
        }
    }

    /// The first `n` commits, and the keyspaces that `store` has, are where the next life begins.
    pub fn begin_with(&mut self, n: usize, store: &Store) {
        self.base = self.state(n);
        self.commits.clear();
        (self.applied, self.durable) = (0, 0);
        let there = self.names.iter().take_while(|name| store.keyspace(name).is_some()).count();
        self.names.truncate(there);
        self.base.truncate(there);
        self.created = there;
    }

    /// Reads everything, by iterators and by keys.
    fn observe(&self, store: &Store) -> Result<State, String> {
        let mut state = State::new();
        for (index, name) in self.names.iter().enumerate() {
            let Some(id) = store.keyspace(name) else {
                if index < self.created {
                    return Err(format!("keyspace {name} is gone, whose creation was acknowledged"));
                }
                state.push(Space::default());
                continue;
            };
            let failed = |e| format!("reading keyspace {name}: {e}");
            let entries: BTreeMap<_, _> = dump(store, id).map_err(failed)?.into_iter().collect();
            let count = store.count(id).map_err(failed)?.value;
            let touched = self.commits.iter().flatten().filter_map(|change| match change {
                Change::Put(ks, key, _)
                | Change::PutStored(ks, key, _)
                | Change::Merge(ks, key, ..)
                | Change::Delete(ks, key)
                    if *ks == index =>
                {
                    Some(key)
                }
                _ => None,
            });
            for key in touched {
                let value = store.get(id, key, None).map_err(failed)?.value;
                if value.as_deref() != entries.get(key).map(Vec::as_slice) {
                    return Err(format!("keyspace {name}: get and iterator disagree about {key:?}"));
                }
            }
            state.push(Space { entries, count, ..Space::default() });
        }
        let in_doubt: BTreeSet<Vec<u8>> = store.prepared().into_iter().map(|txn| txn.name).collect();
        match state.first_mut() {
            Some(first) => first.in_doubt = in_doubt,
            None if in_doubt.is_empty() => {}
            None => return Err("a transaction is in doubt in a store without keyspaces".to_owned()),
        }
        Ok(state)
    }
}

fn difference(expected: &State, seen: &State) -> String {
    for (index, (expected, seen)) in expected.iter().zip(seen).enumerate() {
        for key in expected.entries.keys().chain(seen.entries.keys()) {
            let (a, b) = (expected.entries.get(key), seen.entries.get(key));
            if a != b {
                let short = |v: Option<&Vec<u8>>| {
                    v.map(|v| String::from_utf8_lossy(&v[..v.len().min(16)]).into_owned())
                };
                return format!(
                    "keyspace {index}, key {:?}: {:?} against {:?}",
                    String::from_utf8_lossy(key),
                    short(a),
                    short(b)
                );
            }
        }
        if expected.count != seen.count {
            return format!("keyspace {index}: count {} against {}", expected.count, seen.count);
        }
    }
    if let (Some(expected), Some(seen)) = (expected.first(), seen.first())
        && expected.in_doubt != seen.in_doubt
    {
        let names = |space: &Space| -> Vec<String> {
            space.in_doubt.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
        };
        return format!("in doubt: {:?} against {:?}", names(expected), names(seen));
    }
    "the same".to_owned()
}
