//! Opening a store: look it up on the platform (R18), create or recover it (R3), claim it (R2).
//!
//! Refusing writes nothing (R12): everything is verified before the first byte is written. From
//! then on the order is: new segment with the copied un-anchored tail and the claim, synced; new
//! MANIFEST, synced; advance. Dying anywhere before the advance leaves files that no life claims
//! and that the next open ignores and removes; dying behind it leaves a complete new life.

use super::Inner;
use super::claim::claim;
use super::in_doubt::InDoubts;
use super::rebuild::{Start, rebuild};
use crate::engine::lsm::table;
use crate::engine::lsm::tree::Tables;
use crate::files;
use crate::manifest;
use crate::manifest::state::State;
use crate::options::{StoreOptions, World};
use crate::wal;
use crate::wal::writer::LogContext;
use parking_lot::RwLock;
use ringfort_base::world::{Disk, DiskLock};
use ringfort_base::{
    Epoch, Error, ErrorKind, EvidenceKind, FileNo, Incarnation, KeyspaceId, Result, StoreId,
};
use ringfort_trust::counter::Counter;
use ringfort_trust::counter::slot::{CLAIM, VolumeCounter};
use ringfort_trust::defence::{self, Defence};
use ringfort_trust::keyfile::{KeyFile, Mode, Settings};
use ringfort_trust::platform::Known;
use ringfort_trust::volume::{Class, Volumes, init_trusted_volume, trusted_volume_id};
use ringfort_trust::{Anchor, Head, Verified};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// The advisory lock against mistakes.
const LOCK: &str = "LOCK";

/// Opens or creates.
pub(crate) fn open(world: World, options: StoreOptions) -> Result<Arc<Inner>> {
    let name = options.name.clone();
    match world.platform.known(&name)? {
        Known::No => {
            refuse_unknown_data(&world, &name)?;
            if !options.create_if_missing {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("the platform knows no store named '{name}'"),
                ));
            }
            let locks = lock(&world)?;
            create(world, options, locks)
        }
        Known::Creating(id) => {
            // Nothing was ever acknowledged: begin again.
            let locks = lock(&world)?;
            remove_unfinished(&world, id)?;
            create(world, options, locks)
        }
        Known::Live(id) => {
            if !holds_store(&*world.data)? {
                return Err(data_is_gone(world.data.describe(), &name));
            }
            let locks = lock(&world)?;
            recover(world, options, locks, id)
        }
    }
}

/// Destroys the store `name`: the platform forgets it first, so that from then on nothing of it is
/// believed, then its files go. Logically deleted (R15): older copies of the files may exist, and on
/// the simulated platform what sealed them is not gone.
pub(crate) fn destroy(world: &World, name: &str) -> Result<()> {
    let _locks = if holds_store(&*world.data)? { lock(world)? } else { Vec::new() };
    match world.platform.known(name)? {
        Known::No => Err(Error::new(
            ErrorKind::NotFound,
            format!(
                "the platform knows no store named '{name}', so nothing was touched; \
                 files that a destroyed store left behind can be removed by hand"
            ),
        )),
        Known::Creating(id) | Known::Live(id) => {
            refuse_other_store(world, id).map_err(|e| {
                e.context("not destroyed; to give the store up all the same, empty the directory and run destroy again")
            })?;
            refuse_without_trusted_volume(world)?;
            world.platform.forget(name)?;
            remove_files(world)
        }
    }
}

/// The log, the MANIFEST and perhaps the tables lie there in plain bytes: they must go as well.
fn refuse_without_trusted_volume(world: &World) -> Result<()> {
    match KeyFile::open_unanchored(&*world.data, &*world.platform) {
        Ok(key_file) if key_file.settings.mode.needs_trusted_volume() && world.trusted.is_none() => {
            let mode = key_file.settings.mode;
            let message =
                format!("a store of mode {mode} has files on its trusted volume: pass --trusted DIR");
            Err(Error::new(ErrorKind::Refused, message))
        }
        _ => Ok(()),
    }
}

fn lock(world: &World) -> Result<Vec<Box<dyn DiskLock>>> {
    let lock = |disk: &Arc<dyn Disk>| {
        disk.lock(LOCK).map_err(|e| match e.kind() {
            std::io::ErrorKind::WouldBlock => Error::new(
                ErrorKind::Busy,
                format!("{} is in use by another process; stop it first", disk.describe()),
            ),
            _ => Error::io("lock", &files::place(&**disk, LOCK), &e),
        })
    };
    std::iter::once(&world.data).chain(world.trusted.as_ref()).map(lock).collect()
}

fn is_store_file(name: &str) -> bool {
    name.starts_with("KEYS.") || name.starts_with("MANIFEST-") || name.starts_with(manifest::CURRENT)
}

/// Whether a directory holds files of a store. Empty subdirectories are what a destroyed one leaves.
fn holds_store(disk: &dyn Disk) -> Result<bool> {
    let in_dirs = || -> Result<bool> {
        Ok(!files::list(disk, wal::DIR)?.is_empty() || !files::list(disk, table::TABLE_DIR)?.is_empty())
    };
    Ok(files::list(disk, "")?.iter().any(|name| is_store_file(name)) || in_dirs()?)
}

/// The refusal of a store that the platform knows and whose data is not at `place` (R18). One
/// wording for a directory that is empty and one that does not exist.
#[must_use]
pub fn data_is_gone(place: String, name: &str) -> Error {
    let detail = format!(
        "the platform knows store '{name}', but its data is not here. If its directory is elsewhere, pass \
         that with --data; if you want another store, give it a name of its own with --store; only if '{name}' \
         is to be given up wherever it is (it can never be opened again): ringfort destroy --store {name}"
    );
    Error::evidence(EvidenceKind::Missing, place, 0, detail)
}

fn refuse_unknown_data(world: &World, name: &str) -> Result<()> {
    if !holds_store(&*world.data)? {
        return Ok(());
    }
    Err(Error::evidence(
        EvidenceKind::Foreign,
        world.data.describe(),
        0,
        format!(
            "the directory holds a store, but this platform knows none named '{name}': it belongs to another \
             name (--store), another platform (--platform-state) or was destroyed; use an empty directory for a new store"
        ),
    ))
}

/// Removes what an unfinished creation left, unless it is something else.
fn remove_unfinished(world: &World, id: StoreId) -> Result<()> {
    refuse_other_store(world, id)?;
    remove_files(world)
}

/// Refuses if the directory, or the trusted volume, holds another store than `id`.
fn refuse_other_store(world: &World, id: StoreId) -> Result<()> {
    if let Some(trusted) = &world.trusted {
        refuse_other_claim(trusted, id)?;
    }
    match KeyFile::open_unanchored(&*world.data, &*world.platform) {
        Ok(key_file) if key_file.store != id => {
            let detail = format!("the directory holds store {}, not {id}", key_file.store);
            Err(Error::evidence(EvidenceKind::Foreign, "KEYS", 0, detail))
        }
        Ok(_) => Ok(()),
        Err(e) if e.proof().is_some_and(|p| p.kind == EvidenceKind::Missing) => Ok(()),
        Err(e) => Err(e),
    }
}

/// Refuses a trusted volume that another store has claimed.
fn refuse_other_claim(trusted: &Arc<dyn Disk>, id: StoreId) -> Result<()> {
    let claim = VolumeCounter::new(Arc::clone(trusted), id).read();
    claim.map(drop).map_err(|e| e.context("the trusted volume belongs to another store (--trusted)"))
}

/// Removes every file of a store, the claim on the trusted volume too. Synced, so that nothing of it
/// comes back beside its successor: also if there is nothing left to remove, for a process that died
/// here may have removed it without a sync.
fn remove_files(world: &World) -> Result<()> {
    for disk in std::iter::once(&world.data).chain(world.trusted.as_ref()) {
        for dir in [wal::DIR, table::TABLE_DIR, ""] {
            for file in files::list(&**disk, dir)? {
                let path = if dir.is_empty() { file.clone() } else { format!("{dir}/{file}") };
                let ours = !dir.is_empty() || is_store_file(&file) || file == CLAIM;
                if ours {
                    disk.remove(&path).map_err(|e| Error::io("remove", &path, &e))?;
                }
            }
            match disk.sync_dir(dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("sync", &files::place(&**disk, dir), &e));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// The volumes of a mode, or why the world does not have them.
fn volumes(world: &World, mode: Mode) -> Result<Volumes> {
    if mode != Mode::Software && world.trusted.is_none() {
        let message = format!("mode {mode} needs a trusted volume; pass its directory with --trusted DIR");
        return Err(Error::invalid(message));
    }
    let trusted = if mode == Mode::Software { None } else { world.trusted.clone() };
    Ok(Volumes { data: Arc::clone(&world.data), trusted, mode })
}

fn counter(
    world: &World,
    volumes: &Volumes,
    settings: &Settings,
    name: &str,
    id: StoreId,
) -> Result<Arc<dyn Counter>> {
    match (settings.counter.as_str(), &volumes.trusted) {
        ("volume", Some(disk)) => Ok(Arc::new(VolumeCounter::new(Arc::clone(disk), id))),
        ("sim", _) => world.platform.counter(name, id),
        (other, _) => Err(Error::new(
            ErrorKind::Refused,
            format!("the store is anchored by a counter of kind '{other}', which this build does not have"),
        )),
    }
}

pub(super) fn random_id(world: &World) -> Result<[u8; 16]> {
    let mut id = [0; 16];
    world.entropy.fill(&mut id).map_err(|e| Error::io("draw", "random bytes", &e))?;
    Ok(id)
}

pub(super) struct Basis {
    pub(super) world: World,
    pub(super) options: StoreOptions,
    pub(super) locks: Vec<Box<dyn DiskLock>>,
    pub(super) volumes: Volumes,
    pub(super) key_file: Verified<KeyFile>,
    pub(super) counter: Arc<dyn Counter>,
}

impl Basis {
    pub(super) fn context(&self, incarnation: Incarnation, epoch: Epoch, state: &State) -> Arc<LogContext> {
        let (disk, protection) = self.volumes.place(Class::Wal);
        let keys = state.keyspaces.iter().map(|(id, keyspace)| (*id, keyspace.key.clone()));
        Arc::new(LogContext {
            disk: Arc::clone(disk),
            protection,
            entropy: Arc::clone(&self.world.entropy),
            store: self.key_file.store,
            lineage: self.key_file.lineage,
            incarnation,
            epoch,
            ring: Arc::new(self.key_file.ring.clone()),
            domain_keys: Arc::new(RwLock::new(keys.collect::<HashMap<_, _>>())),
            segment_bytes: self.options.segment_bytes,
        })
    }

    fn create_dirs(&self) -> Result<()> {
        for (class, dir) in [(Class::Wal, wal::DIR), (Class::Table, table::TABLE_DIR)] {
            let (disk, _) = self.volumes.place(class);
            disk.create_dir(dir).map_err(|e| Error::io("create", dir, &e))?;
            disk.sync_dir("").map_err(|e| Error::io("sync", &disk.describe(), &e))?;
        }
        Ok(())
    }
}

fn create(world: World, options: StoreOptions, locks: Vec<Box<dyn DiskLock>>) -> Result<Arc<Inner>> {
    let mode = options.mode.unwrap_or(Mode::Software);
    let volumes = volumes(&world, mode)?;
    let id = StoreId(random_id(&world)?);
    let name = options.name.clone();
    if let Some(trusted) = &volumes.trusted {
        refuse_other_claim(trusted, id)?;
    }
    world.platform.begin(&name, id)?;
    let trusted_volume =
        volumes.trusted.as_ref().map(|disk| init_trusted_volume(&**disk, &*world.entropy)).transpose()?;
    let settings = Settings {
        mode,
        trusted_volume,
        counter: if trusted_volume.is_some() { "volume" } else { "sim" }.to_owned(),
        minimum_level: ringfort_base::Level::Buffered,
        owner_key: None,
    };
    let counter = counter(&world, &volumes, &settings, &name, id)?;
    let key_file = KeyFile::create(&*world.data, &*world.platform, &*world.entropy, id, settings)?;
    let basis = Basis { world, options, locks, volumes, key_file, counter };
    basis.create_dirs()?;
    let state = State { next_file: FileNo(1), next_keyspace: KeyspaceId(1), ..State::default() };
    let epoch = basis.key_file.ring.current();
    let platform = Arc::clone(&basis.world.platform);
    let start = Start {
        state,
        trees: BTreeMap::new(),
        tail: Vec::new(),
        end: Head::default(),
        segments: VecDeque::new(),
        time_ms: 0,
        recovery: Recovery::default(),
        built: None,
        unnamed: BTreeSet::new(),
        in_doubt: InDoubts::default(),
    };
    let inner = claim(basis, None, epoch, start, None)?;
    platform.commit(&name, id)?;
    Ok(inner)
}

fn recover(
    world: World,
    options: StoreOptions,
    locks: Vec<Box<dyn DiskLock>>,
    id: StoreId,
) -> Result<Arc<Inner>> {
    let settings = {
        // Only to learn where to look; the anchored version is opened below.
        let key_file = KeyFile::open_unanchored(&*world.data, &*world.platform)?;
        if key_file.store != id {
            return Err(Error::evidence(
                EvidenceKind::Foreign,
                "KEYS",
                0,
                format!("the directory holds store {}, the platform expects {id}", key_file.store),
            ));
        }
        key_file.settings.clone()
    };
    check_settings(&settings, &options)?;
    let volumes = volumes(&world, settings.mode)?;
    check_trusted_volume(&volumes, &settings)?;
    let counter = counter(&world, &volumes, &settings, &options.name, id)?;
    let anchor = read_anchor(&*counter, id)?;
    let key_file =
        KeyFile::open(&*world.data, &*world.platform, id, anchor.key_file_version, anchor.key_file_digest)?;
    if key_file.lineage != anchor.lineage {
        return Err(Error::evidence(EvidenceKind::Foreign, "KEYS", 0, "the key file is of another lineage"));
    }
    if !key_file.ring.epochs().iter().any(|known| known.epoch == anchor.epoch) {
        let detail =
            format!("the counter anchors key epoch {}, which the key file does not have", anchor.epoch);
        return Err(Error::evidence(EvidenceKind::Inconsistent, "KEYS", 0, detail));
    }
    let basis = Basis { world, options, locks, volumes, key_file, counter };
    let context = basis.context(anchor.incarnation, anchor.epoch, &State::default());
    let (disk, protection) = basis.volumes.place(Class::Manifest);
    let state = manifest::reader::recover(&context, &**disk, protection, &anchor)?;
    check_life(&state, &anchor)?;
    let context = basis.context(anchor.incarnation, anchor.epoch, &state);
    let tables = Arc::new(open_tables(&basis));
    let start = rebuild(&context, &anchor, state, &tables, &basis.options)?;
    let built = start.built;
    let inner = claim(basis, Some(anchor), context.epoch, start, Some(tables))?;
    built.map_or(Ok(()), |built| inner.catch_up(built))?;
    Ok(inner)
}

/// Weakened builds may leave the claim or the comparison out (R27).
pub(super) fn compares_lives() -> bool {
    defence::on(Defence::Claim) && defence::on(Defence::AnchorCompare)
}

/// R1: the life that the counter names is the one that wrote the MANIFEST at its anchored head.
fn check_life(state: &State, anchor: &Anchor) -> Result<()> {
    let life = state.lives.last().map(|life| life.incarnation);
    if life == Some(anchor.incarnation) || !compares_lives() {
        return Ok(());
    }
    let found = life.map_or_else(|| "none".to_owned(), |life| format!("incarnation {life}"));
    let detail = format!(
        "the counter names incarnation {} as its last life, the MANIFEST {found}",
        anchor.incarnation
    );
    Err(Error::evidence(EvidenceKind::Inconsistent, "MANIFEST", anchor.manifest.position, detail))
}

fn check_settings(settings: &Settings, options: &StoreOptions) -> Result<()> {
    match options.mode {
        Some(mode) if mode != settings.mode => Err(Error::new(
            ErrorKind::Refused,
            format!(
                "the store was created in mode {}, which is sealed in it; {mode} was asked for. Leave --mode out",
                settings.mode
            ),
        )),
        _ => Ok(()),
    }
}

fn check_trusted_volume(volumes: &Volumes, settings: &Settings) -> Result<()> {
    let Some(disk) = &volumes.trusted else { return Ok(()) };
    let found = trusted_volume_id(&**disk)?;
    if found == settings.trusted_volume {
        return Ok(());
    }
    let evidence = if found.is_none() { EvidenceKind::Missing } else { EvidenceKind::Foreign };
    let detail = "this is not the trusted volume that the store is bound to (--trusted)";
    Err(Error::evidence(evidence, format!("{}/VOLUME", disk.describe()), 0, detail))
}

fn read_anchor(counter: &dyn Counter, id: StoreId) -> Result<Anchor> {
    let file = format!("counter '{}'", counter.kind());
    let reading = counter.read()?.ok_or_else(|| {
        Error::evidence(EvidenceKind::Missing, &file, 0, "the counter of this store holds no anchor")
    })?;
    if reading.anchor.store != id {
        let detail = format!("it anchors store {}, not {id}", reading.anchor.store);
        return Err(Error::evidence(EvidenceKind::Foreign, &file, 0, detail));
    }
    Ok(reading.anchor)
}

pub(super) fn open_tables(basis: &Basis) -> Tables {
    let (disk, protection) = basis.volumes.place(Class::Table);
    let StoreOptions { memory_budget, direct_reads, .. } = basis.options;
    Tables::new(Arc::clone(disk), protection, basis.key_file.store, memory_budget, direct_reads)
}

/// What an opening found behind the anchored head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Commit groups that were durable at the most and were kept.
    pub tail_groups: usize,
    /// Where the log ends in bytes that do not verify: a torn write, as a crash leaves it. They were
    /// never anchored, and are dropped.
    pub torn: Option<(String, u64)>,
}
