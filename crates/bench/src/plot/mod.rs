//! Line charts as SVG, written by hand: one line per engine (or kind of transaction), medians with whiskers from
//! least to greatest.
//!
//! ```text
//!   title
//!   subtitle
//!  y ┤       ┬                       ● ringfort
//!    │   ┬   ●───                    ■ rocksdb        legend: a colour, a marker and a dash each,
//!    │   ●───┴                       ▲ lmdb           so that no line is told by colour alone
//!    │   ┴
//!    └───┬───┬───┬──  x
//! ```
//!
//! - **Deterministic**: the same [`Chart`] gives the same bytes; nothing of time, chance or hash order.
//! - **Readable on light and dark**: the picture has its own ground, and both colours of each line
//!   keep their distance to it. The palette begins with Okabe and Ito's, which people of any colour
//!   vision can tell apart.
//! - **The y axis begins at 0**: a line that is twice as high is twice as much. Where points are further apart
//!   than tenfold it is logarithmic, and says so.
//! - Whoever cannot see it finds every number as text: a marker has a `<title>`.
//!
//! | module | holds |
//! |---|---|
//! | [`scale`] | where a number lies on an axis, and which numbers get a tick |
//! | [`svg`] | text, numbers and elements as SVG has them |
//! | [`render`] | the layout |

mod render;
mod scale;
mod svg;

pub use render::{stacked, svg as to_svg};
pub use scale::{Scale, Unit};

/// A figure.
#[derive(Clone, Debug)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Under which settings.
    pub subtitle: String,
    /// The axis that was varied.
    pub x: Axis,
    /// The axis that was measured.
    pub y: Axis,
    /// The lines, in the order of the legend.
    pub series: Vec<Series>,
}

/// An axis: what stands at it, how it is spaced, in which unit its numbers are.
#[derive(Clone, Debug)]
pub struct Axis {
    /// Its name.
    pub label: String,
    /// Its spacing.
    pub scale: Scale,
    /// How its ticks are written.
    pub unit: Unit,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Colour, marker and dash; the same number looks the same in every figure.
    pub style: usize,
    /// By ascending x.
    pub points: Vec<Point>,
}

/// One measured point.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Point {
    /// Where; on an axis of categories, the number of the category.
    pub x: f64,
    /// The middle of the repeats.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}
