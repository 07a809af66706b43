//! The curves of a run: rate, CPU time, latencies, memory, disk and the time to open over the number of events.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::Failure;
use crate::report::{Stretch, Summary};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// The name of a curve, and its value in a stretch.
type Curve = (&'static str, fn(&Stretch) -> f64);

const CURVES: [Curve; 6] = [
    ("events per second", |stretch| stretch.events_per_second),
    ("CPU time per event, µs, all nodes", |stretch| stretch.cpu_us_per_event),
    ("latency p50 of an append, ms", |stretch| stretch.p50_ms),
    ("latency p99 of an append, ms", |stretch| stretch.p99_ms),
    ("resident memory, MiB, of the node that has most", |stretch| stretch.resident_mib),
    ("disk, bytes per event, all nodes", |stretch| stretch.disk_bytes_per_event),
];

pub(crate) fn draw(path: &Path, summary: &Summary) -> Result<(), Failure> {
    let stretches = summary.stretches();
    let millions = stretches.last().map_or(1.0, |stretch| stretch.millions);
    let area = SVGBackend::new(path, (900, 1500)).into_drawing_area();
    area.fill(&WHITE)?;
    let parts = area.split_evenly((CURVES.len() + 1, 1));
    for (part, (name, value)) in parts.iter().zip(CURVES) {
        let points = stretches.iter().map(|stretch| (stretch.millions, value(stretch)));
        curve(part, name, millions, &points.collect::<Vec<_>>())?;
    }
    let openings = summary.openings.iter().map(|opening| (opening.millions(), opening.seconds()));
    let openings: Vec<_> = openings.collect();
    if let Some(part) = parts.last() {
        curve(part, "from the start after SIGKILL to an answer, s", millions, &openings)?;
    }
    Ok(area.present()?)
}

fn curve(part: &Area<'_>, name: &str, millions: f64, points: &[(f64, f64)]) -> Result<(), Failure> {
    let top = points.iter().map(|(_, value)| *value).fold(0.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(part)
        .caption(name, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..millions, 0.0..top.max(1e-9))?;
    chart.configure_mesh().x_desc("million events").draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), BLUE.stroke_width(2)))?;
    let dot = |point: &(f64, f64)| Circle::new(*point, 3, BLUE.filled());
    chart.draw_series(points.iter().map(dot))?;
    Ok(())
}
