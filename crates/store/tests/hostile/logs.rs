//! Bodies of the fuzz targets `wal_segment` and `manifest`: arbitrary bytes as what verified
//! records *say*, as if whoever holds the keys had written them. Decoding, applying and opening
//! what they describe must end in a typed error or an open store, never in a panic.

use crate::anatomy::{self, Anatomy};
use crate::common::{Machine, dump, put, small};
use ringfort_base::codec::Write;
use ringfort_base::{ErrorKind, FileNo, KeyspaceId, Level};
use ringfort_fault::attack;
use ringfort_fault::memory::MemDisk;
use ringfort_store::{KeyspaceOptions, Store};
use ringfort_trust::chain::{ChainReader, ChainWriter, LogKind, SegmentHeader};
use ringfort_trust::keyfile::{KeyFile, Mode};
use ringfort_trust::keys::{KeyRing, Secret};
use ringfort_trust::{Anchor, Head, Protection, Sealer, Suite};
use std::sync::OnceLock;

const SEALED: Protection = Protection::Sealed(Suite::Aes256Gcm);

struct Valid {
    machine: Machine,
    ks: KeyspaceId,
    anatomy: Anatomy,
    ring: KeyRing,
    /// The edits of the MANIFEST up to the anchored one.
    edits: Vec<Vec<u8>>,
}

fn valid() -> &'static Valid {
    static VALID: OnceLock<Valid> = OnceLock::new();
    VALID.get_or_init(|| {
        let machine = Machine::new(Mode::Software, 71);
        let store = machine.open().unwrap();
        let merging = KeyspaceOptions { merge_operator: Some("append:2c".to_owned()), ..small() };
        let ks = store.create_keyspace("ks", merging).unwrap();
        (0..10u8).for_each(|n| drop(put(&store, ks, &[n], &[n; 20], Level::Fresh)));
        store.flush(None).unwrap();
        put(&store, ks, b"last", b"one", Level::Fresh).unwrap();
        store.request_anchor();
        drop(store);
        let machine = machine.after_kill();
        let anatomy = anatomy::dissect(&machine);
        let keys = KeyFile::open_unanchored(&machine.data, &*machine.platform()).unwrap();
        let ring = keys.ring.clone();
        let file = &anatomy.manifest;
        let sealer = ring.log_sealer(SEALED, &file.header, LogKind::Manifest, None).unwrap();
        let mut reader = ChainReader::new(ringfort_base::Untrusted::new(file.bytes.clone()), &file.header);
        let edits = (0..=anatomy.manifest_head)
            .map(|_| reader.next(&mut |_| Some(&sealer)).ok().unwrap().payload.to_vec())
            .collect();
        Valid { machine, ks, anatomy, ring, edits }
    })
}

/// Opens, reads, writes, closes; whatever fails says so.
fn live(machine: &Machine, ks: KeyspaceId) -> bool {
    let result = Store::open(machine.world(), machine.options()).and_then(|store| {
        dump(&store, ks)?;
        put(&store, ks, b"another", b"value", Level::Fresh)?;
        store.flush(None)?;
        store.compact_range(ks, None, None)?;
        store.close()
    });
    if let Err(error) = &result {
        assert_ne!(error.kind(), ErrorKind::Internal, "{error:?}");
    }
    result.is_ok()
}

/// The anchored position of the store that inputs go to.
pub fn anchored() -> u64 {
    valid().anatomy.anchor.wal.position
}

/// A group for [`wal_segment`]: runs of the store's own keyspace (`true`) or of the other, each with the
/// number of its first operation behind the anchored position; it ends `last` behind that.
pub fn group(last: u8, runs: &[(bool, u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (n, (system, first, ops)) in runs.iter().enumerate() {
        let mut run = vec![1];
        run.put_varint(9);
        run.put_varint(anchored() + u64::from(*first));
        run.extend_from_slice(ops);
        let more = if n + 1 < runs.len() { 2 } else { 0 };
        out.extend([u8::from(*system) | more, last, run.len() as u8]);
        out.extend(run);
    }
    out
}

/// A segment behind the anchored head whose records say what `data` says.
/// `data := (domain u8 | position u8 | length u8 | payload)*`; whether the store opened.
pub fn wal_segment(mut data: &[u8]) -> bool {
    let valid = valid();
    let machine = valid.machine.map(MemDisk::fork);
    let last = valid.anatomy.wal.last().unwrap();
    let header = SegmentHeader {
        segment: FileNo(last.header.segment.0 + 50),
        salt: [9; 32],
        continues: valid.anatomy.anchor.wal,
        ..last.header.clone()
    };
    let domain_key = Secret::from_verified(valid.anatomy.secrets[0]);
    let system = valid.ring.log_sealer(SEALED, &header, LogKind::Wal, None).unwrap();
    let ours = valid.ring.log_sealer(SEALED, &header, LogKind::Wal, Some(&domain_key)).unwrap();
    let mut chain = ChainWriter::new(&header);
    let mut bytes = header.encode().to_vec();
    while let [domain, position, len, rest @ ..] = data {
        let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        data = rest;
        let (id, sealer) = if domain & 1 == 0 { (valid.ks, &ours) } else { (KeyspaceId::SYSTEM, &system) };
        let at =
            header.continues.position.wrapping_add(u64::from(*position)).wrapping_sub(u64::from(domain & 8));
        append(&mut chain, &mut bytes, at, payload, id, domain & 2 == 0, sealer, &machine);
    }
    attack::write_file(&machine.data, &format!("wal/{:08}.log", header.segment.0), &bytes).unwrap();
    live(&machine, valid.ks)
}

/// The valid MANIFEST with one more edit, which is `data`, anchored; whether the store opened.
pub fn manifest(data: &[u8]) -> bool {
    let valid = valid();
    let machine = valid.machine.map(MemDisk::fork);
    let Anatomy { anchor, manifest, .. } = &valid.anatomy;
    let sealer = valid.ring.log_sealer(SEALED, &manifest.header, LogKind::Manifest, None).unwrap();
    let mut chain = ChainWriter::new(&manifest.header);
    let mut bytes = manifest.header.encode().to_vec();
    // A first byte of 255 leaves the valid edits out: the input has to be a whole state.
    let (edits, data) = match data.split_first() {
        Some((255, rest)) => (&[][..], rest),
        _ => (&valid.edits[..], data),
    };
    let mut position = manifest.header.continues.position;
    for edit in edits.iter().map(Vec::as_slice).chain([data]) {
        position += 1;
        append(&mut chain, &mut bytes, position, edit, KeyspaceId::SYSTEM, true, &sealer, &machine);
    }
    attack::write_file(&machine.data, &manifest.path, &bytes).unwrap();
    let to = Anchor { manifest: Head { ..chain.head() }, ..anchor.clone() };
    anatomy::counter(&machine).advance(Some(anchor.digest()), &to, true).unwrap();
    live(&machine, valid.ks)
}

#[expect(clippy::too_many_arguments, reason = "it says all that a record has")]
fn append(
    chain: &mut ChainWriter,
    bytes: &mut Vec<u8>,
    position: u64,
    payload: &[u8],
    domain: KeyspaceId,
    last: bool,
    sealer: &Sealer,
    machine: &Machine,
) {
    let start = chain.begin(bytes, position);
    bytes.put(payload);
    chain.finish(bytes, start, domain, last, sealer, &*machine.entropy).unwrap();
}
