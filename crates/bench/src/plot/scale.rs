//! Axes: where a number lies, between 0 and 1, and which numbers get a tick.

/// How an axis is spaced.
#[derive(Clone, Debug)]
pub enum Scale {
    /// Evenly, from 0.
    Linear,
    /// Every doubling takes as much room as the one before; numbers above 0 only.
    Log2,
    /// Every tenfold takes as much room as the one before; numbers above 0 only.
    Log10,
    /// Names side by side.
    Category(Vec<String>),
}

/// How numbers of an axis are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// As they are, thousands as k and millions as M.
    Count,
    /// B, KiB, MiB.
    Bytes,
    /// With a percent sign.
    Percent,
}

/// Ticks of a linear axis at the most.
const LINEAR_TICKS_MAX: f64 = 6.0;
/// Ticks of a logarithmic axis at the most; beyond, every second (third, …) doubling has one.
const LOG_TICKS_MAX: usize = 12;

/// A scale with the range that its data need.
pub struct Fitted<'a> {
    scale: &'a Scale,
    low: f64,
    high: f64,
}

impl Scale {
    /// Fits the axis to `values`; `None` if there is nothing that it could show.
    pub fn fit(&self, values: impl Iterator<Item = f64>) -> Option<Fitted<'_>> {
        let shown = values
            .filter(|value| value.is_finite() && (*value > 0.0 || !matches!(self, Self::Log2 | Self::Log10)));
        let (low, high) = shown
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            return None;
        }
        Some(match self {
            Self::Linear => {
                let step = step(high.max(f64::MIN_POSITIVE));
                Fitted { scale: self, low: 0.0, high: (high / step).ceil().max(1.0) * step }
            }
            Self::Log2 => {
                let (low, high) = (low.log2(), high.log2());
                // One point stands in the middle.
                let room = if high > low { 0.0 } else { 1.0 };
                Fitted { scale: self, low: low - room, high: high + room }
            }
            Self::Log10 => {
                // From one number with a tick to another.
                let below = steps(low).take_while(|step| *step <= low * (1.0 + 1e-9)).last().unwrap_or(low);
                let above = steps(high).find(|step| *step >= high * (1.0 - 1e-9)).unwrap_or(high);
                let above = if above > below { above } else { below * 10.0 };
                Fitted { scale: self, low: below.log10(), high: above.log10() }
            }
            Self::Category(names) => Fitted { scale: self, low: -0.5, high: names.len().max(1) as f64 - 0.5 },
        })
    }
}

impl Fitted<'_> {
    /// Where `value` lies: 0 at the axis's beginning, 1 at its end.
    pub fn place(&self, value: f64) -> f64 {
        let value = match self.scale {
            Scale::Log2 => value.log2(),
            Scale::Log10 => value.log10(),
            _ => value,
        };
        (value - self.low) / (self.high - self.low)
    }

    /// The ticks: a number each, with its text.
    pub fn ticks(&self, unit: Unit) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Category(names) => {
                names.iter().enumerate().map(|(nth, name)| (nth as f64, name.clone())).collect()
            }
            Scale::Linear => {
                let step = step(self.high);
                let count = (self.high / step).round() as u32;
                (0..=count).map(|nth| f64::from(nth) * step).map(|value| (value, unit.write(value))).collect()
            }
            Scale::Log10 => {
                let (low, high) = (10f64.powf(self.low), 10f64.powf(self.high));
                let within = steps(low).skip_while(|step| *step < low * (1.0 - 1e-9));
                let within = within.take_while(|step| *step <= high * (1.0 + 1e-9));
                within.map(|value| (value, unit.write(value))).collect()
            }
            Scale::Log2 => {
                let (first, last) = (self.low.ceil() as i32, self.high.floor() as i32);
                let every = (last - first).unsigned_abs() as usize / LOG_TICKS_MAX + 1;
                let powers = (first..=last).step_by(every).map(|power| f64::from(power).exp2());
                powers.map(|value| (value, unit.write(value))).collect()
            }
        }
    }
}

/// The distance of ticks on a linear axis up to `high`: 1, 2 or 5 times a power of ten.
fn step(high: f64) -> f64 {
    let least = high / LINEAR_TICKS_MAX;
    let power = 10f64.powf(least.log10().floor());
    let nice = [1.0, 2.0, 5.0, 10.0].into_iter().find(|nice| nice * power >= least * (1.0 - 1e-9));
    nice.unwrap_or(10.0) * power
}

/// 1, 2 and 5 times each power of ten, from below `near`.
fn steps(near: f64) -> impl Iterator<Item = f64> {
    let power = near.max(f64::MIN_POSITIVE).log10().floor() as i32 - 1;
    (power..power + 16).flat_map(|power| [1.0, 2.0, 5.0].map(|nice| nice * 10f64.powi(power)))
}

impl Unit {
    /// A number as a tick or a title has it.
    pub fn write(self, value: f64) -> String {
        match self {
            Self::Count => match value.abs() {
                big if big >= 1e6 => format!("{}M", short(value / 1e6)),
                big if big >= 1e4 => format!("{}k", short(value / 1e3)),
                big if big >= 1e2 => format!("{value:.0}"),
                _ => short(value),
            },
            Self::Bytes => match value {
                big if big >= 1_048_576.0 => format!("{} MiB", short(value / 1_048_576.0)),
                big if big >= 1024.0 => format!("{} KiB", short(value / 1024.0)),
                _ => format!("{} B", short(value)),
            },
            Self::Percent => format!("{} %", short(value)),
        }
    }
}

/// With two decimals at the most, and none that say nothing.
pub fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale, unit: Unit, values: &[f64]) -> Vec<String> {
        let fitted = scale.fit(values.iter().copied()).unwrap();
        fitted.ticks(unit).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn linear_ticks_are_round_begin_at_0_and_cover_the_data() {
        assert_eq!(
            texts(&Scale::Linear, Unit::Count, &[3.0, 1.0]),
            ["0", "0.5", "1", "1.5", "2", "2.5", "3"]
        );
        let rates = texts(&Scale::Linear, Unit::Count, &[12_000.0, 812_345.0]);
        assert_eq!(rates, ["0", "200k", "400k", "600k", "800k", "1M"]);
        for high in [0.003, 0.97, 1.0, 7.0, 99.9, 123_456.7, 9e12] {
            let fitted = Scale::Linear.fit([high].into_iter()).unwrap();
            let ticks = fitted.ticks(Unit::Count);
            let top = ticks.last().unwrap().0;
            assert!(top >= high * (1.0 - 1e-9) && top <= 2.0 * high, "{high}: {ticks:?}");
            assert!((2..=8).contains(&ticks.len()), "{high}: {ticks:?}");
            assert!((fitted.place(top) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn doublings_are_equally_far_apart() {
        let scale = Scale::Log2;
        let fitted = scale.fit([1.0, 8.0].into_iter()).unwrap();
        let places: Vec<f64> = [1.0, 2.0, 4.0, 8.0].iter().map(|value| fitted.place(*value)).collect();
        for (place, expected) in places.iter().zip([0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]) {
            assert!((place - expected).abs() < 1e-9, "{places:?}");
        }
        let sizes = texts(&scale, Unit::Bytes, &[128.0, 16_384.0]);
        assert_eq!(sizes, ["128 B", "256 B", "512 B", "1 KiB", "2 KiB", "4 KiB", "8 KiB", "16 KiB"]);
        assert!(texts(&scale, Unit::Count, &[1.0, 1e9]).len() <= LOG_TICKS_MAX);
    }

    #[test]
    fn tenfolds_are_equally_far_apart_and_ticks_are_round() {
        let rates = texts(&Scale::Log10, Unit::Count, &[13_000.0, 812_345.0]);
        assert_eq!(rates, ["10k", "20k", "50k", "100k", "200k", "500k", "1M"]);
        let scale = Scale::Log10;
        let fitted = scale.fit([10.0, 1000.0].into_iter()).unwrap();
        assert!((fitted.place(100.0) - 0.5).abs() < 1e-9);
        assert!(fitted.place(10.0).abs() < 1e-9);
        let lone = scale.fit([7.0].into_iter()).unwrap();
        assert!((0.0..1.0).contains(&lone.place(7.0)) && lone.ticks(Unit::Count).len() > 1);
        assert!(scale.fit([0.0].into_iter()).is_none());
    }

    #[test]
    fn a_lone_point_and_a_name_stand_in_the_middle() {
        assert_eq!(Scale::Log2.fit([4.0].into_iter()).unwrap().place(4.0), 0.5);
        let names = Scale::Category(vec!["a".into(), "b".into()]);
        let fitted = names.fit([0.0, 1.0].into_iter()).unwrap();
        assert_eq!((fitted.place(0.0), fitted.place(1.0)), (0.25, 0.75));
        assert_eq!(fitted.ticks(Unit::Count), [(0.0, "a".to_owned()), (1.0, "b".to_owned())]);
    }

    #[test]
    fn what_cannot_be_shown_is_no_axis() {
        assert!(Scale::Linear.fit([].into_iter()).is_none());
        assert!(Scale::Linear.fit([f64::NAN, f64::INFINITY].into_iter()).is_none());
        assert!(Scale::Log2.fit([0.0, -1.0].into_iter()).is_none());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(Unit::Count.write(1_250_000.0), "1.25M");
        assert_eq!(Unit::Count.write(7_491.23), "7491");
        assert_eq!(Unit::Percent.write(90.0), "90 %");
        assert_eq!(short(-0.001), "0");
    }
}
