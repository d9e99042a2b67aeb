//! [`Merged`]: what a scan of the store shows with a transaction's own writes over it.

use ringfort_base::Result;
use ringfort_store::txn::covered::Own;
use std::iter::Peekable;
use std::vec::IntoIter;

type Entry = (Vec<u8>, Vec<u8>);
type OwnEntry = (Vec<u8>, Option<Vec<u8>>);

/// Entries in order, or in reverse. An own write hides what is stored under its key.
pub(super) struct Merged<I: Iterator<Item = Result<Entry>>> {
    stored: Peekable<I>,
    own: Peekable<IntoIter<OwnEntry>>,
    deleted: Vec<(Vec<u8>, Vec<u8>)>,
    reverse: bool,
}

impl<I: Iterator<Item = Result<Entry>>> Merged<I> {
    /// `own` may be of more than `from..to`, which is what `stored` goes through.
    pub(super) fn new(stored: I, own: &Own, (from, to): (&[u8], &[u8]), reverse: bool) -> Self {
        let first = own.keys.partition_point(|(key, _)| key.as_slice() < from);
        let end = own.keys.partition_point(|(key, _)| key.as_slice() < to);
        let mut keys = own.keys.get(first..end).unwrap_or_default().to_vec();
        if reverse {
            keys.reverse();
        }
        Self {
            stored: stored.peekable(),
            own: keys.into_iter().peekable(),
            deleted: own.deleted.clone(),
            reverse,
        }
    }

    fn is_deleted(&self, key: &[u8]) -> bool {
        self.deleted.iter().any(|(from, to)| from.as_slice() <= key && key < to.as_slice())
    }

    /// Whether the own write comes next, and whether it hides the stored entry.
    fn own_is_next(&mut self) -> Option<(bool, bool)> {
        let (own, _) = self.own.peek()?;
        let order = match self.stored.peek() {
            Some(Ok((stored, _))) if self.reverse => stored.cmp(own),
            Some(Ok((stored, _))) => own.cmp(stored),
            // An error is shown before anything behind it.
            Some(Err(_)) => return Some((false, false)),
            None => std::cmp::Ordering::Less,
        };
        Some((order.is_le(), order.is_eq()))
    }
}

impl<I: Iterator<Item = Result<Entry>>> Iterator for Merged<I> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((true, hides)) = self.own_is_next() {
                if hides {
                    self.stored.next();
                }
                match self.own.next()? {
                    (key, Some(value)) => return Some(Ok((key, value))),
                    (_, None) => continue,
                }
            }
            match self.stored.next()? {
                Ok((key, _)) if self.is_deleted(&key) => {}
                entry => return Some(entry),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: &str) -> Entry {
        (key.as_bytes().to_vec(), value.as_bytes().to_vec())
    }

    fn shown(reverse: bool) -> Vec<String> {
        let mut stored = vec![entry("b", "1"), entry("c", "1"), entry("e", "1"), entry("f", "1")];
        if reverse {
            stored.reverse();
        }
        let own = Own {
            keys: [
                ("A", Some("2")),
                ("a", Some("2")),
                ("c", Some("2")),
                ("d", None),
                ("e", None),
                ("z", Some("2")),
            ]
            .map(|(key, value)| (key.into(), value.map(Into::into)))
            .into(),
            deleted: vec![(b"f".to_vec(), b"g".to_vec())],
        };
        let merged = Merged::new(stored.into_iter().map(Ok), &own, (b"a", b"y"), reverse);
        let text =
            |entry: Result<Entry>| entry.map(|(k, v)| String::from_utf8_lossy(&[k, v].concat()).into_owned());
        merged.map(|entry| text(entry).expect("no error")).collect()
    }

    #[test]
    fn own_writes_lie_over_what_is_stored() {
        assert_eq!(shown(false), ["a2", "b1", "c2"]);
        assert_eq!(shown(true), ["c2", "b1", "a2"]);
    }
}
