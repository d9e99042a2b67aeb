//! [`Stage`]: the directory of the stores, the workers that have them open, and what is loaded.

use super::ledger::Ledger;
use super::point::{Load, Measured, Point};
use super::stores;
use super::worker::{Open, Worker};
use crate::Result;
use crate::compare::Turns;
use ringfort_bench::scratch::Scratch;

/// Where points are run. What the ledger has is not run again, and what nobody needs is not loaded.
pub struct Stage<'t> {
    turns: &'t Turns,
    ledger: Ledger,
    dir: Option<Scratch>,
    /// What is loaded, and into which files.
    data: String,
    loaded: Vec<&'static str>,
    workers: Vec<Worker>,
    /// Points that are done, of all that there are.
    done: usize,
    total: usize,
}

impl<'t> Stage<'t> {
    /// Prepares for `total` runs.
    pub fn new(turns: &'t Turns, total: usize) -> Result<Self> {
        let path = turns.json.as_deref().filter(|path| path.as_os_str() != "-");
        Ok(Self {
            turns,
            ledger: Ledger::open(path)?,
            dir: None,
            data: String::new(),
            loaded: Vec::new(),
            workers: Vec::new(),
            done: 0,
            total,
        })
    }

    /// Runs points in turn, as often as there are repeats: by point, then by repeat.
    pub fn turns(&mut self, part: &str, points: &[Point]) -> Result<Vec<Vec<Measured>>> {
        let mut all: Vec<Vec<Measured>> = points.iter().map(|_| Vec::new()).collect();
        for repeat in 1..=self.turns.repeats {
            for (point, runs) in points.iter().zip(&mut all) {
                self.done += 1;
                let known = self.ledger.find(part, point, repeat)?;
                let found = if known.is_some() { " (from the file)" } else { "" };
                let measured = match known {
                    Some(measured) => measured,
                    None => {
                        let measured = self.worker(point)?.run(point)?;
                        self.ledger.add(part, point, repeat, &measured)?;
                        measured
                    }
                };
                eprintln!(
                    "[{}/{}] {}, {}, {}, {}, {} clients: {:.0} tx/s, p50 {:.0} µs, p99 {:.0} µs, {:.1} % begun again{found}",
                    self.done,
                    self.total,
                    point.load.name(),
                    point.by.name(),
                    point.store,
                    point.level,
                    point.clients,
                    measured.transactions_per_sec,
                    measured.p50_us,
                    measured.p99_us,
                    measured.abort_rate * 100.0
                );
                runs.push(measured);
            }
        }
        Ok(all)
    }

    /// What of TPC-C's conditions does not hold in the stores of these points, if they were run just now.
    pub fn check(&mut self, points: &[Point]) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for point in points {
            let Load::Tpcc { warehouses } = point.load else { continue };
            let open = self.open(point)?;
            let Some(worker) = self.workers.iter_mut().find(|worker| *worker.open() == open) else {
                continue;
            };
            let found = worker.check(warehouses)?;
            eprintln!("{}: {} of TPC-C's conditions do not hold", point.store, found.len());
            all.extend(found.into_iter().map(|one| format!("{}: {one}", point.store)));
        }
        Ok(all)
    }

    /// The worker that has the point's store open, loaded.
    fn worker(&mut self, point: &Point) -> Result<&mut Worker> {
        self.load(point)?;
        let open = self.open(point)?;
        if !self.workers.iter().any(|worker| *worker.open() == open) {
            // One store is open once, and those of another kind of transactions are in the way.
            let (gone, kept): (Vec<Worker>, Vec<Worker>) = self
                .workers
                .drain(..)
                .partition(|other| other.dir() == open.dir || other.open().by != open.by);
            self.workers = kept;
            gone.into_iter().try_for_each(Worker::close)?;
            self.workers.push(Worker::start(open.clone())?);
        }
        let found = self.workers.iter_mut().find(|worker| *worker.open() == open);
        Ok(found.ok_or("a worker is missing")?)
    }

    fn open(&mut self, point: &Point) -> Result<Open> {
        let files = stores::by_name(&point.store)?.files;
        let dir = match &mut self.dir {
            Some(dir) => dir,
            none => none.insert(Scratch::new(&self.turns.dir, "ringfort-transactions")?),
        };
        Ok(Open {
            store: files.to_owned(),
            dir: dir.0.join(files),
            by: point.by,
            counter_latency_us: point.counter_latency_us,
            to_load: false,
            settings: point.settings.clone(),
        })
    }

    /// Sees to it that the store has the point's data. Other data go first.
    fn load(&mut self, point: &Point) -> Result<()> {
        let data = point.load.data();
        if data != self.data {
            self.workers.drain(..).try_for_each(Worker::close)?;
            self.dir = None;
            self.loaded.clear();
            self.data = data;
        }
        let files = stores::by_name(&point.store)?.files;
        if self.loaded.contains(&files) {
            return Ok(());
        }
        eprintln!("loading {} into {files}", self.data);
        let mut worker = Worker::start(Open { to_load: true, ..self.open(point)? })?;
        worker.load(point.load)?;
        worker.close()?;
        self.loaded.push(files);
        Ok(())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // Before their directory goes.
        self.workers.clear();
    }
}
