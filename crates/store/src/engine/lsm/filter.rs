//! Blocked bloom filters: "this table certainly has no such key", for the price of one cache line.
//!
//! ```text
//! filter := block 64 bytes × n | probes u8 | layout u8 (1)
//! ```
//!
//! A key's hash (XXH3, 64 bits) selects one block of 512 bits with its upper half; its lower half
//! selects `probes` bits inside. At 10 bits per key about one absent key in a hundred passes. The
//! hash has no secret key: a filter is stored sealed, like every block of a table.

use crate::engine::lsm::table::format::Plain;
use ringfort_base::codec::DecodeError;
use xxhash_rust::xxh3::xxh3_64;

const BLOCK_BYTES: usize = 64;
const TRAILER_BYTES: usize = 2;
const LAYOUT: u8 = 1;
const PROBES_MAX: u8 = 24;
/// More bits per key than this buy nothing in a blocked filter.
const BITS_PER_KEY_MAX: u32 = 32;

/// The hash of a user key that filters are built from and asked with.
#[inline]
#[must_use]
pub fn hash_key(user: &[u8]) -> u64 {
    xxh3_64(user)
}

/// How many bytes the filter of `keys` keys takes.
#[must_use]
pub fn filter_bytes(keys: usize, bits_per_key: u32) -> usize {
    let bits = keys.saturating_mul(bits_per_key.clamp(1, BITS_PER_KEY_MAX) as usize);
    bits.div_ceil(BLOCK_BYTES * 8).max(1) * BLOCK_BYTES + TRAILER_BYTES
}

/// The bytes of a filter over `hashes`.
#[must_use]
pub fn build(hashes: &[u64], bits_per_key: u32) -> Vec<u8> {
    let mut bytes = vec![0; filter_bytes(hashes.len(), bits_per_key)];
    let (bits, trailer) = bytes
        .split_at_mut_checked(filter_bytes(hashes.len(), bits_per_key) - TRAILER_BYTES)
        .unwrap_or_default();
    let probes = probes_for(bits_per_key);
    let (blocks, _) = bits.as_chunks_mut::<BLOCK_BYTES>();
    let count = blocks.len();
    for &hash in hashes {
        let block = &mut blocks[block_of(hash, count)];
        for bit in probe_bits(hash, probes) {
            block[bit / 8] |= 1 << (bit % 8);
        }
    }
    trailer.copy_from_slice(&[probes, LAYOUT]);
    bytes
}

/// The number of probes with the fewest false positives in 512-bit blocks (more blocks are
/// unevenly full than a plain bloom filter's theory assumes, so slightly fewer than `ln 2 · bits`).
const fn probes_for(bits_per_key: u32) -> u8 {
    match bits_per_key {
        0..=2 => 1,
        3 => 2,
        4..=5 => 3,
        6 => 4,
        7..=8 => 5,
        9..=10 => 6,
        11 => 7,
        12..=14 => 8,
        15..=16 => 9,
        17..=20 => 10,
        21..=25 => 11,
        _ => 12,
    }
}

#[inline]
fn block_of(hash: u64, blocks: usize) -> usize {
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

#[inline]
fn probe_bits(hash: u64, probes: u8) -> impl Iterator<Item = usize> {
    let mut h = hash as u32;
    (0..probes).map(move |_| {
        h = h.wrapping_mul(0x9e37_79b9);
        (h >> (32 - 9)) as usize
    })
}

/// A verified filter, ready to be asked.
pub struct Filter {
    bytes: Vec<u8>,
    blocks: usize,
    probes: u8,
}

impl Filter {
    /// Takes a filter out of its opened block.
    ///
    /// # Errors
    /// [`DecodeError`] if its length, probes or layout are none.
    pub fn parse(plain: Plain) -> Result<Self, DecodeError> {
        Self::from_plain(plain.into_bytes())
    }

    pub(super) fn from_plain(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let [bits @ .., probes, layout] = bytes.as_slice() else {
            return Err(DecodeError::Short);
        };
        if *layout != LAYOUT {
            return Err(DecodeError::Variant(*layout));
        }
        if *probes == 0 || *probes > PROBES_MAX || bits.is_empty() || bits.len() % BLOCK_BYTES != 0 {
            return Err(DecodeError::Meaning("a filter's length or number of probes is none"));
        }
        let (blocks, probes) = (bits.len() / BLOCK_BYTES, *probes);
        Ok(Self { bytes, blocks, probes })
    }

    /// Looks at where a hash stands so that the processor fetches it.
    #[inline]
    pub fn touch(&self, hash: u64) {
        std::hint::black_box(self.bytes.get(block_of(hash, self.blocks) * BLOCK_BYTES));
    }

    /// `false`: no key with this hash was put in.
    #[inline]
    #[must_use]
    pub fn may_contain(&self, hash: u64) -> bool {
        let at = block_of(hash, self.blocks) * BLOCK_BYTES;
        let block = &self.bytes[at..at + BLOCK_BYTES];
        probe_bits(hash, self.probes).all(|bit| block[bit / 8] & (1 << (bit % 8)) != 0)
    }

    /// Memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u64>) -> Vec<u64> {
        range.map(|n| hash_key(&n.to_be_bytes())).collect()
    }

    #[test]
    fn what_is_inside_is_found_and_little_else() {
        for (bits, worst) in [(10, 0.013), (5, 0.14), (16, 0.002)] {
            let inside = hashes(0..20_000);
            let filter = Filter::from_plain(build(&inside, bits)).unwrap();
            assert!(inside.iter().all(|h| filter.may_contain(*h)));
            let wrong = hashes(100_000..200_000).iter().filter(|h| filter.may_contain(**h)).count();
            let rate = wrong as f64 / 100_000.0;
            assert!(rate < worst, "{bits} bits per key let {rate} pass");
            assert!(rate > worst / 50.0, "{bits} bits per key cannot let only {rate} pass");
        }
    }

    #[test]
    fn an_empty_filter_contains_nothing() {
        let filter = Filter::from_plain(build(&[], 10)).unwrap();
        assert!(!hashes(0..1000).iter().any(|h| filter.may_contain(*h)));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let good = build(&hashes(0..100), 10);
        for cut in 0..good.len() {
            assert!(Filter::from_plain(good[..cut].to_vec()).is_err() || cut % 64 == 2, "cut at {cut}");
        }
        for (at, byte) in [(1, 9), (2, 0), (2, 25)] {
            let mut bad = good.clone();
            let len = bad.len();
            bad[len - at] = byte;
            assert!(Filter::from_plain(bad).is_err());
        }
    }
}
