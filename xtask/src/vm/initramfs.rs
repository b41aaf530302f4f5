//! What the guest boots from: drivers, the first program, and this run's payload.

use std::fs;

use anyhow::{Context, Result, bail};

use super::cpio::Cpio;
use super::{Boot, modules};
use crate::process::quote;

const INITRAMFS: &str = include_str!("guest/initramfs.sh");
const INIT: &str = include_str!("guest/init.sh");
const COMMAND: &str = include_str!("guest/command.sh");
const INIT_SYSTEMD: &str = include_str!("guest/systemd.sh");

/// What to do in the guest.
#[derive(Clone, Debug)]
pub enum Task {
    /// Run a command; its output and exit status come back.
    Run(Vec<String>),
    /// Give the developer a shell on a terminal of that size.
    Shell {
        /// Rows of the terminal.
        rows: u16,
        /// Its columns.
        columns: u16,
    },
    /// Boot far enough to see that the accelerator works.
    Probe,
}

/// The whole archive.
pub fn build(boot: &Boot) -> Result<Vec<u8>> {
    let mut archive = Cpio::default();
    for dir in ["bin", "dev", "proc", "sys", "root", "modules", "payload"] {
        archive.dir(dir);
    }
    archive.device("dev/console", 5, 1);
    archive.file("bin/busybox", &read(&boot.guest.busybox)?);
    archive.file("init", INITRAMFS.as_bytes());
    add_modules(&mut archive, boot)?;
    archive.file("payload/init", if boot.systemd { INIT_SYSTEMD } else { INIT }.as_bytes());
    archive.file("payload/run-command", COMMAND.as_bytes());
    match &boot.task {
        Task::Run(words) => archive.file("payload/command", script(words).as_bytes()),
        Task::Shell { rows, columns } => {
            let size = format!("ROWS={rows} COLUMNS={columns}\n");
            archive.file("payload/interactive", size.as_bytes());
        }
        Task::Probe => {}
    }
    for path in &boot.payload {
        let name = path.file_name().context("a payload needs a file name")?.to_string_lossy();
        archive.file(&format!("payload/{name}"), &read(path)?);
    }
    Ok(archive.finish())
}

/// One word is a line for the shell; several are a program and its arguments, kept as they are.
fn script(words: &[String]) -> String {
    match words {
        [line] => format!("{line}\n"),
        words => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ") + "\n",
    }
}

fn add_modules(archive: &mut Cpio, boot: &Boot) -> Result<()> {
    let dir = boot.kernel.modules();
    let text = |name: &str| {
        let path = dir.join(name);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (dependencies, builtin) = (text("modules.dep")?, text("modules.builtin")?);
    let files = modules::load_order(&dependencies, &modules::EARLY);
    for name in modules::EARLY {
        let found = files.iter().any(|file| modules::module_name(file) == name);
        if !found && !modules::is_built_in(&builtin, name) {
            bail!("kernel {} has no {name}, which the guest needs to boot", boot.kernel.release);
        }
    }
    let mut order = String::new();
    for file in &files {
        let name = format!("{}.ko", modules::module_name(file));
        archive.file(&format!("modules/{name}"), &modules::read(&dir.join(file))?);
        order += &name;
        order.push('\n');
    }
    archive.file("modules/order", order.as_bytes());
    Ok(())
}

fn read(path: &std::path::Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn one_word_is_a_shell_line() {
        assert_eq!(script(&words(&["echo a; exit 3"])), "echo a; exit 3\n");
    }

    #[test]
    fn several_words_stay_as_they_are() {
        assert_eq!(script(&words(&["echo", "a  b", "$HOME"])), "echo 'a  b' '$HOME'\n");
    }
}
