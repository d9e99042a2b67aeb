//! A map that remembers what was asked of it, and one run on it.

use parking_lot::Mutex;
use ringfort_base::Level;
use ringfort_bench::{
    Begun, Benchmark, Direction, Engine, Measured, Op, Plan, Report, Result, Settings, Target, Visit,
    Workload,
};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    Put(Vec<u8>, Level),
    Delete(Vec<u8>, Level),
    Batch(Vec<Vec<u8>>, Level),
    /// The nth begun write, by its first key.
    Begin(u64, Vec<u8>, Level),
    Wait(u64),
    Merge(Vec<u8>),
    Get(Vec<u8>),
    Read(Vec<u8>),
    MultiGet(Vec<Vec<u8>>),
    /// With the entries that were visited.
    Scan(Option<Vec<u8>>, Direction, Vec<Vec<u8>>),
    Settle,
    Close,
}

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
pub struct Model {
    pub map: Mutex<Map>,
    pub calls: Arc<Mutex<Vec<Call>>>,
    /// Calls of `put` from this one on fail; 0 for none.
    pub fail_from: AtomicU64,
    puts: AtomicU64,
    begun: AtomicU64,
}

/// A write that was begun: what it is, and where it says that it was waited for.
struct UnderWay(u64, Arc<Mutex<Vec<Call>>>);

impl Begun for UnderWay {
    fn wait(self: Box<Self>) -> Result<()> {
        self.1.lock().push(Call::Wait(self.0));
        Ok(())
    }
}

impl Model {
    fn log(&self, call: Call) {
        self.calls.lock().push(call);
    }

    /// The calls so far, which are forgotten.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock())
    }

    pub fn keys(&self) -> Vec<Vec<u8>> {
        self.map.lock().keys().cloned().collect()
    }
}

impl Engine for Model {
    fn put(&self, key: &[u8], value: &[u8], level: Level) -> Result<()> {
        let nth = self.puts.fetch_add(1, Ordering::Relaxed) + 1;
        let fail_from = self.fail_from.load(Ordering::Relaxed);
        if fail_from > 0 && nth >= fail_from {
            return Err(format!("put {nth} fails").into());
        }
        self.log(Call::Put(key.to_vec(), level));
        self.map.lock().insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&self, key: &[u8], level: Level) -> Result<()> {
        self.log(Call::Delete(key.to_vec(), level));
        self.map.lock().remove(key);
        Ok(())
    }

    fn write(&self, batch: &[Op<'_>], level: Level) -> Result<()> {
        let mut keys = Vec::new();
        for op in batch {
            match *op {
                Op::Put { key, value } => {
                    keys.push(key.to_vec());
                    self.map.lock().insert(key.to_vec(), value.to_vec());
                }
                Op::Delete { key } => {
                    keys.push(key.to_vec());
                    self.map.lock().remove(key);
                }
            }
        }
        self.log(Call::Batch(keys, level));
        Ok(())
    }

    fn begin(&self, batch: &[Op<'_>], level: Level) -> Result<Box<dyn Begun>> {
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        let Op::Put { key, .. } = batch[0] else { return Err("only puts are begun".into()) };
        self.log(Call::Begin(nth, key.to_vec(), level));
        Ok(Box::new(UnderWay(nth, Arc::clone(&self.calls))))
    }

    fn merge(&self, key: &[u8], operand: &[u8], _level: Level) -> Result<()> {
        self.log(Call::Merge(key.to_vec()));
        self.map.lock().entry(key.to_vec()).or_default().extend(operand);
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        self.log(Call::Get(key.to_vec()));
        Ok(self.map.lock().get(key).map(Vec::len))
    }

    fn read(&self, key: &[u8], value: &mut Vec<u8>) -> Result<bool> {
        self.log(Call::Read(key.to_vec()));
        let found = self.map.lock().get(key).cloned();
        let was_there = found.is_some();
        *value = found.unwrap_or_default();
        Ok(was_there)
    }

    fn multi_get(&self, keys: &[&[u8]], lens: &mut Vec<Option<usize>>) -> Result<()> {
        assert!(lens.is_empty(), "the buffer is empty");
        self.log(Call::MultiGet(keys.iter().map(|key| key.to_vec()).collect()));
        let map = self.map.lock();
        lens.extend(keys.iter().map(|key| map.get(*key).map(Vec::len)));
        Ok(())
    }

    fn scan(&self, from: Option<&[u8]>, direction: Direction, visit: &mut Visit<'_>) -> Result<()> {
        let map = self.map.lock();
        let mut visited = Vec::new();
        let mut each = |(key, value): (&Vec<u8>, &Vec<u8>)| -> ControlFlow<()> {
            visited.push(key.clone());
            visit(key, value)
        };
        let bound = from.map_or(Bound::Unbounded, |from| Bound::Included(from.to_vec()));
        let _ = match direction {
            Direction::Forward => map.range((bound, Bound::Unbounded)).try_for_each(&mut each),
            Direction::Reverse => map.range((Bound::Unbounded, bound)).rev().try_for_each(&mut each),
        };
        self.log(Call::Scan(from.map(<[u8]>::to_vec), direction, visited));
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        self.log(Call::Settle);
        Ok(())
    }

    fn close(&self) -> Result<()> {
        self.log(Call::Close);
        Ok(())
    }
}

/// A directory for one test.
pub struct Dir(pub PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NTH: AtomicU64 = AtomicU64::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ringfort-bench-{}-{nth}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What was opened, one after the other, and what was reported.
pub struct Ran {
    pub models: Vec<Arc<Model>>,
    pub reports: Vec<Report>,
    pub outcome: Result<()>,
}

impl Ran {
    /// The store that was open at the end.
    pub fn last(&self) -> &Model {
        self.models.last().unwrap()
    }

    /// The results, all benchmarks having been run.
    pub fn measured(&self) -> Vec<&Measured> {
        self.outcome.as_ref().unwrap();
        let mut all = Vec::new();
        for report in &self.reports {
            let Report::Measured(measured) = report else { panic!("{report:?}") };
            all.push(&**measured);
        }
        all
    }

    /// The only result.
    pub fn only(&self) -> &Measured {
        let measured = self.measured();
        assert_eq!(measured.len(), 1);
        measured[0]
    }
}

pub fn plan(benchmarks: &[Benchmark], threads: usize, workload: &Workload) -> Plan {
    Plan {
        benchmarks: benchmarks.to_vec(),
        threads,
        use_existing_db: false,
        statistics: false,
        label: String::new(),
        workload: workload.clone(),
        settings: Settings::default(),
    }
}

/// Runs on new models; `prepare` sees each as it is opened.
pub fn run_with(plan: &Plan, dir: &Dir, prepare: impl Fn(&Model)) -> Ran {
    let models = Mutex::new(Vec::new());
    let open = |_: &std::path::Path, _: &Settings| -> Result<Arc<dyn Engine>> {
        let model = Arc::new(Model::default());
        prepare(&model);
        models.lock().push(Arc::clone(&model));
        Ok(model)
    };
    let mut reports = Vec::new();
    let target = Target { name: "model", dir: &dir.0, open: &open };
    let outcome = ringfort_bench::run(&target, plan, &mut |report| {
        reports.push(report);
        Ok(())
    });
    Ran { models: models.into_inner(), reports, outcome }
}

pub fn run(benchmarks: &[Benchmark], threads: usize, workload: &Workload) -> Ran {
    run_with(&plan(benchmarks, threads, workload), &Dir::new(), |_| {})
}

/// A model with all keys below `num`, and the benchmark run on it.
pub fn run_on_full(benchmark: Benchmark, threads: usize, workload: &Workload) -> Ran {
    let fill = |model: &Model| {
        for number in 0..workload.num {
            model.map.lock().insert(key(number, workload.key_size), vec![b'v'; workload.value_size]);
        }
    };
    run_with(&plan(&[benchmark], threads, workload), &Dir::new(), fill)
}

pub fn key(number: u64, size: usize) -> Vec<u8> {
    let mut key = vec![b'0'; size];
    key[..8].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number of a key.
pub fn number(key: &[u8]) -> u64 {
    u64::from_be_bytes(key[..8].try_into().unwrap())
}

pub fn small(num: u64) -> Workload {
    Workload { num, value_size: 10, ..Workload::default() }
}
