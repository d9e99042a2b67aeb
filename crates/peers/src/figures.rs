//! Which figures there are, and how rows of results become one: a file per figure and benchmark.

use crate::engines;
use crate::plot::{self, Axis, Chart, Point, Scale, Series, Unit};
use crate::report::{Row, Spread};
use crate::setup::Setup;
use crate::transactions::cells::Cells;
use crate::transactions::ledger;
use crate::{Result, results, server, treaty, twinstore};
use ringfort_base::Level;
use ringfort_bench::Benchmark;
use std::path::{Path, PathBuf};

/// What a figure varies; everything else stays as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Varied {
    /// Threads that work.
    Threads,
    /// Bytes of a value.
    ValueSize,
    /// Bytes of a block.
    BlockSize,
    /// The share of reads.
    ReadShare,
}

/// A figure: its name in results and of its files, and what it varies.
pub struct Figure {
    /// What results call it, and its files begin with.
    pub name: &'static str,
    /// What it varies.
    pub varied: Varied,
    /// The beginning of its title.
    pub title: &'static str,
}

/// All figures.
pub const ALL: &[Figure] = &[
    Figure { name: "threads", varied: Varied::Threads, title: "Threads" },
    Figure { name: "value-size", varied: Varied::ValueSize, title: "Value size" },
    Figure { name: "block-size", varied: Varied::BlockSize, title: "Block size" },
    Figure { name: "read-share", varied: Varied::ReadShare, title: "Share of reads" },
    Figure {
        name: "twinstore-6-value-size",
        varied: Varied::ValueSize,
        title: "TWINSTORE's figure 6: value size",
    },
    Figure {
        name: "twinstore-6-block-size",
        varied: Varied::BlockSize,
        title: "TWINSTORE's figure 6: block size",
    },
    Figure {
        name: "twinstore-7-read-share",
        varied: Varied::ReadShare,
        title: "TWINSTORE's figure 7: share of reads",
    },
    Figure { name: "twinstore-threads", varied: Varied::Threads, title: "TWINSTORE's section 5.2: threads" },
];

/// From this factor between the least and the greatest on, an axis is logarithmic.
const WIDE: f64 = 10.0;

/// The figure of this name.
pub fn by_name(name: &str) -> Option<&'static Figure> {
    ALL.iter().find(|figure| figure.name == name)
}

impl Varied {
    /// The same run with another value.
    pub fn apply(self, setup: &mut Setup, value: u64) -> Result<()> {
        match self {
            Self::Threads => setup.threads = usize::try_from(value)?,
            Self::ValueSize => {
                let entry = |setup: &Setup| (setup.workload.key_size + setup.workload.value_size) as u64;
                let bytes = setup.workload.num * entry(setup);
                setup.workload.value_size = usize::try_from(value)?;
                // Larger values do not make a larger store: there are fewer of them.
                setup.workload.num = setup.workload.num.min(bytes / entry(setup)).max(1);
            }
            Self::BlockSize => setup.settings.block_size = usize::try_from(value)?,
            Self::ReadShare => setup.workload.readwritepercent = u32::try_from(value)?,
        }
        Ok(())
    }

    /// The value that a row was run with.
    pub fn of(self, row: &Row) -> f64 {
        match self {
            Self::Threads => row.threads as f64,
            Self::ValueSize => row.value_size as f64,
            Self::BlockSize => row.block_size as f64,
            Self::ReadShare => f64::from(row.readwritepercent),
        }
    }

    /// The value that a run was made with.
    pub fn in_setup(self, setup: &Setup) -> u64 {
        match self {
            Self::Threads => setup.threads as u64,
            Self::ValueSize => setup.workload.value_size as u64,
            Self::BlockSize => setup.settings.block_size as u64,
            Self::ReadShare => u64::from(setup.workload.readwritepercent),
        }
    }

    /// What a point of it is called.
    pub fn short(self) -> &'static str {
        match self {
            Self::Threads => "threads",
            Self::ValueSize => "value size",
            Self::BlockSize => "block size",
            Self::ReadShare => "reads %",
        }
    }

    fn axis(self) -> Axis {
        let (label, scale, unit) = match self {
            Self::Threads => ("threads", Scale::Log2, Unit::Count),
            Self::ValueSize => ("value size", Scale::Log2, Unit::Bytes),
            Self::BlockSize => ("block size", Scale::Log2, Unit::Bytes),
            Self::ReadShare => ("share of reads", Scale::Linear, Unit::Percent),
        };
        Axis { label: label.to_owned(), scale, unit }
    }

    /// What stays and is in no name.
    fn rest(self, row: &Row) -> (Option<usize>, Option<u32>, String) {
        let block_size = (self != Self::BlockSize).then_some(row.block_size);
        let reads = (self != Self::ReadShare).then_some(row.readwritepercent);
        (block_size, reads, row.machine.clone())
    }

    /// What stays, for a subtitle.
    fn kept(self, row: &Row) -> String {
        let parts = [
            (Self::Threads, format!("{} threads", row.threads)),
            (Self::ValueSize, format!("values of {} B", row.value_size)),
            (Self::BlockSize, format!("blocks of {} KiB", row.block_size >> 10)),
        ];
        let kept = parts.into_iter().filter(|(varied, _)| *varied != self).map(|(_, text)| text);
        let reads = (row.benchmark == Benchmark::ReadRandomWriteRandom && self != Self::ReadShare)
            .then(|| format!("{} % reads", row.readwritepercent));
        let limit = row.memory_limit.map(|limit| format!("{} MiB of memory", limit >> 20));
        let more = [Some(row.level.clone()).filter(|_| row.benchmark.writes()), reads, limit];
        kept.chain(more.into_iter().flatten()).collect::<Vec<_>>().join(", ")
    }
}

/// `plot`: draws what a file of results has, without running anything.
#[derive(Clone, Debug, clap::Args)]
#[command(rename_all = "snake_case")]
pub struct Args {
    /// The file that --json wrote; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    pub json: Vec<PathBuf>,
    /// The directory of the figures; created if needed.
    #[arg(long, value_name = "DIR", default_value = "docs/figures")]
    pub out: PathBuf,
}

/// Draws every figure of the file.
pub fn run(args: &Args) -> Result<()> {
    let mut written = draw(&results::results(&args.json)?, &args.out)?;
    written.extend(server::draw(&results::of_servers(&args.json)?, &args.out)?);
    let transactions = Cells::of_part(&ledger::read(&args.json)?, treaty::PART);
    written.extend(treaty::draw(&transactions, &args.out)?);
    if written.is_empty() {
        return Err(
            "there is no result of a figure: `sweep`, `twinstore`, `treaty` and `server` make such; `compare` makes \
                    tables"
                .into(),
        );
    }
    Ok(())
}

/// Draws every figure that the rows have points of, a file per figure, benchmark and what was kept.
pub fn draw(rows: &[Row], out: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for figure in ALL {
        let of_figure: Vec<&Row> = rows
            .iter()
            .filter(|row| row.figure.as_deref() == Some(figure.name) && figure.shows(row))
            .collect();
        let mut names: Vec<String> = Vec::new();
        for row in &of_figure {
            let name = figure.file_name(row);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for name in names {
            let mut points: Vec<&Row> =
                of_figure.iter().copied().filter(|row| figure.file_name(row) == name).collect();
            // Of settings that the name does not tell apart, those of the last result.
            if let Some(last) = points.last().copied() {
                points.retain(|row| figure.varied.rest(row) == figure.varied.rest(last));
                let path = out.join(&name);
                write(&chart(figure, last.benchmark, &points), &path)?;
                written.push(path);
            }
        }
    }
    Ok(written)
}

impl Figure {
    /// Whether it is drawn: a fill that only makes the store for what is looked at is not.
    fn shows(&self, row: &Row) -> bool {
        let mixed = self.varied == Varied::ReadShare || self.name.starts_with("twinstore");
        !mixed || !row.benchmark.is_fresh()
    }

    /// The same for the same settings, always.
    fn file_name(&self, row: &Row) -> String {
        let mut name = format!("{}-{}", self.name, row.benchmark.name());
        if self.varied != Varied::Threads {
            name += &format!("-t{}", row.threads);
        }
        if self.varied != Varied::ValueSize {
            name += &format!("-v{}", row.value_size);
        }
        if row.benchmark.writes() && row.level != Level::Buffered.name() {
            name += &format!("-{}", row.level);
        }
        if let Some(limit) = row.memory_limit {
            name += &format!("-m{}", limit >> 20);
        }
        name + ".svg"
    }
}

/// Writes one file; its directory is made if needed.
pub fn write(chart: &Chart, path: &Path) -> Result<()> {
    let text = plot::to_svg(chart)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    eprintln!("ringfort-peers: {}", path.display());
    Ok(())
}

/// One line per engine, in the order in which they are listed.
fn chart(figure: &Figure, benchmark: Benchmark, rows: &[&Row]) -> Chart {
    // What only fills has to pay its debt.
    let sustained = benchmark.is_fresh();
    let mut series = Vec::new();
    for (style, kind) in engines::all().enumerate() {
        let mut points: Vec<Point> = rows
            .iter()
            .filter(|row| row.engine == kind.name)
            .map(|row| {
                let Spread { median, min, max } = if sustained { row.sustained() } else { row.rate() };
                Point { x: figure.varied.of(row), median, min, max }
            })
            .collect();
        points.sort_by(|one, other| one.x.total_cmp(&other.x));
        if !points.is_empty() {
            // The figure's name says whose they are.
            let name = kind.name.strip_prefix(twinstore::PREFIX).unwrap_or(kind.name);
            series.push(Series { name: name.to_owned(), style, points });
        }
    }
    let measured = if sustained { "operations/s, debt paid" } else { "operations/s" };
    let (scale, spacing) =
        if is_wide(&series) { (Scale::Log10, ", logarithmic") } else { (Scale::Linear, "") };
    let subtitle = rows.first().map_or_else(String::new, |row| {
        let kept = figure.varied.kept(row);
        match row.repeats {
            1 => format!("{kept}; one run"),
            repeats => format!("{kept}; medians of {repeats} runs, whiskers least to greatest"),
        }
    });
    Chart {
        title: format!("{}: {}", figure.title, benchmark.name()),
        subtitle,
        x: figure.varied.axis(),
        y: Axis { label: format!("{measured}{spacing}"), scale, unit: Unit::Count },
        series,
    }
}

/// Whether the points are further apart than an axis from 0 can show.
fn is_wide(series: &[Series]) -> bool {
    let medians = || series.iter().flat_map(|series| &series.points).map(|point| point.median);
    medians().fold(0.0, f64::max) > WIDE * medians().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{rows, setup};

    /// Two points of each of two engines.
    fn points(figure: &str) -> Vec<Row> {
        let figure = by_name(figure).unwrap();
        let mut all = Vec::new();
        for value in [1, 4] {
            for mut row in rows() {
                row.figure = Some(figure.name.to_owned());
                match figure.varied {
                    Varied::Threads => row.threads = value,
                    Varied::ValueSize => row.value_size = value,
                    Varied::BlockSize => row.block_size = value << 10,
                    Varied::ReadShare => row.readwritepercent = value as u32,
                }
                all.push(row);
            }
        }
        all
    }

    #[test]
    fn each_figure_and_benchmark_has_a_file_of_a_stable_name() {
        let dir = std::env::temp_dir().join(format!("ringfort-figures-{}", std::process::id()));
        let mut all = points("threads");
        all.extend(points("read-share"));
        all.extend(rows());
        let written = draw(&all, &dir).unwrap();
        let names: Vec<String> =
            written.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        let texts: Vec<String> = written.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!(
            names,
            [
                "threads-fillrandom-v100.svg",
                "threads-readrandom-v100.svg",
                "read-share-readrandom-t1-v100.svg"
            ]
        );
        for text in &texts {
            assert_eq!(text.matches("<polyline").count(), 2, "a line per engine");
            assert!(text.contains(">ringfort<") && text.contains(">rocksdb<"));
        }
        // A fill is drawn at the rate that lasts, 1.2 million, a read at 3 million.
        assert!(texts[0].contains("ringfort, threads 4: 1.2M"), "{}", texts[0]);
        assert!(texts[1].contains("ringfort, threads 4: 3M"));
    }

    /// The legend has room for about 24 characters.
    #[test]
    fn every_name_fits_the_legend() {
        for kind in engines::all() {
            let shown = kind.name.strip_prefix(twinstore::PREFIX).unwrap_or(kind.name);
            assert!(shown.len() <= 24, "{shown}");
        }
    }

    #[test]
    fn sweeps_under_different_settings_have_files_of_their_own() {
        let figure = by_name("threads").unwrap();
        let row = &points("threads")[0];
        let limited = Row { memory_limit: Some(256 << 20), level: "durable".into(), ..row.clone() };
        let names =
            [row, &limited, &Row { value_size: 1024, ..row.clone() }].map(|row| figure.file_name(row));
        assert_eq!(
            names,
            [
                "threads-fillrandom-v100.svg",
                "threads-fillrandom-v100-durable-m256.svg",
                "threads-fillrandom-v1024.svg"
            ]
        );
        // What no name tells apart does not get into one line: the last settings are drawn.
        let dir = std::env::temp_dir().join(format!("ringfort-figures-last-{}", std::process::id()));
        let mut all = points("threads");
        let newer = points("threads").into_iter().map(|row| Row { block_size: 8192, ..row });
        all.extend(newer.filter(|row| row.engine == "ringfort"));
        let written = draw(&all, &dir).unwrap();
        let text = std::fs::read_to_string(&written[0]).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        assert_eq!((written.len(), text.matches("<polyline").count()), (2, 1));
        assert!(text.contains("blocks of 8 KiB"));
    }

    #[test]
    fn a_value_size_keeps_the_bytes_and_the_others_change_one_thing() {
        let base = setup("ringfort");
        let with = |varied: Varied, value| {
            let mut setup = base.clone();
            varied.apply(&mut setup, value).unwrap();
            setup
        };
        let large = with(Varied::ValueSize, 16_368);
        assert_eq!((large.workload.value_size, large.workload.num), (16_368, 1_000_000 * 116 / 16_384));
        let small = with(Varied::ValueSize, 10);
        assert_eq!((small.workload.value_size, small.workload.num), (10, 1_000_000));
        assert_eq!(with(Varied::Threads, 8), Setup { threads: 8, ..base.clone() });
        assert_eq!(with(Varied::BlockSize, 8192).settings.block_size, 8192);
        assert_eq!(with(Varied::ReadShare, 50).workload.readwritepercent, 50);
        assert!(Varied::ReadShare.apply(&mut base.clone(), u64::MAX).is_err());
    }

    #[test]
    fn a_file_without_figures_is_an_error_that_says_who_makes_some() {
        let path = std::env::temp_dir().join(format!("ringfort-no-figures-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let error = run(&Args { json: vec![path.clone()], out: "nowhere".into() }).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("sweep"), "{error}");
    }
}
