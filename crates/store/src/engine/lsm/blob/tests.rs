//! Value files against lists of values, in every protection and codec, and in a hostile place.

use super::format::{PIECE_BYTES_MAX, POINTER_BYTES_MAX};
use super::*;
use crate::engine::lsm::cache::BlockCache;
use crate::engine::lsm::sealed_output::FileIdentity;
use crate::engine::lsm::table::format::Place;
use crate::options::Compression;
use ringfort_base::codec::Reader;
use ringfort_base::limits::{TAG_BYTES, VALUE_BYTES_MAX};
use ringfort_base::world::Disk;
use ringfort_base::{Epoch, ErrorKind, EvidenceKind, StoreId};
use ringfort_fault::memory::MemDisk;
use ringfort_fault::script::{Fault, FaultDisk, Op, When};
use ringfort_trust::keys::Secret;
use ringfort_trust::{Protection, Suite};
use std::sync::Arc;

const STORE: StoreId = StoreId([7; 16]);
const BOTH: [Protection; 2] = [Protection::Sealed(Suite::Aes256Gcm), Protection::Checksummed];

fn disk() -> MemDisk {
    let disk = MemDisk::new();
    disk.create_dir(TABLE_DIR).unwrap();
    disk
}

fn writer(disk: &dyn Disk, file: u64, protection: Protection, codec: Compression) -> BlobWriter {
    let place = Place { store: STORE, file: FileNo(file) };
    let key = Secret::from_verified([file as u8; 32]);
    let identity = FileIdentity { place, protection, key, epoch: Epoch(3) };
    BlobWriter::new(disk.create(&blob_path(FileNo(file))).unwrap(), identity, codec)
}

fn write(
    disk: &MemDisk,
    file: u64,
    (protection, codec): (Protection, Compression),
    values: &[Vec<u8>],
) -> (Arc<BlobMeta>, Vec<BlobPointer>) {
    let mut writer = writer(disk, file, protection, codec);
    let pointers = values.iter().map(|value| writer.add(value).unwrap()).collect();
    let meta = writer.finish().unwrap();
    let mut bytes = Vec::new();
    meta.encode(&mut bytes);
    let mut reader = Reader::new(&bytes);
    let again = BlobMeta::decode(&mut reader).unwrap();
    reader.finish().unwrap();
    assert!(again == meta, "the MANIFEST's record round-trips");
    for cut in 0..bytes.len() {
        assert!(BlobMeta::decode(&mut Reader::new(&bytes[..cut])).is_err());
    }
    (Arc::new(again), pointers)
}

fn open(disk: &MemDisk, store: StoreId, meta: &Arc<BlobMeta>) -> ringfort_base::Result<BlobFile> {
    BlobFile::open(disk, store, meta, &BlockCache::new(0))
}

fn some_values() -> Vec<Vec<u8>> {
    let lens =
        [1, 15, 16, 100, 4096, PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 3_500_000, 9];
    // Runs, which compress; no two pieces are alike.
    let value = |len: usize| (0..len).map(|n| (n / 700 + n / 100_000) as u8).collect();
    lens.into_iter().map(value).collect()
}

#[test]
fn what_is_written_is_read_by_its_pointer() {
    for protection in BOTH {
        for codec in [Compression::None, Compression::Lz4, Compression::Zstd] {
            let (disk, values) = (disk(), some_values());
            let (meta, pointers) = write(&disk, 5, (protection, codec), &values);
            let file = open(&disk, STORE, &meta).unwrap();
            for (pointer, value) in pointers.iter().zip(&values) {
                assert!(file.read(pointer).unwrap() == *value, "{} bytes", value.len());
                let mut bytes = Vec::new();
                pointer.encode(&mut bytes);
                assert!(bytes.len() <= POINTER_BYTES_MAX);
                assert_eq!(BlobPointer::decode(&bytes), Ok(*pointer));
            }
            assert_eq!(file.pointers().unwrap(), pointers, "the index knows them all");
            file.verify().unwrap();
            let packed = pointers.iter().filter(|pointer| pointer.codec != Compression::None).count();
            assert_eq!(packed > 0, codec != Compression::None);
            let bytes: u64 = pointers.iter().map(BlobPointer::sealed_len).sum();
            assert_eq!((meta.values, meta.data_bytes), (values.len() as u64, bytes));
        }
    }
}

#[test]
fn a_long_value_is_sealed_in_pieces() {
    let pointer = BlobPointer {
        file: FileNo(1),
        offset: 77,
        payload_len: 2 * PIECE_BYTES_MAX as u32 + 1,
        codec: Compression::None,
    };
    let pieces: Vec<_> = pointer.pieces().map(|piece| (piece.offset, piece.sealed_len as usize)).collect();
    let whole = PIECE_BYTES_MAX + TAG_BYTES;
    let expected = [(77, whole), (77 + whole as u64, whole), (77 + 2 * whole as u64, 1 + TAG_BYTES)];
    assert_eq!(pieces, expected);
    assert_eq!(pointer.end(), 77 + 2 * whole as u64 + 17);
}

#[test]
fn a_value_in_many_goes_lies_as_the_same_in_one() {
    let (value, disks) = (some_values().swap_remove(8), [disk(), disk()]);
    assert!(value.len() > 3 * PIECE_BYTES_MAX);
    let mut writers = disks.each_ref().map(|disk| writer(disk, 1, BOTH[0], Compression::None));
    let [at_once, in_goes] = &mut writers;
    let pointer = at_once.add(&value).unwrap();
    let mut open = in_goes.begin_value(Compression::None).unwrap();
    // Goes end before, at and behind the ends of pieces; one is empty.
    let mut rest = value.as_slice();
    for go in [1, PIECE_BYTES_MAX - 1, 0, PIECE_BYTES_MAX + 7, 100, PIECE_BYTES_MAX, usize::MAX] {
        let (now, later) = rest.split_at(go.min(rest.len()));
        in_goes.append(&mut open, now).unwrap();
        rest = later;
    }
    in_goes.end_value(&open).unwrap();
    assert_eq!(open, pointer);
    let [at_once, in_goes] = writers.map(|writer| writer.finish().unwrap());
    assert!(at_once == in_goes, "one key, one number: the same file");
    assert!(disks[0].files() == disks[1].files());
}

#[test]
fn the_disk_gets_large_writes_into_reserved_space_and_the_rest_back() {
    let memory = disk();
    let faults = FaultDisk::new(Arc::new(memory.clone()));
    faults.start_journal();
    let (file, mut writer) = (FileNo(1), writer(&faults, 1, BOTH[0], Compression::None));
    let value = vec![7; 100_000];
    let pointers: Vec<_> = (0..120).map(|_| writer.add(&value).unwrap()).collect();
    let meta = Arc::new(writer.finish().unwrap());
    let journal = faults.journal();
    let mut reserved = 0;
    for call in &journal {
        match call.op {
            Op::Allocate => reserved = call.len,
            Op::Write => assert!(call.len >= 512 << 10 || call.offset + call.len == meta.file_bytes),
            _ => {}
        }
        assert!(call.op != Op::Write || call.offset + call.len <= reserved, "{call:?}");
    }
    let calls = |op| journal.iter().filter(|call| call.op == op).count();
    assert_eq!((calls(Op::Allocate), calls(Op::Truncate), calls(Op::Sync)), (2, 1, 1));
    assert_eq!(memory.bytes_of(&blob_path(file)).unwrap().len() as u64, meta.file_bytes);
    let file = open(&memory, STORE, &meta).unwrap();
    assert!(pointers.iter().all(|pointer| file.read(pointer).unwrap() == value));
}

#[test]
fn a_writer_is_given_up_wherever_the_disk_fails() {
    let value = vec![7; 300_000];
    let run = |disk: &FaultDisk| -> ringfort_base::Result<BlobMeta> {
        let mut writer = writer(disk, 1, BOTH[0], Compression::None);
        for _ in 0..5 {
            if let Err(e) = writer.add(&value) {
                assert_eq!(writer.add(&value).unwrap_err().kind(), ErrorKind::Stopped);
                assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Stopped);
                return Err(e);
            }
        }
        writer.finish()
    };
    let whole = FaultDisk::new(Arc::new(disk()));
    run(&whole).unwrap();
    // The first call creates the file.
    for nth in 2..=whole.count_mutating() {
        let failing = FaultDisk::new(Arc::new(disk()));
        failing.inject(When::Mutating(nth), Fault::Error(std::io::ErrorKind::Other));
        assert_eq!(run(&failing).err().unwrap().kind(), ErrorKind::Io, "call {nth}");
    }
}

#[test]
fn what_the_writer_refuses_ends_it() {
    let disk = disk();
    let mut writer = writer(&disk, 1, BOTH[0], Compression::None);
    assert_eq!(writer.add(&[]).unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(writer.add(b"v").unwrap_err().kind(), ErrorKind::Stopped, "file and key are given up (R13)");
    assert_eq!(writer.finish().err().unwrap().kind(), ErrorKind::Stopped);
    let empty = self::writer(&disk, 2, BOTH[0], Compression::None);
    assert_eq!(empty.finish().err().unwrap().kind(), ErrorKind::Internal);
}

#[test]
fn a_pointer_is_believed_within_its_limits_only() {
    let bytes = |payload_len: u64, codec: u8, offset: u64| {
        let mut bytes = Vec::new();
        use ringfort_base::codec::Write;
        bytes.put_varint(3);
        bytes.put_varint(offset);
        bytes.put_varint(payload_len);
        bytes.put_u8(codec);
        bytes
    };
    assert!(BlobPointer::decode(&bytes(VALUE_BYTES_MAX as u64, 2, 0)).is_ok());
    assert!(BlobPointer::decode(&bytes(VALUE_BYTES_MAX as u64 + 1, 0, 0)).is_err());
    assert!(BlobPointer::decode(&bytes(0, 0, 0)).is_err(), "an empty value");
    assert!(BlobPointer::decode(&bytes(1, 3, 0)).is_err(), "an unknown codec");
    assert!(BlobPointer::decode(&bytes(100, 0, u64::MAX - 100)).is_err(), "behind the end of the world");
    let mut longer = bytes(1, 0, 0);
    longer.push(0);
    assert!(BlobPointer::decode(&longer).is_err(), "bytes left over");
}

/// Every bit of a small file, every cut of it, another pointer, another file's record.
#[test]
fn nothing_that_was_changed_is_read() {
    for protection in BOTH {
        let disk = disk();
        let values: Vec<Vec<u8>> = (0..4u8).map(|n| vec![n; 20]).collect();
        let (meta, pointers) = write(&disk, 5, (protection, Compression::None), &values);
        let (other, _) = write(&disk, 6, (protection, Compression::None), &values);
        let path = blob_path(meta.file);
        let honest = disk.bytes_of(&path).unwrap();
        let scrub = |meta: &Arc<BlobMeta>| open(&disk, STORE, meta).and_then(|file| file.verify());
        for bit in 0..honest.len() * 8 {
            disk.poke(&path, bit as u64 / 8, &[honest[bit / 8] ^ 1 << (bit % 8)]).unwrap();
            let error = scrub(&meta).unwrap_err();
            assert_eq!(
                error.proof().map(|proof| proof.kind),
                Some(EvidenceKind::BadSeal),
                "bit {bit}: {error}"
            );
            disk.poke(&path, bit as u64 / 8, &[honest[bit / 8]]).unwrap();
        }
        scrub(&meta).unwrap();
        let file = open(&disk, STORE, &meta).unwrap();
        for wrong in [
            BlobPointer { offset: pointers[0].offset + 1, ..pointers[0] },
            BlobPointer { payload_len: 19, ..pointers[0] },
            BlobPointer { codec: Compression::Lz4, ..pointers[0] },
            BlobPointer { offset: meta.data_bytes, ..pointers[0] },
        ] {
            assert!(file.read(&wrong).unwrap_err().proof().is_some(), "{wrong:?}");
        }
        assert!(open(&disk, StoreId([8; 16]), &meta).is_err(), "place is bound in both");
        let swapped = Arc::new(BlobMeta { file: other.file, ..(*meta).clone() });
        assert!(open(&disk, STORE, &swapped).is_err());
        for cut in 0..honest.len() {
            ringfort_fault::attack::truncate(&disk, &path, cut as u64).unwrap();
            let error = open(&disk, STORE, &meta).err().unwrap();
            assert_eq!(error.proof().map(|proof| proof.kind), Some(EvidenceKind::Truncated), "cut at {cut}");
            ringfort_fault::attack::write_file(&disk, &path, &honest).unwrap();
        }
        ringfort_fault::attack::delete(&disk, &path).unwrap();
        let error = open(&disk, STORE, &meta).err().unwrap();
        assert_eq!(error.proof().map(|proof| proof.kind), Some(EvidenceKind::Missing));
    }
}

#[test]
fn a_walk_reads_ahead_and_reads_the_same() {
    let disk = disk();
    let values: Vec<Vec<u8>> = (0..2000usize).map(|n| vec![n as u8; 1 + n * 37 % 900]).collect();
    let (meta, pointers) = write(&disk, 5, (BOTH[0], Compression::None), &values);
    let files = BlobFiles::new(STORE, Arc::new(disk), Arc::new(BlockCache::new(0)));
    let mut set = BlobSet::default();
    set.add_file(Arc::clone(&meta));
    let mut cursors = Cursors::default();
    // In order with gaps, as a scan meets them, and then backward.
    for n in (0..2000).filter(|n| n % 7 < 5).chain((0..2000).rev().step_by(11)) {
        let mut pointer = Vec::new();
        pointers[n].encode(&mut pointer);
        assert_eq!(&*files.value_in_order(&set, &pointer, &mut cursors).unwrap(), &values[n][..]);
    }
    let foreign = BlobPointer { file: FileNo(9), ..pointers[0] };
    let mut bytes = Vec::new();
    foreign.encode(&mut bytes);
    let error = files.value(&set, &bytes, false).unwrap_err();
    assert_eq!(error.proof().map(|proof| proof.kind), Some(EvidenceKind::Inconsistent));
}

#[test]
fn a_set_knows_what_is_alive() {
    let disk = disk();
    let values: Vec<Vec<u8>> = (1..=10usize).map(|n| vec![1; n * 10]).collect();
    let (meta, pointers) = write(&disk, 5, (BOTH[0], Compression::None), &values);
    let uses = |some: &[BlobPointer]| {
        let mut uses = Uses::default();
        some.iter().for_each(|pointer| uses.add(pointer));
        uses.take()
    };
    let mut set = BlobSet::default();
    assert!(set.add_uses(&uses(&pointers)).is_err(), "a file that is not there");
    set.add_file(Arc::clone(&meta));
    set.add_uses(&uses(&pointers[..3])).unwrap();
    set.add_uses(&uses(&pointers[3..])).unwrap();
    assert_eq!(set.bytes(), (meta.data_bytes, 0));
    assert!(gc::victims(&set).is_empty());
    assert!(set.clone().add_uses(&uses(&pointers[..1])).is_err(), "more pointers than values");
    set.remove_uses(&uses(&pointers[..3]));
    assert!(gc::victims(&set).is_empty(), "a seventh is garbage");
    set.remove_uses(&uses(&pointers[3..6]));
    assert_eq!(gc::victims(&set).into_iter().collect::<Vec<_>>(), [FileNo(5)]);
    assert!(set.take_dead().is_empty());
    set.remove_uses(&uses(&pointers[6..]));
    assert_eq!(set.take_dead().len(), 1);
    assert_eq!(set.bytes(), (0, 0));
}
