//! The data model's records and keys: what is written comes back, and nothing else is accepted.

use super::*;

#[test]
fn keys_come_back_as_they_were_spelt() {
    let long = vec![b'k'; 300];
    for key in [&b""[..], b"k", b"\x00\xff", &long] {
        assert_eq!(user_key(&meta_key(key)), Some(key));
        for field in [&b""[..], b"f", b"\xff\xff"] {
            for generation in [0, 1, u64::MAX] {
                let stored = field_key(key, generation, field);
                assert_eq!(parse_field_key(&stored), Some((key, generation, field)));
                assert!(stored.starts_with(&field_prefix(key, generation)));
                assert!(stored < next_prefix(field_prefix(key, generation)));
                assert!(stored.as_slice() > META_END && stored.as_slice() < DB_END);
            }
        }
        assert_eq!(parse_expiry_key(&expiry_key(7, key)), Some((7, key)));
    }
}

#[test]
fn no_hash_can_see_into_another() {
    // "a" with a field that spells the rest of "ab": the length in front keeps them apart.
    let of_a = field_prefix(b"a", 1);
    let of_ab = field_prefix(b"ab", 1);
    assert!(!of_a.starts_with(&of_ab) && !of_ab.starts_with(&of_a));
    assert!(!field_prefix(b"a", 2).starts_with(&of_a));
}

#[test]
fn the_expiry_index_is_in_order_of_time() {
    assert!(expiry_key(1, b"z") < expiry_key(2, b"a"));
    assert!(expiry_key(255, b"z") < expiry_key(256, b"a"));
    let (from, to) = expiry_until(255);
    assert!(from < expiry_key(0, b"") && expiry_key(255, b"\xff") < to && expiry_key(256, b"") >= to);
    assert_eq!(expiry_until(u64::MAX).1, DB_END);
}

#[test]
fn records_round_trip_and_hostile_ones_are_refused() {
    let bytes = Record::encode_string(1234, &[b"he", b"llo"]);
    let record = Record::decode(bytes).expect("decodes");
    assert_eq!((record.kind(), record.expiry_ms(), record.value()), (Kind::String, 1234, &b"hello"[..]));
    assert_eq!(Record::decode(record.encode_with_expiry(0)).expect("decodes").value(), b"hello");
    let hash = HashMeta { generation: u64::MAX - 1, count: 300 };
    let bytes = Record::encode_hash(0, hash);
    assert_eq!(Record::decode(bytes.clone()).expect("decodes").hash(), hash);
    for cut in 0..bytes.len() {
        assert!(Record::decode(bytes[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    let mut long = bytes;
    long.push(0);
    assert!(Record::decode(long).is_err());
    assert!(Record::decode(vec![3, 0]).is_err());
}

#[test]
fn expiry_is_inclusive() {
    let record = Record::decode(Record::encode_string(10, &[b"v"])).expect("decodes");
    assert!(!record.is_expired(9) && record.is_expired(10) && record.is_expired(11));
    let forever = Record::decode(Record::encode_string(0, &[b"v"])).expect("decodes");
    assert!(!forever.is_expired(u64::MAX));
}
