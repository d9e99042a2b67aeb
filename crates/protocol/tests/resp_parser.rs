//! The parser of requests: any cutting of a stream, bounds, and Redis's refusals.

use proptest::prelude::*;
use ringfort_base::limits::{BATCH_VALUE_BYTES_MAX, RESP_ARGS_MAX, RESP_INLINE_BYTES_MAX};
use ringfort_protocol::front::resp::client::{append_command, encode_command};
use ringfort_protocol::front::resp::parser::LARGE_BULK_BYTES;
use ringfort_protocol::front::resp::{Buffer, Limits, Parser, ProtocolError, ReplyError};

type Args = Vec<Vec<u8>>;

fn parser() -> Parser {
    Parser::new(Limits::authenticated(128 << 20))
}

fn feed(parser: &mut Parser, pieces: &[&[u8]]) -> (Vec<Args>, Option<ProtocolError>) {
    let mut buf = Buffer::new();
    let mut seen = Vec::new();
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            match parser.next(&mut buf) {
                Ok(Some(request)) => {
                    seen.push(request.args().map(<[u8]>::to_vec).collect());
                    parser.recycle(request);
                }
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
    }
    (seen, None)
}

fn refusal(limits: Limits, stream: &[u8]) -> String {
    let (_, error) = feed(&mut Parser::new(limits), &[stream]);
    let bytewise: Vec<&[u8]> = stream.chunks(1).collect();
    assert_eq!(error, feed(&mut Parser::new(limits), &bytewise).1, "cutting changes nothing");
    error.map_or_else(|| "no error".to_owned(), |error| ReplyError::from(error).text().to_owned())
}

fn commands() -> impl Strategy<Value = Vec<Args>> {
    let arg = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20),
        1 => prop::collection::vec(any::<u8>(), 100..2000),
        1 => (LARGE_BULK_BYTES - 3..LARGE_BULK_BYTES + 3).prop_map(|len| vec![b'x'; len]),
    ];
    prop::collection::vec(prop::collection::vec(arg, 1..6), 1..8)
}

fn stream_of(commands: &[Args]) -> Vec<u8> {
    let mut stream = Vec::new();
    for args in commands {
        let args: Vec<&[u8]> = args.iter().map(Vec::as_slice).collect();
        append_command(&mut stream, &args);
    }
    stream
}

fn cut<'a>(stream: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut pieces = Vec::new();
    let mut start = 0;
    for end in ends {
        pieces.push(&stream[start..end]);
        start = end;
    }
    pieces
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_is_parsed_however_it_is_cut(
        commands in commands(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = stream_of(&commands);
        let (seen, error) = feed(&mut parser(), &cut(&stream, &cuts));
        prop_assert_eq!(error, None);
        prop_assert_eq!(seen, commands);
    }

    #[test]
    fn damaged_streams_are_judged_alike_however_they_are_cut(
        commands in commands(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut stream = stream_of(&commands);
        for (at, byte) in flips {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        prop_assert_eq!(feed(&mut parser(), &[&stream]), feed(&mut parser(), &cut(&stream, &cuts)));
    }

    #[test]
    fn inline_words_survive_quoting(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..8)) {
        let mut line = Vec::new();
        for word in &words {
            line.extend_from_slice(b"  \"");
            for byte in word {
                line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
            line.push(b'"');
        }
        line.extend_from_slice(b"\r\n");
        prop_assert_eq!(feed(&mut parser(), &[&line]), (vec![words], None));
    }
}

#[test]
fn refusals_are_worded_like_redis() {
    let big_inline = vec![b'a'; RESP_INLINE_BYTES_MAX + 1];
    let long_count = [b"*".as_slice(), &[b'1'; 64]].concat();
    let long_length = [b"*1\r\n$".as_slice(), &[b'1'; 64]].concat();
    let table: &[(&[u8], &str)] = &[
        (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$abc\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$01\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$99999999999\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$4\r\nPINGxx", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\n$4\rxPING\r\n", "ERR Protocol error: invalid bulk length"),
        (b"*1\r\nx", "ERR Protocol error: expected '$', got 'x'"),
        (b"*1\r\n\r", "ERR Protocol error: expected '$', got '?'"),
        (b"*2\r\n$4\r\nECHO\r\n:1\r\n", "ERR Protocol error: expected '$', got ':'"),
        (b"*abc\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*+1\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\rx", "ERR Protocol error: invalid multibulk length"),
        (b"*1048577\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*99999999999999999999\r\n", "ERR Protocol error: invalid multibulk length"),
        (&long_count, "ERR Protocol error: too big mbulk count string"),
        (&long_length, "ERR Protocol error: too big bulk count string"),
        (&big_inline, "ERR Protocol error: too big inline request"),
        (b"SET \"a\r\n", "ERR Protocol error: unbalanced quotes in request"),
        (b"SET 'a'b\r\n", "ERR Protocol error: unbalanced quotes in request"),
    ];
    for (stream, expected) in table {
        assert_eq!(refusal(Limits::authenticated(128 << 20), stream), *expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn strangers_have_tighter_bounds() {
    let table: &[(&[u8], &str)] = &[
        (b"*11\r\n", "ERR Protocol error: unauthenticated multibulk length"),
        (b"*1\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length"),
        (b"*10\r\n$4\r\nAUTH\r\n", "no error"),
    ];
    for (stream, expected) in table {
        assert_eq!(refusal(Limits::unauthenticated(), stream), *expected);
    }
    // Five of the longest arguments are too many bytes together.
    let mut stream = b"*6\r\n".to_vec();
    for _ in 0..6 {
        stream.extend_from_slice(b"$16384\r\n");
        stream.extend_from_slice(&[b'a'; 16384]);
        stream.extend_from_slice(b"\r\n");
    }
    let (_, error) = feed(&mut Parser::new(Limits::unauthenticated()), &[&stream]);
    assert_eq!(error, Some(ProtocolError::TooBigRequest(64 * 1024)));
}

#[test]
fn limits_can_be_raised_between_requests() {
    let mut parser = Parser::new(Limits::unauthenticated());
    let mut buf = Buffer::new();
    buf.extend_from_slice(&encode_command(&[b"AUTH", b"pw"]));
    buf.extend_from_slice(&encode_command(&[b"SET", b"k", &[b'v'; 20_000]]));
    assert_eq!(parser.next(&mut buf).unwrap().unwrap().name(), b"AUTH");
    parser.set_limits(Limits::authenticated(1 << 20));
    assert_eq!(parser.next(&mut buf).unwrap().unwrap().arg(2).unwrap().len(), 20_000);
}

#[test]
fn a_request_is_bounded_as_a_whole() {
    let limits = Limits::authenticated(1 << 20);
    let announced = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n";
    assert_eq!(refusal(limits, announced), "ERR Protocol error: request exceeds 1048576 bytes");
    assert_eq!(refusal(limits, b"*100000\r\n"), "ERR Protocol error: request exceeds 1048576 bytes");
    const { assert!(100_000 < RESP_ARGS_MAX) };
}

#[test]
fn announcements_allocate_nothing() {
    let mut parser = parser();
    let mut buf = Buffer::new();
    buf.extend_from_slice(b"*1000000\r\n");
    assert!(parser.next(&mut buf).unwrap().is_none());
    assert!(parser.held_bytes() < 4096, "{parser:?}");
    assert!(parser.is_mid_request());
    buf.extend_from_slice(format!("${BATCH_VALUE_BYTES_MAX}\r\nabc").as_bytes());
    assert!(parser.next(&mut buf).unwrap().is_none());
    assert!(parser.held_bytes() < 4096, "{parser:?}");
    assert!(buf.is_empty(), "a large bulk leaves the buffer as it comes");
}

#[test]
fn the_largest_value_arrives_in_pieces_in_linear_memory() {
    let mut parser = parser();
    let mut buf = Buffer::new();
    buf.extend_from_slice(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${BATCH_VALUE_BYTES_MAX}\r\n").as_bytes());
    let piece = vec![b'v'; 16 * 1024];
    for round in 1..=BATCH_VALUE_BYTES_MAX / piece.len() {
        buf.extend_from_slice(&piece);
        assert!(parser.next(&mut buf).unwrap().is_none());
        assert!(parser.held_bytes() <= 2 * round * piece.len() + 4096);
    }
    assert!(buf.capacity() <= 64 * 1024, "{buf:?}");
    buf.extend_from_slice(b"\r\n");
    let mut request = parser.next(&mut buf).unwrap().unwrap();
    assert_eq!(parser.held_bytes(), 0);
    let at = request.arg(2).unwrap().as_ptr();
    let value = request.take_arg(2);
    assert_eq!(value.len(), BATCH_VALUE_BYTES_MAX);
    assert_eq!(value.capacity(), BATCH_VALUE_BYTES_MAX, "no slack behind the value");
    assert_eq!(value.as_ptr(), at, "taken, not copied");
    assert!(request.take_arg(2).is_empty() && request.take_arg(9).is_empty());
}

#[test]
fn many_small_arguments_arrive_bytewise_in_linear_time() {
    // 300,000 arguments, one byte each, in pieces of 11 bytes: quadratic work would take minutes.
    let stream = encode_command(&vec![b"a".as_slice(); 300_000]);
    let (mut parser, mut buf) = (parser(), Buffer::new());
    let mut last = None;
    for piece in stream.chunks(11) {
        assert!(last.is_none(), "the last piece ends the request");
        buf.extend_from_slice(piece);
        last = parser.next(&mut buf).unwrap();
    }
    assert_eq!(last.unwrap().len(), 300_000);
    assert!(buf.capacity() <= 64 * 1024, "what is understood leaves the buffer: {buf:?}");
}

#[test]
fn empty_requests_are_skipped_and_browsers_are_noticed() {
    let (seen, error) = feed(&mut parser(), &[b"\r\n*0\r\n*-1\r\n \n*-5\r\nPING\r\n"]);
    assert_eq!((seen, error), (vec![vec![b"PING".to_vec()]], None));
    let mut buf = Buffer::new();
    buf.extend_from_slice(b"POST / HTTP/1.1\r\nHost: localhost\r\nGET a\r\n");
    let mut parser = parser();
    let http: Vec<bool> =
        std::iter::from_fn(|| parser.next(&mut buf).unwrap().map(|r| r.is_http())).collect();
    assert_eq!(http, [true, true, false]);
}

#[test]
fn errors_are_final_and_hold_nothing() {
    let mut parser = parser();
    let mut buf = Buffer::new();
    buf.extend_from_slice(b"*3\r\n$40000\r\n");
    buf.extend_from_slice(&[b'a'; 40_000]);
    assert!(parser.next(&mut buf).unwrap().is_none());
    assert!(parser.held_bytes() >= 40_000);
    buf.extend_from_slice(b"xx*1\r\n$4\r\nPING\r\n");
    assert_eq!(parser.next(&mut buf).unwrap_err(), ProtocolError::InvalidBulkLength);
    assert_eq!(parser.next(&mut buf).unwrap_err(), ProtocolError::InvalidBulkLength);
    assert_eq!(parser.held_bytes(), 0);
}
