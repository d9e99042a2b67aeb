//! The simulated platform: a directory that stands for hardware which the host cannot roll back.
//! Two halves: [`SimDevice`], the "hardware" (a [`Device`] over a [`Disk`], one lock file for the
//! critical sections, so that two processes share it), and [`SimPlatform`], the driver that speaks
//! to it through the bus, where a test can swallow or delay a message.
//!
//! ```text
//! LOCK            the advisory lock
//! root            32 random bytes: the sealing root
//! stores/HASH     a slot file (see counter::slot) per store name; HASH = hex sha256(name)
//!   payload :=    version u8 = 1 | name | state u8 (1 creating, 2 live) | store 16 | value u64 | option anchor
//! ```
//! Creation, commit, forgetting and claims are synced. An ordinary advance is not: one that a power cut
//! loses only re-opens the window of what was not anchored (R3), it cannot tear the record.
//!
//! What it is not: everything above lies readable in a directory of the host.

mod driver;

pub use driver::SimPlatform;

use super::Known;
use super::wire::{self, Reply, Request};
use crate::anchor::{Anchor, sha256};
use crate::counter::slot::{SlotFile, locked};
use crate::counter::{Advance, Reading, conditional};
use crate::files::{join, read_whole, remove, replace};
use crate::keys::{derive, fill};
use ringfort_base::codec::{DecodeError, Reader, Write};
use ringfort_base::limits::NAME_BYTES_MAX;
use ringfort_base::world::{Device, Disk, DiskLock, Entropy};
use ringfort_base::{Error, ErrorKind, EvidenceKind, Result, StoreId, Untrusted};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use zeroize::Zeroizing;

const LOCK: &str = "LOCK";
const ROOT: &str = "root";
const STORES: &str = "stores";
/// In front of every request.
const SEQUENCE_BYTES: usize = 8;

/// How a caller lets time pass; this crate has no clock.
pub type Wait = Box<dyn Fn(Duration) + Send + Sync>;

/// The simulated hardware.
pub struct SimDevice {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    /// Per file under `stores/`.
    files: Mutex<HashMap<String, SlotFile>>,
    latency: Option<(Duration, Wait)>,
}

/// What the device remembers of one name.
struct Entry {
    name: String,
    live: bool,
    store: StoreId,
    value: u64,
    anchor: Option<Anchor>,
}

impl Entry {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        out.put_bytes(self.name.as_bytes());
        out.put_u8(if self.live { 2 } else { 1 });
        out.put(&self.store.0);
        out.put_u64(self.value);
        wire::put_option(&mut out, self.anchor.as_ref(), |out, anchor| out.put(&anchor.encode()));
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        wire::version(&mut from)?;
        let entry = Self {
            name: from.str(NAME_BYTES_MAX)?.to_owned(),
            live: match from.u8()? {
                1 => false,
                2 => true,
                other => return Err(DecodeError::Variant(other)),
            },
            store: StoreId(from.array()?),
            value: from.u64()?,
            anchor: wire::option(&mut from, |from| Anchor::decode(from.take(Anchor::BYTES)?))?,
        };
        from.finish()?;
        Ok(entry)
    }

    fn reading(&self) -> Option<Reading> {
        self.anchor.clone().map(|anchor| Reading { value: self.value, anchor })
    }
}

impl SimDevice {
    /// Over the state directory `disk`; draws the sealing root at the first use.
    pub fn new(disk: Arc<dyn Disk>, entropy: Arc<dyn Entropy>) -> Self {
        Self { disk, entropy, files: Mutex::default(), latency: None }
    }

    /// Lets every read and advance of a counter take `latency`, as a real one does; `wait` lets it pass.
    #[must_use]
    pub fn with_latency(self, latency: Duration, wait: Wait) -> Self {
        Self { latency: Some((latency, wait)), ..self }
    }

    fn answer(&self, request: &[u8]) -> Result<Reply> {
        let request = Request::decode(request).map_err(|error| {
            Error::invalid(format!("the simulated platform does not understand: {error}"))
        })?;
        if let (Request::CounterRead { .. } | Request::CounterAdvance { .. }, Some((latency, wait))) =
            (&request, &self.latency)
        {
            wait(*latency);
        }
        let mut files = locked(&self.files);
        let _lock = self.lock()?;
        match request {
            Request::SealingKey { store } => self.sealing_key(store),
            Request::Known { name } => Ok(Reply::Known(match self.entry(&mut files, &name)? {
                None => Known::No,
                Some(Entry { live: false, store, .. }) => Known::Creating(store),
                Some(Entry { store, .. }) => Known::Live(store),
            })),
            Request::Begin { name, store } => self.begin(&mut files, name, store),
            Request::Commit { name, store } => self.commit(&mut files, &name, store),
            Request::Forget { name } => self.forget(&mut files, &name),
            Request::CounterRead { name, store } => {
                let entry = self.entry(&mut files, &name)?.filter(|entry| entry.store == store);
                Ok(Reply::Reading(entry.and_then(|entry| entry.reading())))
            }
            Request::CounterAdvance { name, store, expected, to, claim } => {
                self.advance(&mut files, &name, store, expected, to, claim)
            }
        }
    }

    fn lock(&self) -> Result<Box<dyn DiskLock>> {
        self.disk
            .lock_wait(LOCK)
            .map_err(|error| Error::io("lock", "the simulated platform's state directory", &error))
    }

    fn make_stores(&self) -> Result<()> {
        let failed = |error| Error::io("prepare", STORES, &error);
        self.disk.create_dir(STORES).map_err(failed)?;
        self.disk.sync_dir("").map_err(failed)
    }

    fn sealing_key(&self, store: StoreId) -> Result<Reply> {
        let root = Zeroizing::new(match read_whole(&*self.disk, ROOT, 32)? {
            Some(bytes) => bytes,
            None => {
                let mut root = vec![0; 32];
                fill(&*self.entropy, &mut root)?;
                replace(&*self.disk, "", ROOT, &root)?;
                root
            }
        });
        if root.len() != 32 {
            return Err(Error::evidence(
                EvidenceKind::BadSeal,
                ROOT,
                0,
                "the sealing root is not 32 bytes long",
            ));
        }
        let key = derive(&root, &[], &[b"ringfort v1 sim seal", &store.0]);
        Ok(Reply::SealingKey(Zeroizing::new(*key.expose_for_sealing())))
    }

    fn begin(&self, files: &mut Files, name: String, store: StoreId) -> Result<Reply> {
        match self.entry(files, &name)? {
            Some(entry) if entry.live => {
                let message = format!(
                    "the platform knows a live store '{name}' (id {}): destroy it first, or choose another name",
                    entry.store
                );
                Err(Error::new(ErrorKind::AlreadyExists, message))
            }
            _ => {
                self.make_stores()?;
                self.put(files, &Entry { name, live: false, store, value: 0, anchor: None }, true)?;
                Ok(Reply::Done)
            }
        }
    }

    fn commit(&self, files: &mut Files, name: &str, store: StoreId) -> Result<Reply> {
        match self.entry(files, name)? {
            Some(entry) if entry.store == store => {
                self.put(files, &Entry { live: true, ..entry }, true)?;
                Ok(Reply::Done)
            }
            other => {
                let holder = other.map_or("nothing".to_owned(), |entry| format!("store {}", entry.store));
                let message =
                    format!("the creation of '{name}' as store {store} never began here: found {holder}");
                Err(Error::new(ErrorKind::Refused, message))
            }
        }
    }

    fn forget(&self, files: &mut Files, name: &str) -> Result<Reply> {
        let file = file_name(name);
        files.remove(&file);
        self.make_stores()?;
        remove(&*self.disk, &join(STORES, &file))?;
        self.disk.sync_dir(STORES).map_err(|error| Error::io("sync", STORES, &error))?;
        Ok(Reply::Done)
    }

    fn advance(
        &self,
        files: &mut Files,
        name: &str,
        store: StoreId,
        expected: Option<[u8; 32]>,
        to: Anchor,
        claim: bool,
    ) -> Result<Reply> {
        let Some(entry) = self.entry(files, name)?.filter(|entry| entry.store == store) else {
            return Ok(Reply::Conflict(None));
        };
        if to.store != store {
            return Err(Error::invalid("the anchor is of another store than its counter"));
        }
        match conditional(entry.reading(), expected) {
            Advance::Done(value) => {
                self.put(files, &Entry { value, anchor: Some(to), ..entry }, claim)?;
                Ok(Reply::Advanced(value))
            }
            Advance::Conflict(held) => Ok(Reply::Conflict(held)),
        }
    }

    fn entry(&self, files: &mut Files, name: &str) -> Result<Option<Entry>> {
        check_name(name)?;
        let key = file_name(name);
        let path = join(STORES, &key);
        let Some(payload) = slot_file(files, key).load(&*self.disk)? else { return Ok(None) };
        let inconsistent = |detail| Error::evidence(EvidenceKind::Inconsistent, path, 0, detail);
        match Entry::decode(&payload) {
            Ok(entry) if entry.name == name => Ok(Some(entry)),
            Ok(entry) => {
                Err(inconsistent(format!("it is the record of '{}', expected '{name}'", entry.name)))
            }
            Err(error) => Err(inconsistent(format!("its valid slot does not decode: {error}"))),
        }
    }

    fn put(&self, files: &mut Files, entry: &Entry, sync: bool) -> Result<()> {
        slot_file(files, file_name(&entry.name)).store(&*self.disk, &entry.encode(), sync)
    }
}

type Files = HashMap<String, SlotFile>;

fn slot_file(files: &mut Files, name: String) -> &mut SlotFile {
    files.entry(name.clone()).or_insert_with(|| SlotFile::new(STORES, name))
}

/// Any name makes a file name of fixed length and plain characters.
fn file_name(name: &str) -> String {
    sha256(&[name.as_bytes()]).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_name(name: &str) -> Result<()> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(Error::invalid(format!("a store's name has 1 to {NAME_BYTES_MAX} bytes, not {}", name.len())))
}

impl Device for SimDevice {
    fn transact(&self, sent: &[u8]) -> io::Result<Untrusted<Vec<u8>>> {
        let request = sent.get(SEQUENCE_BYTES..).unwrap_or_default();
        let mut answer = self.answer(request).unwrap_or_else(Reply::Failed).encode();
        answer.extend_from_slice(&wire::binding(sent, &answer));
        Ok(Untrusted::new(answer))
    }
}

#[cfg(test)]
mod tests;
