//! The layout: ground, grid, axes, lines with whiskers and markers, legend.

use super::scale::Fitted;
use super::svg::{Document, number};
use super::{Axis, Chart, Point, Series};
use crate::Result;
use std::collections::BTreeMap;
use std::fmt::Write;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 440.0;
/// The field that the lines lie in.
const LEFT: f64 = 78.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 376.0;
const LEGEND_X: f64 = RIGHT + 26.0;
const LEGEND_LINE: f64 = 22.0;
const MARKER: f64 = 4.5;
const CAP: f64 = 4.0;

/// The colour on a light ground, the one on a dark ground, and a dash. First Okabe and Ito's palette
/// (darkened where a light ground asks for it; yellow is too pale and left out), then more of the kind,
/// which dashes and markers tell apart.
const STYLES: [(&str, &str, &str); 10] = [
    ("#0072b2", "#56b4e9", ""),
    ("#d55e00", "#ff8c42", "7 3"),
    ("#009e73", "#3fd0a4", "2 3"),
    ("#b04a86", "#e79ac6", "9 3 2 3"),
    ("#b57b00", "#f0b429", "5 5"),
    ("#1b87bd", "#9ad7f5", "1 4"),
    ("#5a5a5a", "#bdbdbd", "12 4"),
    ("#7a3b00", "#d9a066", "4 2 1 2"),
    ("#4b3fb5", "#b3aaff", "8 2"),
    ("#a3003f", "#ff8fab", "3 2 3 6"),
];

/// The chart as an SVG document.
pub fn svg(chart: &Chart) -> Result<String> {
    stacked(std::slice::from_ref(chart))
}

/// Several charts as one document, one below the other; it is called as the first is.
pub fn stacked(charts: &[Chart]) -> Result<String> {
    let first = charts.first().ok_or("a figure without a chart")?;
    let height = HEIGHT * charts.len() as f64;
    let mut document = Document::new(WIDTH, height, &first.title, &style(charts));
    document.element("rect", &[("class", "ground"), ("width", &number(WIDTH)), ("height", &number(height))]);
    for (nth, chart) in charts.iter().enumerate() {
        let down = format!("translate(0 {})", number(HEIGHT * nth as f64));
        document.begin("g", &[("transform", &down)]);
        draw(&mut document, chart)?;
        document.end();
    }
    Ok(document.finish())
}

fn draw(document: &mut Document, chart: &Chart) -> Result<()> {
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let nothing = || format!("the figure '{}' has no point that can be drawn", chart.title);
    let x = chart.x.scale.fit(points().map(|point| point.x)).ok_or_else(nothing)?;
    let y = chart.y.scale.fit(points().flat_map(|point| [point.min, point.max])).ok_or_else(nothing)?;
    text(document, "title", LEFT, 28.0, &chart.title);
    text(document, "note", LEFT, 48.0, &chart.subtitle);
    let field = Field { x, y };
    field.axes(document, chart);
    for (nth, series) in chart.series.iter().enumerate() {
        field.line(document, chart, series);
        legend(document, nth, series);
    }
    Ok(())
}

/// Colours, for light and dark, of exactly the styles that are used.
fn style(charts: &[Chart]) -> String {
    let series = charts.iter().flat_map(|chart| &chart.series);
    let used: BTreeMap<usize, &(&str, &str, &str)> =
        series.map(|series| nth_style(series.style)).map(|nth| (nth, &STYLES[nth])).collect();
    let mut light = String::new();
    let mut dark = String::new();
    for (nth, (on_light, on_dark, dash)) in used {
        let _ = write!(light, ".s{nth}{{stroke:{on_light};fill:{on_light}}}");
        let _ = write!(dark, ".s{nth}{{stroke:{on_dark};fill:{on_dark}}}");
        if !dash.is_empty() {
            let _ = write!(light, ".d{nth}{{stroke-dasharray:{dash}}}");
        }
    }
    format!(
        "text{{font:13px system-ui,sans-serif;fill:#24292f}}.title{{font-size:17px;font-weight:600}}.note{{fill:#57606a}}\
         .ground{{fill:#ffffff}}.grid{{stroke:#d8dee4}}.axis{{stroke:#57606a}}\
         .line{{fill:none;stroke-width:2}}.whisker{{stroke-width:1.2;fill:none}}{light}\
         @media (prefers-color-scheme:dark){{text{{fill:#e6edf3}}.note{{fill:#9da7b3}}.ground{{fill:#0d1117}}.grid{{stroke:#30363d}}\
         .axis{{stroke:#9da7b3}}{dark}}}"
    )
}

const fn nth_style(style: usize) -> usize {
    style % STYLES.len()
}

/// The two axes, fitted.
struct Field<'a> {
    x: Fitted<'a>,
    y: Fitted<'a>,
}

impl Field<'_> {
    fn at_x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (RIGHT - LEFT)
    }

    fn at_y(&self, value: f64) -> f64 {
        BOTTOM - self.y.place(value) * (BOTTOM - TOP)
    }

    fn axes(&self, document: &mut Document, chart: &Chart) {
        for (value, label) in self.y.ticks(chart.y.unit) {
            let y = self.at_y(value);
            stroke(document, "grid", (LEFT, y), (RIGHT, y));
            anchored(document, "", (LEFT - 8.0, y + 4.0), "end", &label);
        }
        for (value, label) in self.x.ticks(chart.x.unit) {
            let x = self.at_x(value);
            stroke(document, "axis", (x, BOTTOM), (x, BOTTOM + 5.0));
            anchored(document, "", (x, BOTTOM + 20.0), "middle", &label);
        }
        stroke(document, "axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        let (label_x, label_y) = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        anchored(document, "", (label_x, BOTTOM + 44.0), "middle", &chart.x.label);
        let turn = format!("rotate(-90 20 {})", number(label_y));
        let place = [("x", "20"), ("y", &number(label_y)), ("text-anchor", "middle"), ("transform", &turn)];
        document.text("text", &place, &chart.y.label);
    }

    fn line(&self, document: &mut Document, chart: &Chart, series: &Series) {
        let nth = nth_style(series.style);
        document.begin("g", &[("data-series", &series.name)]);
        let corners: Vec<String> = series
            .points
            .iter()
            .map(|point| format!("{},{}", number(self.at_x(point.x)), number(self.at_y(point.median))))
            .collect();
        let class = format!("line s{nth} d{nth}");
        // A style of the element wins over the class that fills.
        let attributes = [("class", &*class), ("style", "fill:none"), ("points", &corners.join(" "))];
        document.element("polyline", &attributes);
        for point in &series.points {
            self.point(document, chart, series, point);
        }
        document.end();
    }

    fn point(&self, document: &mut Document, chart: &Chart, series: &Series, point: &Point) {
        let nth = nth_style(series.style);
        let x = self.at_x(point.x);
        // What was measured once has no spread.
        let is_spread = point.min < point.max;
        if is_spread {
            let (top, bottom) = (self.at_y(point.max), self.at_y(point.min));
            let class = format!("whisker s{nth}");
            stroke(document, &class, (x, top), (x, bottom));
            stroke(document, &class, (x - CAP, top), (x + CAP, top));
            stroke(document, &class, (x - CAP, bottom), (x + CAP, bottom));
        }
        document.begin("g", &[]);
        let at = |axis: &Axis, value: f64| match &axis.scale {
            super::Scale::Category(names) => names.get(value as usize).cloned().unwrap_or_default(),
            _ => axis.unit.write(value),
        };
        let mut said = format!(
            "{}, {} {}: {}",
            series.name,
            chart.x.label,
            at(&chart.x, point.x),
            at(&chart.y, point.median)
        );
        if is_spread {
            let _ = write!(said, " ({} to {})", at(&chart.y, point.min), at(&chart.y, point.max));
        }
        document.text("title", &[], &said);
        marker(document, nth, x, self.at_y(point.median));
        document.end();
    }
}

/// A shape of its own for each style.
fn marker(document: &mut Document, nth: usize, x: f64, y: f64) {
    let class = format!("marker s{nth}");
    let shape = |corners: &[(f64, f64)]| {
        let corners =
            corners.iter().map(|(dx, dy)| format!("{},{}", number(x + dx * MARKER), number(y + dy * MARKER)));
        corners.collect::<Vec<_>>().join(" ")
    };
    let corners = match nth % 6 {
        0 => {
            let place = [("cx", &*number(x)), ("cy", &number(y)), ("r", &number(MARKER)), ("class", &class)];
            document.element("circle", &place);
            return;
        }
        1 => shape(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
        2 => shape(&[(0.0, -1.2), (1.1, 0.8), (-1.1, 0.8)]),
        3 => shape(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
        4 => shape(&[(0.0, 1.2), (1.1, -0.8), (-1.1, -0.8)]),
        _ => shape(&[(-1.3, -0.5), (1.3, -0.5), (1.3, 0.5), (-1.3, 0.5)]),
    };
    document.element("polygon", &[("points", &corners), ("class", &class)]);
}

fn legend(document: &mut Document, row: usize, series: &Series) {
    let nth = nth_style(series.style);
    let y = TOP + 6.0 + row as f64 * LEGEND_LINE;
    let class = format!("line s{nth} d{nth}");
    stroke(document, &class, (LEGEND_X - 12.0, y), (LEGEND_X + 12.0, y));
    marker(document, nth, LEGEND_X, y);
    text(document, "key", LEGEND_X + 20.0, y + 4.0, &series.name);
}

fn stroke(document: &mut Document, class: &str, from: (f64, f64), to: (f64, f64)) {
    let ends = [from.0, from.1, to.0, to.1].map(number);
    document.element(
        "line",
        &[("class", class), ("x1", &ends[0]), ("y1", &ends[1]), ("x2", &ends[2]), ("y2", &ends[3])],
    );
}

fn text(document: &mut Document, class: &str, x: f64, y: f64, said: &str) {
    document.text("text", &[("class", class), ("x", &number(x)), ("y", &number(y))], said);
}

fn anchored(document: &mut Document, class: &str, at: (f64, f64), anchor: &str, said: &str) {
    let (x, y) = (number(at.0), number(at.1));
    document.text("text", &[("class", class), ("x", &x), ("y", &y), ("text-anchor", anchor)], said);
}

#[cfg(test)]
mod tests {
    use super::super::{Scale, Unit};
    use super::*;

    fn chart() -> Chart {
        let axis = |label: &str, scale, unit| Axis { label: label.into(), scale, unit };
        let point = |x, median: f64| Point { x, median, min: median * 0.9, max: median * 1.2 };
        let series = |name: &str, style, rates: [f64; 3]| Series {
            name: name.into(),
            style,
            points: [1.0, 2.0, 8.0].into_iter().zip(rates).map(|(x, rate)| point(x, rate)).collect(),
        };
        Chart {
            title: "reads & writes".into(),
            subtitle: "values of 1 KiB".into(),
            x: axis("threads", Scale::Log2, Unit::Count),
            y: axis("operations per second", Scale::Linear, Unit::Count),
            series: vec![
                series("ringfort", 0, [2e5, 3e5, 4e5]),
                series("rocks<db>", 1, [1e5, 2e5, 3e5]),
                series("eleventh", 10, [3e5, 3e5, 3e5]),
            ],
        }
    }

    /// Elements with their attributes, in order; panics on anything that is not well formed.
    fn parsed(text: &str) -> Vec<(String, Vec<(String, String)>)> {
        let mut open: Vec<String> = Vec::new();
        let mut found = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('<') {
            assert!(
                !rest[..at].contains('>') || rest[..at].contains("&gt;"),
                "stray bracket: {}",
                &rest[..at]
            );
            let end = at + rest[at..].find('>').expect("a tag ends");
            let (tag, after) = (&rest[at + 1..end], &rest[end + 1..]);
            rest = after;
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "closed in order");
                continue;
            }
            let (tag, alone) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let mut pairs = Vec::new();
            let mut left = attributes;
            while !left.is_empty() {
                let (key, value) = left.split_once("=\"").expect("an attribute has a value");
                let (value, next) = value.split_once('"').expect("a value ends");
                pairs.push((key.trim().to_owned(), value.to_owned()));
                left = next;
            }
            if !alone {
                open.push(name.to_owned());
            }
            found.push((name.to_owned(), pairs));
        }
        assert!(open.is_empty(), "left open: {open:?}");
        found
    }

    fn attribute<'a>(element: &'a (String, Vec<(String, String)>), key: &str) -> Option<&'a str> {
        element.1.iter().find(|(name, _)| name == key).map(|(_, value)| &**value)
    }

    #[test]
    fn there_is_one_line_per_series_through_its_medians() {
        let elements = parsed(&svg(&chart()).unwrap());
        let lines: Vec<_> = elements.iter().filter(|element| element.0 == "polyline").collect();
        assert_eq!(lines.len(), 3);
        let corners = |line| -> Vec<(f64, f64)> {
            let text = attribute(line, "points").unwrap();
            let pair = |text: &str| -> (f64, f64) {
                let (x, y) = text.split_once(',').unwrap();
                (x.parse().unwrap(), y.parse().unwrap())
            };
            text.split(' ').map(pair).collect()
        };
        let (first, second) = (corners(lines[0]), corners(lines[1]));
        assert_eq!(first.len(), 3);
        assert!(first.windows(2).all(|two| two[1].0 > two[0].0 && two[1].1 < two[0].1), "{first:?}");
        // Eight threads are three doublings from one, two are one.
        assert!(((first[2].0 - first[0].0) / (first[1].0 - first[0].0) - 3.0).abs() < 0.01);
        // 400k lie twice as high as 200k, from the ground up.
        assert!(((BOTTOM - first[2].1) / (BOTTOM - first[0].1) - 2.0).abs() < 0.01);
        assert_eq!(first[0].1, second[1].1, "200k are 200k in both lines");
        assert_eq!(attribute(lines[0], "class"), attribute(lines[2], "class"), "styles repeat after all");
        assert_ne!(attribute(lines[0], "class"), attribute(lines[1], "class"));
    }

    #[test]
    fn everything_lies_in_the_picture() {
        for element in parsed(&svg(&chart()).unwrap()) {
            let within = |keys: &[&str], most: f64| {
                for value in keys.iter().filter_map(|key| attribute(&element, key)) {
                    let value: f64 = value.parse().unwrap();
                    assert!((0.0..=most).contains(&value), "{element:?}");
                }
            };
            within(&["x", "x1", "x2", "cx"], WIDTH);
            within(&["y", "y1", "y2", "cy"], HEIGHT);
        }
    }

    #[test]
    fn whiskers_reach_from_least_to_greatest() {
        let elements = parsed(&svg(&chart()).unwrap());
        let whisker = |element: &&(String, Vec<(String, String)>)| {
            attribute(element, "class") == Some("whisker s0")
                && attribute(element, "x1") == attribute(element, "x2")
        };
        let first = elements.iter().find(whisker).unwrap();
        let y = |key| attribute(first, key).unwrap().parse::<f64>().unwrap();
        // 1.2 and 0.9 of the median 200k on an axis to 500k.
        let expected = |value: f64| BOTTOM - value / 5e5 * (BOTTOM - TOP);
        assert!((y("y1") - expected(2.4e5)).abs() < 0.06, "{first:?}");
        assert!((y("y2") - expected(1.8e5)).abs() < 0.06, "{first:?}");
        assert_eq!(elements.iter().filter(whisker).count(), 6, "two of the three series have this style");
    }

    #[test]
    fn the_numbers_are_there_as_text() {
        let text = svg(&chart()).unwrap();
        assert!(text.contains("<title>reads &amp; writes</title>"));
        assert!(text.contains("<title>rocks&lt;db&gt;, threads 8: 300k (270k to 360k)</title>"), "{text}");
        for label in [">ringfort<", ">rocks&lt;db&gt;<", ">values of 1 KiB<", ">threads<", ">100k<", ">4<"] {
            assert!(text.contains(label), "{label}");
        }
        assert!(text.contains("prefers-color-scheme:dark"));
    }

    #[test]
    fn the_same_chart_gives_the_same_bytes() {
        assert_eq!(svg(&chart()).unwrap(), svg(&chart()).unwrap());
        let mut other = chart();
        other.series[0].points[0].median += 1e4;
        assert_ne!(svg(&chart()).unwrap(), svg(&other).unwrap());
    }

    #[test]
    fn stacked_charts_stand_one_below_the_other() {
        let second = Chart { title: "second".into(), ..chart() };
        let text = stacked(&[chart(), second]).unwrap();
        let elements = parsed(&text);
        assert_eq!(elements.iter().filter(|element| element.0 == "polyline").count(), 6);
        assert!(
            text.contains("translate(0 0)") && text.contains("translate(0 440)") && text.contains(">second<")
        );
        assert_eq!(attribute(&elements[0], "viewBox"), Some("0 0 820 880"));
        assert!(stacked(&[]).is_err());
    }

    #[test]
    fn what_was_measured_once_has_no_whisker() {
        let mut once = chart();
        once.series.iter_mut().flat_map(|series| &mut series.points).for_each(|point| {
            (point.min, point.max) = (point.median, point.median);
        });
        let text = svg(&once).unwrap();
        assert!(
            !text.contains("class=\"whisker") && text.contains("<title>ringfort, threads 8: 400k</title>")
        );
    }

    #[test]
    fn a_figure_without_points_is_an_error_that_names_it() {
        let empty = Chart { series: Vec::new(), ..chart() };
        assert!(svg(&empty).unwrap_err().to_string().contains("reads & writes"));
    }

    /// WCAG's contrast of each line's colour to its ground.
    #[test]
    fn every_colour_stands_out_from_its_ground() {
        let channel = |hex: &str, at: usize| {
            let value = f64::from(u8::from_str_radix(&hex[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
        };
        let light =
            |hex: &str| 0.2126 * channel(hex, 1) + 0.7152 * channel(hex, 3) + 0.0722 * channel(hex, 5);
        let contrast = |one: &str, other: &str| {
            let (one, other) = (light(one) + 0.05, light(other) + 0.05);
            (one / other).max(other / one)
        };
        for (on_light, on_dark, _) in STYLES {
            assert!(contrast(on_light, "#ffffff") >= 3.0, "{on_light}: {}", contrast(on_light, "#ffffff"));
            assert!(contrast(on_dark, "#0d1117") >= 4.5, "{on_dark}");
        }
    }
}
