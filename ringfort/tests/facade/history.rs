//! What the threads of an embedded store did and saw, by the public calls alone: the isolation checker finds nothing
//! that strictly serializable transactions cannot have produced. Crashes, and all else that a store meets below, are
//! in the campaigns of `ringfort-store`.

use ringfort::{
    Concurrency, Db, Error, ErrorKind, KeyspaceId, KeyspaceOptions, Level, Result, Transaction, TxnOptions,
    WriteBatch,
};
use ringfort_checker::{Op, Order, Outcome, Txn, check};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Registers' names for the checker; lists are below.
const REGISTERS: u64 = 1 << 40;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

struct History {
    db: Db,
    lists: KeyspaceId,
    registers: KeyspaceId,
    clock: AtomicU64,
    values: AtomicU64,
    txns: Mutex<Vec<Txn>>,
}

fn decode(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks(8).map(|chunk| u64::from_be_bytes(chunk.try_into().unwrap())).collect()
}

impl History {
    fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    fn base(&self) -> u64 {
        self.values.load(Ordering::Relaxed) / 150 * 4
    }

    /// Runs `work` and writes down what it did.
    fn note(&self, session: u32, work: impl FnOnce(&mut Vec<Op>) -> Outcome) {
        let (start, mut ops) = (self.clock.fetch_add(1, Ordering::SeqCst), Vec::new());
        let outcome = work(&mut ops);
        let end = self.clock.fetch_add(1, Ordering::SeqCst);
        self.txns.lock().unwrap().push(Txn { session, start, end, outcome, ops });
    }

    fn client(&self, session: u32, txns: u64) {
        let mut rng = Rng(u64::from(session) + 1);
        for _ in 0..txns {
            let level = Level::ALL[rng.below(3) as usize];
            match rng.below(10) {
                0 | 1 => self.note(session, |ops| self.write(level, &mut rng, ops)),
                2 => self.note(session, |ops| self.read(level, &mut rng, ops)),
                _ => self.note(session, |ops| self.transact(level, &mut rng, ops)),
            }
        }
    }

    /// A plain batch: blind additions to a list, and a register.
    fn write(&self, level: Level, rng: &mut Rng, ops: &mut Vec<Op>) -> Outcome {
        let (list, register) = (self.base() + rng.below(8), self.base() + rng.below(4));
        let (first, second) = (self.value(), self.value());
        let mut batch = WriteBatch::new();
        batch.merge(self.lists, list.to_be_bytes(), first.to_be_bytes());
        batch.put(self.registers, register.to_be_bytes(), second.to_be_bytes());
        *ops = vec![
            Op::Append { key: list, value: first },
            Op::Write { key: REGISTERS + register, value: second },
        ];
        self.db.write_with(batch, level).unwrap();
        Outcome::Committed
    }

    /// A plain read.
    fn read(&self, level: Level, rng: &mut Rng, ops: &mut Vec<Op>) -> Outcome {
        let key = self.base() + rng.below(8);
        let found = self.db.keyspace("lists").unwrap().get_with(key.to_be_bytes(), level).unwrap();
        ops.push(Op::List { key, values: decode(&found.unwrap_or_default()) });
        Outcome::Committed
    }

    /// Reads, scans, additions and registers, until it commits.
    fn transact(&self, level: Level, rng: &mut Rng, ops: &mut Vec<Op>) -> Outcome {
        let kinds = [Concurrency::Pessimistic, Concurrency::Optimistic, Concurrency::Snapshot];
        let concurrency = kinds[rng.below(3) as usize];
        let may_write = concurrency != Concurrency::Snapshot;
        let base = self.base();
        let gives_up = rng.below(20) == 0;
        let mut work = |txn: &mut Transaction| -> Result<()> {
            ops.clear();
            for _ in 0..1 + rng.below(4) {
                let key = base + rng.below(8);
                let name = key.to_be_bytes();
                match rng.below(4) {
                    0 => {
                        let to = key + 5;
                        let scan = txn.scan(self.lists, name..to.to_be_bytes());
                        let named =
                            scan.map(|entry| entry.map(|(key, value)| (decode(&key)[0], decode(&value))));
                        let found = named.collect::<Result<_>>()?;
                        ops.push(Op::ScanLists { from: key, to, found });
                    }
                    1 if may_write => {
                        let value = self.value();
                        txn.merge(self.lists, name, value.to_be_bytes())?;
                        ops.push(Op::Append { key, value });
                    }
                    2 => {
                        let found = txn.get(self.registers, name)?;
                        let value = found.map(|found| decode(&found)[0]);
                        ops.push(Op::Read { key: REGISTERS + key, value });
                        if may_write {
                            let value = self.value();
                            txn.put(self.registers, name, value.to_be_bytes())?;
                            ops.push(Op::Write { key: REGISTERS + key, value });
                        }
                    }
                    _ => {
                        let values = decode(&txn.get(self.lists, name)?.unwrap_or_default());
                        ops.push(Op::List { key, values });
                    }
                }
            }
            if gives_up { Err(Error::new(ErrorKind::Invalid, "thought better of it")) } else { Ok(()) }
        };
        let options = TxnOptions { concurrency, ..TxnOptions::default() };
        let ended = match level {
            Level::Durable => self.db.transact(options, &mut work),
            _ => loop {
                let mut txn = self.db.begin(options);
                match work(&mut txn).and_then(|()| txn.commit_with(level)) {
                    Err(e) if matches!(e.kind(), ErrorKind::Conflict | ErrorKind::Deadlock) => {}
                    ended => break ended.map(drop),
                }
            },
        };
        match ended {
            Ok(()) => Outcome::Committed,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                Outcome::Aborted
            }
        }
    }
}

#[test]
fn threads_of_an_embedded_store_are_strictly_serializable() {
    let long = std::env::var_os("RINGFORT_LONG").is_some();
    let db = Db::open_temporary().unwrap();
    let appends = KeyspaceOptions { merge_operator: Some("append".into()), ..KeyspaceOptions::default() };
    let history = History {
        lists: db.create_keyspace("lists", appends).unwrap().id(),
        registers: db.default_keyspace().id(),
        db,
        clock: AtomicU64::new(0),
        values: AtomicU64::new(0),
        txns: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for session in 0..6 {
            let history = &history;
            scope.spawn(move || history.client(session, if long { 10_000 } else { 400 }));
        }
    });
    let report = check(&history.txns.lock().unwrap(), Order::RealTime).unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.counted > 1000 && report.reads > 1000, "{report}");
}
