//! [`Options`]: where a store lives, how it is tuned, and the assembly of the world that it is
//! handed: real directories, the system's clock and randomness, the simulated platform.
//!
//! ```text
//! Options ──► platform state dir ──► SimDevice ──► SimPlatform ┐
//!         ──► data dir (untrusted) ──► OsDisk                  ├─► World ──► Store::open
//!         ──► trusted dir          ──► OsDisk, or a Disk that the caller hands over ┘
//! ```
//!
//! Refusing writes nothing (R12): a data directory that does not exist is made only for a store
//! that the platform does not know as live, and neither it nor the platform's own directory is made
//! for options that cannot be met.

use crate::{Level, Mode, Result};
use ringfort_base::limits::{BLOCK_BYTES_MAX, BLOCK_BYTES_MIN};
use ringfort_base::world::{Disk, Entropy};
use ringfort_base::{Error, ErrorKind};
use ringfort_host::disk::OsDisk;
use ringfort_host::door::{self, OsClock, OsEntropy};
use ringfort_host::memory;
use ringfort_store::{KeyspaceOptions, MergeOperator, Store, StoreOptions, World};
use ringfort_trust::platform::sim::{SimDevice, SimPlatform};
use ringfort_trust::platform::{Known, Platform};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Bits per key of a filter at the most, as the store has it.
const BLOOM_BITS_MAX: u32 = 64;
/// The smallest memtable, as the store has it.
const WRITE_BUFFER_BYTES_MIN: usize = 4096;

/// Where a store lives and how it is tuned.
///
/// ```
/// use ringfort::{Level, Mode, Options};
/// use std::time::Duration;
///
/// let options = Options::new("/var/lib/app/store")
///     .store_name("accounts")
///     .mode(Mode::Software)
///     .level(Level::Fresh)
///     .read_level(Level::Fresh)
///     .memory_budget(1 << 30)
///     .anchor_window(Duration::from_millis(50));
/// # drop(options);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    pub(crate) path: PathBuf,
    pub(crate) trusted: Option<Trusted>,
    pub(crate) platform_state: Option<PathBuf>,
    pub(crate) store: StoreOptions,
    pub(crate) read_level: Level,
    pub(crate) keyspace: KeyspaceOptions,
    pub(crate) background: bool,
    pub(crate) counter_latency: Duration,
    pub(crate) direct_reads: Option<bool>,
}

/// The trusted volume, as it was named.
#[derive(Clone)]
pub(crate) enum Trusted {
    Dir(PathBuf),
    Disk(Arc<dyn Disk>),
}

impl std::fmt::Debug for Trusted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dir(path) => path.fmt(f),
            Self::Disk(disk) => f.write_str(&disk.describe()),
        }
    }
}

impl Options {
    /// A store in the directory `path`, which is created if needed.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            trusted: None,
            platform_state: None,
            store: StoreOptions::default(),
            read_level: Level::Buffered,
            keyspace: KeyspaceOptions::default(),
            background: true,
            counter_latency: Duration::ZERO,
            direct_reads: None,
        }
    }

    /// The directory of the trusted volume, for [`Mode::Hardware`] and [`Mode::Twin`].
    #[must_use]
    pub fn trusted(mut self, path: impl Into<PathBuf>) -> Self {
        self.trusted = Some(Trusted::Dir(path.into()));
        self
    }

    /// A trusted volume that is no directory of this machine: whatever implements
    /// [`Disk`] and is believed, in place of [`Options::trusted`].
    #[must_use]
    pub fn trusted_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.trusted = Some(Trusted::Disk(disk));
        self
    }

    /// The name under which the platform knows the store; `default` if not said.
    #[must_use]
    pub fn store_name(mut self, name: impl Into<String>) -> Self {
        self.store.name = name.into();
        self
    }

    /// The mode of a new store ([`Mode::Software`] if not said). A store that exists refuses
    /// another mode than its own (R17).
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.store.mode = Some(mode);
        self
    }

    /// Where the simulated platform keeps its state; by default `ringfort/platform` under the
    /// user's state directory. It stands for hardware that the host cannot roll back: keep it off
    /// the volume of the data.
    #[must_use]
    pub fn platform_state(mut self, path: impl Into<PathBuf>) -> Self {
        self.platform_state = Some(path.into());
        self
    }

    /// Whether a store that the platform does not know is created; yes if not said.
    #[must_use]
    pub fn create_if_missing(mut self, create: bool) -> Self {
        self.store.create_if_missing = create;
        self
    }

    /// The level that a write waits for if it does not say; [`Level::Durable`] if not said.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.store.default_level = level;
        self
    }

    /// The level that everything a read shows must have, absence included (R6);
    /// [`Level::Buffered`], the newest visible state, if not said. At [`Level::Fresh`] each read
    /// is confirmed by a counter operation that began after it (R5).
    #[must_use]
    pub fn read_level(mut self, level: Level) -> Self {
        self.read_level = level;
        self
    }

    /// Memory for memtables, cache, indexes, filters and open tables, bytes; 512 MiB if not said.
    #[must_use]
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.store.memory_budget = bytes;
        self
    }

    /// Whether tables are read past the system's page cache, which would hold a second, sealed copy of
    /// what the store's cache holds; if not said, where the budget is at least half of the memory that the
    /// machine (or its control group) gives this process.
    #[must_use]
    pub fn direct_reads(mut self, direct: bool) -> Self {
        self.direct_reads = Some(direct);
        self
    }

    /// The log is closed and a new segment begun at this size, bytes.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.store.segment_bytes = bytes;
        self
    }

    /// Beyond this much log the keyspace that pins the oldest segment is flushed, bytes.
    #[must_use]
    pub fn max_total_wal_size(mut self, bytes: u64) -> Self {
        self.store.max_total_wal_size = bytes;
        self
    }

    /// Un-anchored commits are anchored in the background within this time (R7).
    #[must_use]
    pub fn anchor_window(mut self, window: Duration) -> Self {
        self.store.anchor_window = window;
        self
    }

    /// The furthest that the host clock may jump ahead of what the log knows (R20).
    #[must_use]
    pub fn clock_step_max(mut self, step: Duration) -> Self {
        self.store.clock_step_max = step;
        self
    }

    /// Settings of the default keyspace and of keyspaces that are created without their own.
    #[must_use]
    pub fn keyspace_defaults(mut self, options: KeyspaceOptions) -> Self {
        self.keyspace = options;
        self
    }

    /// Registers a merge operator besides the built-in ones ([`crate::merge`]), by its name: what a
    /// keyspace with that name in its [`KeyspaceOptions::merge_operator`] needs to be merged and read.
    #[must_use]
    pub fn merge_operator(mut self, operator: Arc<dyn MergeOperator>) -> Self {
        self.store.merge_operators.register(operator);
        self
    }

    /// Whether workers (log, counter and maintenance) run in the background; yes if not said. Without
    /// them the caller has to call [`Db::run_pending`](crate::Db::run_pending), and writers that
    /// outrun flush and compaction do that work themselves.
    #[must_use]
    pub fn background(mut self, background: bool) -> Self {
        self.background = background;
        self
    }

    /// How long each operation of the simulated counter takes, to see what a real one would cost;
    /// nothing if not said. Of no effect on any other counter, and none makes a counter that the host
    /// cannot roll back out of the simulated one: [`Db::platform`](crate::Db::platform) says so.
    #[must_use]
    pub fn counter_latency(mut self, latency: Duration) -> Self {
        self.counter_latency = latency;
        self
    }

    /// Opens the bare store, for a caller that runs its steps itself (the server does). Everybody
    /// else wants [`Db::open`](crate::Db::open).
    pub fn open_store(&self) -> Result<Opened> {
        self.check_keyspace()?;
        let warnings = self.warnings()?;
        let platform = match self.platform_if_known()? {
            Some(platform) => platform,
            None => {
                self.check_new()?;
                self.platform()?
            }
        };
        let world = self.world(Arc::clone(&platform))?;
        let store = Store::open(world, self.store_options())?;
        Ok(Opened { store, platform, warnings })
    }

    /// The store's options, with what depends on the machine.
    fn store_options(&self) -> StoreOptions {
        let budget = self.store.memory_budget as u64;
        let takes_half = || memory::total_bytes().is_some_and(|total| budget.saturating_mul(2) >= total);
        StoreOptions { direct_reads: self.direct_reads.unwrap_or_else(takes_half), ..self.store.clone() }
    }

    /// The platform, if it has any state yet. One without knows no store; asking it makes none.
    pub fn platform_if_known(&self) -> Result<Option<Arc<dyn Platform>>> {
        if self.platform_state_dir()?.exists() { self.platform().map(Some) } else { Ok(None) }
    }

    /// The platform that this process would open the store on. The directory of its state is made
    /// if needed.
    pub fn platform(&self) -> Result<Arc<dyn Platform>> {
        let path = self.platform_state_dir()?;
        let disk = OsDisk::create(&path).map_err(|e| {
            Error::io("open", &format!("the platform state directory {}", path.display()), &e)
        })?;
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let mut device = SimDevice::new(Arc::new(disk), entropy);
        if !self.counter_latency.is_zero() {
            device = device.with_latency(self.counter_latency, Box::new(door::sleep));
        }
        Ok(Arc::new(SimPlatform::new(Arc::new(device))))
    }

    /// Where the simulated platform keeps its state.
    pub fn platform_state_dir(&self) -> Result<PathBuf> {
        self.platform_state.clone().or_else(door::default_platform_state_dir).ok_or_else(|| {
            Error::invalid(
                "neither HOME nor XDG_STATE_HOME says where the simulated platform keeps its state; \
                 name a directory (--platform-state DIR, Options::platform_state)",
            )
        })
    }

    fn world(&self, platform: Arc<dyn Platform>) -> Result<World> {
        let name = &self.store.name;
        let live = match platform.known(name)? {
            Known::Live(_) => true,
            Known::No => {
                self.check_new()?;
                false
            }
            Known::Creating(_) => {
                self.check_volumes()?;
                false
            }
        };
        self.world_of(platform, live)
    }

    /// Whether a store that the platform does not know may be made.
    fn check_new(&self) -> Result<()> {
        if !self.store.create_if_missing {
            return Err(self.unknown());
        }
        self.check_volumes()
    }

    /// Whether there is what the mode of a new store needs.
    fn check_volumes(&self) -> Result<()> {
        match self.store.mode {
            Some(mode) if mode.needs_trusted_volume() && self.trusted.is_none() => Err(Error::invalid(
                format!("mode {mode} needs a trusted volume; pass its directory with --trusted DIR"),
            )),
            _ => Ok(()),
        }
    }

    /// Whether a keyspace can be made with these settings: asked before there is a store without.
    fn check_keyspace(&self) -> Result<()> {
        let KeyspaceOptions { block_bytes, bloom_bits_per_key, write_buffer_bytes, .. } = self.keyspace;
        if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&block_bytes) {
            return Err(Error::invalid("a keyspace's blocks (--block-size) have 1KiB to 1MiB"));
        }
        if bloom_bits_per_key > BLOOM_BITS_MAX {
            return Err(Error::invalid(format!(
                "a keyspace's filters (--bloom-bits) have at most {BLOOM_BITS_MAX} bits per key"
            )));
        }
        if write_buffer_bytes < WRITE_BUFFER_BYTES_MIN {
            return Err(Error::invalid("a keyspace's memtable (--write-buffer) has at least 4KiB"));
        }
        Ok(())
    }

    /// There is no platform where one has to be.
    pub(crate) fn no_platform(&self) -> Error {
        let place = self.platform_state_dir().map_or_else(|e| e.to_string(), |dir| dir.display().to_string());
        Error::new(
            ErrorKind::NotFound,
            format!("there is no platform state in {place} (--platform-state DIR)"),
        )
    }

    /// The platform knows no store of this name.
    pub(crate) fn unknown(&self) -> Error {
        let message = format!("the platform knows no store named '{}'", self.store.name);
        Error::new(ErrorKind::NotFound, message)
    }

    /// The world of this store. With `must_exist` a directory that is missing is evidence, and is
    /// not made.
    pub(crate) fn world_of(&self, platform: Arc<dyn Platform>, must_exist: bool) -> Result<World> {
        if must_exist && !self.path.exists() {
            return Err(ringfort_store::data_is_gone(self.path.display().to_string(), &self.store.name));
        }
        if let Some(trusted) = self.trusted_dir().filter(|path| must_exist && !path.exists()) {
            let message = format!("the trusted volume {} does not exist: is it mounted?", trusted.display());
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        let disk = |path: &Path| -> Result<Arc<dyn Disk>> {
            let disk =
                OsDisk::create(path).map_err(|e| Error::io("open", &path.display().to_string(), &e))?;
            Ok(Arc::new(disk))
        };
        ringfort_host::door::advise_on_memory();
        let data = disk(&self.path)?;
        let trusted = match &self.trusted {
            None => None,
            Some(Trusted::Dir(path)) => Some(disk(path)?),
            Some(Trusted::Disk(disk)) => Some(Arc::clone(disk)),
        };
        let (clock, entropy) = (Arc::new(OsClock::new()), Arc::new(OsEntropy));
        Ok(World { data, trusted, clock, entropy, platform })
    }

    /// The trusted volume's directory, if it is one.
    fn trusted_dir(&self) -> Option<&PathBuf> {
        match &self.trusted {
            Some(Trusted::Dir(path)) => Some(path),
            Some(Trusted::Disk(_)) | None => None,
        }
    }

    /// What is allowed and still unwise.
    fn warnings(&self) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        let state = resolved(&self.platform_state_dir()?);
        for (volume, path) in [("data", Some(&self.path)), ("trusted", self.trusted_dir())] {
            let Some(path) = path.map(|path| resolved(path)) else { continue };
            if state.starts_with(&path) {
                warnings.push(format!(
                    "the platform state ({}) lies under the {volume} directory ({}): whoever rolls back the one rolls \
                     back the other, and no rollback can be detected. Keep them apart (--platform-state DIR)",
                    state.display(),
                    path.display()
                ));
            }
        }
        if !self.counter_latency.is_zero() {
            warnings.push(format!(
                "each operation of the simulated counter is made to take {} us (--counter-latency): it costs what a real \
                 one would, and protects no better than without",
                self.counter_latency.as_micros()
            ));
        }
        Ok(warnings)
    }
}

/// The path without links and dots, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = Vec::new();
    let mut known = absolute.as_path();
    loop {
        if let Ok(mut found) = known.canonicalize() {
            found.extend(rest.iter().rev());
            return found;
        }
        match (known.parent(), known.file_name()) {
            (Some(parent), Some(name)) => {
                rest.push(name.to_owned());
                known = parent;
            }
            _ => return absolute,
        }
    }
}

/// A bare store and what it was opened on.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The platform.
    pub platform: Arc<dyn Platform>,
    /// What is allowed and still unwise, one sentence each.
    pub warnings: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Db;

    #[test]
    fn reads_are_direct_where_the_budget_takes_half_of_the_memory() {
        let total = usize::try_from(memory::total_bytes().unwrap()).unwrap();
        let direct = |options: Options| options.store_options().direct_reads;
        assert!(!direct(Options::new("x")), "the default budget, on any machine for development");
        assert!(direct(Options::new("x").memory_budget(total / 2 + 1)));
        assert!(!direct(Options::new("x").memory_budget(total / 2 - 1)));
        assert!(
            direct(Options::new("x").direct_reads(true)) && direct(Options::new("x").memory_budget(total))
        );
        assert!(!direct(Options::new("x").memory_budget(total).direct_reads(false)), "who says so decides");
    }

    #[test]
    fn direct_reads_find_what_was_written_and_see_what_was_changed() {
        let dir = crate::temporary::TempDir::new().unwrap();
        let options = || {
            Options::new(dir.path().join("data"))
                .platform_state(dir.path().join("platform"))
                .direct_reads(true)
        };
        let (key, value) = (|n: u32| format!("key{n:05}"), |n: u32| n.to_string().repeat(200));
        let db = Db::open(options()).unwrap();
        (0..3000).for_each(|n| db.put(key(n), value(n)).unwrap());
        db.flush().unwrap();
        db.close().unwrap();
        drop(db);
        let db = Db::open(options()).unwrap();
        (0..3000).for_each(|n| assert_eq!(db.get(key(n)).unwrap().unwrap(), value(n).as_bytes()));
        drop(db);
        let tables = std::fs::read_dir(dir.path().join("data/tables")).unwrap();
        let largest =
            tables.map(|entry| entry.unwrap().path()).max_by_key(|path| path.metadata().unwrap().len());
        let file = std::fs::OpenOptions::new().read(true).write(true).open(largest.unwrap()).unwrap();
        let mut byte = [0];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut byte, 5000).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[byte[0] ^ 1], 5000).unwrap();
        let db = Db::open(options()).unwrap();
        let refused = (0..3000).find_map(|n| db.get(key(n)).err()).unwrap();
        assert!(refused.to_string().contains("the seal of the data block"), "{refused}");
    }

    #[test]
    fn a_disk_that_is_handed_over_is_the_trusted_volume() {
        let dir = crate::temporary::TempDir::new().unwrap();
        let (data, handed) = (dir.path().join("data"), dir.path().join("handed"));
        let base = || Options::new(&data).platform_state(dir.path().join("platform")).mode(Mode::Twin);
        let db = Db::open(base().trusted_disk(Arc::new(OsDisk::create(&handed).unwrap()))).unwrap();
        db.put("name", "Ringfort").unwrap();
        db.close().unwrap();
        drop(db);
        assert!(handed.join("VOLUME").is_file() && handed.join("wal").is_dir(), "the log is there");
        assert!(!data.join("wal").exists(), "and not here");
        let without = Db::open(base()).err().unwrap();
        assert!(without.message().contains("trusted volume"), "{without}");
        let db = Db::open(base().trusted(&handed)).unwrap();
        assert_eq!(db.get("name").unwrap().as_deref(), Some(&b"Ringfort"[..]));
    }

    #[test]
    fn what_the_store_takes_of_a_keyspace_is_what_is_checked() {
        let dir = crate::temporary::TempDir::new().unwrap();
        let base = || Options::new(dir.path().join("data")).platform_state(dir.path().join("platform"));
        let good = KeyspaceOptions::default();
        let wrong = [
            KeyspaceOptions { block_bytes: 1023, ..good.clone() },
            KeyspaceOptions { block_bytes: (1 << 20) + 1, ..good.clone() },
            KeyspaceOptions { bloom_bits_per_key: BLOOM_BITS_MAX + 1, ..good.clone() },
            KeyspaceOptions { write_buffer_bytes: WRITE_BUFFER_BYTES_MIN - 1, ..good.clone() },
        ];
        for options in &wrong {
            let error = base().keyspace_defaults(options.clone()).open_store().err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        }
        let twin = base().mode(Mode::Twin).open_store().err().unwrap();
        assert!(twin.kind() == ErrorKind::Invalid && twin.message().contains("--trusted"), "{twin}");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "none of them left a trace");
        // The store agrees about each, and about the limits themselves.
        let store = base().open_store().unwrap().store;
        for (n, options) in wrong.into_iter().enumerate() {
            assert!(store.create_keyspace(&format!("wrong{n}"), options).is_err(), "{n}");
        }
        let least = KeyspaceOptions {
            block_bytes: 1024,
            bloom_bits_per_key: BLOOM_BITS_MAX,
            write_buffer_bytes: WRITE_BUFFER_BYTES_MIN,
            ..good
        };
        base().keyspace_defaults(least.clone()).check_keyspace().unwrap();
        store.create_keyspace("least", least).unwrap();
        store.close().unwrap();
    }

    #[test]
    fn a_state_directory_below_the_data_is_warned_of() {
        let dir = crate::temporary::TempDir::new().unwrap();
        let data = dir.path().join("data");
        let apart = Options::new(&data).platform_state(dir.path().join("platform"));
        assert_eq!(apart.warnings(), Ok(Vec::new()));
        // Whether or not either exists yet, and whatever way leads there.
        let below = Options::new(&data).platform_state(dir.path().join("x/../data/state"));
        std::fs::create_dir_all(dir.path().join("x")).unwrap();
        std::fs::create_dir_all(&data).unwrap();
        let warnings = below.warnings().unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("lies under the data directory"), "{warnings:?}");
    }

    #[test]
    fn a_slowed_counter_is_not_mistaken_for_a_real_one() {
        let dir = crate::temporary::TempDir::new().unwrap();
        let options = Options::new(dir.path().join("data")).platform_state(dir.path().join("platform"));
        let warnings = options.counter_latency(Duration::from_millis(1)).warnings().unwrap();
        assert!(warnings.len() == 1 && warnings[0].contains("simulated counter"), "{warnings:?}");
    }
}
