//! An attacker who knows everything: where each record and block lies, which of them the counter
//! anchors, and even the keys. Attacks aim with it; what they may *write* is up to them.
//!
//! It reads the formats by their documentation (`wal`, `manifest::edit`, `table::format`, `blob::format`) and not
//! by the store's own code, so a format that changes without its documentation fails here.
#![allow(dead_code, reason = "several test binaries and fuzz targets use their part")]

use crate::common::Machine;
use ringfort_base::codec::Reader;
use ringfort_base::{FileNo, KeyspaceId, StoreId, Untrusted};
use ringfort_store::Compression;
use ringfort_store::engine::lsm::blob::{BlobMeta, blob_path};
use ringfort_store::engine::lsm::table::block::{Block, BlockCursor, Content};
use ringfort_store::engine::lsm::table::format::{BlockHandle, BlockKind, Footer, PartitionHandles, Plain};
use ringfort_store::engine::lsm::table::{TableMeta, table_path};
use ringfort_trust::chain::{ChainReader, LogKind, SegmentHeader};
use ringfort_trust::counter::{Counter, slot::VolumeCounter};
use ringfort_trust::keyfile::{KeyFile, Mode};
use ringfort_trust::keys::{KeyRing, Secret};
use ringfort_trust::platform::Known;
use ringfort_trust::{Anchor, Protection, Sealer, Suite};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A record of a sealed log, as its clear frame shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordAt {
    pub offset: usize,
    pub end: usize,
    pub domain: u32,
    pub last: bool,
    pub tag: [u8; 16],
}

/// Bytes of a frame in front of the ciphertext.
pub const FRAME_BYTES: usize = 21;
pub const TAG_BYTES: usize = 16;

/// One log file.
#[derive(Clone, Debug)]
pub struct LogFile {
    pub path: String,
    pub bytes: Vec<u8>,
    pub header: SegmentHeader,
    pub records: Vec<RecordAt>,
}

impl LogFile {
    /// Bytes that are written: what follows is reserved space.
    pub fn written(&self) -> usize {
        self.records.last().map_or(SegmentHeader::BYTES, |record| record.end)
    }
}

/// A block of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAt {
    pub kind: BlockKind,
    pub handle: BlockHandle,
}

/// A table that the anchored MANIFEST names.
#[derive(Clone)]
pub struct TableAt {
    pub keyspace: KeyspaceId,
    pub level: u8,
    pub path: String,
    pub meta: TableMeta,
    pub blocks: Vec<BlockAt>,
}

impl std::fmt::Debug for TableAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (level {})", self.path, self.level)
    }
}

impl TableAt {
    pub fn of_kind(&self, kind: BlockKind) -> impl Iterator<Item = &BlockHandle> {
        self.blocks.iter().filter(move |block| block.kind == kind).map(|block| &block.handle)
    }
}

/// A value file that the anchored MANIFEST names, or the log alone.
#[derive(Clone)]
pub struct ValuesAt {
    pub keyspace: KeyspaceId,
    pub path: String,
    pub meta: BlobMeta,
    /// Only the log names it.
    pub unnamed: bool,
    /// Its values (a piece each), its index and its footer.
    pub blocks: Vec<BlockAt>,
}

impl ValuesAt {
    pub fn of_kind(&self, kind: BlockKind) -> impl Iterator<Item = &BlockHandle> {
        self.blocks.iter().filter(move |block| block.kind == kind).map(|block| &block.handle)
    }
}

/// What opens the blocks of one file.
pub struct Opener {
    store: StoreId,
    file: FileNo,
    sealer: Sealer,
}

impl Opener {
    pub fn table(store: StoreId, meta: &TableMeta) -> Self {
        Self { store, file: meta.file, sealer: Sealer::new(meta.protection, &meta.key) }
    }

    pub fn values(store: StoreId, meta: &BlobMeta) -> Self {
        Self { store, file: meta.file, sealer: Sealer::new(meta.protection, &meta.key) }
    }
}

/// A store cut open.
pub struct Anatomy {
    pub anchor: Anchor,
    /// The claimed segments from the log's start on.
    pub wal: Vec<LogFile>,
    /// The segment and record that make the anchored head.
    pub head: (usize, usize),
    pub manifest: LogFile,
    /// The record of the MANIFEST that makes the anchored head.
    pub manifest_head: usize,
    pub tables: Vec<TableAt>,
    pub values: Vec<ValuesAt>,
    /// The keys of keyspaces, tables and value files.
    pub secrets: Vec<[u8; 32]>,
}

pub fn store_id(machine: &Machine) -> StoreId {
    match machine.platform().known("default").unwrap() {
        Known::Live(id) => id,
        other => panic!("the platform knows no live store: {other:?}"),
    }
}

/// The counter of the machine's store. It works on copies of the disks.
pub fn counter(machine: &Machine) -> Arc<dyn Counter> {
    let id = store_id(machine);
    match machine.mode {
        Mode::Software => machine.platform().counter("default", id).unwrap(),
        _ => Arc::new(VolumeCounter::new(Arc::new(machine.trusted.clone()), id)),
    }
}

pub fn anchor(machine: &Machine) -> Anchor {
    let copy = machine.map(|disk| disk.fork());
    counter(&copy).read().unwrap().expect("the counter holds an anchor").anchor
}

/// Splits a log file by its clear frames; stops where there is none.
pub fn log_file(path: &str, bytes: Vec<u8>) -> Option<LogFile> {
    let header = SegmentHeader::claimed(&Untrusted::new(bytes.clone())).ok()?;
    let mut records = Vec::new();
    let mut offset = SegmentHeader::BYTES;
    while let Some(frame) = bytes.get(offset..offset + FRAME_BYTES) {
        let mut reader = Reader::new(frame);
        let len = reader.u32().unwrap() as usize;
        let index = reader.u32().unwrap() as usize;
        let end = offset + FRAME_BYTES + len + TAG_BYTES;
        if len == 0 || index != records.len() || end > bytes.len() {
            break;
        }
        let tag = bytes[end - TAG_BYTES..end].try_into().unwrap();
        let domain = u32::from_le_bytes(frame[16..20].try_into().unwrap());
        records.push(RecordAt { offset, end, domain, last: frame[20] & 1 == 1, tag });
        offset = end;
    }
    Some(LogFile { path: path.to_owned(), bytes, header, records })
}

pub fn dissect(machine: &Machine) -> Anatomy {
    let anchor = anchor(machine);
    let files = machine.log_disk().files();
    let (manifest, manifest_head) = files
        .iter()
        .filter(|(path, _)| path.starts_with("MANIFEST-"))
        .filter_map(|(path, bytes)| log_file(path, bytes.clone()))
        .find_map(|file| {
            let head = file.records.iter().position(|record| record.tag == anchor.manifest.tag.0)?;
            Some((file, head))
        })
        .expect("some MANIFEST holds the anchored head");
    let platform = machine.platform();
    let keys = KeyFile::open_unanchored(&machine.data, &*platform).unwrap();
    let mut edits = Edits::default();
    let sealed = Protection::Sealed(Suite::Aes256Gcm);
    let protection = if machine.mode == Mode::Software { sealed } else { Protection::Checksummed };
    let sealer = keys.ring.log_sealer(protection, &manifest.header, LogKind::Manifest, None).unwrap();
    let mut reader = ChainReader::new(Untrusted::new(manifest.bytes.clone()), &manifest.header);
    loop {
        let record =
            reader.next(&mut |_| Some(&sealer)).ok().expect("records verify up to the anchored head");
        edits.pending.extend_from_slice(&record.payload);
        if record.last {
            edits.apply();
        }
        if record.head == anchor.manifest {
            break;
        }
    }
    let wal: Vec<LogFile> = files
        .iter()
        .filter(|(path, _)| path.starts_with("wal/"))
        .filter_map(|(path, bytes)| log_file(path, bytes.clone()))
        .filter(|file| {
            file.header.incarnation == anchor.incarnation && file.header.segment.0 >= edits.log_start
        })
        .collect();
    let head = (0..wal.len())
        .find_map(|s| Some((s, wal[s].records.iter().position(|record| record.tag == anchor.wal.tag.0)?)))
        .expect("some segment holds the anchored head");
    let tables = edits.tables.values().map(|(keyspace, level, meta)| {
        let path = table_path(meta.file);
        let bytes = machine.table_disk().bytes_of(&path).unwrap();
        let blocks = blocks(&bytes, anchor.store, meta);
        TableAt { keyspace: *keyspace, level: *level, path, meta: meta.clone(), blocks }
    });
    let tables: Vec<TableAt> = tables.collect();
    let named = edits.values.values().cloned();
    let unnamed = wal.iter().flat_map(|file| stored_values(file, &keys.ring, protection, &edits.domains));
    let unnamed: Vec<_> = unnamed.filter(|(_, meta)| !edits.values.contains_key(&meta.file.0)).collect();
    let values = named.chain(unnamed).map(|(keyspace, meta)| {
        let path = blob_path(meta.file);
        let bytes = machine.table_disk().bytes_of(&path).unwrap();
        let blocks = value_blocks(&bytes, anchor.store, &meta);
        let unnamed = !edits.values.contains_key(&meta.file.0);
        ValuesAt { keyspace, path, meta, unnamed, blocks }
    });
    let values: Vec<ValuesAt> = values.collect();
    let mut secrets = edits.keys;
    secrets.extend(values.iter().map(|values| *values.meta.key.expose_for_sealing()));
    secrets.extend(tables.iter().map(|table| *table.meta.key.expose_for_sealing()));
    secrets.push(*platform.sealing_key(anchor.store).unwrap().expose_for_sealing());
    Anatomy { anchor, wal, head, manifest, manifest_head, tables, values, secrets }
}

/// The value files that a segment commits, as `wal::record` documents it.
fn stored_values(
    file: &LogFile,
    ring: &KeyRing,
    protection: Protection,
    domains: &BTreeMap<u32, [u8; 32]>,
) -> Vec<(KeyspaceId, BlobMeta)> {
    let sealer = |domain: u32| {
        let key = domains.get(&domain).map(|key| Secret::from_verified(*key));
        ring.log_sealer(protection, &file.header, LogKind::Wal, key.as_ref()).unwrap()
    };
    let sealers: BTreeMap<u32, Sealer> =
        file.records.iter().map(|record| (record.domain, sealer(record.domain))).collect();
    let mut reader = ChainReader::new(Untrusted::new(file.bytes.clone()), &file.header);
    let mut found = Vec::new();
    while let Ok(record) = reader.next(&mut |domain| sealers.get(&domain.0)) {
        let mut r = Reader::new(&record.payload);
        match r.u8().unwrap() {
            1 => {}
            3 => continue,
            other => panic!("a record of kind {other}: a scene's runs are one record each"),
        }
        let (_time_ms, _first) = (r.varint().unwrap(), r.varint().unwrap());
        while !r.is_empty() {
            let kind = r.u8().unwrap();
            if kind & 0x80 != 0 {
                r.varint().unwrap();
            }
            match kind & 0x7f {
                0 => drop(r.bytes(1 << 20).unwrap()),
                1..=3 => drop((r.bytes(1 << 20).unwrap(), r.bytes(1 << 20).unwrap())),
                5 => {
                    let (_key, lone) = (r.bytes(1 << 20).unwrap(), r.bytes(1 << 10).unwrap());
                    let mut lone = Reader::new(lone);
                    let len = lone.varint().unwrap();
                    let meta = BlobMeta::decode(&mut lone).unwrap();
                    assert_eq!((meta.values, meta.data_bytes), (1, len + TAG_BYTES as u64));
                    assert!(lone.is_empty());
                    found.push((record.domain, meta));
                }
                16 => drop(r.varint().unwrap()),
                32 => drop((r.bytes(1 << 20).unwrap(), r.bytes(1 << 20).unwrap())),
                33 => drop((r.bytes(128).unwrap(), r.varint().unwrap(), r.varint().unwrap())),
                34 => drop((r.bytes(128).unwrap(), r.u8().unwrap())),
                other => panic!("an operation of kind {other}, which its documentation does not know"),
            }
        }
    }
    found
}

/// What the edits of a MANIFEST add up to, as far as an attacker cares.
#[derive(Default)]
struct Edits {
    pending: Vec<u8>,
    tables: BTreeMap<u64, (KeyspaceId, u8, TableMeta)>,
    values: BTreeMap<u64, (KeyspaceId, BlobMeta)>,
    keys: Vec<[u8; 32]>,
    /// The keys of the keyspaces.
    domains: BTreeMap<u32, [u8; 32]>,
    log_start: u64,
}

impl Edits {
    fn apply(&mut self) {
        let bytes = std::mem::take(&mut self.pending);
        let mut r = Reader::new(&bytes);
        while !r.is_empty() {
            match r.u8().unwrap() {
                1 => {
                    let id = r.u32().unwrap();
                    r.bytes(255).unwrap();
                    Self::options(&mut r);
                    let key = r.array().unwrap();
                    self.keys.push(key);
                    self.domains.insert(id, key);
                    r.varint().unwrap();
                    r.u64().unwrap();
                }
                2 => {
                    r.u32().unwrap();
                    r.varint().unwrap();
                }
                3 => {
                    let keyspace = KeyspaceId(r.u32().unwrap());
                    let level = r.u8().unwrap();
                    let meta = TableMeta::decode(&mut Reader::new(r.bytes(1 << 20).unwrap())).unwrap();
                    self.tables.insert(meta.file.0, (keyspace, level, meta));
                }
                4 => {
                    r.u32().unwrap();
                    let level = r.u8().unwrap();
                    let file = r.varint().unwrap();
                    // A trivial move adds the table at its new level before or after it leaves the old one.
                    if self.tables.get(&file).is_some_and(|table| table.1 == level) {
                        self.tables.remove(&file);
                    }
                }
                5 => {
                    r.u32().unwrap();
                    r.varint().unwrap();
                    r.u64().unwrap();
                }
                6 => self.log_start = r.varint().unwrap(),
                7 => {
                    r.varint().unwrap();
                    r.varint().unwrap();
                    r.take(24).unwrap();
                }
                8 => {
                    r.varint().unwrap();
                    r.u32().unwrap();
                    r.varint().unwrap();
                    r.varint().unwrap();
                }
                9 => *self = Self { keys: std::mem::take(&mut self.keys), ..Self::default() },
                10 => {
                    r.u32().unwrap();
                }
                11 => {
                    r.u32().unwrap();
                    Self::options(&mut r);
                }
                12 => {
                    r.varint().unwrap();
                }
                13 => {
                    let keyspace = KeyspaceId(r.u32().unwrap());
                    let meta = BlobMeta::decode(&mut Reader::new(r.bytes(1 << 10).unwrap())).unwrap();
                    self.values.insert(meta.file.0, (keyspace, meta));
                }
                14 => {
                    r.u32().unwrap();
                    self.values.remove(&r.varint().unwrap()).expect("what is removed was there");
                }
                other => panic!("an edit of kind {other}, which its documentation does not know"),
            }
        }
    }

    fn options(r: &mut Reader<'_>) {
        for _ in 0..4 {
            r.varint().unwrap();
        }
        r.u8().unwrap();
        for _ in 0..3 {
            r.varint().unwrap();
        }
        r.bytes(255).unwrap();
        for _ in 0..2 {
            r.varint().unwrap();
        }
    }
}

/// Opens one block as `table::format` documents it.
pub fn open_block(bytes: &[u8], opener: &Opener, block: BlockAt) -> Vec<u8> {
    let handle = block.handle;
    let sealed = bytes[handle.offset as usize..handle.end() as usize].to_vec();
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&handle.offset.to_le_bytes());
    let aad = block_aad(opener.store, opener.file, block);
    let payload =
        opener.sealer.open(nonce, &aad, Untrusted::new(sealed)).expect("an honest block opens").into_inner();
    match handle.codec {
        Compression::None => payload,
        _ => panic!("only data blocks are compressed"),
    }
}

fn block_aad(store: StoreId, file: FileNo, block: BlockAt) -> Vec<u8> {
    let BlockAt { kind, handle } = block;
    let mut aad = store.0.to_vec();
    aad.extend_from_slice(&file.0.to_le_bytes());
    aad.push(kind as u8);
    aad.extend_from_slice(&handle.offset.to_le_bytes());
    aad.extend_from_slice(&handle.sealed_len.to_le_bytes());
    aad.push(handle.codec as u8);
    aad
}

/// All blocks of a table, found from its footer on.
fn blocks(bytes: &[u8], store: StoreId, meta: &TableMeta) -> Vec<BlockAt> {
    let opener = &Opener::table(store, meta);
    let footer = BlockAt { kind: BlockKind::Footer, handle: meta.footer };
    let root = Footer::decode(&open_block(bytes, opener, footer)).unwrap();
    let mut all = vec![footer, BlockAt { kind: BlockKind::Properties, handle: root.properties }];
    all.extend(root.filter.map(|handle| BlockAt { kind: BlockKind::Filter, handle }));
    all.extend(root.tombstones.map(|handle| BlockAt { kind: BlockKind::Tombstones, handle }));
    let mut indexes = Vec::new();
    if root.partitioned {
        let top = BlockAt { kind: BlockKind::TopIndex, handle: root.index };
        all.push(top);
        for value in values(open_block(bytes, opener, top), Content::TopIndex) {
            let handles = PartitionHandles::decode(&value).unwrap();
            all.extend(handles.filter.map(|handle| BlockAt { kind: BlockKind::Filter, handle }));
            indexes.push(BlockAt { kind: BlockKind::Index, handle: handles.index });
        }
    } else {
        indexes.push(BlockAt { kind: BlockKind::Index, handle: root.index });
    }
    for index in indexes {
        all.push(index);
        for value in values(open_block(bytes, opener, index), Content::Index) {
            let handle = BlockHandle::decode(&mut Reader::new(&value)).unwrap();
            all.push(BlockAt { kind: BlockKind::Data, handle });
        }
    }
    all.sort_by_key(|block| block.handle.offset);
    all
}

/// All blocks of a value file, by its index, as `blob::format` documents it.
fn value_blocks(bytes: &[u8], store: StoreId, meta: &BlobMeta) -> Vec<BlockAt> {
    let opener = &Opener::values(store, meta);
    let footer = BlockAt { kind: BlockKind::ValueFooter, handle: meta.footer };
    let plain = open_block(bytes, opener, footer);
    let mut r = Reader::new(&plain);
    assert_eq!(r.u8().unwrap(), 1, "the footer's version");
    let index = BlockAt { kind: BlockKind::ValueIndex, handle: BlockHandle::decode(&mut r).unwrap() };
    let count = r.varint().unwrap();
    let plain = open_block(bytes, opener, index);
    let (mut r, mut offset, mut all) = (Reader::new(&plain), 0, Vec::new());
    while !r.is_empty() {
        let sealed_len = r.varint().unwrap() as u32 + TAG_BYTES as u32;
        let codec = [Compression::None, Compression::Lz4, Compression::Zstd][usize::from(r.u8().unwrap())];
        assert!(sealed_len <= 1 << 20, "a scene's values are one piece each");
        all.push(BlockAt { kind: BlockKind::Value, handle: BlockHandle { offset, sealed_len, codec } });
        offset += u64::from(sealed_len);
    }
    assert_eq!((all.len() as u64, offset), (count, index.handle.offset), "values fill the front of the file");
    all.extend([index, footer]);
    all
}

fn values(plain: Vec<u8>, content: Content) -> Vec<Vec<u8>> {
    let mut cursor = BlockCursor::new();
    cursor.set_block(Arc::new(Block::parse(Plain::pretend(plain), content).unwrap()));
    cursor.seek_to_first();
    let mut all = Vec::new();
    while cursor.valid() {
        all.push(cursor.value().to_vec());
        cursor.next();
    }
    all
}
