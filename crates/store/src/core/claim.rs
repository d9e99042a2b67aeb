//! Claiming (R2): how a verified state becomes a new life.
//!
//! ```text
//! new segment: copied un-anchored tail | claim   synced, directory synced
//! new MANIFEST: snapshot                         synced, directory synced
//! counter: advance from the anchor that was recovered to the new one
//! ```
//! Dying anywhere before the advance leaves files that no life claims: the next open ignores them,
//! takes higher numbers, and has them removed.

use super::Inner;
use super::anchoring::AnchorState;
use super::commit::{Queue, Segment, initial_log};
use super::in_doubt::InDoubts;
use super::open::{Basis, Recovery, open_tables, random_id};
use super::prepared::Book;
use super::purge::{Freed, PurgeList, Readers};
use super::rebuild::Start;
use crate::clock::StoreClock;
use crate::engine::lsm::blob::blob_path;
use crate::engine::lsm::table;
use crate::engine::lsm::tree::{Tables, Tree};
use crate::files;
use crate::frontier::Frontiers;
use crate::manifest;
use crate::manifest::state::{Life, State};
use crate::manifest::writer::ManifestWriter;
use crate::stats::Counters;
use crate::txn::gate::Gate;
use crate::txn::locks::LockTable;
use crate::wal;
use crate::wal::record::{Claim, Run};
use crate::wal::writer::{LogContext, WalWriter};
use parking_lot::{Mutex, RwLock};
use ringfort_base::{Epoch, Error, FileNo, Incarnation, KeyspaceId, Result, Seq};
use ringfort_trust::counter::advance_confirmed;
use ringfort_trust::defence::{self, Defence};
use ringfort_trust::volume::{Class, Volumes};
use ringfort_trust::{Anchor, Head};
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};

/// Few: a range lock stands in each.
const LOCK_STRIPES: usize = 8;
/// Some 200 MB of locks.
const LOCKS_MAX: u64 = 1 << 20;
const CLAIM_ATTEMPTS: u32 = 5;

/// R2: copies the tail, appends the claim, writes the new MANIFEST, advances the counter.
pub(super) fn claim(
    basis: Basis,
    previous: Option<Anchor>,
    epoch: Epoch,
    start: Start,
    tables: Option<Arc<Tables>>,
) -> Result<Arc<Inner>> {
    let Start { mut state, trees, tail, end, mut segments, time_ms, recovery, built, unnamed, in_doubt } =
        start;
    let pinned = in_doubt.pinned();
    // Before the first byte is written (R12).
    let transactions = take_up(in_doubt, &trees)?;
    let incarnation = previous.as_ref().map_or(Incarnation(1), |anchor| anchor.incarnation.next());
    let continues = previous.as_ref().map(|anchor| anchor.wal).unwrap_or_default();
    let context = basis.context(incarnation, epoch, &state);
    let clock = StoreClock::new(Arc::clone(&basis.world.clock), time_ms, basis.options.clock_step_max);
    let listing = Listing::read(&basis.volumes)?;
    let segment = state.next_file.max(listing.highest(&unnamed)).next();
    let manifest_number = segment.next();
    let next_file = manifest_number.next();

    drop_flushed(&mut segments, &trees, (built, pinned));
    let flushed = state.keyspaces.values().map(|keyspace| keyspace.flushed).max().unwrap_or_default();
    let position = Seq(end.position.max(state.last_seq.0).max(flushed.0)).next();
    let id = random_id(&basis.world)?;
    let claim = Claim { time_ms: clock.now().now_ms, incarnation, id, continues };
    let writer = begin_log(&context, segment, &tail, &claim, position)?;
    let wal_head = writer.head();

    segments.push_back(Segment { number: segment, end: position, bytes: writer.len() });
    state.lives.push(Life { incarnation, first_segment: segment, continues });
    state.log_start = segments.front().map_or(segment, |first| first.number);
    state.next_file = next_file;
    state.last_seq = position;
    state.time_ms = claim.time_ms;
    let continues = previous.as_ref().map(|anchor| anchor.manifest).unwrap_or_default();
    let manifest = begin_manifest(&basis, &context, manifest_number, continues, state)?;
    let anchor = basis.anchor(epoch, &claim, wal_head, manifest.head());
    let anchor = match previous {
        Some(previous) if !defence::on(Defence::Claim) => previous,
        previous => {
            advance_confirmed(&*basis.counter, previous.as_ref(), &anchor, true, CLAIM_ATTEMPTS)?;
            anchor
        }
    };
    clock.logged(claim.time_ms);
    let tables = tables.unwrap_or_else(|| Arc::new(open_tables(&basis)));
    let purge = PurgeList { files: listing.garbage(&basis.volumes, &manifest, (&segments, &unnamed)) };
    Ok(Arc::new(assemble(
        basis,
        Parts {
            context,
            clock,
            writer,
            segments,
            manifest,
            anchor,
            trees,
            tables,
            purge,
            next_file,
            recovery,
            built,
            transactions,
        },
    )))
}

/// The locks of a life that begins, with those of what is in doubt.
fn take_up(in_doubt: InDoubts, trees: &BTreeMap<KeyspaceId, Arc<Tree>>) -> Result<Transactions> {
    // What was in doubt finds room beside all others, however its locks were counted before.
    let locks_max = LOCKS_MAX + in_doubt.locks() * LOCK_STRIPES as u64;
    let (locks, gate) = (LockTable::new(LOCK_STRIPES, locks_max), Arc::default());
    let in_doubt = in_doubt.with_locks(|id| trees.contains_key(&id), &locks, &gate)?;
    Ok(Transactions { locks, gate, book: Book::recovered(in_doubt) })
}

fn begin_manifest(
    basis: &Basis,
    context: &Arc<LogContext>,
    number: FileNo,
    continues: Head,
    state: State,
) -> Result<ManifestWriter> {
    let (disk, protection) = basis.volumes.place(Class::Manifest);
    ManifestWriter::create(context, Arc::clone(disk), protection, number, continues, state)
}

/// Segments that every keyspace has flushed past, and in which nothing in doubt was prepared, are not needed any
/// more (R10).
fn drop_flushed(
    segments: &mut VecDeque<Segment>,
    trees: &BTreeMap<KeyspaceId, Arc<Tree>>,
    (built, in_doubt): (Option<Seq>, Option<Seq>),
) {
    let unbuilt = built.map(Seq::next).into_iter().chain(in_doubt);
    let pinned = trees.values().filter_map(|tree| tree.first_unflushed(None)).chain(unbuilt).min();
    while segments.front().is_some_and(|oldest| pinned.is_none_or(|pinned| oldest.end < pinned)) {
        segments.pop_front();
    }
}

impl Basis {
    /// What the counter is to hold when the claim stands.
    fn anchor(&self, epoch: Epoch, claim: &Claim, wal: Head, manifest: Head) -> Anchor {
        Anchor {
            store: self.key_file.store,
            lineage: self.key_file.lineage,
            epoch,
            incarnation: claim.incarnation,
            claim: claim.id,
            wal,
            manifest,
            key_file_version: self.key_file.version,
            key_file_digest: self.key_file.digest,
        }
    }
}

/// The first segment of a life: the copied tail and the claim, synced with the directory.
fn begin_log(
    context: &Arc<LogContext>,
    segment: FileNo,
    tail: &[(Vec<Run>, Head)],
    claim: &Claim,
    position: Seq,
) -> Result<WalWriter> {
    let mut writer = WalWriter::create(Arc::clone(context), segment, claim.continues)?;
    for (runs, head) in tail {
        writer.append_copied(runs, Seq(head.position))?;
    }
    writer.append_claim(claim, position)?;
    let failed = |e: std::io::Error| Error::io("sync", &wal::path(segment), &e);
    writer.file().sync().map_err(failed)?;
    context.disk.sync_dir(wal::DIR).map_err(failed)?;
    Ok(writer)
}

struct Parts {
    context: Arc<LogContext>,
    clock: StoreClock,
    writer: WalWriter,
    segments: VecDeque<Segment>,
    manifest: ManifestWriter,
    anchor: Anchor,
    trees: BTreeMap<KeyspaceId, Arc<Tree>>,
    tables: Arc<Tables>,
    purge: PurgeList,
    next_file: FileNo,
    recovery: Recovery,
    built: Option<Seq>,
    transactions: Transactions,
}

/// Who holds which locks from the start.
struct Transactions {
    locks: Arc<LockTable>,
    gate: Arc<Gate>,
    book: Book,
}

fn assemble(basis: Basis, parts: Parts) -> Inner {
    let Basis { world, options, locks, volumes, counter, key_file } = basis;
    let position = Seq(parts.anchor.wal.position);
    let manifest_head = parts.manifest.head();
    Inner {
        frontiers: Arc::new(Frontiers::recovered(position)),
        queue: Mutex::new(Queue { next_seq: position.next(), pending: VecDeque::new(), bytes: 0 }),
        log: Mutex::new(initial_log(parts.writer, parts.segments)),
        sync: Mutex::new(()),
        durable_head: Mutex::new(parts.anchor.wal),
        anchor: Mutex::new(AnchorState {
            counter,
            synced_manifest: parts.anchor.manifest.position,
            current: parts.anchor,
        }),
        manifest: Mutex::new(parts.manifest),
        manifest_head: Mutex::new(manifest_head),
        trees: RwLock::new(parts.trees),
        tables: parts.tables,
        next_file: AtomicU64::new(parts.next_file.0),
        recovery: parts.recovery,
        unreplayed: AtomicU64::new(parts.built.map_or(u64::MAX, |built| built.next().0)),
        clock: parts.clock,
        locks: parts.transactions.locks,
        gate: parts.transactions.gate,
        prepared: Mutex::new(parts.transactions.book),
        snapshots: Mutex::default(),
        purge: Mutex::new(parts.purge),
        changing_keyspaces: Mutex::new(()),
        flushing: Mutex::new(()),
        compacting: Mutex::default(),
        delay_ns: AtomicU64::new(0),
        owed_ns: AtomicU64::new(0),
        filter: RwLock::new(None),
        hooks: OnceLock::new(),
        stats: Counters::default(),
        closed: Mutex::new(None),
        memtables_full: AtomicBool::new(false),
        maintained: AtomicBool::new(false),
        context: parts.context,
        minimum_level: key_file.settings.minimum_level,
        options,
        world,
        volumes,
        _locks: locks,
    }
}

/// What the host shows of our files, for choosing unused numbers and finding garbage.
struct Listing {
    wal: Vec<FileNo>,
    manifests: Vec<FileNo>,
    tables: Vec<FileNo>,
    values: Vec<FileNo>,
    /// Left by an interrupted switch of CURRENT.
    asides: Vec<String>,
}

impl Listing {
    fn read(volumes: &Volumes) -> Result<Self> {
        let numbers = |class, dir, parse: fn(&str) -> Option<FileNo>| -> Result<Vec<FileNo>> {
            let (disk, _) = volumes.place(class);
            Ok(files::list(&**disk, dir)?.iter().filter_map(|name| parse(name)).collect())
        };
        Ok(Self {
            wal: numbers(Class::Wal, wal::DIR, wal::parse_name)?,
            manifests: numbers(Class::Manifest, "", manifest::parse_name)?,
            tables: numbers(Class::Table, table::TABLE_DIR, files::parse_table_name)?,
            values: numbers(Class::Table, table::TABLE_DIR, files::parse_blob_name)?,
            asides: {
                let (disk, _) = volumes.place(Class::Manifest);
                let names = files::list(&**disk, "")?.into_iter();
                names.filter(|name| manifest::is_aside(name)).collect()
            },
        })
    }

    /// Of all files, those included that the log names, whatever the host shows of them.
    fn highest(&self, unnamed: &BTreeSet<FileNo>) -> FileNo {
        let all =
            self.wal.iter().chain(&self.manifests).chain(&self.tables).chain(&self.values).chain(unnamed);
        all.max().copied().unwrap_or_default()
    }

    /// Files that the claimed state does not need; `unnamed` value files are needed by the log alone.
    fn garbage(
        &self,
        volumes: &Volumes,
        manifest: &ManifestWriter,
        (segments, unnamed): (&VecDeque<Segment>, &BTreeSet<FileNo>),
    ) -> Vec<Freed> {
        let edit = manifest.head().position;
        let freed = |class, dir, path| {
            let disk = Arc::clone(volumes.place(class).0);
            Freed { disk, dir, path, edit, readers: Readers::None }
        };
        let live: HashSet<FileNo> = segments.iter().map(|segment| segment.number).collect();
        let keyspaces = || manifest.state.keyspaces.values();
        let tables: HashSet<FileNo> =
            keyspaces().flat_map(|k| k.levels.iter().flatten()).map(|t| t.file).collect();
        let named: HashSet<FileNo> = keyspaces().flat_map(|k| k.values.keys().copied()).collect();
        let wal =
            self.wal.iter().filter(|n| !live.contains(n)).map(|n| freed(Class::Wal, wal::DIR, wal::path(*n)));
        let manifests = self.manifests.iter().filter(|n| **n != manifest.number);
        let manifests = manifests.map(|n| freed(Class::Manifest, "", manifest::path(*n)));
        let tables = self.tables.iter().filter(|n| !tables.contains(n));
        let tables = tables.map(|n| freed(Class::Table, table::TABLE_DIR, table::table_path(*n)));
        let values = self.values.iter().filter(|n| !named.contains(n) && !unnamed.contains(n));
        let values = values.map(|n| freed(Class::Table, table::TABLE_DIR, blob_path(*n)));
        let asides = self.asides.iter().map(|name| freed(Class::Manifest, "", name.clone()));
        wal.chain(manifests).chain(tables).chain(values).chain(asides).collect()
    }
}
