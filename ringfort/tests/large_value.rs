//! The longest value, on a real disk: written and read by the piece, it takes a few pieces of memory.
//! A test binary of its own, because it measures the process.
#![allow(clippy::unwrap_used, reason = "a test may")]

use ringfort::{Db, ErrorKind, Options};
use std::io::Read;

const VALUE_BYTES_MAX: usize = 512 << 20;
const BUDGET_BYTES: usize = 8 << 20;

/// The most memory that this process ever had, bytes.
fn peak_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// Bytes that repeat after a length that is no piece's.
struct Source {
    pattern: Vec<u8>,
    at: usize,
    len: usize,
}

impl Source {
    fn new(len: usize) -> Self {
        Self { pattern: (0..99_991usize).map(|i| (i ^ i >> 7) as u8).collect(), at: 0, len }
    }

    fn shows(&self, at: usize, bytes: &[u8]) -> bool {
        bytes.iter().enumerate().all(|(i, byte)| *byte == self.pattern[(at + i) % self.pattern.len()])
    }
}

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let from = &self.pattern[self.at % self.pattern.len()..];
        let len = buf.len().min(from.len()).min(self.len - self.at);
        buf[..len].copy_from_slice(&from[..len]);
        self.at += len;
        Ok(len)
    }
}

#[test]
fn the_longest_value_takes_a_few_pieces_of_memory() {
    let db = Db::open_temporary_with(Options::new("").memory_budget(BUDGET_BYTES)).unwrap();
    db.put("warm", vec![1; 1 << 20]).unwrap();
    db.flush().unwrap();
    assert_eq!(db.get("warm").unwrap().unwrap().len(), 1 << 20);
    let before = peak_bytes();

    assert_eq!(db.put_from("k", Source::new(VALUE_BYTES_MAX)).unwrap(), VALUE_BYTES_MAX as u64);
    let error = db.put_from("l", Source::new(VALUE_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "a byte more: {error}");
    let source = Source::new(VALUE_BYTES_MAX);
    let check = |every: usize| {
        let mut reader = db.reader("k").unwrap().unwrap();
        assert_eq!(reader.len(), VALUE_BYTES_MAX);
        let mut at = 0;
        while at < VALUE_BYTES_MAX {
            let bytes = reader.read_at(at).unwrap();
            assert!(!bytes.is_empty() && source.shows(at, bytes), "at {at}");
            at += bytes.len() + every;
        }
    };
    check(7 << 20);
    db.flush().unwrap();
    db.put("m", "another").unwrap();
    db.compact_range(..).unwrap();
    check(0);
    assert!(db.verify_checksums().unwrap() > VALUE_BYTES_MAX as u64);

    let grown = peak_bytes() - before;
    assert!(grown < BUDGET_BYTES + (8 << 20), "{grown} bytes more for a value by the piece");
    assert!(db.get("l").unwrap().is_none());
    db.close().unwrap();
}
