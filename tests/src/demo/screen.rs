//! How the demo looks: 96 columns, a little colour unless `NO_COLOR` is set.

use std::cell::Cell;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::Area;

const WIDTH: usize = 96;

/// The terminal.
#[derive(Debug)]
pub(super) struct Screen {
    colour: bool,
    since: Cell<Instant>,
}

impl Screen {
    pub(super) fn new() -> Self {
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { colour, since: Cell::new(Instant::now()) }
    }

    pub(super) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn red(&self, text: &str) -> String {
        self.paint("31;1", text)
    }

    pub(super) fn green(&self, text: &str) -> String {
        self.paint("32;1", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn title(&self, text: &str) {
        println!("\n{}\n{}", self.bold(text), self.dim(&"─".repeat(WIDTH)));
    }

    pub(super) fn chapter(&self, number: u32, text: &str) {
        self.title(&format!("{number}. {text}"));
    }

    pub(super) fn heading(&self, text: &str) {
        println!("\n  {}", self.bold(text));
    }

    pub(super) fn line(&self, text: &str) {
        println!("  {text}");
    }

    pub(super) fn note(&self, text: &str) {
        println!("  {}", self.dim(text));
    }

    pub(super) fn command(&self, text: &str) {
        println!("\n  {} {}", self.dim("#"), self.bold(text));
    }

    /// Something that takes a while starts; `tick` shows that it goes on, `done` that it ended.
    pub(super) fn working(&self, text: &str) {
        print!("  {text} ");
        self.since.set(Instant::now());
        std::io::stdout().flush().ok();
    }

    pub(super) fn tick(&self) {
        print!(".");
        std::io::stdout().flush().ok();
    }

    pub(super) fn done(&self, text: &str) {
        let time = format!("{:.1} s", self.since.get().elapsed().as_secs_f64());
        println!(" {}{}{}", text, if text.is_empty() { "" } else { ", " }, self.dim(&time));
    }

    /// The table of one pass.
    pub(super) fn losses(&self, areas: &[Area], files: u64, lost: &[u64]) {
        println!();
        println!(
            "  {}",
            self.dim(&format!(
                "{:<11}{:<9}{:>9}{:>10}{:>10}",
                "zone", "role", "files", "lost", "saved"
            ))
        );
        for (area, &lost) in areas.iter().zip(lost) {
            self.row(area.name, area.role, files, lost);
        }
        self.row("together", "", files * areas.len() as u64, lost.iter().sum());
    }

    fn row(&self, name: &str, role: &str, files: u64, lost: u64) {
        let saved = files.saturating_sub(lost);
        let bar = 24;
        let full = ((saved * bar).div_ceil(files.max(1))).min(bar) as usize;
        let picture = self.green(&"█".repeat(full)) + &self.red(&"░".repeat(bar as usize - full));
        let lost_text = format!("{:>10}", grouped(lost));
        let saved_text = format!("{:>10}", grouped(saved));
        println!(
            "  {name:<11}{role:<9}{:>9}{}{}  {picture}",
            grouped(files),
            if lost > 0 { self.red(&lost_text) } else { lost_text },
            if saved > 0 { self.green(&saved_text) } else { saved_text },
        );
    }

    /// Prints a long text in lines that fit.
    pub(super) fn wrapped(&self, text: &str) {
        for line in wrap(text, WIDTH - 4) {
            println!("    {line}");
        }
    }

    pub(super) fn verdict(&self, held: bool, sentence: &str, took: Duration) {
        println!("\n{}", self.dim(&"─".repeat(WIDTH)));
        for line in wrap(sentence, WIDTH - 2) {
            println!("{}", if held { self.green(&line) } else { self.red(&line) });
        }
        println!("{}\n", self.dim(&format!("The demo took {} s.", took.as_secs())));
    }
}

/// A number with commas.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Breaks after spaces and commas where there are any, else anywhere.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest: Vec<char> = text.chars().collect();
    while rest.len() > width {
        let breaks = |&at: &usize| matches!(rest[at - 1], ' ' | ',');
        let at = (1..=width).rev().find(breaks).unwrap_or(width);
        let next = rest.split_off(at);
        lines.push(rest.iter().collect::<String>().trim_end().to_owned());
        rest = next;
    }
    lines.push(rest.iter().collect());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            ["0", "999", "1,000", "40,000", "1,234,567"],
            [0, 999, 1000, 40_000, 1_234_567].map(grouped).each_ref().map(String::as_str)
        );
    }

    #[test]
    fn wrapped_lines_fit_and_keep_text() {
        let text = format!("some words and {} then more", "x".repeat(50));
        let lines = wrap(&text, 20);
        assert!(lines.iter().all(|line| line.chars().count() <= 20), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), text.replace(' ', ""));
    }
}
