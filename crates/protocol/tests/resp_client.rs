//! The decoder of replies: any cutting, decode after encode, bounds.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking")]

use proptest::prelude::*;
use ringfort_protocol::front::resp::client::DecodeError;
use ringfort_protocol::front::resp::{Buffer, Decoder, Value, Version};

fn decode(stream: &[u8], piece: usize) -> (Vec<Value>, Option<DecodeError>) {
    let mut decoder = Decoder::new(1 << 20);
    let mut buf = Buffer::new();
    let mut seen = Vec::new();
    for part in stream.chunks(piece) {
        buf.extend_from_slice(part);
        loop {
            match decoder.next(&mut buf) {
                Ok(Some(value)) => seen.push(value),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

fn values() -> impl Strategy<Value = Value> {
    let line = "[ -~]{0,20}".prop_map(String::into_bytes);
    let leaf = prop_oneof![
        Just(Value::Null),
        line.clone().prop_map(Value::Simple),
        line.prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        prop::collection::vec(any::<u8>(), 0..50).prop_map(Value::Bulk),
        any::<f64>().prop_filter("NaN is not itself", |v| !v.is_nan()).prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
        prop::collection::vec(any::<u8>(), 0..50).prop_map(|text| Value::Verbatim(*b"txt", text)),
        "-?[0-9]{1,40}".prop_map(|digits| Value::BigNumber(digits.into_bytes())),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Set),
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Push),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

/// What is left of a value in RESP2.
fn flattened(value: &Value) -> Value {
    let all = |items: &[Value]| Value::Array(items.iter().map(flattened).collect());
    match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => all(items),
        Value::Map(pairs) => {
            Value::Array(pairs.iter().flat_map(|(key, value)| [flattened(key), flattened(value)]).collect())
        }
        Value::Boolean(value) => Value::Integer(i64::from(*value)),
        Value::Verbatim(_, text) => Value::Bulk(text.clone()),
        Value::BigNumber(digits) => Value::Bulk(digits.clone()),
        Value::Double(number) => {
            // The text is checked by reading it back.
            let encoded = value.encode(Version::V2);
            let (decoded, _) = decode(&encoded, usize::MAX);
            let text = decoded[0].as_bytes().unwrap().to_vec();
            assert_eq!(String::from_utf8(text.clone()).unwrap().parse::<f64>().unwrap(), *number);
            Value::Bulk(text)
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn resp3_decodes_to_what_was_encoded(sequence in prop::collection::vec(values(), 1..5), piece in 1_usize..40) {
        let stream: Vec<u8> = sequence.iter().flat_map(|value| value.encode(Version::V3)).collect();
        prop_assert_eq!(decode(&stream, piece), (sequence, None));
    }

    #[test]
    fn resp2_decodes_to_what_it_can_say(value in values(), piece in 1_usize..40) {
        let stream = value.encode(Version::V2);
        prop_assert_eq!(decode(&stream, piece), (vec![flattened(&value)], None));
    }
}

#[test]
fn both_nulls_of_resp2_and_attributes() {
    assert_eq!(decode(b"$-1\r\n*-1\r\n_\r\n", 1).0, vec![Value::Null; 3]);
    let annotated = b"*2\r\n|1\r\n+ttl\r\n:5\r\n:1\r\n:2\r\n|1\r\n+x\r\n_\r\n:3\r\n";
    let expected = vec![Value::Array(vec![Value::Integer(1), Value::Integer(2)]), Value::Integer(3)];
    assert_eq!(decode(annotated, 3), (expected, None));
}

#[test]
fn malformed_replies_are_refused() {
    let deep = b"*1\r\n".repeat(33);
    let long = vec![b'+'; 70_000];
    let table: &[(&[u8], DecodeError)] = &[
        (b"x", DecodeError::UnknownType(b'x')),
        (b":1x\r\n", DecodeError::Malformed(':')),
        (b":1\n", DecodeError::Malformed(':')),
        (b"+a\rb\r\n", DecodeError::Malformed('+')),
        (b"$-2\r\n", DecodeError::Malformed('$')),
        (b"%-1\r\n", DecodeError::Malformed('%')),
        (b"$1\r\nabc", DecodeError::Malformed('$')),
        (b"#x\r\n", DecodeError::Malformed('#')),
        (b"_x\r\n", DecodeError::Malformed('_')),
        (b"!3\r\nabcde", DecodeError::Malformed('!')),
        (b"=3\r\ntxt\r\n", DecodeError::Malformed('=')),
        (b"(12a\r\n", DecodeError::Malformed('(')),
        (b",abc\r\n", DecodeError::Malformed(',')),
        (b"$9999999\r\n", DecodeError::TooBig(1 << 20)),
        (b"*9999999\r\n", DecodeError::TooBig(1 << 20)),
        (b"%9223372036854775807\r\n", DecodeError::TooBig(1 << 20)),
        (&deep, DecodeError::TooDeep),
        (&long, DecodeError::LineTooLong),
    ];
    for (stream, expected) in table {
        assert_eq!(decode(stream, usize::MAX).1.as_ref(), Some(expected), "{}", stream.escape_ascii());
        assert_eq!(decode(stream, 1).1.as_ref(), Some(expected), "{}", stream.escape_ascii());
    }
}

/// Found by fuzzing: a bulk error may hold line ends, and was written as a line.
#[test]
fn errors_of_any_bytes_survive() {
    for text in [&b"ERR a\r\nb"[..], &[b'x'; 100_000]] {
        let error = Value::Error(text.to_vec());
        assert_eq!(decode(&error.encode(Version::V3), 999), (vec![error.clone()], None));
        let (seen, failed) = decode(&error.encode(Version::V2), 999);
        assert_eq!((seen.len(), failed), (1, None), "RESP2 has only a line for it");
    }
}
