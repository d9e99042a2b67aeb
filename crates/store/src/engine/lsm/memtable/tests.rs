//! The memtable against a model, under many threads, and at its limits.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::AtomicBool;

fn memtable() -> Arc<Memtable> {
    Arc::new(Memtable::new(7).unwrap())
}

#[test]
fn a_copy_that_ranks_otherwise_holds_the_same() {
    const ENTRIES: u64 = if cfg!(miri) { 60 } else { 600 };
    let m = memtable();
    for n in 0..ENTRIES {
        let kind = if n % 7 == 0 { Kind::Delete } else { Kind::Put };
        let key = format!("key:{:012}", n * 7_919 % 1_000);
        m.insert(Seq(n + 10), kind, key.as_bytes(), &n.to_le_bytes()[..(n % 9) as usize]).unwrap();
    }
    m.add_range_tombstone(Seq(5), b"key:", b"key:0000000005");
    m.add_range_tombstone(Seq(700), b"a", b"b");
    m.add_count(-3);
    let ranks = m.learn_ranks();
    assert_eq!(ranks, Ranks::with_stem(b"key:000000000"));
    let copy = m.ranked_by(ranks, 1, 0).unwrap();
    assert_eq!(
        (copy.len(), copy.first_seq(), copy.last_seq()),
        (ENTRIES as usize, Some(Seq(5)), Some(Seq(700)))
    );
    assert_eq!((copy.count(), copy.max_covering_seq(b"a", Seq(SEQ_MAX))), (-3, Some(Seq(700))));
    let (mut old, mut new) = (m.iter(), copy.iter());
    old.seek_to_first();
    new.seek_to_first();
    while old.valid() {
        assert_eq!((old.key(), old.trailer(), old.value()), (new.key(), new.trailer(), new.value()));
        assert_eq!(old.prefix(), new.prefix(), "a merge compares it with that of other sources");
        assert_eq!(m.get(old.key(), Seq(50)), copy.get(old.key(), Seq(50)));
        old.next();
        new.next();
    }
    assert!(!new.valid());
}

#[test]
fn versions_and_snapshots() {
    let m = memtable();
    m.insert(Seq(1), Kind::Put, b"k", b"one").unwrap();
    m.insert(Seq(3), Kind::Delete, b"k", b"").unwrap();
    m.insert(Seq(5), Kind::Put, b"k", b"five").unwrap();
    assert_eq!(m.get(b"k", Seq(0)), None);
    assert_eq!(m.get(b"k", Seq(2)), Some((Seq(1), Kind::Put, &b"one"[..])));
    assert_eq!(m.get(b"k", Seq(4)), Some((Seq(3), Kind::Delete, &b""[..])));
    assert_eq!(m.get(b"k", Seq(SEQ_MAX)), Some((Seq(5), Kind::Put, &b"five"[..])));
    assert_eq!(m.get(b"", Seq(9)), None);
    assert_eq!(m.get(b"kk", Seq(9)), None);
    assert_eq!((m.len(), m.first_seq(), m.last_seq()), (3, Some(Seq(1)), Some(Seq(5))));
    let (seq, kind, value) = m.get_pinned(b"k", Seq(2)).unwrap();
    drop(m);
    assert_eq!((seq, kind, &*value), (Seq(1), Kind::Put, &b"one"[..]), "the value outlives the handle");
}

#[test]
fn a_sequence_number_is_used_once() {
    let m = memtable();
    for key in [b"a", b"c", b"b"] {
        m.insert(Seq(1), Kind::Put, key, b"").unwrap();
    }
    assert_eq!(m.insert(Seq(1), Kind::Put, b"a", b"").unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(m.insert(Seq(1), Kind::Put, b"b", b"").unwrap_err().kind(), ErrorKind::Internal);
    assert_eq!(m.len(), 3);
}

#[test]
fn largest_entries_fit_and_larger_ones_are_refused() {
    let m = memtable();
    let key = vec![7; KEY_BYTES_MAX];
    let value = vec![9; BATCH_VALUE_BYTES_MAX];
    m.insert(Seq(1), Kind::Put, b"small", b"before").unwrap();
    m.insert(Seq(2), Kind::Put, &key, &value).unwrap();
    m.insert(Seq(3), Kind::Put, b"small", b"after").unwrap();
    let (_, _, got) = m.get(&key, Seq(9)).unwrap();
    assert!(got == value);
    assert_eq!(m.get(b"small", Seq(9)).unwrap().2, b"after");
    assert!(m.approximate_bytes() > BATCH_VALUE_BYTES_MAX);
    assert_eq!(
        m.insert(Seq(4), Kind::Put, &vec![0; KEY_BYTES_MAX + 1], b"").unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(
        m.insert(Seq(4), Kind::Put, b"", &vec![0; BATCH_VALUE_BYTES_MAX + 1]).unwrap_err().kind(),
        ErrorKind::Invalid
    );
    assert_eq!(m.insert(Seq(4), Kind::RangeDelete, b"a", b"b").unwrap_err().kind(), ErrorKind::Invalid);
    assert!(m.has_room(10, 1 << 20));
    assert!(!m.has_room(10, 5 << 30));
}

#[test]
fn range_tombstones_and_counts() {
    let m = memtable();
    assert!(m.is_empty() && !m.has_range_tombstones());
    assert_eq!(m.max_covering_seq(b"b", Seq(9)), None);
    m.add_range_tombstone(Seq(4), b"a", b"c");
    m.add_range_tombstone(Seq(6), b"b", b"d");
    assert_eq!(m.max_covering_seq(b"b", Seq(9)), Some(Seq(6)));
    assert_eq!(m.max_covering_seq(b"b", Seq(5)), Some(Seq(4)));
    assert_eq!(m.max_covering_seq(b"d", Seq(9)), None);
    assert_eq!((m.first_seq(), m.last_seq(), m.is_empty()), (Some(Seq(4)), Some(Seq(6)), false));
    m.add_count(5);
    m.add_count(-7);
    assert_eq!(m.count(), -2);
}

#[test]
fn many_threads_insert_while_others_read() {
    const THREADS: u64 = 4;
    const EACH: u64 = 4000;
    let m = memtable();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..THREADS)
            .map(|t| {
                let m = &m;
                scope.spawn(move || {
                    for i in 0..EACH {
                        // Half the keys ascend (the hint's case), half are scattered.
                        let n = i * THREADS + t;
                        let k = if i % 2 == 0 { n } else { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
                        m.insert(Seq(n + 1), Kind::Put, &k.to_be_bytes(), &n.to_le_bytes()).unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let mut it = m.iter();
                    it.seek_to_first();
                    let mut last = None;
                    while it.valid() {
                        let now = it.key().to_vec();
                        assert!(last.is_none_or(|l| l < now), "in order at any moment");
                        assert_eq!(it.value(), (it.trailer().seq().0 - 1).to_le_bytes(), "seen whole");
                        last = Some(now);
                        it.next();
                    }
                }
            });
        }
        writers.into_iter().for_each(|w| w.join().unwrap());
        done.store(true, Ordering::Release);
    });
    assert_eq!(m.len() as u64, THREADS * EACH);
    for n in 0..THREADS * EACH {
        let k = if (n / THREADS) & 1 == 0 { n } else { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        assert_eq!(m.get(&k.to_be_bytes(), Seq(n + 1)).unwrap().0, Seq(n + 1));
    }
}

#[test]
fn racing_inserts_of_the_same_key_admit_one() {
    for round in 0..200u64 {
        let m = memtable();
        let won: usize = std::thread::scope(|scope| {
            let all: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| usize::from(m.insert(Seq(round), Kind::Put, b"x", b"").is_ok())))
                .collect();
            all.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!((won, m.len()), (1, 1));
    }
}

#[test]
fn racing_versions_of_few_keys_end_with_the_newest() {
    // Versions of a key arrive in any order on any thread; the index must keep the newest, and
    // older snapshots must fall back to the list.
    const THREADS: u64 = 4;
    const KEYS: u64 = 37;
    for round in 0..30 {
        let m = memtable();
        std::thread::scope(|scope| {
            for t in 0..THREADS {
                let m = &m;
                scope.spawn(move || {
                    for i in 0..200u64 {
                        let seq = 1 + (i * 7 + round) % 200 * THREADS + t;
                        m.insert(Seq(seq), Kind::Put, &(seq % KEYS).to_le_bytes(), &seq.to_le_bytes())
                            .unwrap();
                    }
                });
            }
        });
        for snapshot in [SEQ_MAX, 800, 799, 400, 41, 3, 0] {
            for key in 0..KEYS {
                let expected = (1..=snapshot.min(800)).rev().find(|seq| seq % KEYS == key);
                let got = m.get(&key.to_le_bytes(), Seq(snapshot)).map(|(seq, ..)| seq.0);
                assert_eq!(got, expected, "key {key} at {snapshot}");
            }
        }
    }
}

#[test]
fn an_index_far_too_small_hides_nothing() {
    let m = memtable();
    for n in 0..20_000u64 {
        m.insert(Seq(n + 1), Kind::Put, &n.to_be_bytes(), b"").unwrap();
    }
    for n in 0..20_000u64 {
        assert_eq!(m.get(&n.to_be_bytes(), Seq(SEQ_MAX)).map(|(seq, ..)| seq.0), Some(n + 1));
        assert_eq!(m.get(&n.to_le_bytes()[..7], Seq(SEQ_MAX)), None);
    }
}

type Model = BTreeMap<(Vec<u8>, std::cmp::Reverse<u64>), (Kind, Vec<u8>)>;

proptest! {
    #[test]
    fn agrees_with_a_map(ops in prop::collection::vec(
        (prop::collection::vec(0..4u8, 0..12), any::<bool>(), prop::collection::vec(any::<u8>(), 0..20)), 1..200))
    {
        let ranks = Ranks::with_stem(&ops[0].0[..ops[0].0.len() / 2]);
        let m = Memtable::with_capacity(7, 0, ranks).unwrap();
        let mut model = Model::new();
        for (i, (key, delete, value)) in ops.iter().enumerate() {
            let seq = i as u64 + 1;
            let (kind, value) = if *delete { (Kind::Delete, Vec::new()) } else { (Kind::Put, value.clone()) };
            m.insert(Seq(seq), kind, key, &value).unwrap();
            model.insert((key.clone(), std::cmp::Reverse(seq)), (kind, value));
        }
        for (key, ..) in &ops {
            for snapshot in [0, 1, ops.len() as u64 / 2, ops.len() as u64] {
                let expected = model.range((key.clone(), std::cmp::Reverse(snapshot))..).next()
                    .filter(|((k, _), _)| k == key)
                    .map(|((_, seq), (kind, value))| (Seq(seq.0), *kind, value.as_slice()));
                prop_assert_eq!(m.get(key, Seq(snapshot)), expected);
            }
        }
        let mut it = m.iter();
        it.seek_to_first();
        for ((key, seq), (_, value)) in &model {
            prop_assert_eq!((it.key(), it.trailer().seq().0, it.value()), (&key[..], seq.0, &value[..]));
            it.next();
        }
        prop_assert!(!it.valid());
        it.seek_to_last();
        for ((key, seq), _) in model.iter().rev() {
            prop_assert_eq!((it.key(), it.trailer().seq().0), (&key[..], seq.0));
            it.prev();
        }
        prop_assert!(!it.valid());
        for (key, ..) in &ops {
            it.seek_before(key, Trailer::FIRST);
            let expected = model.range((Bound::Unbounded, Bound::Excluded((key.clone(), std::cmp::Reverse(u64::MAX))))).next_back();
            prop_assert_eq!(it.valid().then(|| it.key().to_vec()), expected.map(|((k, _), _)| k.clone()));
        }
    }
}
