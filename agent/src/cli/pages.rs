//! Man pages and completions, from the one definition of the command line.
//!
//! One page in section 1 for each command, `holdfast-agent` in section 8. Files formats (section 5)
//! are written by hand, in `dist/man`.

use std::fs::{self, File};
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Cli, Exit, Failure};

/// Writes `man1`, `man8`, `bash`, `zsh` and `fish` into `dir`.
pub(super) fn write(dir: &Path) -> Result<Exit, Failure> {
    let mut command = shown(Cli::command());
    command.build();
    page(dir, &command, "holdfast")?;
    let mut command = shown(Cli::command());
    for (shell, name) in [
        (Shell::Bash, "bash/holdfast"),
        (Shell::Zsh, "zsh/_holdfast"),
        (Shell::Fish, "fish/holdfast.fish"),
    ] {
        let mut file = create(dir, name)?;
        clap_complete::generate(shell, &mut command, "holdfast", &mut file);
    }
    Ok(Exit::Ok)
}

/// The command line without the commands that nobody is to call.
fn shown(whole: Command) -> Command {
    let kept = whole.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    Command::new("holdfast")
        .version(env!("CARGO_PKG_VERSION"))
        .about(whole.get_about().cloned().unwrap_or_default())
        .long_about(whole.get_long_about().cloned().unwrap_or_default())
        .after_help(whole.get_after_help().cloned().unwrap_or_default())
        .args(whole.get_arguments().cloned())
        .subcommands(kept)
        .subcommand_required(true)
}

/// The page of a command, and those of the commands below it.
fn page(dir: &Path, command: &Command, name: &str) -> Result<(), Failure> {
    let section = if name == "holdfast-agent" { "8" } else { "1" };
    let man = Man::new(command.clone())
        .section(section)
        .title(name.to_uppercase())
        .source(concat!("holdfast ", env!("CARGO_PKG_VERSION")))
        .manual("holdfast")
        // The day it is made would be another with every build.
        .date("");
    let mut file = create(dir, &format!("man{section}/{name}.{section}"))?;
    man.render(&mut file)?;
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        page(dir, below, &format!("{name}-{}", below.get_name()))?;
    }
    Ok(())
}

fn create(dir: &Path, name: &str) -> Result<File, Failure> {
    let path = dir.join(name);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(File::create(path)?)
}
