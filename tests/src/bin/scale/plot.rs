//! The curves of a run: rate, CPU time, latency and memory over the number of events.

use std::path::Path;

use plotters::prelude::*;

use crate::Failure;
use crate::report::{Stretch, Summary};

/// The name of a curve, and its value in a stretch.
type Curve = (&'static str, fn(&Stretch) -> f64);

const CURVES: [Curve; 4] = [
    ("events per second", |stretch| stretch.events_per_second),
    ("CPU time per event, µs, all nodes", |stretch| stretch.cpu_us_per_event),
    ("latency p50 of an append, ms", |stretch| stretch.p50_ms),
    ("resident memory, MiB", |stretch| stretch.resident_mib),
];

pub(crate) fn draw(path: &Path, summary: &Summary) -> Result<(), Failure> {
    let stretches = summary.stretches();
    let millions = stretches.last().map_or(1.0, |stretch| stretch.millions);
    let area = SVGBackend::new(path, (900, 900)).into_drawing_area();
    area.fill(&WHITE)?;
    for (part, (name, value)) in area.split_evenly((CURVES.len(), 1)).iter().zip(CURVES) {
        let top = stretches.iter().map(value).fold(0.0, f64::max) * 1.1;
        let mut chart = ChartBuilder::on(part)
            .caption(name, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..millions, 0.0..top.max(1e-9))?;
        chart.configure_mesh().x_desc("million events").draw()?;
        let points = stretches.iter().map(|stretch| (stretch.millions, value(stretch)));
        chart.draw_series(LineSeries::new(points, BLUE.stroke_width(2)))?;
    }
    Ok(area.present()?)
}
