//! The two generators of db_bench: [`Mt64`] for keys, [`Lehmer`] for the bytes of values.
//!
//! They are here so that the streams of keys are db_bench's own, not to be good generators.

/// MT19937-64 (Matsumoto and Nishimura), C++'s `std::mt19937_64`.
pub struct Mt64 {
    state: Box<[u64; WORDS]>,
    at: usize,
}

const WORDS: usize = 312;
const MIDDLE: usize = 156;
const MATRIX: u64 = 0xb502_6f5a_a966_19e9;
const UPPER: u64 = 0xffff_ffff_8000_0000;

impl Mt64 {
    /// Seeded as `std::mt19937_64(seed)`.
    pub fn new(seed: u64) -> Self {
        let mut state = Box::new([0; WORDS]);
        state[0] = seed;
        for i in 1..WORDS {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 62)).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i as u64);
        }
        Self { state, at: WORDS }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        if self.at == WORDS {
            self.turn();
        }
        let mut x = self.state[self.at];
        self.at += 1;
        x ^= (x >> 29) & 0x5555_5555_5555_5555;
        x ^= (x << 17) & 0x71d6_7fff_eda6_0000;
        x ^= (x << 37) & 0xfff7_eee0_0000_0000;
        x ^ (x >> 43)
    }

    fn turn(&mut self) {
        let state = &mut *self.state;
        for i in 0..WORDS {
            let x = (state[i] & UPPER) | (state[(i + 1) % WORDS] & !UPPER);
            let odd = if x & 1 == 0 { 0 } else { MATRIX };
            state[i] = state[(i + MIDDLE) % WORDS] ^ (x >> 1) ^ odd;
        }
        self.at = 0;
    }
}

/// LevelDB's and RocksDB's `Random`: Lehmer's generator modulo 2^31 - 1.
pub struct Lehmer {
    seed: u64,
}

impl Lehmer {
    /// Seeded; 0 and the modulus stand for 1.
    pub fn new(seed: u32) -> Self {
        let seed = u64::from(seed & 0x7fff_ffff);
        Self { seed: if seed == 0 || seed == MODULUS { 1 } else { seed } }
    }

    /// A number below `n`.
    pub fn uniform(&mut self, n: u64) -> u64 {
        self.seed = self.seed * 16_807 % MODULUS;
        self.seed % n
    }
}

const MODULUS: u64 = (1 << 31) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    /// The C++ standard names the ten-thousandth number of the default seed.
    #[test]
    fn mt64_gives_the_number_that_the_standard_names() {
        let mut rng = Mt64::new(5489);
        let last = (0..10_000).map(|_| rng.next_u64()).last();
        assert_eq!(last, Some(9_981_545_732_273_789_042));
    }

    /// Park and Miller: from 1, the ten-thousandth state is 1043618065.
    #[test]
    fn lehmer_gives_the_number_that_its_authors_name() {
        let mut rng = Lehmer::new(1);
        let last = (0..10_000).map(|_| rng.uniform(u64::MAX)).last();
        assert_eq!(last, Some(1_043_618_065));
    }
}
