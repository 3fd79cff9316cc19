//! The times over the number of rules, both in powers of ten, as SVG 1.1.

use std::fmt::Write;
use std::time::Duration;

use super::contender::{Contender, Load};
use super::report::{Report, short};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 520.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;

/// Who is drawn, and how.
const LINES: [(Contender, &str); 6] = [
    (Contender::Floor, "#4a5568"),
    (Contender::Meshwire, "#1f5fa8"),
    (Contender::MeshwireNft, "#3b8a9e"),
    (Contender::Nft, "#b25a00"),
    (Contender::NftJson, "#a8324a"),
    (Contender::Iptables, "#2e7d32"),
];

/// An axis in powers of ten.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Over all these values, out to whole powers of ten.
    fn new(values: impl Iterator<Item = f64> + Clone, start: f64, end: f64) -> Self {
        let from = values.clone().fold(f64::MAX, f64::min).log10().floor();
        let to = values.fold(f64::MIN, f64::max).log10().ceil();
        Self { from, to: to.max(from + 1.0), start, end }
    }

    fn at(&self, value: f64) -> f64 {
        self.start + (value.log10() - self.from) / (self.to - self.from) * (self.end - self.start)
    }

    /// The powers of ten.
    fn marks(&self) -> impl Iterator<Item = f64> {
        let mut power = self.from;
        std::iter::from_fn(move || {
            let mark = (power <= self.to).then(|| 10_f64.powf(power));
            power += 1.0;
            mark
        })
    }
}

/// The picture; without lines where no rules were loaded.
pub(super) fn svg(report: &Report) -> String {
    let mut out = String::new();
    // A String takes everything.
    let _ = draw(report, &mut out);
    out
}

/// A contender's points: rules, and seconds.
fn points(report: &Report, contender: Contender) -> Vec<(f64, f64)> {
    let of = report.measurements.iter().filter(|measurement| measurement.contender == contender);
    of.filter_map(|measurement| match measurement.load {
        Load::Sidecar | Load::Excluded => None,
        Load::Rules(count) => Some((f64::from(count), measurement.median.as_secs_f64())),
    })
    .collect()
}

fn draw(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#1a1a1a\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"28\" font-size=\"16\">Loading rules into nf_tables, median of {}</text>",
        report.runs
    )?;
    let all: Vec<_> = LINES.iter().flat_map(|(contender, _)| points(report, *contender)).collect();
    if !all.is_empty() {
        let x = Axis::new(all.iter().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Axis::new(all.iter().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        grid(&x, &y, out)?;
        let mut label = f64::MIN;
        let mut lines: Vec<_> =
            LINES.iter().map(|(who, colour)| (points(report, *who), who, colour)).collect();
        lines.retain(|(points, ..)| !points.is_empty());
        // From the top to the bottom, so that no name hides another.
        lines.sort_by(|one, other| last(&other.0).total_cmp(&last(&one.0)));
        for (points, contender, colour) in lines {
            let path: Vec<_> =
                points.iter().map(|&(rules, time)| format!("{:.1},{:.1}", x.at(rules), y.at(time))).collect();
            let dashes = if *contender == Contender::Floor { " stroke-dasharray=\"6 4\"" } else { "" };
            writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
                path.join(" ")
            )?;
            for &(rules, time) in &points {
                let (x, y) = (x.at(rules), y.at(time));
                writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>")?;
            }
            label = (y.at(last(&points)) + 4.0).max(label + 16.0);
            let longest = short(Duration::from_secs_f64(last(&points)));
            writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{label:.1}\" fill=\"{colour}\">{contender}, {longest}</text>",
                WIDTH - RIGHT + 12.0
            )?;
        }
    }
    writeln!(out, "</svg>")
}

/// The time for the most rules.
fn last(points: &[(f64, f64)]) -> f64 {
    points.last().map_or(0.0, |point| point.1)
}

fn grid(x: &Axis, y: &Axis, out: &mut String) -> std::fmt::Result {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    for mark in x.marks() {
        let at = x.at(mark);
        writeln!(
            out,
            "<line x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>"
        )?;
        writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{mark}</text>", bottom + 18.0)?;
    }
    for mark in y.marks() {
        let at = y.at(mark);
        let time = short(Duration::from_secs_f64(mark));
        let time = time.replace(".00", "").replace(".0", "");
        writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>"
        )?;
        writeln!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{time}</text>", LEFT - 8.0, at + 4.0)?;
    }
    let middle = f64::midpoint(LEFT, right);
    writeln!(out, "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">rules</text>", HEIGHT - 16.0)
}
