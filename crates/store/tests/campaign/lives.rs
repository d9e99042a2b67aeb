//! The lives of one store: clients at work, an end of whatever kind, recovery, and what the ones before may have
//! lost by it.
//!
//! ```text
//!   life 1 ── power cut ──▶ life 2 ── kill ──▶ life 3 ── power cut in recovery ──▶ …
//!      │                       │
//!      │                       └ its first transaction reads everything
//!      └ what was acknowledged and is not there any more must be a suffix of the log, above all that was
//!        promised to be durable. It is checked as it was before the cut; from then on it never happened,
//!        and nobody may see it again.
//! ```

use crate::clients::{Event, Life, Numbers};
use crate::common::Machine;
use crate::power::Power;
use crate::schedule::{Client, Job, block_on, run_seeded};
use ringfort_base::{Level, Seq};
use ringfort_checker::{Order, Outcome, Report, Txn, check};
use ringfort_fault::memory::{CrashChoice, MemDisk};
use ringfort_fault::rng::SplitMix64;
use ringfort_fault::script::Fault;
use ringfort_store::{Step, Store};
use ringfort_trust::keyfile::Mode;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const CLIENTS_MAX: u32 = 6;
/// Transactions of a life, at the most.
const LIFE_TXNS_MAX: u64 = 2_000;

/// How a campaign runs.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub mode: Mode,
    pub seed: u64,
    pub txns: u64,
    /// Each client is a thread; otherwise the seed says who goes on when.
    pub threads: bool,
}

/// What has been shown.
#[derive(Clone, Copy, Default, Debug)]
pub struct Totals {
    pub txns: u64,
    pub lives: u64,
    /// Ends by a power cut, and by the death of the process.
    pub cuts: u64,
    pub kills: u64,
    /// Prepared transactions that were decided, and such that another life had left in doubt.
    pub decided: u64,
    pub resumed: u64,
    /// Commits that were acknowledged as buffered and lost, as they may be.
    pub lost: u64,
    /// Of unknown outcome, and those of them that had happened.
    pub unknown: u64,
    pub unknown_seen: u64,
    pub again: u64,
    /// Plain writes that took locks, and such that took none.
    pub locked: u64,
    pub passed: u64,
    /// Reads of others' writes that were explained.
    pub reads: u64,
}

impl Totals {
    pub fn add(&mut self, other: &Self) {
        self.txns += other.txns;
        self.lives += other.lives;
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.decided += other.decided;
        self.resumed += other.resumed;
        self.lost += other.lost;
        self.unknown += other.unknown;
        self.unknown_seen += other.unknown_seen;
        self.again += other.again;
        self.locked += other.locked;
        self.passed += other.passed;
        self.reads += other.reads;
    }
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Kill,
    PowerCut,
}

/// Runs a campaign to its end.
///
/// # Errors
/// What was found, for people, with the history.
pub fn run(plan: Plan) -> Result<Totals, (String, Vec<Txn>)> {
    let mut campaign = Campaign::new(plan);
    match campaign.run() {
        Ok(()) => Ok(campaign.totals),
        Err(why) => Err((format!("{plan:?}: {why}"), campaign.history)),
    }
}

struct Campaign {
    plan: Plan,
    rng: SplitMix64,
    machine: Machine,
    numbers: Numbers,
    /// Of lives that are over, with what came of them.
    history: Vec<Txn>,
    /// The last life, whose losses are not known yet.
    last: Vec<Event>,
    may_have_lost: bool,
    /// What the store says is in doubt, for this life to decide.
    doubts: Vec<Event>,
    totals: Totals,
}

impl Campaign {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            rng: SplitMix64::new(plan.seed),
            machine: Machine::new(plan.mode, plan.seed),
            numbers: Numbers::new(),
            history: Vec::new(),
            last: Vec::new(),
            may_have_lost: false,
            doubts: Vec::new(),
            totals: Totals::default(),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        while self.totals.txns < self.plan.txns {
            self.live()?;
        }
        // What the last one left, seen once more.
        let power = Power::default();
        let store = self.open(&power)?;
        let numbers = std::mem::take(&mut self.numbers);
        let life = Life::new(store, &numbers, 0, false);
        let outcome = self.take_stock(&life);
        self.last = life.events.into_inner();
        outcome?;
        // Nobody will decide them.
        self.last.append(&mut self.doubts);
        let report = self.check()?;
        self.totals.unknown_seen = report.unknown_seen as u64;
        self.totals.reads = report.reads as u64;
        Ok(())
    }

    /// One life: recovery, the clients, the end.
    fn live(&mut self) -> Result<(), String> {
        let power = Power::default();
        let store = self.open(&power)?;
        let numbers = std::mem::take(&mut self.numbers);
        // Long and short ones.
        let longest = LIFE_TXNS_MAX >> self.rng.below(5);
        let txns = (longest / 2 + self.rng.below(longest)).min(self.plan.txns - self.totals.txns);
        let mut life = Life::new(store, &numbers, txns, self.plan.threads);
        life.careful_percent = [1, 5, 30][self.rng.below(3) as usize];
        let stocktaking = self.take_stock(&life);
        if stocktaking.is_ok() {
            life.prepare(self.session(0), 80);
            self.work(&life, &power);
        }
        let mut end = self.end(&power);
        if end == End::Close
            && let Err(error) = life.store.close()
        {
            // The fault that nobody met before may be in the way now.
            end = End::Kill;
            if !power.has_failed() {
                return Err(format!("it does not close: {error}"));
            }
        }
        for (to, from) in [
            (&mut self.totals.again, &life.counts.again),
            (&mut self.totals.locked, &life.counts.locked),
            (&mut self.totals.passed, &life.counts.passed),
            (&mut self.totals.decided, &life.counts.decided),
            (&mut self.totals.resumed, &life.counts.resumed),
        ] {
            *to += from.load(Ordering::Relaxed);
        }
        let Life { store, events, .. } = life;
        drop(store);
        self.numbers = numbers;
        self.last = events.into_inner();
        stocktaking?;
        self.totals.txns += self.last.len() as u64;
        self.totals.lives += 1;
        self.totals.unknown +=
            self.last.iter().filter(|event| event.txn.outcome == Outcome::Unknown).count() as u64;
        self.machine = self.machine_after(end);
        self.may_have_lost = end == End::PowerCut;
        self.check().map(drop)
    }

    fn session(&self, nth: u32) -> u32 {
        self.totals.lives as u32 * (CLIENTS_MAX + 1) + nth
    }

    /// The clients, and a fault at a time that the seed draws.
    fn work(&mut self, life: &Life<'_>, power: &Power) {
        if self.rng.below(8) > 0 {
            let fault = match self.rng.below(6) {
                0 => Fault::Error(std::io::ErrorKind::Other),
                1 => Fault::ShortWrite(self.rng.below(300) as usize),
                _ => Fault::Freeze,
            };
            power.at_mutating(1 + self.rng.below(2 * life.left.load(Ordering::Relaxed)), fault);
        }
        let clients: Vec<(u32, u64)> = (1..=1 + self.rng.below(u64::from(CLIENTS_MAX)) as u32)
            .map(|nth| (self.session(nth), self.rng.next_u64()))
            .collect();
        let (doubts, seed) = (std::mem::take(&mut self.doubts), self.rng.next_u64());
        if self.plan.threads {
            work_in_threads(life, clients, (doubts, seed));
            return;
        }
        // A process may also go on for a while after the disk failed: then it must say nothing false.
        let dies_at_once = self.rng.below(2) == 0;
        let mut futures: Vec<Client<'_>> = vec![Box::pin(life.coordinator(doubts, seed))];
        for &(session, seed) in &clients {
            futures.push(Box::pin(life.client(session, seed)));
        }
        let mut rng = SplitMix64::new(self.rng.next_u64());
        run_seeded(futures, &mut rng, |is_asleep, random| {
            if power.is_dead() && (is_asleep || dies_at_once) {
                return Job::Dead;
            }
            job(&life.store, is_asleep, random)
        });
    }

    fn end(&mut self, power: &Power) -> End {
        let fails = power.is_dead();
        match self.rng.below(4) {
            0 if !fails && !power.has_failed() => End::Close,
            0 | 1 => End::Kill,
            _ => End::PowerCut,
        }
    }

    fn machine_after(&mut self, end: End) -> Machine {
        match end {
            End::Close => self.machine.map(MemDisk::process_kill),
            End::Kill => {
                self.totals.kills += 1;
                self.machine.map(MemDisk::process_kill)
            }
            End::PowerCut => {
                self.totals.cuts += 1;
                let choice = match self.rng.below(3) {
                    0 => CrashChoice::LoseAll,
                    _ => CrashChoice::Seeded(self.rng.next_u64()),
                };
                self.machine.after_power_cut(choice)
            }
        }
    }

    /// Opens, now and then only at the second or third try: a fault hits recovery too.
    fn open(&mut self, power: &Power) -> Result<Store, String> {
        while self.rng.below(5) == 0 {
            let dying = Power::default();
            dying.at_mutating(1 + self.rng.below(12), Fault::Freeze);
            let opened = Store::open(dying.world(&self.machine), self.machine.options());
            let is_dead = dying.is_dead();
            match opened {
                Err(e) if !is_dead => return Err(format!("it does not open: {e}")),
                opened => drop(opened),
            }
            let end = if self.rng.below(2) == 0 { End::Kill } else { End::PowerCut };
            self.machine = self.machine_after(end);
            self.may_have_lost |= end == End::PowerCut;
        }
        Store::open(power.world(&self.machine), self.machine.options())
            .map_err(|e| format!("it does not open: {e}"))
    }

    /// Reads everything, and says of the last life what of it is left.
    fn take_stock(&mut self, life: &Life<'_>) -> Result<(), String> {
        let there = life.look_at_everything(self.session(0));
        let there: HashSet<(u64, u64)> =
            there.iter().flat_map(|(key, values)| values.iter().map(move |value| (*key, *value))).collect();
        let last = std::mem::take(&mut self.last);
        // The newest that is there, and the oldest that is not.
        let (mut kept, mut lost) = (Seq::ZERO, Seq(u64::MAX));
        for event in last.iter().filter(|event| event.txn.outcome == Outcome::Committed) {
            if let (Some(position), Some(appended)) = (event.position, event.appended().next()) {
                match there.contains(&appended) {
                    true => kept = kept.max(position),
                    false => lost = lost.min(position),
                }
            }
        }
        if lost < kept {
            return Err(format!("{lost} is lost and {kept} is there: not a suffix"));
        }
        let in_doubt: HashSet<Vec<u8>> = life.store.prepared().into_iter().map(|txn| txn.name).collect();
        for mut event in last {
            if event.vote.is_some_and(|vote| in_doubt.contains(&vote.name.to_be_bytes()[..])) {
                self.doubt(event)?;
                continue;
            }
            self.judge(&mut event, kept, lost)?;
            self.history.push(event.txn);
        }
        match self.doubts.len() == in_doubt.len() {
            true => Ok(()),
            false => Err(format!("{} transactions are in doubt that nobody prepared", in_doubt.len())),
        }
    }

    /// One that is in doubt again: then its decision is lost, if there was one.
    fn doubt(&mut self, mut event: Event) -> Result<(), String> {
        let was_told = event.txn.outcome != Outcome::Unknown;
        if was_told && !(self.may_have_lost && event.level == Level::Buffered) {
            return Err(format!("the decision on {:?} is lost, which was acknowledged", event.vote));
        }
        event.txn.outcome = Outcome::Unknown;
        event.position = None;
        // Its client may have gone on after a decision that was lost: who decides now is somebody else.
        if let Some(vote) = event.vote {
            event.txn.session = 1 << 31 | vote.name as u32;
        }
        self.doubts.push(event);
        Ok(())
    }

    /// What has become of a commit that was acknowledged, if everything up to `kept` is there and nothing from
    /// `lost` on.
    fn judge(&mut self, event: &mut Event, kept: Seq, lost: Seq) -> Result<(), String> {
        if let Some(vote) = event.vote
            && event.txn.outcome == Outcome::Unknown
            && vote.is_safe
            && !vote.is_decided
        {
            return Err(format!("{vote:?} was to be there after any crash"));
        }
        let Some(position) = event.position.filter(|position| *position > kept) else { return Ok(()) };
        let is_lost = position >= lost;
        if is_lost && !(self.may_have_lost && event.level == Level::Buffered) {
            return Err(format!("{position} is lost, which was acknowledged at {}", event.level));
        }
        if self.may_have_lost && event.level == Level::Buffered {
            event.txn.outcome = if is_lost { Outcome::Aborted } else { Outcome::Unknown };
            self.totals.lost += u64::from(is_lost && event.has_written());
        }
        Ok(())
    }

    /// Checks everything so far, with what the last life's clients believe.
    fn check(&mut self) -> Result<Report, String> {
        let settled = self.history.len();
        self.history.extend(self.last.iter().map(|event| event.txn.clone()));
        let report = check(&self.history, Order::RealTime).map_err(|e| e.to_string())?;
        if !report.is_clean() {
            return Err(report.to_string());
        }
        self.history.truncate(settled);
        Ok(report)
    }
}

/// What the store has to do, a piece of it.
fn job(store: &Store, all_of_it: bool, random: u64) -> Job {
    // A failure is for whoever waits for what failed.
    let mut worked = false;
    let mut note = |step: ringfort_base::Result<Step>| worked |= matches!(step, Ok(Step::Worked));
    let is_wanted = |nth: u64| all_of_it || random % 5 == nth;
    if is_wanted(0) {
        note(store.log_step());
    }
    if is_wanted(1) {
        note(store.sync_step());
    }
    if is_wanted(2) {
        note(store.anchor_step());
    }
    if is_wanted(3) {
        note(store.maintenance_step());
    }
    if random % 500 == 4 {
        note(store.flush(None).map(|()| Step::Worked));
    }
    if worked { Job::Worked } else { Job::Idle }
}

fn work_in_threads(life: &Life<'_>, clients: Vec<(u32, u64)>, (doubts, seed): (Vec<Event>, u64)) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let done = &done;
        scope.spawn(move || {
            // Flushes and compactions move under the transactions.
            while !done.load(Ordering::Acquire) && life.store.stopped().is_none() {
                let flushed = life.store.flush(None);
                while flushed.is_ok() && matches!(life.store.maintenance_step(), Ok(Step::Worked)) {}
                thread::yield_now();
            }
        });
        let coordinator = scope.spawn(move || block_on(life.coordinator(doubts, seed)));
        let clients: Vec<_> = clients
            .into_iter()
            .map(|(session, seed)| scope.spawn(move || block_on(life.client(session, seed))))
            .collect();
        let ends: Vec<_> =
            clients.into_iter().chain([coordinator]).map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        ends.into_iter().for_each(|end| end.unwrap());
    });
}
