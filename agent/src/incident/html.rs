//! An incident as one HTML page that needs nothing else. Everything that comes from the log is
//! escaped.

use super::destroyed::Destroyed;
use super::gather::{Incident, Ops};
use super::plot;
use super::text::{amount, sort, time, verified};
use crate::audit::Summary;
use crate::clock::Now;
use crate::text::{count, for_terminal, size};

/// Rows of the tables of actors and tenants.
const TABLE: usize = 200;

const STYLE: &str = "\
:root{color-scheme:light dark;--fg:#1c1e21;--bg:#fff;--dim:#5c6370;--line:#d5d9e0;\
--good:#1a7f37;--bad:#c62828;--gone:#c62828;--stopped:#2f6fb0}\
@media(prefers-color-scheme:dark){:root{--fg:#e4e6ea;--bg:#16181c;--dim:#9aa2af;--line:#343a43;\
--good:#4cc26a;--bad:#ff7b72;--gone:#ff7b72;--stopped:#6cb0f5}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:60rem;\
margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0}\
h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line)}\
p{margin:.4rem 0}.dim{color:var(--dim)}\
.seal{border:2px solid;border-radius:6px;padding:.5rem .8rem;margin:1rem 0}\
.good{color:var(--good)}.bad{color:var(--bad)}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.25rem .6rem .25rem 0;\
border-bottom:1px solid var(--line);overflow-wrap:anywhere}\
th{color:var(--dim);font-weight:600}\
td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\
td.t{white-space:nowrap;font-variant-numeric:tabular-nums}\
svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--dim)}\
.axis{stroke:var(--line);fill:none}.line{stroke:var(--stopped);fill:none;stroke-width:2}\
.gone{fill:var(--gone)}.stopped{fill:var(--stopped)}\
.key::before{content:'';display:inline-block;width:.8em;height:.8em;margin-right:.3em;\
background:currentColor}\
.k-gone{color:var(--gone)}.k-stopped{color:var(--stopped)}\
@media print{:root{--fg:#000;--bg:#fff;--dim:#444;--line:#bbb;--good:#1a7f37;--bad:#a00;\
--gone:#a00;--stopped:#245d94}\
body{max-width:none;margin:0;font-size:10pt}h2{break-after:avoid}\
tr,svg{break-inside:avoid}thead{display:table-header-group}\
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// The page.
pub(crate) fn html(incident: &Incident, log: &Summary, now: Now) -> String {
    let mut page = String::new();
    let host = safe(incident.host.as_deref().unwrap_or("?"));
    let (from, to) = (time(incident.since), time(incident.until));
    page.push_str("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    // Nothing is fetched, and nothing runs, whatever is in it.
    page.push_str(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">",
    );
    page.push_str(&format!(
        "<title>Incident on {host}, {from}</title><style>{STYLE}</style></head><body>"
    ));
    page.push_str(&format!("<h1>Incident on {host}</h1>"));
    let zone = incident
        .zone
        .as_deref()
        .map_or_else(|| "all zones".to_owned(), |zone| format!("zone {}", safe(zone)));
    page.push_str(&format!(
        "<p class=\"dim\">{from} to {to}, {zone}; {} of the audit log; written {}</p>",
        count(incident.records, "record"),
        now.wall()
    ));
    let class = if log.sound { "good" } else { "bad" };
    let rows: Vec<String> = verified(log).iter().map(|row| safe(row)).collect();
    page.push_str(&format!(
        "<div class=\"seal {class}\">The audit log: {}</div>",
        rows.join("<br>")
    ));
    for gap in &incident.gaps {
        page.push_str(&format!("<p class=\"bad\">{}</p>", safe(gap)));
    }
    how_much(&mut page, incident);
    let actors = incident.actors.iter().map(|(who, ops)| (who.clone(), *ops)).collect();
    ops_table(&mut page, "Who", "program, user, unit", actors);
    let tenants = incident.tenants.iter();
    let tenants = tenants.map(|((zone, name), ops)| (format!("{name} in {zone}"), *ops)).collect();
    ops_table(&mut page, "Whose data", "tenant", tenants);
    destroyed(&mut page, &incident.destroyed);
    holds(&mut page, incident);
    allowances(&mut page, incident);
    glasses(&mut page, incident);
    timeline(&mut page, incident);
    page.push_str("<h2>Not known</h2>");
    for what in incident.unknown() {
        page.push_str(&format!("<p>{}</p>", safe(&what)));
    }
    page.push_str("</body></html>\n");
    page
}

fn how_much(page: &mut String, incident: &Incident) {
    page.push_str("<h2>How much was over budget</h2>");
    if incident.ops.is_empty() {
        page.push_str("<p>Nothing that was recorded.</p>");
        return;
    }
    page.push_str(
        "<table><thead><tr><th>zone</th><th>what became of it</th><th>ops</th>\
         <th>how much</th></tr></thead><tbody>",
    );
    for ((zone, became), ops) in &incident.ops {
        page.push_str(&format!(
            "<tr><td>{}</td><td>{became}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            safe(zone),
            ops.ops,
            amount(ops)
        ));
    }
    page.push_str("</tbody></table>");
    if let Some(plot) = plot::files(incident) {
        page.push_str(&format!(
            "<h2>Files over time</h2>{plot}<p class=\"dim\">\
             <span class=\"key k-gone\">destroyed</span> \
             <span class=\"key k-stopped\">stopped</span>, as recorded</p>"
        ));
    }
    if let Some(plot) = plot::tenants(incident) {
        page.push_str(&format!("<h2>Tenants touched</h2>{plot}"));
    }
}

fn ops_table(page: &mut String, title: &str, column: &str, mut rows: Vec<(String, Ops)>) {
    page.push_str(&format!("<h2>{title}</h2>"));
    if rows.is_empty() {
        page.push_str("<p>Nobody that was recorded.</p>");
        return;
    }
    sort(&mut rows);
    page.push_str(&format!(
        "<table><thead><tr><th>{column}</th><th>ops</th><th>how much</th></tr></thead><tbody>"
    ));
    for (name, ops) in rows.iter().take(TABLE) {
        page.push_str(&format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
            safe(name),
            ops.ops,
            amount(ops)
        ));
    }
    page.push_str("</tbody></table>");
    if rows.len() > TABLE {
        page.push_str(&format!("<p>And {} more.</p>", rows.len() - TABLE));
    }
}

fn destroyed(page: &mut String, destroyed: &Destroyed) {
    page.push_str("<h2>Destroyed, as the manifest has it</h2>");
    let class = if destroyed.is_changed { "bad" } else { "dim" };
    for seal in &destroyed.seals {
        page.push_str(&format!("<p class=\"{class}\">{}</p>", markup(seal)));
    }
    if destroyed.is_known && destroyed.tenants.is_empty() {
        page.push_str("<p>Nothing, as far as this was recorded.</p>");
    }
    if !destroyed.tenants.is_empty() {
        page.push_str(
            "<table><thead><tr><th>tenant</th><th>ops</th><th>files</th><th>bytes</th><th>from</th>\
             <th>to</th></tr></thead><tbody>",
        );
        for (name, row) in destroyed.tenants.iter().take(TABLE) {
            page.push_str(&format!(
                "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"n\">{}</td><td class=\"t\">{}</td>\
                 <td class=\"t\">{}</td></tr>",
                markup(name),
                row.records,
                row.files,
                size(row.bytes),
                safe(&row.from),
                safe(&row.to)
            ));
        }
        page.push_str("</tbody></table>");
        if destroyed.tenants.len() > TABLE {
            page.push_str(&format!("<p>And {} more.</p>", destroyed.tenants.len() - TABLE));
        }
        let grounds = destroyed.by_ground();
        let grounds: Vec<String> = grounds
            .iter()
            .map(|(from, sum)| format!("<b>{}</b> {}", markup(from), markup(sum)))
            .collect();
        page.push_str(&format!(
            "<p>In all {}.</p><p>{}</p>",
            markup(&destroyed.total()),
            grounds.join("<br>")
        ));
    }
    for note in &destroyed.notes {
        page.push_str(&format!("<p class=\"bad\">{}</p>", markup(note)));
    }
}

fn holds(page: &mut String, incident: &Incident) {
    page.push_str("<h2>Held and released</h2>");
    if incident.holds.is_empty() {
        page.push_str("<p>Nobody.</p>");
        return;
    }
    page.push_str(
        "<table><thead><tr><th>hold</th><th>who</th><th>decided</th>\
         <th>how it ended</th></tr></thead><tbody>",
    );
    let lines = |lines: &[String]| {
        lines.iter().take(TABLE).map(|line| safe(line)).collect::<Vec<_>>().join("<br>")
    };
    for ((number, zone), hold) in &incident.holds {
        let ended: Vec<String> =
            hold.ended.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        page.push_str(&format!(
            "<tr><td>{number} in {}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            safe(zone),
            lines(&hold.actors),
            lines(&hold.decisions),
            lines(&ended)
        ));
    }
    page.push_str("</tbody></table>");
}

fn allowances(page: &mut String, incident: &Incident) {
    page.push_str("<h2>Allowances</h2>");
    let told: Vec<_> =
        incident.allowances.iter().filter(|(_, allowance)| !allowance.is_quiet()).collect();
    if told.is_empty() {
        page.push_str("<p>None.</p>");
        return;
    }
    let rows = told.into_iter().map(|(id, allowance)| (id.clone(), allowance.facts()));
    facts_table(page, "allowance", rows);
}

fn glasses(page: &mut String, incident: &Incident) {
    page.push_str("<h2>Break-glass</h2>");
    let facts = incident.glasses.facts(incident.since, &incident.destroyed);
    if facts.is_empty() {
        page.push_str("<p>None was open.</p>");
    } else {
        facts_table(page, "break-glass", facts.into_iter());
    }
    for what in incident.glasses.told() {
        page.push_str(&format!("<p>{}</p>", safe(&what)));
    }
}

fn facts_table(
    page: &mut String,
    column: &str,
    rows: impl Iterator<Item = (String, Vec<(&'static str, String)>)>,
) {
    page.push_str(&format!(
        "<table><thead><tr><th>{column}</th><th>what is known</th></tr></thead><tbody>"
    ));
    for (name, facts) in rows {
        let facts: Vec<String> =
            facts.iter().map(|(name, value)| format!("<b>{name}</b> {}", safe(value))).collect();
        page.push_str(&format!("<tr><td>{}</td><td>{}</td></tr>", safe(&name), facts.join("<br>")));
    }
    page.push_str("</tbody></table>");
}

fn timeline(page: &mut String, incident: &Incident) {
    page.push_str(
        "<h2>Timeline</h2><table><thead><tr><th>time</th><th>record</th>\
         <th>what</th></tr></thead><tbody>",
    );
    for row in &incident.timeline {
        let more = match row.records {
            1 => String::new(),
            n => format!(
                " <span class=\"dim\">({n} such records, the last at {})</span>",
                time(row.last)
            ),
        };
        page.push_str(&format!(
            "<tr><td class=\"t\">{}</td><td class=\"n\">{}</td><td>{}{more}</td></tr>",
            safe(&row.time),
            row.seq,
            safe(&row.text)
        ));
    }
    page.push_str("</tbody></table>");
}

/// A text from the log: nothing in it is markup, moves a cursor or turns the text around.
pub(super) fn safe(text: &str) -> String {
    markup(&for_terminal(text.as_bytes()))
}

/// A text that is safe for a terminal: nothing in it is markup.
fn markup(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}
