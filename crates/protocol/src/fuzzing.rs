//! The bodies of the fuzz targets, as ordinary functions, so that a short replay runs as a test.
//!
//! Each takes arbitrary bytes and panics if a promise is broken: that any cutting of a stream
//! gives the same result, and that memory is bounded by what arrived and by the limits.

use crate::front::resp::client::DecodeError;
use crate::front::resp::{Buffer, Decoder, Limits, Parser, ProtocolError, Value, Version, glob, options};

/// What a stream of requests amounts to.
type Requests = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

/// Requests: whole and in pieces, authenticated and not.
///
/// # Panics
/// If a promise is broken.
pub fn request(data: &[u8]) {
    for limits in [Limits::unauthenticated(), Limits::authenticated(1 << 20)] {
        let whole = requests(data, limits, || data.len().max(1));
        assert_eq!(whole, requests(data, limits, || 1), "one byte at a time");
        let mut state = data.len() as u64;
        let pieces = requests(data, limits, || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            1 + (state >> 59) as usize
        });
        assert_eq!(whole, pieces, "in uneven pieces");
        for args in &whole.0 {
            run_options(args);
        }
    }
}

/// Replies: whole and in pieces; what decodes must encode and decode to itself.
///
/// # Panics
/// If a promise is broken.
pub fn reply(data: &[u8]) {
    let whole = replies(data, data.len().max(1), REPLY_BYTES_MAX);
    assert_eq!(render(&whole), render(&replies(data, 1, REPLY_BYTES_MAX)), "one byte at a time");
    assert_eq!(render(&whole), render(&replies(data, 7, REPLY_BYTES_MAX)), "seven bytes at a time");
    for value in &whole.0 {
        let again = replies(&value.encode(Version::V3), usize::MAX, usize::MAX);
        assert_eq!(render(&again), render(&(vec![value.clone()], None)), "decode after encode");
        let flat = replies(&value.encode(Version::V2), usize::MAX, usize::MAX);
        assert_eq!((flat.0.len(), flat.1), (1, None), "RESP2 of any value is one value");
    }
}

fn requests(data: &[u8], limits: Limits, mut piece: impl FnMut() -> usize) -> Requests {
    let mut parser = Parser::new(limits);
    let mut buf = Buffer::new();
    let mut seen = Vec::new();
    let mut rest = data;
    let mut fed = 0;
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(piece().min(rest.len()));
        buf.extend_from_slice(head);
        fed += head.len();
        rest = tail;
        loop {
            match parser.next(&mut buf) {
                Ok(Some(mut request)) => {
                    assert!(!request.is_empty(), "a request has a name");
                    let args: Vec<Vec<u8>> = request.args().map(<[u8]>::to_vec).collect();
                    for (index, arg) in args.iter().enumerate() {
                        assert_eq!(request.take_arg(index), *arg, "taking gives what was seen");
                    }
                    seen.push(args);
                    parser.recycle(request);
                }
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(parser.next(&mut buf).err(), Some(error.clone()), "errors are final");
                    return (seen, Some(error));
                }
            }
        }
        let held = parser.held_bytes();
        assert!(held <= 16 * fed + 64 * 1024, "{held} bytes held after {fed} arrived");
        assert!(held <= 3 * limits.request_bytes_max() + 64 * 1024, "{held} bytes held");
    }
    (seen, None)
}

fn run_options(args: &[Vec<u8>]) {
    let slices = || args.iter().skip(1).map(Vec::as_slice);
    let _ = options::set(slices());
    let _ = options::getex(slices());
    let _ = options::expire_conditions(slices());
    let _ = options::scan(slices());
    let _ = options::hscan(slices());
    let _ = options::copy(slices());
    let _ = options::range(slices());
    let _ = options::hello(slices());
    let _ = options::client(slices());
    let _ = options::level(slices());
    if let [_, pattern, text, ..] = args {
        let _ = glob::matches(pattern, text);
        let _ = glob::literal_prefix(pattern);
    }
}

fn replies(data: &[u8], piece: usize, reply_bytes_max: usize) -> (Vec<Value>, Option<DecodeError>) {
    let mut decoder = Decoder::new(reply_bytes_max);
    let mut buf = Buffer::new();
    let mut seen = Vec::new();
    for part in data.chunks(piece) {
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

/// As text, because NaN is not equal to itself.
fn render(result: &(Vec<Value>, Option<DecodeError>)) -> String {
    format!("{result:?}")
}

/// Small enough that inputs reach it.
const REPLY_BYTES_MAX: usize = 1 << 16;
