//! Latencies in buckets that are 3 % wide, so that a hundred million of them take 15 KiB. The least,
//! the greatest, the average and the deviation are exact.

use std::fmt;

/// Buckets per power of two.
const FINE: u64 = 32;
const FINE_BITS: u32 = FINE.trailing_zeros();
const BUCKETS: usize = (64 - FINE_BITS as usize + 1) * FINE as usize;

/// How often each duration was seen.
#[derive(Clone, PartialEq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: f64,
    sum_of_squares: f64,
    min: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, sum: 0.0, sum_of_squares: 0.0, min: u64::MAX, max: 0 }
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, max) = (self.quantile_us(0.5), self.quantile_us(0.99), self.max_us());
        write!(f, "Histogram({} seen, p50 {p50} us, p99 {p99} us, most {max} us)", self.total)
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.sum += nanos as f64;
        self.sum_of_squares += nanos as f64 * nanos as f64;
        self.min = self.min.min(nanos);
        self.max = self.max.max(nanos);
    }

    /// Adds what another thread saw.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += more);
        self.total += other.total;
        self.sum += other.sum;
        self.sum_of_squares += other.sum_of_squares;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many were seen.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The duration that `share` of all are not above, microseconds; 0 if nothing was seen.
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.quantile(share) / 1000.0
    }

    /// The shortest, microseconds; 0 if nothing was seen.
    pub fn min_us(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.min as f64 / 1000.0 }
    }

    /// The longest, microseconds; 0 if nothing was seen.
    pub fn max_us(&self) -> f64 {
        self.max as f64 / 1000.0
    }

    /// The mean, microseconds; 0 if nothing was seen.
    pub fn average_us(&self) -> f64 {
        self.sum / self.total.max(1) as f64 / 1000.0
    }

    /// The standard deviation, microseconds; 0 if nothing was seen.
    pub fn deviation_us(&self) -> f64 {
        let n = self.total.max(1) as f64;
        let mean = self.sum / n;
        (self.sum_of_squares / n - mean * mean).max(0.0).sqrt() / 1000.0
    }

    /// The durations seen, each with how often, ascending; microseconds.
    pub fn seen_us(&self) -> impl Iterator<Item = (f64, u64)> {
        let seen = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        seen.map(|(nth, count)| (middle(nth) / 1000.0, *count))
    }

    /// The duration that `share` of all are not above, nanoseconds; 0 if nothing was seen.
    fn quantile(&self, share: f64) -> f64 {
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (nth, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                // The middle of the last bucket may lie beyond what was seen.
                return middle(nth).clamp(self.min as f64, self.max as f64);
            }
        }
        0.0
    }
}

/// Below [`FINE`] a bucket is one nanosecond; above, the top bits after the first choose it.
fn bucket(nanos: u64) -> usize {
    if nanos < FINE {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - FINE_BITS;
    ((u64::from(shift) + 1) * FINE + (nanos >> shift) - FINE) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> f64 {
    let (row, column) = (bucket as u64 / FINE, bucket as u64 % FINE);
    if row == 0 {
        return column as f64;
    }
    let width = 2f64.powi(row as i32 - 1);
    (FINE + column) as f64 * width + (width - 1.0) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_width_of_a_bucket() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|nanos| histogram.record(nanos));
        for share in [0.001, 0.5, 0.99, 0.999, 1.0] {
            let (found, true_value) = (histogram.quantile(share), 100_000.0 * share);
            assert!((found / true_value - 1.0).abs() < 0.032, "{share}: {found}");
        }
    }

    #[test]
    fn any_duration_has_a_bucket_that_contains_it() {
        for nanos in [0, 1, 31, 32, 33, 63, 64, 1 << 20, (1 << 40) + 12_345, u64::MAX] {
            let middle = middle(bucket(nanos));
            assert!((middle - nanos as f64).abs() <= nanos as f64 / 32.0, "{nanos}: {middle}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn histograms_add_up() {
        let (mut one, mut two) = (Histogram::default(), Histogram::default());
        assert_eq!(one.quantile(0.5), 0.0);
        one.record(10);
        two.record(20);
        two.record(30);
        one.add(&two);
        assert_eq!(one.quantile(0.5), 20.0);
        assert_eq!(one.quantile(1.0), 30.0);
        assert_eq!((one.count(), one.min_us(), one.max_us(), one.average_us()), (3, 0.010, 0.030, 0.020));
        assert!((one.deviation_us() - 0.008_165).abs() < 1e-6, "{}", one.deviation_us());
        assert_eq!(one.seen_us().collect::<Vec<_>>(), [(0.010, 1), (0.020, 1), (0.030, 1)]);
    }
}
