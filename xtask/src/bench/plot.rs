//! Plots of ratios, as SVG.

use super::results::{OURS, REFERENCE, Results};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::fmt::Display;
use std::ops::Range;

const WIDTH_PX: u32 = 1000;
const ROW_PX: u32 = 20;

/// Names of rows stand left of the plot, the legend right of it, the scale below.
const NAMES_PX: u32 = 330;
const LEGEND_PX: u32 = 110;
const LEGEND_LINE_PX: u32 = 17;
const MARGIN_PX: u32 = 10;
const SCALE_PX: u32 = 45;

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
    pub(super) rows: &'a [(&'a str, String)],
    /// Ratios are shown within this; what is beyond stands at the edge.
    pub(super) shown: Range<f64>,
}

impl<'a> Plot<'a> {
    /// The file systems that have dots, with their colours and the radius.
    fn compared(&self) -> Vec<(&'a str, RGBColor, i32)> {
        let compared = self.results.file_systems().into_iter();
        let compared = compared.filter(|&name| name != REFERENCE).zip(COLORS);
        let with_size = compared.map(|(name, color)| match name {
            OURS => (name, color, 6),
            _ => (name, color, 4),
        });
        with_size.collect()
    }
}

/// For each of the rows how much better or worse than ext4 each file system is: a dot for each, ours the
/// largest, on a line with the row's name.
pub(super) fn ratios(plot: &Plot<'_>) -> Result<String> {
    let mut svg = String::new();
    let names_px = ROW_PX * plot.rows.len() as u32;
    let legend_px = LEGEND_LINE_PX * plot.compared().len() as u32;
    let height_px = names_px.max(legend_px) + SCALE_PX + 2 * MARGIN_PX;
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
        .margin(MARGIN_PX)
        .margin_right(LEGEND_PX)
        .x_label_area_size(SCALE_PX)
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
        // By default text shrinks with the plot.
        .x_label_style(text_style())
        .axis_desc_style(text_style())
        .x_desc("times as good as ext4 (grey: half, double; triangles: beyond the scale)")
        .draw()
        .map_err(|error| text(&error))?;
    let bottom = rows.len() as f64;
    for (ratio, color) in [(0.5, &GREY), (1.0, &BLACK), (2.0, &GREY)] {
        let line = PathElement::new(vec![(ratio, 0.0), (ratio, bottom)], color.mix(0.6));
        chart.draw_series([line]).map_err(|error| text(&error))?;
    }
    for (file_system, color, size) in plot.compared().into_iter().rev() {
        let dots = rows.iter().enumerate().filter_map(|(place, (row, _))| {
            let ratio = results.find(row, file_system)?.ratio_to_ext4?;
            let dot = (ratio.clamp(shown.start, shown.end), place as f64 + 0.5);
            let style = color.mix(0.85).filled();
            Some(match shown.contains(&ratio) {
                true => Circle::new(dot, size, style).into_dyn(),
                false => TriangleMarker::new(dot, size + 2, style).into_dyn(),
            })
        });
        chart.draw_series(dots).map_err(|error| text(&error))?;
    }
    legend(area, plot)?;
    name_rows(area, rows, &|place| {
        chart.backend_coord(&(1.0, place as f64 + 0.5)).1
    })
}

/// Says whose the dots are.
fn legend(area: &Area<'_>, plot: &Plot<'_>) -> Result<(), String> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let style = text_style().pos(Pos::new(HPos::Left, VPos::Center));
    let left = (WIDTH_PX - LEGEND_PX + 2 * MARGIN_PX) as i32;
    for (place, (file_system, color, size)) in (0..).zip(plot.compared()) {
        let height = (MARGIN_PX + LEGEND_LINE_PX / 2 + LEGEND_LINE_PX * place) as i32;
        area.draw(&Circle::new((left, height), size, color.filled()))
            .and_then(|()| area.draw_text(file_system, &style, (left + 12, height)))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn text_style() -> TextStyle<'static> {
    TextStyle::from(("sans-serif", 13).into_font())
}

/// Writes the names of the rows, each at the height of its dots.
fn name_rows(
    area: &Area<'_>,
    rows: &[(&str, String)],
    height: &dyn Fn(usize) -> i32,
) -> Result<(), String> {
    use plotters::style::text_anchor::{HPos, Pos, VPos};
    let style = text_style().pos(Pos::new(HPos::Right, VPos::Center));
    for (place, (_, label)) in rows.iter().enumerate() {
        area.draw_text(label, &style, (NAMES_PX as i32, height(place)))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}
