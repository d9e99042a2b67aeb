//! Figures 6 and 7: a file for each workload, throughput above latency.

use super::CONFIGURATIONS;
use super::tables::{Panel, figure};
use crate::Result;
use crate::report::Spread;
use crate::transactions::cells::{Cell, Cells};
use ringfort_bench::plot::{self, Axis, Chart, Point, Scale, Series, Unit};
use std::path::{Path, PathBuf};

/// Draws every panel that there are points of.
pub fn draw(cells: &Cells, out: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for panel in Panel::all(cells) {
        let path = out.join(format!("treaty-{}-{}.svg", figure(panel.by), panel.workload.name()));
        let throughput = chart(&panel, "transactions a second", Scale::Linear, Cell::rate);
        let latency = |cell: &Cell| cell.spread(|run| run.mean_us / 1000.0);
        let charts = [throughput, chart(&panel, "mean latency, ms, logarithmic", Scale::Log10, latency)];
        let text = plot::stacked(&charts)?;
        std::fs::create_dir_all(out)
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        eprintln!("ringfort-peers: {}", path.display());
        written.push(path);
    }
    Ok(written)
}

fn chart(panel: &Panel, label: &str, scale: Scale, of: impl Fn(&Cell) -> Spread) -> Chart {
    let mut series = Vec::new();
    for (style, configuration) in CONFIGURATIONS.iter().enumerate() {
        let point = |clients: usize| {
            let Spread { median, min, max } = of(panel.at(configuration, clients)?);
            Some(Point { x: clients as f64, median, min, max })
        };
        let points: Vec<Point> = panel.clients().into_iter().filter_map(point).collect();
        if !points.is_empty() {
            series.push(Series { name: configuration.name.to_owned(), style, points });
        }
    }
    let runs = match panel.repeats() {
        1 => "one run".to_owned(),
        repeats => format!("medians of {repeats} runs"),
    };
    Chart {
        title: format!(
            "TREATY's figure {}, {}: {}",
            figure(panel.by),
            panel.by.name(),
            panel.workload.title()
        ),
        subtitle: format!("{}; {runs}", panel.about()),
        x: Axis { label: "clients".to_owned(), scale: Scale::Log2, unit: Unit::Count },
        y: Axis { label: label.to_owned(), scale, unit: Unit::Count },
        series,
    }
}
