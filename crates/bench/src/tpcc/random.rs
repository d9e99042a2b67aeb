//! TPC-C's random numbers and names (clauses 2.1.5, 2.1.6 and 4.3.2).

use crate::rng::Mt64;

/// Customers of a district, and the items.
pub(super) const CUSTOMERS: u32 = 3000;
pub(super) const ITEMS: u32 = 100_000;

/// What one of ten items, and of ten stocks, has in its data.
pub(super) const ORIGINAL: &str = "ORIGINAL";

const SYLLABLES: [&str; 10] =
    ["BAR", "OUGHT", "ABLE", "PRI", "PRES", "ESE", "ANTI", "CALLY", "ATION", "EING"];

/// The constants C of the non-uniform distribution: one set for the load, one for the run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants {
    last_name: u32,
    customer: u32,
    item: u32,
}

/// One source of random numbers.
pub(super) struct Random {
    rng: Mt64,
    constants: Constants,
}

impl Constants {
    /// For the load, by its seed.
    pub(super) fn of_load(seed: u64) -> Self {
        let mut rng = Mt64::new(seed);
        let mut below = |n: u64| (rng.next_u64() % n) as u32;
        Self { last_name: below(256), customer: below(1024), item: below(8192) }
    }

    /// For a run over that load: the distance of the two for last names is prescribed (clause 2.1.6.1).
    pub(super) fn of_run(self) -> Self {
        let far = |delta: u32| (65..=119).contains(&delta) && delta != 96 && delta != 112;
        let last_name = (0..256).find(|c| far(self.last_name.abs_diff(*c))).unwrap_or_default();
        Self { last_name, ..self }
    }
}

impl Random {
    pub(super) fn new(seed: u64, constants: Constants) -> Self {
        Self { rng: Mt64::new(seed), constants }
    }

    /// Uniform, both ends included.
    pub(super) fn uniform(&mut self, low: u32, high: u32) -> u32 {
        low + (self.rng.next_u64() % u64::from(high - low + 1)) as u32
    }

    pub(super) fn percent(&mut self, share: u32) -> bool {
        self.uniform(1, 100) <= share
    }

    fn non_uniform(&mut self, a: u32, c: u32, low: u32, high: u32) -> u32 {
        ((self.uniform(0, a) | self.uniform(low, high)) + c) % (high - low + 1) + low
    }

    pub(super) fn customer(&mut self) -> u32 {
        self.non_uniform(1023, self.constants.customer, 1, CUSTOMERS)
    }

    pub(super) fn item(&mut self) -> u32 {
        self.non_uniform(8191, self.constants.item, 1, ITEMS)
    }

    pub(super) fn last_name(&mut self) -> String {
        last_name(self.non_uniform(255, self.constants.last_name, 0, 999))
    }

    /// Letters and digits, of a random length.
    pub(super) fn text(&mut self, low: u32, high: u32) -> String {
        const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let len = self.uniform(low, high);
        (0..len).map(|_| LETTERS[self.uniform(0, LETTERS.len() as u32 - 1) as usize] as char).collect()
    }

    pub(super) fn digits(&mut self, len: u32) -> String {
        (0..len).map(|_| char::from(b'0' + self.uniform(0, 9) as u8)).collect()
    }

    /// A text that holds "ORIGINAL" in one of ten (clause 4.3.3.1).
    pub(super) fn data(&mut self) -> String {
        let mut data = self.text(26, 50);
        if self.percent(10) {
            let at = self.uniform(0, (data.len() - ORIGINAL.len()) as u32) as usize;
            data.replace_range(at..at + ORIGINAL.len(), ORIGINAL);
        }
        data
    }

    pub(super) fn zip(&mut self) -> String {
        self.digits(4) + "11111"
    }

    /// 1 to `n` in random order.
    pub(super) fn permutation(&mut self, n: u32) -> Vec<u32> {
        let mut all: Vec<u32> = (1..=n).collect();
        for at in (1..all.len()).rev() {
            all.swap(at, self.uniform(0, at as u32) as usize);
        }
        all
    }
}

/// The last name of a number up to 999.
pub(super) fn last_name(number: u32) -> String {
    [number / 100, number / 10 % 10, number % 10].map(|digit| SYLLABLES[digit as usize]).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ranges_are_those_of_the_specification() {
        assert_eq!(last_name(371), "PRICALLYOUGHT");
        assert_eq!(last_name(40), "BARPRESBAR");
        let constants = Constants::of_load(7);
        let delta = constants.last_name.abs_diff(constants.of_run().last_name);
        assert!((65..=119).contains(&delta) && delta != 96 && delta != 112);
        let mut random = Random::new(1, constants.of_run());
        for _ in 0..10_000 {
            assert!((1..=CUSTOMERS).contains(&random.customer()) && (1..=ITEMS).contains(&random.item()));
        }
        let mut all = random.permutation(3000);
        all.sort_unstable();
        assert!(all.iter().copied().eq(1..=3000));
        let originals = (0..10_000).filter(|_| random.data().contains("ORIGINAL")).count();
        assert!((800..1200).contains(&originals), "{originals}");
    }

    #[test]
    fn items_are_not_uniform() {
        let mut random = Random::new(3, Constants::of_load(1));
        let mut counts = vec![0u32; ITEMS as usize + 1];
        (0..1_000_000).for_each(|_| counts[random.item() as usize] += 1);
        counts.sort_unstable();
        let top: u32 = counts[counts.len() - 10_000..].iter().sum();
        assert!(top > 300_000, "the most popular tenth has {top} of a million");
    }
}
