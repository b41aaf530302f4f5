//! Draws what `holdfast top` shows. Every name comes through the escaping that all output goes
//! through.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};

use super::super::{allow, break_glass, hold, out, status};
use super::model::Model;
use crate::api::{BudgetStatus, HoldReport, Side, ZoneStatus};
use crate::{clock, text};

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const GOOD: Style = BOLD.fg(Color::Green);
const BAD: Style = BOLD.fg(Color::Red);
const QUIET: Style = Style::new().add_modifier(Modifier::DIM);
/// Columns of a bar.
const BAR: u64 = 10;

pub(super) fn draw(frame: &mut Frame<'_>, model: &Model) {
    let head = head(model);
    let zones = model.status.zones.len();
    let budgets = model.chosen().map_or(0, |(_, zone)| zone.budgets.len());
    let rows = |n: usize, most: u16| {
        Constraint::Length(u16::try_from(n).unwrap_or(most).clamp(1, most) + 2)
    };
    let [top, zone_area, budget_area, hold_area, event_area, foot] = Layout::vertical([
        Constraint::Length(u16::try_from(head.len()).unwrap_or(8).min(8)),
        rows(zones + 1, 9),
        rows(budgets + 1, 7),
        rows(model.holds.len() + 1, 8),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(head), top);
    draw_zones(frame, zone_area, model);
    draw_budgets(frame, budget_area, model);
    draw_holds(frame, hold_area, model);
    draw_events(frame, event_area, model);
    let stopped = if model.is_stopped() { "STOPPED: space goes on" } else { "space stops" };
    let keys = format!(
        " up and down choose a zone   {stopped}   q ends   `holdfast hold show ID` helps to decide"
    );
    frame.render_widget(Paragraph::new(keys).style(QUIET), foot);
}

fn head(model: &Model) -> Vec<Line<'static>> {
    let status = &model.status;
    let uptime = clock::words(Duration::from_secs(status.uptime_seconds));
    let sha256 = status.policy.sha256.get(..12).unwrap_or_default();
    let host = out::name(&model.host, None);
    let about = format!("{host}   agent {}, up {uptime}   policy {sha256}", status.version);
    let mut lines = vec![Line::from(vec![Span::styled("holdfast  ", BOLD), Span::raw(about)])];
    if let Some(trouble) = &model.trouble {
        let text = format!("OLD: the agent does not answer: {}", out::name(trouble, None));
        lines.push(Line::styled(text, BAD));
    }
    let style = if status.enforcing { GOOD } else { BAD };
    let guard = status::guard(status);
    lines.extend(guard.lines().map(|line| Line::styled(line.to_owned(), style)));
    let mut alarm = |line: String| lines.push(Line::styled(line.trim_end().to_owned(), BAD));
    if let Some(open) = &status.break_glass {
        alarm(break_glass::status_line(open));
    }
    if let Some(paused) = out::paused(&status.paused) {
        alarm(format!("PAUSED  {paused}"));
    }
    if status.audit.error.is_some() {
        alarm("AUDIT   THE LOG CANNOT BE WRITTEN: see `holdfast status`".to_owned());
    }
    let warnings = status.warnings.iter().filter_map(|warning| warning.lines().next());
    warnings.for_each(|warning| alarm(format!("WARNING {}", out::name(warning, None))));
    for open in &status.allowances {
        lines.push(Line::raw(allow::status_line(open)));
    }
    lines
}

fn draw_zones(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let chosen = model.chosen().map(|(at, _)| at);
    let rows = model.status.zones.iter().enumerate().map(|(at, zone)| {
        let row = zone_row(model, zone);
        let is_bad = model.paused_in(&zone.name) > 0 || tripped(zone) > 0 || !zone.state.is_good();
        let style = if is_bad { BAD } else { Style::new() };
        let is_chosen = chosen == Some(at);
        row.style(if is_chosen { style.add_modifier(Modifier::REVERSED) } else { style })
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Length(7),
        Constraint::Length(18),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(9),
        Constraint::Length(11),
        Constraint::Length(22),
    ];
    let heads =
        ["zone", "role", "mode", "paused", "latched", "ops/s", "files/s", "bytes/s", "destroyed"];
    table(frame, area, "zones", &heads, rows.collect(), &widths, chosen);
}

fn zone_row(model: &Model, zone: &ZoneStatus) -> Row<'static> {
    let rate = model.rates.get(&zone.name);
    let each = |n: Option<f64>| n.map_or_else(|| "-".to_owned(), |n| format!("{n:.0}"));
    let bytes = rate.map_or_else(|| "-".to_owned(), |rate| text::size(rate.bytes as u64));
    let guarded = match zone.state.is_good() {
        true => String::new(),
        false => format!(" {}", zone.state.words()),
    };
    let destroyed = format!(
        "{}, {}",
        text::count(zone.destroyed.files, "file"),
        text::size(zone.destroyed.bytes)
    );
    Row::new([
        format!("{}{guarded}", out::name(&zone.name, None)),
        zone.role.clone(),
        out::mode(&zone.mode, &zone.on_trip),
        model.paused_in(&zone.name).to_string(),
        tripped(zone).to_string(),
        each(rate.map(|rate| rate.ops)),
        each(rate.map(|rate| rate.files)),
        bytes,
        destroyed,
    ])
}

fn tripped(zone: &ZoneStatus) -> usize {
    zone.budgets.iter().map(|budget| budget.tripped.len()).sum()
}

fn draw_budgets(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let zone = model.chosen().map(|(_, zone)| zone);
    let title = zone.map_or_else(
        || "budgets".to_owned(),
        |zone| {
            format!("budgets of {}, as the tightest actor has them", out::name(&zone.name, None))
        },
    );
    let rows = zone.into_iter().flat_map(|zone| &zone.budgets).map(budget_row).collect();
    let widths =
        [Constraint::Fill(2), Constraint::Length(12), Constraint::Fill(3), Constraint::Fill(3)];
    let heads = ["budget", "spent", "left", "who has least left, or is latched"];
    table(frame, area, &title, &heads, rows, &widths, None);
}

fn budget_row(budget: &BudgetStatus) -> Row<'static> {
    let sides = [budget.files, budget.bytes, budget.tenants];
    let fullest = sides.into_iter().flatten().map(spent).max().unwrap_or(0);
    let style = match (budget.tripped.is_empty(), fullest * 10 / BAR) {
        (false, _) => BAD,
        (true, 8..) => BOLD.fg(Color::Yellow),
        (true, _) => Style::new(),
    };
    let bar = "█".repeat(fullest as usize) + &"░".repeat((BAR - fullest) as usize);
    let who = match (budget.tripped.first(), &budget.tightest) {
        (Some(tripped), _) => {
            let more = budget.tripped.len() - 1;
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let name = out::name(&tripped.actor.name, None);
            format!("LATCHED {name}{more} until {}", tripped.until.time)
        }
        (None, Some(actor)) => out::name(&actor.name, None),
        (None, None) => "nothing spent".to_owned(),
    };
    let left = out::sides(budget.files, budget.bytes, budget.tenants);
    Row::new([budget.label.clone(), bar, left, who]).style(style)
}

/// How much of a side is spent, in parts of a bar: nothing is shown as full that is not.
fn spent(side: Side) -> u64 {
    if side.left == 0 {
        return BAR;
    }
    let spent = u128::from(side.limit.saturating_sub(side.left)) * u128::from(BAR);
    u64::try_from(spent / u128::from(side.limit.max(1))).unwrap_or(BAR).min(BAR - 1)
}

fn draw_holds(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let rows = model.holds.iter().map(hold_row).collect();
    let widths = [
        Constraint::Length(6),
        Constraint::Fill(1),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Fill(3),
    ];
    let heads = ["hold", "zone", "state", "for", "denied in", "who", "program", "next"];
    table(frame, area, "paused", &heads, rows, &widths, None);
}

fn hold_row(report: &HoldReport) -> Row<'static> {
    let seconds = |seconds| clock::words(Duration::from_secs(seconds));
    let first = report.processes.first();
    let program = first.map(|paused| out::program(&paused.process)).unwrap_or_default();
    let more = report.processes.len().saturating_sub(1);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let next = first.and_then(|paused| paused.threads.first()).map(hold::op);
    let who = format!("{}, {}", hold::user(&report.user), out::unit(&report.unit));
    let style = if report.state == "held" { BAD } else { Style::new() };
    let row = [
        report.id.to_string(),
        out::name(&report.zone, None),
        report.state.clone(),
        seconds(report.age_seconds),
        report.deadline_seconds.map(seconds).unwrap_or_default(),
        who,
        format!("{program}{more}"),
        next.unwrap_or_default(),
    ];
    Row::new(row).style(style)
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let room = usize::from(area.height.saturating_sub(2));
    let from = model.events.len().saturating_sub(room);
    let lines: Vec<Line<'_>> =
        model.events.iter().skip(from).map(|line| Line::raw(line.as_str())).collect();
    let block = block("over budget, the latest");
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn table(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    heads: &[&'static str],
    mut rows: Vec<Row<'static>>,
    widths: &[Constraint],
    chosen: Option<usize>,
) {
    // What was chosen is always in sight, and what does not fit is counted.
    let room = usize::from(area.height.saturating_sub(3)).max(1);
    let first = chosen.map_or(0, |at| (at + 1).saturating_sub(room));
    let hidden = rows.len().saturating_sub(room);
    let title = if hidden > 0 { format!("{title} ({hidden} more)") } else { title.to_owned() };
    let shown = rows.drain(..).skip(first).take(room);
    let header = Row::new(heads.to_vec()).style(QUIET);
    let table = Table::new(shown, widths.to_vec()).header(header).block(block(&title));
    frame.render_widget(table, area);
}

fn block(title: &str) -> Block<'static> {
    Block::new().borders(Borders::ALL).border_style(QUIET).title(format!(" {title} "))
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::tests::model;
    use super::*;
    use crate::api::{Actor, Tripped, Until};

    /// The screen, line by line.
    fn screen(model: &Model, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, model)).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..height).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_matters_is_on_one_screen() {
        let mut model = model();
        let budget = &mut model.status.zones[0].budgets[0];
        budget.files = Some(Side { left: 0, limit: 200 });
        let actor = Actor { id: 7, name: "unit /cron\u{1b}[2J".to_owned() };
        let until = Until { time: "2026-01-01T00:00:00Z".to_owned(), time_ns: 1 };
        budget.tripped.push(Tripped { actor, until, by: None });
        model.event("DENY remove in customers: /srv/x".to_owned());
        let screen = screen(&model, 200, 40);
        for part in [
            "web1",
            "GUARD DOWN",
            "customers",
            "enforce",
            "██████████",
            "0 of 200 files",
            r"LATCHED unit /cron\x1b[2J until 2026-01-01T00:00:00Z",
            "DENY remove in customers",
            "q ends",
        ] {
            assert!(screen.contains(part), "{part:?} in\n{screen}");
        }
        model.failed("nothing answers");
        let screen = self::screen(&model, 200, 40);
        assert!(screen.contains("OLD: the agent does not answer: nothing answers"), "{screen}");
    }

    #[test]
    fn any_terminal_will_do() {
        let mut model = model();
        let zone = model.status.zones[0].clone();
        model.status.zones = vec![zone; 300];
        model.event("x".repeat(500));
        for (width, height) in [(0, 0), (1, 1), (0, 24), (80, 0), (20, 5), (80, 24), (200, 60)] {
            let _ = screen(&model, width, height);
        }
        assert!(screen(&model, 80, 40).contains("zones (29"), "what does not fit is counted");
    }

    #[test]
    fn bar_is_full_at_zero_left() {
        let bar = |left, limit| spent(Side { left, limit });
        assert_eq!((bar(200, 200), bar(100, 200), bar(1, 200), bar(0, 200)), (0, 5, 9, 10));
        assert_eq!((bar(0, 0), bar(1, u64::MAX)), (10, 9));
    }
}
