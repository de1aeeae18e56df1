//! Plots of ratios, as SVG.

use super::results::{OURS, REFERENCE, Results};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::fmt::Display;
use std::ops::Range;

const WIDTH_PX: u32 = 1000;
const ROW_PX: u32 = 20;

/// Names of rows stand left of the plot, axis and legend below it.
const NAMES_PX: u32 = 330;
const BELOW_PX: u32 = 80;

/// Distinct also to those who see few colours (Okabe and Ito).
const COLORS: [RGBColor; 8] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(240, 228, 66),
    RGBColor(0, 0, 0),
];

const GREY: RGBColor = RGBColor(150, 150, 150);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A plot of some rows.
pub(super) struct Plot<'a> {
    pub(super) results: &'a Results,
    /// The rows, and what they are called.
    pub(super) rows: &'a [(&'a str, &'a str)],
    /// Ratios are shown within this; what is beyond stands at the edge.
    pub(super) shown: Range<f64>,
}

/// For each of the rows how much better or worse than ext4 each file system is: a dot for each, ours the
/// largest, on a line with the row's name.
pub(super) fn ratios(plot: &Plot<'_>) -> Result<String> {
    let mut svg = String::new();
    let height_px = ROW_PX * plot.rows.len() as u32 + BELOW_PX;
    let area = SVGBackend::with_string(&mut svg, (WIDTH_PX, height_px)).into_drawing_area();
    draw(&area, plot).map_err(|error| anyhow!("cannot plot: {error}"))?;
    area.present()
        .map_err(|error| anyhow!("cannot plot: {error}"))?;
    drop(area);
    Ok(svg)
}

fn draw(area: &Area<'_>, plot: &Plot<'_>) -> Result<(), String> {
    let Plot {
        results,
        rows,
        shown,
    } = plot;
    let text = |error: &dyn Display| error.to_string();
    area.fill(&WHITE).map_err(|error| text(&error))?;
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .margin_bottom(30)
        .x_label_area_size(40)
        .y_label_area_size(NAMES_PX)
        // The first row at the top.
        .build_cartesian_2d(shown.clone().log_scale(), rows.len() as f64..0.0)
        .map_err(|error| text(&error))?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|ratio| format!("{ratio}"))
        .x_desc("times as good as ext4 (grey: half, double)")
        .draw()
        .map_err(|error| text(&error))?;
    let bottom = rows.len() as f64;
    for (ratio, color) in [(0.5, &GREY), (1.0, &BLACK), (2.0, &GREY)] {
        let line = PathElement::new(vec![(ratio, 0.0), (ratio, bottom)], color.mix(0.6));
        chart.draw_series([line]).map_err(|error| text(&error))?;
    }
    let compared = results
        .file_systems()
        .into_iter()
        .filter(|&name| name != REFERENCE);
    for (file_system, color) in compared.zip(COLORS).collect::<Vec<_>>().into_iter().rev() {
        let size = if file_system == OURS { 6 } else { 4 };
        let dots = rows.iter().enumerate().filter_map(|(place, (row, _))| {
            let ratio = results.find(row, file_system)?.ratio_to_ext4?;
            let shown = ratio.clamp(shown.start, shown.end);
            Some(Circle::new(
                (shown, place as f64 + 0.5),
                size,
                color.mix(0.85).filled(),
            ))
        });
        chart
            .draw_series(dots)
            .map_err(|error| text(&error))?
            .label(file_system)
            .legend(move |(x, y)| Circle::new((x + 8, y), size, color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(GREY)
        .draw()
        .map_err(|error| text(&error))?;
    name_rows(area, rows, &|place| {
        chart.backend_coord(&(1.0, place as f64 + 0.5)).1
    })
}

/// Writes the names of the rows, each at the height of its dots.
fn name_rows(
    area: &Area<'_>,
    rows: &[(&str, &str)],
    height: &dyn Fn(usize) -> i32,
) -> Result<(), String> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let style =
        TextStyle::from(("sans-serif", 13).into_font()).pos(Pos::new(HPos::Right, VPos::Center));
    for (place, (_, label)) in rows.iter().enumerate() {
        area.draw_text(label, &style, (NAMES_PX as i32, height(place)))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
