//! Ringfort, sealed and with sealing off, by the product's own adapter ([`ringfort::bench::TransactionalDb`]).

use super::{By, Kind, Opening, Reads, Store};
use crate::Result;
use crate::engines::ringfort as engine;
use ringfort::bench::{Ringfort, TransactionalDb};
use ringfort::{Concurrency, Db, Mode};
use ringfort_base::Level;
use ringfort_bench::transactional::Transactional;
use std::path::Path;

const BY: &[By] = &[By::Pessimistic, By::Optimistic];

/// As a user gets it.
pub const SEALED: Kind = Kind {
    name: engine::SOFTWARE.name,
    about: engine::SOFTWARE.about,
    open: |dir, opening| open(dir, opening, Mode::Software),
    open_to_load: |dir, opening| open(dir, opening, Mode::Software),
    files: "ringfort",
    reads: Reads::Tracked,
    by: BY,
};

/// Sealing off.
pub const PLAIN: Kind = Kind {
    name: engine::PLAIN.name,
    about: engine::PLAIN.about,
    open: |dir, opening| open(dir, opening, Mode::Hardware),
    open_to_load: |dir, opening| open(dir, opening, Mode::Hardware),
    files: "ringfort:plain",
    reads: Reads::Tracked,
    by: BY,
};

struct Opened {
    db: Db,
    concurrency: Concurrency,
}

fn open(dir: &Path, opening: &Opening<'_>, mode: Mode) -> Result<Box<dyn Store>> {
    let store = Ringfort { mode, counter_latency: opening.counter_latency };
    let concurrency = match opening.by {
        By::Pessimistic => Concurrency::Pessimistic,
        By::Optimistic => Concurrency::Optimistic,
    };
    Ok(Box::new(Opened { db: Db::open(store.options(dir, opening.settings)?)?, concurrency }))
}

impl Store for Opened {
    fn at(&self, level: Level, _reads: Reads) -> Result<Box<dyn Transactional + '_>> {
        Ok(Box::new(TransactionalDb { db: self.db.clone(), concurrency: self.concurrency, level }))
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}
