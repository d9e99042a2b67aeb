//! One trial: a fresh copy of the store, one attack on it, a start of the server, and what came of
//! it. Besides the attacks on files: two live copies, and the honest cases that must not be refused.

use super::attacks::{Attack, Expect, Row, Spoils, Target, seeds};
use super::data::DataSet;
use super::kill::Ledger;
use super::load::{self, WRONG};
use super::server::{Place, Server, Start};
use super::show::Progress;
use super::tree;
use ringfort_bench::resp::Client;
use ringfort_fault::attack;
use ringfort_host::disk::OsDisk;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The store that all trials begin with, and what it must hold.
pub(crate) struct Lab {
    pub(crate) root: PathBuf,
    pub(crate) place: Place,
    pub(crate) data: DataSet,
    pub(crate) ledgers: Vec<Ledger>,
    pub(crate) spoils: Spoils,
    pub(crate) progress: Progress,
}

/// Where only the place of the files changed, or their end, one entry of so many is read.
const SAMPLE: u64 = 10;

/// A trial that is more than a change of files.
type Trial = fn(&Lab, &Place) -> Result<Row, String>;

/// How an opened store was read.
enum Read {
    AllRight,
    Refused(String),
    Wrong(String),
}

impl Lab {
    /// All trials, in order.
    pub(crate) fn run(&self, seed: u64) -> Result<Vec<Row>, String> {
        let extra: [(&str, Trial); 3] = [
            ("second copy", Self::second_copy),
            ("moved directory", Self::moved),
            ("tail cut", Self::tail_cut),
        ];
        let of = (super::attacks::ATTACKS.len() + extra.len()) as u64;
        let mut rows = Vec::new();
        for (attack, seed) in super::attacks::ATTACKS.iter().zip(seeds(seed)) {
            self.progress.at(attack.name, rows.len() as u64, of);
            let place = self.fresh()?;
            rows.push(self.attack(attack, &place, seed).map_err(|e| format!("{}: {e}", attack.name))?);
        }
        for (name, trial) in extra {
            self.progress.at(name, rows.len() as u64, of);
            let place = self.fresh()?;
            rows.push(trial(self, &place).map_err(|e| format!("{name}: {e}"))?);
        }
        self.progress.clear();
        Ok(rows)
    }

    /// A copy of the store and of what stands for the hardware.
    fn fresh(&self) -> Result<Place, String> {
        let root = self.root.join("trial");
        let copied = || -> std::io::Result<()> {
            if root.exists() {
                std::fs::remove_dir_all(&root)?;
            }
            tree::copy(&self.place.data, &root.join("data"))?;
            tree::copy_apart(&self.place.platform, &root.join("platform"))
        };
        copied().map_err(|e| format!("cannot copy the store: {e}"))?;
        Ok(Place::below(&root, &self.place.settings))
    }

    fn attack(&self, attack: &Attack, place: &Place, seed: u64) -> Result<Row, String> {
        let io = |e: std::io::Error| e.to_string();
        let disk = OsDisk::open(&place.data).map_err(io)?;
        let target = Target { data: &place.data, disk, spoils: &self.spoils, seed };
        let changed = (attack.strike)(&target).map_err(io)?;
        let before = tree::fingerprint(&place.data).map_err(io)?;
        let (got, took, ok) = match place.start().map_err(io)? {
            Start::Ended(end) if end.refused() => {
                let untouched = tree::fingerprint(&place.data).map_err(io)? == before;
                let fits = match attack.expect {
                    Expect::Refused => true,
                    Expect::Rollback => end.word() == Some("rollback"),
                    Expect::Opens => false,
                };
                let note = if untouched { "" } else { "; THE DIRECTORY WAS CHANGED" };
                (format!("refused, {}{note}", end.evidence()), end.after, fits && untouched)
            }
            Start::Ended(end) => (format!("ended otherwise: {}", end.evidence()), end.after, false),
            Start::Listens(mut server) => {
                let took = server.age();
                match self.read(&mut server, 1)? {
                    Read::AllRight => {
                        ("opens, all data right".to_owned(), took, attack.expect == Expect::Opens)
                    }
                    Read::Refused(how) => {
                        (format!("refused on reading, {how}"), took, attack.expect == Expect::Refused)
                    }
                    Read::Wrong(what) => (what, took, false),
                }
            }
        };
        Ok(Row { name: attack.name, changed, expected: attack.expect.text(), got, took, ok })
    }

    /// Reads everything through the server, or one entry of `every` so many. The server may refuse at
    /// any time but never answer falsely.
    fn read(&self, server: &mut Server, every: u64) -> Result<Read, String> {
        let all = || -> Result<(), String> {
            let mut client = Client::connect(&server.address).map_err(|e| e.to_string())?;
            let ledgers = self.ledgers.iter().step_by(every as usize).chain([&self.spoils.since]);
            for ledger in ledgers {
                ledger.verify(&mut client)?;
            }
            load::verify(&server.address, &self.data, every, &self.progress).map(drop)
        };
        match all() {
            Ok(()) => Ok(Read::AllRight),
            Err(what) if what.starts_with(WRONG) => Ok(Read::Wrong(what)),
            Err(what) => {
                let end = server.wait().map_err(|e| format!("{what}; then {e}"))?;
                Ok(match end.refused() {
                    true => Read::Refused(end.evidence()),
                    false => Read::Wrong(format!("{what}; ended otherwise: {}", end.evidence())),
                })
            }
        }
    }

    /// The host clones the machine: of two live copies, one has to stop.
    fn second_copy(&self, place: &Place) -> Result<Row, String> {
        let mut first = place.must_start()?;
        let clone = Place { data: place.data.with_file_name("clone"), ..place.clone() };
        tree::copy_live(&place.data, &clone.data).map_err(|e| e.to_string())?;
        let second = clone.must_start()?;
        let took = second.age();
        let mut client = Client::connect(&first.address).map_err(|e| e.to_string())?;
        let reply = client.call(&[b"GET", b"record:00000000"]);
        let answered = reply.as_ref().is_ok_and(|reply| reply.as_error().is_none());
        let end = first.wait().map_err(|e| e.to_string())?;
        let mut client = Client::connect(&second.address).map_err(|e| e.to_string())?;
        self.spoils.since.verify(&mut client)?;
        let ok = !answered && end.refused() && end.word() == Some("second copy");
        let said = if answered { "it ANSWERED, then " } else { "" };
        Ok(Row {
            name: "second live copy",
            changed: "the directory cloned, both served".to_owned(),
            expected: "first: second copy",
            got: format!("first: {said}{}", end.evidence()),
            took,
            ok,
        })
    }

    /// An honest control: a store is known by name and id, not by path (R18).
    fn moved(&self, place: &Place) -> Result<Row, String> {
        let elsewhere = Place { data: place.data.with_file_name("elsewhere"), ..place.clone() };
        std::fs::rename(&place.data, &elsewhere.data).map_err(|e| e.to_string())?;
        let mut server = elsewhere.must_start()?;
        let took = server.age();
        let (got, ok) = match self.read(&mut server, SAMPLE)? {
            Read::AllRight => (Expect::Opens.text().to_owned(), true),
            Read::Refused(what) | Read::Wrong(what) => (what, false),
        };
        let changed = "data -> elsewhere".to_owned();
        Ok(Row { name: "control: moved directory", changed, expected: Expect::Opens.text(), got, took, ok })
    }

    /// An honest control: what a crash may lose, which is what no anchor covers.
    fn tail_cut(&self, place: &Place) -> Result<Row, String> {
        // Nothing is anchored in the background for now, so that there is a tail.
        let mut slow = place.clone();
        slow.settings.extend(["--anchor-window".to_owned(), "10m".to_owned()]);
        let server = slow.must_start()?;
        let mut client = Client::connect(&server.address).map_err(|e| e.to_string())?;
        let mut anchored = Ledger::new("anchored");
        anchored.write(&mut client, 100)?;
        client.ok(&[b"LEVEL", b"buffered"]).map_err(|e| e.to_string())?;
        Ledger::new("tail").write(&mut client, 100)?;
        server.kill().map_err(|e| e.to_string())?;
        let changed = self.cut_tail(&place.data)?;
        let mut server = match place.start().map_err(|e| e.to_string())? {
            Start::Listens(server) => server,
            Start::Ended(end) => {
                let got = end.evidence();
                return Ok(tail_row(changed, got, end.after, false));
            }
        };
        let took = server.age();
        let mut client = Client::connect(&server.address).map_err(|e| e.to_string())?;
        let kept = anchored.verify(&mut client);
        drop(client);
        let (got, ok) = match (kept, self.read(&mut server, SAMPLE)?) {
            (Ok(()), Read::AllRight) => ("opens, all anchored data right".to_owned(), true),
            (Err(what), _) | (_, Read::Refused(what) | Read::Wrong(what)) => (what, false),
        };
        Ok(tail_row(changed, got, took, ok))
    }

    fn cut_tail(&self, data: &Path) -> Result<String, String> {
        const CUT_BYTES: u64 = 40;
        let io = |e: std::io::Error| e.to_string();
        let disk = OsDisk::open(data).map_err(io)?;
        let target = Target { data, disk, spoils: &self.spoils, seed: 0 };
        let (log, used) = target.log().map_err(io)?;
        attack::truncate(&target.disk, &log, used - CUT_BYTES).map_err(io)?;
        Ok(format!("{log}: {CUT_BYTES} bytes off its un-anchored end"))
    }
}

fn tail_row(changed: String, got: String, took: Duration, ok: bool) -> Row {
    Row {
        name: "control: torn tail after a crash",
        changed,
        expected: "opens, anchored data right",
        got,
        took,
        ok,
    }
}
