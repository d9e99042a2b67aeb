//! SLOWLOG: the commands that took longest, in a bounded ring. Arguments are cut as Redis cuts
//! them; commands that carry a secret are never handed in.

use std::collections::VecDeque;

/// Most arguments kept of a command, and most bytes of one.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Unique in this life of the server.
    pub id: u64,
    /// Unix seconds.
    pub at_s: u64,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// Command and arguments, cut.
    pub args: Vec<Vec<u8>>,
    /// Where the client is.
    pub peer: String,
    /// The client's name.
    pub name: Vec<u8>,
}

/// The log, newest first.
#[derive(Default)]
pub struct SlowLog {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl SlowLog {
    /// Notes a command and forgets the oldest beyond `max_len`.
    pub fn note<'a>(
        &mut self,
        at_s: u64,
        took_us: u64,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        client: (String, Vec<u8>),
        max_len: usize,
    ) {
        let args = cut_args(args);
        let (peer, name) = client;
        self.entries.push_front(Entry { id: self.next_id, at_s, took_us, args, peer, name });
        self.next_id += 1;
        self.entries.truncate(max_len);
    }

    /// The newest `count`.
    pub fn newest(&self, count: usize) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter().take(count)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all.
    pub fn reset(&mut self) {
        self.entries.clear();
    }
}

fn cut_args<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let count = args.len();
    let mut out = Vec::with_capacity(count.min(ARGS_MAX));
    for (i, arg) in args.enumerate() {
        if i == ARGS_MAX - 1 && count > ARGS_MAX {
            out.push(format!("... ({} more arguments)", count - i).into_bytes());
            break;
        }
        if arg.len() > ARG_BYTES_MAX {
            let mut cut = arg[..ARG_BYTES_MAX].to_vec();
            cut.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
            out.push(cut);
        } else {
            out.push(arg.to_vec());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_in_every_direction() {
        let mut log = SlowLog::default();
        let long = vec![b'x'; 1000];
        let many: Vec<&[u8]> = std::iter::repeat_n(&long[..], 100).collect();
        for _ in 0..5 {
            log.note(0, 0, many.clone().into_iter(), Default::default(), 3);
        }
        assert_eq!(log.len(), 3);
        assert_eq!(log.newest(10).map(|e| e.id).collect::<Vec<_>>(), [4, 3, 2]);
        let entry = log.newest(1).next().expect("noted");
        assert_eq!(entry.args.len(), ARGS_MAX);
        assert_eq!(entry.args.last().expect("last"), b"... (69 more arguments)");
        assert!(entry.args.iter().all(|a| a.len() < 200));
    }
}
