//! The bytes of a file: sparse pages that are shared until written.
//!
//! A page that was never written does not exist and reads as zeros, so reserving 64 MiB costs
//! nothing. Pages are reference-counted and copied on the first write, so a copy of a whole disk
//! (a fork, a crash state) costs a pointer per page: a crash explorer makes thousands of them.

use std::collections::BTreeMap;
use std::sync::Arc;

const PAGE: usize = 4096;

/// A sparse byte string.
#[derive(Clone, Default)]
pub(super) struct Content {
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
    len: u64,
}

impl Content {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Appends up to `len` bytes from `offset` to `buf`; fewer at the end.
    pub(super) fn read(&self, buf: &mut Vec<u8>, offset: u64, len: usize) {
        let end = self.len.min(offset.saturating_add(len as u64));
        let mut at = offset;
        while at < end {
            let (page, within) = locate(at);
            let n = (PAGE - within).min((end - at) as usize);
            match self.pages.get(&page) {
                Some(bytes) => buf.extend_from_slice(&bytes[within..within + n]),
                None => buf.resize(buf.len() + n, 0),
            }
            at += n as u64;
        }
    }

    /// Puts `data` at `offset` and grows the length to cover it.
    pub(super) fn write(&mut self, data: &[u8], offset: u64) {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let (page, within) = locate(at);
            let (head, tail) = rest.split_at(rest.len().min(PAGE - within));
            let slot = self.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(slot)[within..within + head.len()].copy_from_slice(head);
            at += head.len() as u64;
            rest = tail;
        }
        if !data.is_empty() {
            self.len = self.len.max(at);
        }
    }

    /// Cuts or grows; what is grown reads as zeros, whatever stood there before a cut.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (page, within) = locate(len);
            drop(self.pages.split_off(&(page + u64::from(within > 0))));
            if let Some(last) = self.pages.get_mut(&page) {
                Arc::make_mut(last)[within..].fill(0);
            }
        }
        self.len = len;
    }

    /// Takes over the pages of `newer` that cover `len` bytes at `offset`.
    pub(super) fn adopt(&mut self, newer: &Self, offset: u64, len: usize) {
        if len == 0 {
            return;
        }
        for page in locate(offset).0..=locate(offset + len as u64 - 1).0 {
            match newer.pages.get(&page) {
                Some(bytes) => drop(self.pages.insert(page, Arc::clone(bytes))),
                None => drop(self.pages.remove(&page)),
            }
        }
    }
}

const fn locate(at: u64) -> (u64, usize) {
    (at / PAGE as u64, (at % PAGE as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::{Content, PAGE};

    fn all(content: &Content) -> Vec<u8> {
        let mut buf = Vec::new();
        content.read(&mut buf, 0, usize::MAX);
        buf
    }

    #[test]
    fn writes_across_pages_read_back() {
        let mut content = Content::default();
        let data: Vec<u8> = (0..3 * PAGE).map(|i| (i % 251) as u8).collect();
        content.write(&data, 100);
        assert_eq!(all(&content)[100..], data);
        assert_eq!(all(&content)[..100], [0; 100]);
    }

    #[test]
    fn a_cut_forgets_what_it_cut() {
        for len in [0, 1, PAGE as u64, PAGE as u64 + 1] {
            let mut content = Content::default();
            content.write(&[7; 2 * PAGE], 0);
            content.set_len(len);
            content.set_len(2 * PAGE as u64);
            let mut expected = vec![7; len as usize];
            expected.resize(2 * PAGE, 0);
            assert_eq!(all(&content), expected, "cut to {len}");
        }
    }

    #[test]
    fn copies_do_not_share_later_writes() {
        let mut content = Content::default();
        content.write(b"old", 0);
        let copy = content.clone();
        content.write(b"new", 0);
        assert_eq!(all(&copy), b"old");
    }
}
