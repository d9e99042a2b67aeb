//! Which record an operation is for: uniform, zipfian, latest, as YCSB has them.

use crate::rng::Mt64;

/// YCSB's skew.
const THETA: f64 = 0.99;

/// How records are chosen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Each as likely as any other.
    Uniform,
    /// A few are asked for again and again; which ones is scattered over all.
    Zipfian,
    /// The same, but the newest records are the popular ones.
    Latest,
}

/// Draws numbers below a bound, small ones more often (Gray et al., "Quickly generating billion-record
/// synthetic databases", 1994).
#[derive(Clone, Debug)]
struct Zipf {
    items: u64,
    zeta: f64,
    zeta_of_2: f64,
}

impl Zipf {
    fn new(items: u64) -> Self {
        Self { items, zeta: zeta(0, items, 0.0), zeta_of_2: zeta(0, 2, 0.0) }
    }

    /// For more items than before.
    fn grow(&mut self, items: u64) {
        if items > self.items {
            self.zeta = zeta(self.items, items, self.zeta);
            self.items = items;
        }
    }

    /// `u` is uniform in 0..1.
    fn draw(&self, u: f64) -> u64 {
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5_f64.powf(THETA) {
            return 1.min(self.items - 1);
        }
        let n = self.items as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - THETA)) / (1.0 - self.zeta_of_2 / self.zeta);
        let drawn = n * (eta * u - eta + 1.0).powf(1.0 / (1.0 - THETA));
        (drawn as u64).min(self.items - 1)
    }
}

/// The sum of 1/i^THETA for i from `from` + 1 to `to`, on top of `before`.
fn zeta(from: u64, to: u64, before: f64) -> f64 {
    (from..to).fold(before, |sum, i| sum + 1.0 / ((i + 1) as f64).powf(THETA))
}

/// Chooses records for one client.
#[derive(Clone)]
pub(super) struct Choice {
    distribution: Distribution,
    zipf: Option<Zipf>,
}

impl Choice {
    /// Costs a pass over all records, for skewed ones: clients clone it.
    pub(super) fn new(distribution: Distribution, records: u64) -> Self {
        let is_skewed = distribution != Distribution::Uniform;
        Self { distribution, zipf: is_skewed.then(|| Zipf::new(records.max(2))) }
    }

    /// One of `records`.
    pub(super) fn record(&mut self, rng: &mut Mt64, records: u64) -> u64 {
        let random = rng.next_u64();
        let Some(zipf) = &mut self.zipf else { return random % records };
        let u = (random >> 11) as f64 / (1u64 << 53) as f64;
        match self.distribution {
            Distribution::Latest => {
                zipf.grow(records);
                records - 1 - zipf.draw(u).min(records - 1)
            }
            _ => fnv(zipf.draw(u)) % records,
        }
    }
}

/// YCSB's hash of a record's number: popular ones are not neighbours.
pub(super) fn fnv(number: u64) -> u64 {
    number
        .to_le_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(distribution: Distribution, records: u64) -> Vec<u32> {
        let (mut rng, mut choice) = (Mt64::new(1), Choice::new(distribution, records));
        let mut counts = vec![0; records as usize];
        for _ in 0..200_000 {
            counts[choice.record(&mut rng, records) as usize] += 1;
        }
        counts
    }

    #[test]
    fn distributions_are_what_they_are_called() {
        let uniform = counts(Distribution::Uniform, 1000);
        assert!(uniform.iter().all(|count| (100..300).contains(count)));
        // With 1000 records and a skew of 0.99 the first is asked for in 1/zeta = 13 % of all.
        let mut zipfian = counts(Distribution::Zipfian, 1000);
        zipfian.sort_unstable();
        assert!((24_000..29_000).contains(&zipfian[999]), "{}", zipfian[999]);
        let latest = counts(Distribution::Latest, 1000);
        assert!((24_000..29_000).contains(&latest[999]), "{}", latest[999]);
        assert!(latest[0] < latest[999] / 100);
    }

    #[test]
    fn what_grows_is_what_was_made_larger() {
        let mut grown = Zipf::new(100);
        grown.grow(5000);
        let new = Zipf::new(5000);
        assert!((grown.zeta - new.zeta).abs() < 1e-9 && grown.items == new.items);
        assert!((0..1000).all(|n| new.draw(f64::from(n) / 1000.0) < 5000));
    }
}
