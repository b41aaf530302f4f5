//! Running other programs, with errors that show what was run and what it said.

use std::env;
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::ui;

/// Runs a command with its output on our own; fails unless it exits with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// Runs a command as a step; shows what it says on stderr once the step is over.
pub fn step(what: &str, command: &mut Command) -> Result<()> {
    let color = if stderr().is_terminal() { "always" } else { "never" };
    command.env("CARGO_TERM_COLOR", color);
    let shown = shown(command);
    let mut said = Vec::new();
    let result = ui::step(what, || {
        let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
        said = output.stderr;
        if !output.status.success() {
            bail!("`{shown}` failed ({})", output.status);
        }
        Ok(())
    });
    stderr().write_all(&said)?;
    result
}

/// Runs a command and returns what it printed; an error carries the end of its output.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let said = tail(&format!("{text}{errors}"), 40);
        bail!("`{shown}` failed ({}); its last words:\n{said}", output.status);
    }
    Ok(text)
}

/// A program in PATH or in the administrator's directories (which may not be in PATH).
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].iter().map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// A command for a program from [`find_program`], or by its bare name so that the error names it.
pub fn program(name: &str) -> Command {
    Command::new(find_program(name).unwrap_or_else(|| PathBuf::from(name)))
}

/// A clean cargo: nothing that this process' own cargo or rustup has put into the environment.
pub fn cargo(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        let inherited = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        if inherited || ["CARGO", "RUSTC", "LD_LIBRARY_PATH"].contains(&&*name) {
            command.env_remove(&key);
        }
    }
    command
}

/// The cargo that the developer uses, with the same toolchain.
pub fn own_cargo() -> Command {
    cargo(&env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from))
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A command as one could type it.
pub fn shown(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quote(&word.to_string_lossy()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// One word for a POSIX shell.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_survives_a_real_shell() {
        for word in ["", "plain", "two words", "it's", "$HOME `id` \\ \"x\"", "new\nline", "a*?~"] {
            let line = format!("printf %s {}", quote(word));
            let back = output(Command::new("sh").args(["-c", &line])).unwrap();
            assert_eq!(back, word);
        }
    }

    #[test]
    fn plain_words_stay_readable() {
        assert_eq!(shown(Command::new("cargo").args(["build", "a b"])), "cargo build 'a b'");
    }

    #[test]
    fn failure_shows_command_and_output() {
        let error = output(Command::new("sh").args(["-c", "echo lost; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("sh -c") && text.contains("lost") && text.contains('3'), "{text}");
    }

    #[test]
    fn tail_keeps_the_end() {
        assert_eq!(tail("1\n2\n3\n", 2), "2\n3");
        assert_eq!(tail("1", 5), "1");
    }
}
