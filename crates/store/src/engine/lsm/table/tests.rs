//! Tables against a sorted list, in every protection and codec, and tables in a hostile place.

use super::format::Place;
use super::*;
use crate::engine::lsm::cache::BlockCache;
use crate::engine::lsm::key::{Kind, Trailer, cmp_internal};
use crate::engine::lsm::sealed_output::FileIdentity;
use crate::engine::lsm::tombstone::{Fragment, FragmentedTombstones};
use crate::options::{Compression, KeyspaceOptions};
use proptest::prelude::*;
use ringfort_base::codec::Reader;
use ringfort_base::world::Disk;
use ringfort_base::{Epoch, ErrorKind, EvidenceKind, Result, Seq, StoreId};
use ringfort_fault::memory::MemDisk;
use ringfort_trust::keys::Secret;
use ringfort_trust::{Protection, Suite};
use std::sync::Arc;

type Entries = Vec<(Vec<u8>, Trailer, Vec<u8>)>;

const STORE: StoreId = StoreId([7; 16]);
const SEALED: Protection = Protection::Sealed(Suite::Aes256Gcm);

const OPTIONS: TableOptions = TableOptions {
    block_bytes: 1024,
    restart_interval: 8,
    bloom_bits_per_key: 10,
    prefix_bytes: 0,
    compression: Compression::None,
};

fn disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir(TABLE_DIR).unwrap();
    disk
}

fn writer(disk: &MemDisk, file: u64, protection: Protection, options: TableOptions) -> TableWriter {
    let place = Place { store: STORE, file: FileNo(file) };
    let key = Secret::from_verified([file as u8; 32]);
    let identity = FileIdentity { place, protection, key, epoch: Epoch(3) };
    TableWriter::new(disk.create(&table_path(FileNo(file))).unwrap(), identity, options)
}

fn write(
    disk: &MemDisk,
    file: u64,
    protection: Protection,
    options: TableOptions,
    entries: &Entries,
    tombstones: &FragmentedTombstones,
) -> Arc<TableMeta> {
    let mut writer = writer(disk, file, protection, options);
    for (key, trailer, value) in entries {
        writer.add(key, *trailer, value).unwrap();
    }
    for fragment in tombstones.fragments() {
        writer.add_tombstone(fragment).unwrap();
    }
    let meta = writer.finish().unwrap();
    let mut bytes = Vec::new();
    meta.encode(&mut bytes);
    let mut reader = Reader::new(&bytes);
    let again = TableMeta::decode(&mut reader).unwrap();
    reader.finish().unwrap();
    assert!(again == meta, "the MANIFEST's record round-trips");
    for cut in 0..bytes.len() {
        assert!(TableMeta::decode(&mut Reader::new(&bytes[..cut])).is_err());
    }
    Arc::new(again)
}

fn open(disk: &MemDisk, meta: &Arc<TableMeta>, cache: &BlockCache) -> Result<Arc<Table>> {
    Table::open(disk, STORE, meta, cache).map(Arc::new)
}

fn put(n: u64, seq: u64, value: &[u8]) -> (Vec<u8>, Trailer, Vec<u8>) {
    (format!("key{n:08}").into_bytes(), Trailer::new(Seq(seq), Kind::Put), value.to_vec())
}

fn small() -> (Entries, FragmentedTombstones) {
    let entries = (0..60).map(|n| put(n, 100 + n, &[n as u8; 30])).collect();
    let tombstones = FragmentedTombstones::default().with(Seq(200), b"key00000010", b"key00000020").with(
        Seq(50),
        b"key00000015",
        b"key00000030",
    );
    (entries, tombstones)
}

fn read_all(table: &Arc<Table>, cache: &Arc<BlockCache>) -> Result<Entries> {
    let mut cursor = TableCursor::new(Arc::clone(table), Arc::clone(cache), true);
    let mut all = Entries::new();
    cursor.seek_to_first()?;
    while cursor.valid() {
        all.push((cursor.key().to_vec(), cursor.trailer(), cursor.value().to_vec()));
        cursor.next()?;
    }
    Ok(all)
}

fn read_all_back(table: &Arc<Table>, cache: &Arc<BlockCache>) -> Result<Entries> {
    let mut cursor = TableCursor::new(Arc::clone(table), Arc::clone(cache), true);
    let mut all = Entries::new();
    cursor.seek_to_last()?;
    while cursor.valid() {
        all.push((cursor.key().to_vec(), cursor.trailer(), cursor.pin_value().unwrap().to_vec()));
        cursor.prev()?;
    }
    all.reverse();
    Ok(all)
}

fn get(table: &Table, key: &[u8], snapshot: u64, cache: &BlockCache) -> Option<(Trailer, Vec<u8>)> {
    match table.get(key, Seq(snapshot), cache, false).unwrap() {
        Lookup::Found(seq, kind, value) => Some((Trailer::new(seq, kind), value.to_vec())),
        Lookup::Absent => None,
        Lookup::NeedsIo => panic!("I/O was allowed"),
    }
}

#[test]
fn names_are_stable() {
    assert_eq!(table_path(FileNo(7)), "tables/00000007.sst");
    assert_eq!(table_path(FileNo(1_234_567_890)), "tables/1234567890.sst");
}

#[test]
fn a_large_table_is_partitioned_and_answers_like_a_small_one() {
    for bloom_bits_per_key in [0, 10] {
        let options = TableOptions { bloom_bits_per_key, block_bytes: 400, ..OPTIONS };
        let entries: Entries =
            (0..60_000).map(|n| put(n * 2, n + 1, format!("value {n}").as_bytes())).collect();
        let disk = disk();
        let meta = write(&disk, 1, SEALED, options, &entries, &FragmentedTombstones::default());
        assert!(meta.partitioned);
        let cache = Arc::new(BlockCache::new(1 << 20));
        let table = open(&disk, &meta, &cache).unwrap();
        assert!(table.properties().partitions > 1);
        assert!(table.pinned_bytes() < 40_000, "{} bytes stay in memory", table.pinned_bytes());
        assert_eq!(cache.pinned_bytes(), table.pinned_bytes());
        for n in (0..60_000).step_by(97) {
            let (key, trailer, value) = &entries[n];
            assert_eq!(get(&table, key, 1 << 50, &cache), Some((*trailer, value.clone())));
            assert_eq!(get(&table, &put(n as u64 * 2 + 1, 0, b"").0, 1 << 50, &cache), None);
        }
        assert!(read_all(&table, &cache).unwrap() == entries);
        assert!(read_all_back(&table, &cache).unwrap() == entries);
        assert!(cache.usage().cached_bytes <= 1 << 20, "{:?}", cache.usage());
        table.verify().unwrap();
        let middle = table.approximate_offset(&entries[30_000].0, &cache).unwrap();
        let (low, high) = (meta.file_bytes * 2 / 5, meta.file_bytes * 3 / 5);
        assert!((low..high).contains(&middle), "{middle} of {}", meta.file_bytes);
        drop(table);
        assert_eq!(cache.pinned_bytes(), 0);
    }
}

#[test]
fn what_was_reserved_ahead_is_given_back_and_read_ahead_is_verified_block_by_block() {
    let entries: Entries = (0..3000).map(|n| put(n, n + 1, &[n as u8; 1000])).collect();
    let disk = disk();
    let meta = write(&disk, 1, SEALED, OPTIONS, &entries, &FragmentedTombstones::default());
    let bytes = disk.bytes_of(&table_path(FileNo(1))).unwrap();
    assert_eq!(bytes.len() as u64, meta.file_bytes, "the file ends with its footer");
    let walk = |fill_cache, back: bool| -> Result<Entries> {
        let cache = Arc::new(BlockCache::new(4 << 20));
        let mut cursor = TableCursor::new(open(&disk, &meta, &cache)?, cache, fill_cache);
        let mut all = Entries::new();
        if back {
            cursor.seek_to_last()?
        } else {
            cursor.seek_to_first()?
        }
        while cursor.valid() {
            all.push((cursor.key().to_vec(), cursor.trailer(), cursor.value().to_vec()));
            if back { cursor.prev()? } else { cursor.next()? }
        }
        if back {
            all.reverse();
        }
        Ok(all)
    };
    let ways = [(true, false), (true, true), (false, false), (false, true)];
    assert!(ways.into_iter().all(|(fill, back)| walk(fill, back).unwrap() == entries));
    // One bit in the middle of what one read fetches: the block that it is in, and no other.
    let at = bytes.len() as u64 / 2;
    disk.poke(&table_path(FileNo(1)), at, &[bytes[at as usize] ^ 1]).unwrap();
    for (fill, back) in ways {
        let error = walk(fill, back).unwrap_err();
        let proof = error.proof().unwrap();
        assert_eq!(proof.kind, EvidenceKind::BadSeal);
        assert!((at - 1100..=at).contains(&proof.position), "{error}");
    }
}

#[test]
fn resident_reads_never_touch_the_disk() {
    let disk = disk();
    let entries: Entries = (0..40_000).map(|n| put(n, n + 1, b"some value of a usual size")).collect();
    let options = TableOptions { block_bytes: 400, ..OPTIONS };
    let meta = write(&disk, 1, SEALED, options, &entries, &FragmentedTombstones::default());
    assert!(meta.partitioned);
    let cache = BlockCache::new(64 << 20);
    let table = open(&disk, &meta, &cache).unwrap();
    let key = &entries[20_000].0;
    let resident = || table.get(key, Seq(1 << 50), &cache, true).unwrap();
    assert!(matches!(resident(), Lookup::NeedsIo));
    assert_eq!(cache.usage().blocks, 0, "asking does not load");
    assert!(get(&table, key, 1 << 50, &cache).is_some());
    assert!(matches!(resident(), Lookup::Found(Seq(20_001), Kind::Put, _)));
    let before = table.get(b"a", Seq(1 << 50), &cache, true).unwrap();
    assert!(matches!(before, Lookup::NeedsIo | Lookup::Absent));
    assert!(matches!(table.get(b"z", Seq(1 << 50), &cache, true).unwrap(), Lookup::Absent));
}

#[test]
fn the_largest_entry_fits() {
    let key = vec![b'k'; ringfort_base::limits::KEY_BYTES_MAX];
    let value: Vec<u8> =
        (0..ringfort_base::limits::BATCH_VALUE_BYTES_MAX).map(|i| (i ^ (i >> 9)) as u8).collect();
    for compression in [Compression::None, Compression::Zstd] {
        let disk = disk();
        let entries =
            vec![put(1, 1, b"small"), (key.clone(), Trailer::new(Seq(2), Kind::Put), value.clone())];
        let options = TableOptions { compression, ..OPTIONS };
        let meta = write(&disk, 1, SEALED, options, &entries, &FragmentedTombstones::default());
        let cache = BlockCache::new(1 << 20);
        let table = open(&disk, &meta, &cache).unwrap();
        assert!(get(&table, &key, 9, &cache).unwrap().1 == value);
    }
}

#[test]
fn a_table_of_tombstones_alone() {
    let disk = disk();
    let (_, tombstones) = small();
    let meta = write(&disk, 1, SEALED, OPTIONS, &Entries::new(), &tombstones);
    assert_eq!((&meta.smallest[..], &meta.largest[..]), (&b"key00000010"[..], &b"key00000030"[..]));
    assert!(meta.largest_excluded && !meta.contains(b"key00000030") && meta.contains(b"key00000029"));
    let cache = Arc::new(BlockCache::new(1 << 20));
    let table = open(&disk, &meta, &cache).unwrap();
    assert_eq!(**table.range_tombstones(), tombstones);
    assert_eq!(table.max_covering_seq(b"key00000017", Seq(199)), Some(Seq(50)));
    assert!(read_all(&table, &cache).unwrap().is_empty());
    assert!(read_all_back(&table, &cache).unwrap().is_empty());
    assert_eq!(get(&table, b"key00000017", 999, &cache), None);
    table.verify().unwrap();
}

#[test]
fn what_is_no_table_is_not_written() {
    let disk = disk();
    let error = writer(&disk, 1, SEALED, OPTIONS).finish().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Internal, "no entries");
    let mut w = writer(&disk, 2, SEALED, OPTIONS);
    w.add(b"b", Trailer::new(Seq(1), Kind::Put), b"").unwrap();
    assert_eq!(w.add(b"a", Trailer::new(Seq(1), Kind::Put), b"").unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(w.add(b"c", Trailer::new(Seq(1), Kind::Put), b"").unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(
        w.finish().err().unwrap().kind(),
        ErrorKind::Stopped,
        "after an error nothing more is written"
    );
    let mut w = writer(&disk, 3, SEALED, OPTIONS);
    let fragment =
        |from: &[u8], to: &[u8]| Fragment { from: from.to_vec(), to: to.to_vec(), seqs: vec![Seq(1)] };
    w.add_tombstone(&fragment(b"a", b"c")).unwrap();
    assert!(w.add_tombstone(&fragment(b"b", b"d")).is_err(), "overlapping tombstones");
}

fn content(max: usize) -> impl Strategy<Value = (Entries, FragmentedTombstones)> {
    let key = prop::collection::vec(prop_oneof![Just(0), Just(1), Just(255)], 0..9);
    let value = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40),
        2 => (any::<u8>(), 50..900usize).prop_map(|(byte, len)| vec![byte; len]),
        1 => prop::collection::vec(any::<u8>(), 900..5000),
    ];
    let entry = (key.clone(), 0..40u64, any::<bool>(), value);
    let tombstones = prop::collection::vec((0..40u64, key.clone(), key), 0..6);
    (prop::collection::vec(entry, 1..max), tombstones).prop_map(|(raw, tombstones)| {
        let mut entries: Entries = raw
            .into_iter()
            .map(|(key, seq, put, value)| {
                let kind = if put { Kind::Put } else { Kind::Delete };
                (key, Trailer::new(Seq(seq), kind), if put { value } else { Vec::new() })
            })
            .collect();
        entries.sort_by(|a, b| cmp_internal((&a.0, a.1), (&b.0, b.1)));
        entries.dedup_by(|a, b| a.0 == b.0 && a.1.seq() == b.1.seq());
        let tombstones = tombstones
            .into_iter()
            .fold(FragmentedTombstones::default(), |list, (seq, from, to)| list.with(Seq(seq), &from, &to));
        (entries, tombstones)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn agrees_with_the_list(
        (entries, tombstones) in content(300),
        sealed: bool,
        compression in prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)],
        block_bytes in 64..3000usize,
        restart_interval in 1..20usize,
        probes in prop::collection::vec((prop::collection::vec(prop_oneof![Just(0), Just(1), Just(2)], 0..9), 0..41u64), 30),
    ) {
        let options = TableOptions { block_bytes, restart_interval, compression, ..OPTIONS };
        let protection = if sealed { SEALED } else { Protection::Checksummed };
        let disk = disk();
        let meta = write(&disk, 5, protection, options, &entries, &tombstones);
        let cache = Arc::new(BlockCache::new(1 << 20));
        let table = open(&disk, &meta, &cache).unwrap();
        table.verify().unwrap();
        prop_assert_eq!(&**table.range_tombstones(), &tombstones);
        prop_assert!(read_all(&table, &cache).unwrap() == entries);
        prop_assert!(read_all_back(&table, &cache).unwrap() == entries);
        let mut cursor = TableCursor::new(Arc::clone(&table), Arc::clone(&cache), false);
        let own = entries.iter().map(|(key, trailer, _)| (key.clone(), trailer.seq().0));
        for (key, snapshot) in probes.into_iter().chain(own) {
            let trailer = Trailer::seek(Seq(snapshot));
            let at = entries.partition_point(|e| cmp_internal((&e.0, e.1), (&key, trailer)).is_lt());
            let expected = entries.get(at).filter(|e| e.0 == key).map(|e| (e.1, e.2.clone()));
            prop_assert_eq!(get(&table, &key, snapshot, &cache), expected);
            cursor.seek(&key, trailer).unwrap();
            prop_assert_eq!(cursor.valid().then(|| (cursor.key(), cursor.trailer())), entries.get(at).map(|e| (&e.0[..], e.1)));
            cursor.seek_before(&key, trailer).unwrap();
            let before = at.checked_sub(1).map(|at| &entries[at]);
            prop_assert_eq!(cursor.valid().then(|| (cursor.key(), cursor.trailer())), before.map(|e| (&e.0[..], e.1)));
            prop_assert!(entries.is_empty() || entries.iter().all(|e| meta.contains(&e.0)));
        }
    }
}

/// Everything that the store would read of a table.
fn read_everything(disk: &MemDisk, meta: &Arc<TableMeta>) -> Result<(Entries, FragmentedTombstones)> {
    let cache = Arc::new(BlockCache::new(1 << 20));
    let table = open(disk, meta, &cache)?;
    table.verify()?;
    for n in [0, 17, 59] {
        table.get(&put(n, 0, b"").0, Seq(1 << 50), &cache, false)?;
    }
    Ok((read_all(&table, &cache)?, (**table.range_tombstones()).clone()))
}

#[test]
fn every_flipped_byte_is_evidence() {
    for protection in [SEALED, Protection::Checksummed] {
        let disk = disk();
        let (entries, tombstones) = small();
        let meta = write(&disk, 1, protection, OPTIONS, &entries, &tombstones);
        let path = table_path(meta.file);
        let bytes = disk.bytes_of(&path).unwrap();
        assert_eq!(bytes.len() as u64, meta.file_bytes, "blocks fill the file: every byte is sealed");
        assert!(read_everything(&disk, &meta).unwrap() == (entries, tombstones));
        for (at, byte) in bytes.iter().enumerate() {
            disk.poke(&path, at as u64, &[byte ^ (1 << (at % 8))]).unwrap();
            let error =
                read_everything(&disk, &meta).err().unwrap_or_else(|| panic!("byte {at} went unnoticed"));
            let proof = error.proof().unwrap();
            assert_eq!(
                (proof.kind, error.kind()),
                (EvidenceKind::BadSeal, ErrorKind::Tampered),
                "byte {at}: {error}"
            );
            assert_eq!(proof.file, path);
            assert!(proof.position <= at as u64);
            disk.poke(&path, at as u64, &[*byte]).unwrap();
        }
        assert!(read_everything(&disk, &meta).is_ok());
    }
}

#[test]
fn every_truncation_and_a_missing_file_are_evidence() {
    let disk = disk();
    let (entries, tombstones) = small();
    let meta = write(&disk, 1, SEALED, OPTIONS, &entries, &tombstones);
    let path = table_path(meta.file);
    let bytes = disk.bytes_of(&path).unwrap();
    for len in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
        disk.remove(&path).unwrap();
        disk.create(&path).unwrap().write_at(&bytes[..len], 0).unwrap();
        let error = read_everything(&disk, &meta).err().unwrap();
        assert_eq!(error.proof().unwrap().kind, EvidenceKind::Truncated, "cut at {len}: {error}");
    }
    disk.remove(&path).unwrap();
    let error = read_everything(&disk, &meta).err().unwrap();
    assert_eq!(error.proof().unwrap().kind, EvidenceKind::Missing);
    disk.create(&path).unwrap().write_at(&[&bytes[..], b"more"].concat(), 0).unwrap();
    assert!(read_everything(&disk, &meta).unwrap() == (entries, tombstones), "what follows is never read");
}

#[test]
fn blocks_and_files_do_not_change_places() {
    let disk = disk();
    let (entries, tombstones) = small();
    let same_size: Entries = entries.iter().map(|(k, t, v)| (k.clone(), *t, vec![9; v.len()])).collect();
    let one = write(&disk, 1, SEALED, OPTIONS, &entries, &tombstones);
    let two = write(&disk, 2, SEALED, OPTIONS, &same_size, &tombstones);
    let (path_one, path_two) = (table_path(one.file), table_path(two.file));
    let (bytes_one, bytes_two) = (disk.bytes_of(&path_one).unwrap(), disk.bytes_of(&path_two).unwrap());
    assert_eq!(bytes_one.len(), bytes_two.len());
    // Two data blocks of one file, exchanged.
    let cache = BlockCache::new(1 << 20);
    let table = open(&disk, &one, &cache).unwrap();
    let second = table.approximate_offset(&entries[40].0, &cache).unwrap();
    assert!(second > 0);
    let len = (second as usize).min(100);
    disk.poke(&path_one, 0, &bytes_one[second as usize..second as usize + len]).unwrap();
    assert_eq!(read_everything(&disk, &one).err().unwrap().proof().unwrap().kind, EvidenceKind::BadSeal);
    // A block of the other file in the same place.
    disk.poke(&path_one, 0, &bytes_two[..second as usize]).unwrap();
    assert_eq!(read_everything(&disk, &one).err().unwrap().proof().unwrap().kind, EvidenceKind::BadSeal);
    // The whole other file.
    disk.poke(&path_one, 0, &bytes_two).unwrap();
    let error = read_everything(&disk, &one).err().unwrap();
    assert_eq!(
        (error.proof().unwrap().kind, error.proof().unwrap().position),
        (EvidenceKind::BadSeal, one.footer.offset)
    );
    disk.poke(&path_one, 0, &bytes_one).unwrap();
    assert!(read_everything(&disk, &one).is_ok());
    // The right file under another store's id, another key, or another protection.
    let cache = BlockCache::new(1 << 20);
    assert!(Table::open(&disk, StoreId([8; 16]), &one, &cache).is_err());
    for change in [
        |m: &mut TableMeta| m.key = Secret::from_verified([9; 32]),
        |m: &mut TableMeta| m.protection = Protection::Checksummed,
        |m: &mut TableMeta| m.footer_tag.0[3] ^= 1,
        |m: &mut TableMeta| m.file = FileNo(2),
        |m: &mut TableMeta| m.entries += 1,
    ] {
        let mut other = (*one).clone();
        change(&mut other);
        let error = open(&disk, &Arc::new(other), &cache).err().unwrap();
        assert!(matches!(error.proof().unwrap().kind, EvidenceKind::BadSeal | EvidenceKind::Inconsistent));
    }
}

#[test]
fn an_old_table_in_place_of_a_new_one_on_a_trusted_volume_is_noticed_by_its_tag() {
    let disk = disk();
    let (entries, tombstones) = small();
    let other: Entries = entries.iter().map(|(k, t, v)| (k.clone(), *t, vec![9; v.len()])).collect();
    let meta = write(&disk, 1, Protection::Checksummed, OPTIONS, &entries, &tombstones);
    let path = table_path(meta.file);
    disk.remove(&path).unwrap();
    let fewer = other[..other.len() - 1].to_vec();
    write(&disk, 1, Protection::Checksummed, OPTIONS, &fewer, &tombstones);
    assert!(read_everything(&disk, &meta).is_err());
}

#[test]
fn values_do_not_stand_readable_in_a_sealed_file() {
    let needle = b"a very recognisable canary";
    for (protection, readable) in [(SEALED, false), (Protection::Checksummed, true)] {
        let disk = disk();
        let meta =
            write(&disk, 1, protection, OPTIONS, &vec![put(1, 1, needle)], &FragmentedTombstones::default());
        let bytes = disk.bytes_of(&table_path(meta.file)).unwrap();
        assert_eq!(bytes.windows(needle.len()).any(|w| w == needle), readable);
    }
}

/// Whether filters know the prefixes of a table's keys: all that are there, few that are not, also
/// where the table has many parts and a prefix spans several of them.
#[test]
fn filters_know_prefixes_if_asked_to() {
    let entries: Entries = (0..3000u64)
        .map(|n| {
            let key = format!("{:04}/{n:06}", n / 40 * 3).into_bytes();
            (key, Trailer::new(Seq(n + 1), Kind::Put), vec![7; 100])
        })
        .collect();
    for (prefix_bytes, block_bytes) in [(4, 4096), (4, 200), (0, 200)] {
        let (disk, cache) = (disk(), BlockCache::new(64 << 20));
        let options = TableOptions { prefix_bytes, block_bytes, ..OPTIONS };
        let meta = write(&disk, 9, SEALED, options, &entries, &FragmentedTombstones::default());
        let table = open(&disk, &meta, &cache).unwrap();
        assert_eq!(table.properties().prefix_bytes, prefix_bytes as u64);
        let may_have = |n: u64| table.may_have_prefix(format!("{n:04}").as_bytes(), &cache).unwrap();
        assert!((0..75).all(|n| may_have(n * 3)), "what is there is never denied");
        let wrong = (0..225).filter(|n| n % 3 != 0 && may_have(*n)).count();
        assert!(if prefix_bytes == 0 { wrong == 150 } else { wrong < 15 }, "{wrong} of 150 absent ones pass");
        assert!(table.may_have_prefix(b"0001/", &cache).unwrap(), "another length: nobody knows");
        assert!(table.may_have_prefix(b"", &cache).unwrap());
    }
}

/// Above the bottom a filter has more bits; a keyspace without filters has none anywhere.
#[test]
fn upper_tables_have_the_more_filter_bits() {
    let options = KeyspaceOptions::default();
    let (bottom, upper) = (TableOptions::at(&options, true), TableOptions::at(&options, false));
    assert_eq!(bottom.bloom_bits_per_key, options.bloom_bits_per_key);
    assert_eq!(upper.bloom_bits_per_key, 16);
    assert_eq!(TableOptions { bloom_bits_per_key: 10, ..upper }, bottom);
    let without = KeyspaceOptions { bloom_bits_per_key: 0, ..options };
    assert_eq!(TableOptions::at(&without, false).bloom_bits_per_key, 0);
}
