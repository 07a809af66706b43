//! The results as a picture: appends by the number of clients, and the rates of everything else.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::columns::{Appends, COLUMNS, Column, Payload};
use crate::peer::About;
use crate::results::Results;

const SIZE: (u32, u32) = (1100, 1000);
const FONT: (&str, u32) = ("sans-serif", 15);
const TITLE: (&str, u32) = ("sans-serif", 20);

/// The colours of the stores, in their order; those of Quorate stand out.
const COLOURS: [RGBColor; 8] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0xff, 0x9f, 0x4a),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
    RGBColor(0x8c, 0x56, 0x4b),
    RGBColor(0x59, 0x59, 0x59),
    RGBColor(0xae, 0xae, 0xae),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A store with its colour.
type Coloured<'a> = (&'a About, RGBColor);

/// Draws the results into a file.
pub(crate) fn draw(results: &Results, stores: &[&About], path: &Path) -> Result<()> {
    let coloured = stores.iter().copied().zip(COLOURS.into_iter().cycle());
    let present: Vec<Coloured<'_>> =
        coloured.filter(|(store, _)| results.version(store.name).is_some()).collect();
    let mut svg = String::new();
    {
        let whole = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        whole.fill(&WHITE).map_err(drawing)?;
        let (upper, lower) = whole.split_vertically(SIZE.1 / 2);
        lines(results, &present, &upper)?;
        bars(results, &present, &lower)?;
        whole.present().map_err(drawing)?;
    }
    Ok(std::fs::write(path, svg)?)
}

fn drawing(error: impl std::error::Error) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

fn rate(results: &Results, store: &About, column: Column) -> Option<f64> {
    results.median(store.name, column, |sample| Some(sample.value))
}

/// Draws the rate of single appends by the number of clients; both axes are logarithmic.
fn lines(results: &Results, present: &[Coloured<'_>], area: &Area<'_>) -> Result<()> {
    let single = COLUMNS.into_iter().filter_map(|column| match column {
        Column::Append(Appends { clients, events: 1, payload: Payload::Random }) => {
            Some((clients as f64, column))
        }
        _ => None,
    });
    let single: Vec<(f64, Column)> = single.collect();
    let points = |store: &About| -> Vec<(f64, f64)> {
        single.iter().filter_map(|(x, column)| Some((*x, rate(results, store, *column)?))).collect()
    };
    let all = present.iter().flat_map(|(store, _)| points(store));
    let (least, most) =
        all.fold((f64::MAX, 0.0_f64), |(least, most), (_, y)| (least.min(y), most.max(y)));
    if most <= 0.0 {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .caption("Version-checked appends a second, by clients", TITLE)
        .margin(15)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(
            (0.9..1200.0).log_scale(),
            (least.max(1.0) * 0.8..most * 1.5).log_scale(),
        )
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_desc("clients")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| short(*y))
        .label_style(FONT)
        .draw()
        .map_err(drawing)?;
    for (store, colour) in present {
        let (points, colour) = (points(store), *colour);
        let circles = points.iter().map(|point| Circle::new(*point, 4, colour.filled()));
        chart.draw_series(circles).map_err(drawing)?;
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))
            .map_err(drawing)?
            .label(store.title.replace('*', ""))
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font(FONT)
        .draw()
        .map_err(drawing)
}

/// Draws the rates of events that are counted in events, in groups of bars.
fn bars(results: &Results, present: &[Coloured<'_>], area: &Area<'_>) -> Result<()> {
    let groups: Vec<Column> = COLUMNS
        .into_iter()
        .filter(|column| column.unit() == "events/s")
        .filter(|column| present.iter().any(|(store, _)| rate(results, store, *column).is_some()))
        .collect();
    let rates = groups
        .iter()
        .flat_map(|column| present.iter().filter_map(|(store, _)| rate(results, store, *column)));
    let most = rates.fold(0.0_f64, f64::max);
    if most <= 0.0 {
        return Ok(());
    }
    let mut chart = ChartBuilder::on(area)
        .caption("Events a second", TITLE)
        .margin(15)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..groups.len() as f64, 0.0..most * 1.1)
        .map_err(drawing)?;
    let name = |x: &f64| {
        let group = groups.get(*x as usize).filter(|_| (x.fract() - 0.5).abs() < 0.01);
        group.map_or(String::new(), |column| column.heading())
    };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(groups.len() * 2 + 1)
        .x_label_formatter(&name)
        .y_label_formatter(&|y| short(*y))
        .label_style(FONT)
        .draw()
        .map_err(drawing)?;
    let width = 0.9 / present.len() as f64;
    for (at, column) in groups.iter().enumerate() {
        for (place, (store, colour)) in present.iter().enumerate() {
            let Some(rate) = rate(results, store, *column) else { continue };
            let left = at as f64 + 0.05 + place as f64 * width;
            let bar = Rectangle::new([(left, 0.0), (left + width * 0.9, rate)], colour.filled());
            chart.draw_series([bar]).map_err(drawing)?;
        }
    }
    Ok(())
}

fn short(figure: f64) -> String {
    match figure {
        figure if figure >= 1e6 => format!("{:.1} M", figure / 1e6),
        figure if figure >= 1e3 => format!("{:.0} k", figure / 1e3),
        figure => format!("{figure:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::CANDIDATES;
    use crate::results::{Line, Sample};

    #[test]
    fn each_store_that_took_part_is_in_the_picture() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("plot.svg");
        let stores = CANDIDATES.map(|(about, _)| about);
        draw(&Results::default(), &stores, &path)?;
        let mut lines = Vec::new();
        for peer in ["quorate-3", "redis"] {
            let peer = peer.to_owned();
            lines.push(Line::Peer { peer: peer.clone(), version: "1".into() });
            for (column, value) in [("1", 900.0), ("256", 50_000.0), ("replay", 400_000.0)] {
                let (peer, column) = (peer.clone(), column.to_owned());
                lines.push(Line::Sample(Sample { peer, column, value, ..Sample::default() }));
            }
        }
        draw(&Results::of(lines), &stores, &path)?;
        let svg = std::fs::read_to_string(&path)?;
        assert!(
            svg.contains("Quorate, 3 nodes") && svg.contains("Redis") && svg.contains("replay")
        );
        assert!(!svg.contains("UmaDB"));
        Ok(())
    }
}
