//! Who wrote what, and what each transaction read from others.
//!
//! Keys get small numbers. Writes are sorted by key and value, so that a key's writes are a slice and
//! a writer is found by binary search. Of reads only what came from outside is kept: behind a
//! transaction's own writes it is what lies under them. Where a transaction contradicts itself,
//! that is noted here too.

use crate::anomaly::Kind;
use crate::history::{Malformed, Op, Outcome, Txn};
use std::collections::HashMap;

/// One write of a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Write {
    pub(crate) key: u32,
    pub(crate) value: u64,
    pub(crate) txn: u32,
    /// Its place among the operations of the transaction.
    pub(crate) op: u32,
    /// The transaction's last write of the key: the only one that others may see.
    pub(crate) last: bool,
}

/// What a read saw of others' writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen<'h> {
    List(&'h [u64]),
    Register(Option<u64>),
}

/// A read of something that the reader did not write itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'h> {
    pub(crate) txn: u32,
    pub(crate) key: u32,
    pub(crate) seen: Seen<'h>,
    /// The key was found absent by a scan.
    pub(crate) predicate: bool,
}

/// A history, looked through.
pub(crate) struct Index<'h> {
    pub(crate) history: &'h [Txn],
    /// The keys' names, ascending: a key's number is its place here.
    pub(crate) keys: Vec<u64>,
    /// Sorted by key and value.
    pub(crate) writes: Vec<Write>,
    /// Where each key's writes begin, and the end.
    starts: Vec<usize>,
    /// Sorted by key; of transactions that count.
    pub(crate) reads: Vec<Read<'h>>,
    /// Whether a transaction counts: committed, or unknown and seen.
    pub(crate) counts: Vec<bool>,
    /// Transactions that contradict themselves, with the key.
    pub(crate) contradictions: Vec<(Kind, u32, u32)>,
    is_list: Vec<bool>,
}

impl<'h> Index<'h> {
    pub(crate) fn new(history: &'h [Txn]) -> Result<Self, Malformed> {
        if history.len() >= 1 << 31 {
            return Err(Malformed("it has too many transactions".into()));
        }
        let (keys, is_list) = keys(history)?;
        let mut index = Self {
            history,
            keys,
            writes: Vec::new(),
            starts: Vec::new(),
            reads: Vec::new(),
            counts: history.iter().map(|txn| txn.outcome == Outcome::Committed).collect(),
            contradictions: Vec::new(),
            is_list,
        };
        index.collect_writes()?;
        index.collect_reads();
        Ok(index)
    }

    fn key(&self, name: u64) -> u32 {
        self.keys.partition_point(|&key| key < name) as u32
    }

    /// The writes of a key, by value.
    pub(crate) fn of_key(&self, key: u32) -> &[Write] {
        &self.writes[self.starts[key as usize]..self.starts[key as usize + 1]]
    }

    /// Where in [`Index::writes`] a value's write stands.
    pub(crate) fn find(&self, key: u32, value: u64) -> Option<usize> {
        let first = self.starts[key as usize];
        self.of_key(key).binary_search_by_key(&value, |write| write.value).ok().map(|at| first + at)
    }

    pub(crate) fn is_list(&self, key: u32) -> bool {
        self.is_list[key as usize]
    }

    fn collect_writes(&mut self) -> Result<(), Malformed> {
        let history = self.history;
        for (number, txn) in history.iter().enumerate() {
            if txn.end < txn.start && txn.outcome != Outcome::Unknown {
                return Err(Malformed(format!("transaction {number} ends before it begins")));
            }
            let first = self.writes.len();
            for (op, step) in txn.ops.iter().enumerate() {
                if let Op::Append { key, value } | Op::Write { key, value } = *step {
                    let key = self.key(key);
                    for write in self.writes[first..].iter_mut().filter(|write| write.key == key) {
                        write.last = false;
                    }
                    self.writes.push(Write { key, value, txn: number as u32, op: op as u32, last: true });
                }
            }
        }
        self.writes.sort_unstable_by_key(|write| (write.key, write.value));
        if let Some(twice) =
            self.writes.windows(2).find(|pair| (pair[0].key, pair[0].value) == (pair[1].key, pair[1].value))
        {
            let (key, value) = (self.keys[twice[0].key as usize], twice[0].value);
            return Err(Malformed(format!("value {value} is written to key {key} twice")));
        }
        self.starts = (0..=self.keys.len() as u32)
            .map(|key| self.writes.partition_point(|write| write.key < key))
            .collect();
        Ok(())
    }

    /// Reads of the committed, then of the unknown ones that these saw, and so on.
    fn collect_reads(&mut self) {
        let mut fresh: Vec<u32> =
            (0..self.history.len() as u32).filter(|&t| self.counts[t as usize]).collect();
        let mut doubtful = vec![false; self.keys.len()];
        for write in &self.writes {
            doubtful[write.key as usize] |= self.history[write.txn as usize].outcome == Outcome::Unknown;
        }
        while !fresh.is_empty() {
            let before = self.reads.len();
            for &txn in &fresh {
                self.reads_of(txn);
            }
            fresh.clear();
            self.seen_unknown(before, &doubtful, &mut fresh);
        }
        self.reads.sort_by_key(|read| read.key);
    }

    /// Which unknown transactions the reads from `from` on have seen; `doubtful` keys have writes of such.
    fn seen_unknown(&mut self, from: usize, doubtful: &[bool], fresh: &mut Vec<u32>) {
        for at in from..self.reads.len() {
            let Read { key, seen, .. } = self.reads[at];
            if !doubtful[key as usize] {
                continue;
            }
            let one;
            let values = match seen {
                Seen::List(values) => values,
                Seen::Register(value) => {
                    one = value;
                    one.as_slice()
                }
            };
            for &value in values {
                let Some(write) = self.find(key, value).map(|at| self.writes[at]) else { continue };
                let txn = write.txn as usize;
                if !self.counts[txn] && self.history[txn].outcome == Outcome::Unknown {
                    self.counts[txn] = true;
                    fresh.push(write.txn);
                }
            }
        }
    }

    fn reads_of(&mut self, number: u32) {
        let history = self.history;
        let mut own = Own { txn: number, keys: Vec::new(), reads: Vec::new(), contradicts: Vec::new() };
        for op in &history[number as usize].ops {
            match op {
                Op::Append { key, value } => own.appended(self.key(*key), *value),
                Op::Write { key, value } => own.wrote(self.key(*key), *value),
                Op::List { key, values } => own.saw_list(self.key(*key), values, false),
                Op::Read { key, value } => own.saw_register(self.key(*key), *value, false),
                Op::ScanLists { from, to, found } => {
                    for key in self.key(*from)..self.key(*to) {
                        if !self.is_list(key) {
                            continue;
                        }
                        match found.iter().find(|(name, _)| *name == self.keys[key as usize]) {
                            Some((_, values)) => own.saw_list(key, values, false),
                            None => own.saw_list(key, &[], true),
                        }
                    }
                }
                Op::ScanValues { from, to, found } => {
                    for key in self.key(*from)..self.key(*to) {
                        if self.is_list(key) {
                            continue;
                        }
                        let value = found.iter().find(|(name, _)| *name == self.keys[key as usize]);
                        own.saw_register(key, value.map(|(_, value)| *value), value.is_none());
                    }
                }
            }
        }
        self.reads.append(&mut own.reads);
        self.contradictions.extend(own.contradicts.iter().map(|&key| (Kind::Internal, number, key)));
    }
}

/// All names of keys, ascending, and whether each is a list.
fn keys(history: &[Txn]) -> Result<(Vec<u64>, Vec<bool>), Malformed> {
    let mut known: HashMap<u64, bool> = HashMap::new();
    let mut note = |key: u64, list: bool| match known.insert(key, list) {
        Some(before) if before != list => Err(Malformed(format!("key {key} is a list and a register"))),
        _ => Ok(()),
    };
    for op in history.iter().flat_map(|txn| &txn.ops) {
        match op {
            Op::Append { key, .. } | Op::List { key, .. } => note(*key, true)?,
            Op::Write { key, .. } | Op::Read { key, .. } => note(*key, false)?,
            Op::ScanLists { found, .. } => found.iter().try_for_each(|(key, _)| note(*key, true))?,
            Op::ScanValues { found, .. } => found.iter().try_for_each(|(key, _)| note(*key, false))?,
        }
    }
    let mut all: Vec<(u64, bool)> = known.into_iter().collect();
    all.sort_unstable();
    Ok(all.into_iter().unzip())
}

/// What a transaction knows of one key so far.
struct OwnKey<'h> {
    key: u32,
    /// What it saw under its own writes.
    seen: Option<Seen<'h>>,
    /// What it wrote itself: appended values in order, or the register's value.
    own: Vec<u64>,
}

/// A transaction while its operations are gone through.
struct Own<'h> {
    txn: u32,
    keys: Vec<OwnKey<'h>>,
    reads: Vec<Read<'h>>,
    contradicts: Vec<u32>,
}

impl<'h> Own<'h> {
    fn key(&mut self, key: u32) -> &mut OwnKey<'h> {
        let at = self.keys.iter().position(|known| known.key == key).unwrap_or_else(|| {
            self.keys.push(OwnKey { key, seen: None, own: Vec::new() });
            self.keys.len() - 1
        });
        &mut self.keys[at]
    }

    fn appended(&mut self, key: u32, value: u64) {
        self.key(key).own.push(value);
    }

    fn wrote(&mut self, key: u32, value: u64) {
        let own = &mut self.key(key).own;
        own.clear();
        own.push(value);
    }

    fn saw_list(&mut self, key: u32, values: &'h [u64], predicate: bool) {
        let known = self.key(key);
        match values.strip_suffix(known.own.as_slice()) {
            Some(others) => self.saw(key, Seen::List(others), predicate),
            None => self.contradicts.push(key),
        }
    }

    fn saw_register(&mut self, key: u32, value: Option<u64>, predicate: bool) {
        match self.key(key).own.last().copied() {
            Some(own) if value == Some(own) => {}
            Some(_) => self.contradicts.push(key),
            None => self.saw(key, Seen::Register(value), predicate),
        }
    }

    fn saw(&mut self, key: u32, seen: Seen<'h>, predicate: bool) {
        let txn = self.txn;
        let known = self.key(key);
        match known.seen {
            None => {
                known.seen = Some(seen);
                self.reads.push(Read { txn, key, seen, predicate });
            }
            Some(before) if before == seen => {}
            Some(_) => self.contradicts.push(key),
        }
    }
}
