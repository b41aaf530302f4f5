//! Plots as SVG, drawn from what was recorded.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::gather::Incident;
use super::text::time;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 34.0;
/// Bars of the first plot.
const BARS: usize = 60;

/// The time that is shown: from the first point to the last, within what was asked for.
fn span(incident: &Incident) -> Option<(i64, i64)> {
    let first = incident.points.iter().map(|point| point.millis).min()?;
    let last = incident.points.iter().map(|point| point.millis).max()?;
    // At least a second a bar.
    Some((first, last.max(first + BARS as i64 * 1000) + 1))
}

/// Files of recorded ops over budget, in bars: those that went on below, those that were stopped
/// above.
pub(super) fn files(incident: &Incident) -> Option<String> {
    let (first, end) = span(incident)?;
    let mut bars = [(0_u64, 0_u64); BARS];
    for point in &incident.points {
        let index =
            ((point.millis - first) as i128 * BARS as i128 / (end - first) as i128) as usize;
        let bar = &mut bars[index.min(BARS - 1)];
        let side = if point.went_on { &mut bar.0 } else { &mut bar.1 };
        *side = side.saturating_add(point.files);
    }
    let most =
        bars.iter().map(|(gone, stopped)| gone.saturating_add(*stopped)).max().unwrap_or(0).max(1);
    let mut svg = begin("Files of recorded ops over budget, over time", most, first, end);
    let width = (WIDTH - LEFT) / BARS as f64;
    for (index, (gone, stopped)) in bars.into_iter().enumerate() {
        let x = LEFT + index as f64 * width;
        let mut below = HEIGHT - BOTTOM;
        for (class, files) in [("gone", gone), ("stopped", stopped)] {
            let height = files as f64 / most as f64 * (HEIGHT - BOTTOM - TOP);
            if files > 0 {
                below -= height;
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{below:.1}\" width=\"{:.1}\" \
                     height=\"{:.1}\"><title>{files} files</title></rect>",
                    width * 0.85,
                    height.max(1.0)
                );
            }
        }
    }
    svg.push_str("</svg>");
    Some(svg)
}

/// Distinct tenants that recorded ops were about, up to each moment.
pub(super) fn tenants(incident: &Incident) -> Option<String> {
    let (first, end) = span(incident)?;
    let mut seen = BTreeSet::new();
    let mut steps = Vec::new();
    let mut points: Vec<_> = incident.points.iter().collect();
    points.sort_by_key(|point| point.millis);
    for point in points {
        if let Some(tenant) = &point.tenant
            && seen.insert(tenant)
        {
            steps.push(point.millis);
        }
    }
    if steps.is_empty() {
        return None;
    }
    let most = steps.len() as u64;
    let mut svg = begin("Distinct tenants in recorded ops, over time", most, first, end);
    let x = |millis: i64| LEFT + (millis - first) as f64 / (end - first) as f64 * (WIDTH - LEFT);
    let y = |count: usize| HEIGHT - BOTTOM - count as f64 / most as f64 * (HEIGHT - BOTTOM - TOP);
    let mut path = format!("M{LEFT:.1} {:.1}", y(0));
    for (index, millis) in steps.iter().enumerate() {
        let _ = write!(path, "H{:.1}V{:.1}", x(*millis), y(index + 1));
    }
    let _ = write!(svg, "<path class=\"line\" d=\"{path}H{WIDTH:.1}\"/></svg>");
    Some(svg)
}

/// Axes. Nothing in it comes from the log but numbers and times.
fn begin(title: &str, most: u64, first: i64, end: i64) -> String {
    let (low, right) = (HEIGHT - BOTTOM, WIDTH);
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\
         <title>{title}</title>\
         <path class=\"axis\" d=\"M{LEFT} {TOP}V{low}H{right}\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most}</text>\
         <text x=\"{}\" y=\"{low}\" text-anchor=\"end\">0</text>\
         <text x=\"{LEFT}\" y=\"{}\">{}</text>\
         <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        LEFT - 6.0,
        TOP + 10.0,
        LEFT - 6.0,
        HEIGHT - 12.0,
        time(first),
        HEIGHT - 12.0,
        time(end)
    )
}
