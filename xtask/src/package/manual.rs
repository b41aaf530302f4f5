//! Man pages: those that the command line's definition gives, and the one about the policy, whose
//! reference is the shipped policy itself. Pure, but for reading.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{paths, process};

/// Has the command line write its pages and completions into `dir`. It takes a build of its own:
/// what writes them is in no binary that is shipped.
pub fn write(dir: &Path) -> Result<()> {
    let mut command = process::own_cargo();
    command.args(["run", "--quiet", "--package", "holdfast", "--features", "pages", "--"]);
    command.arg("__pages").arg(dir).current_dir(paths::root());
    // Defaults are shown as they are, not as this machine has them.
    for name in ["RUN_DIR", "PIN_DIR", "STATE_DIR", "POLICY", "METRICS", "LOG_FORMAT"] {
        command.env_remove(format!("HOLDFAST_{name}"));
    }
    process::step("writing man pages and completions", &mut command)
}

/// `holdfast-policy(5)`: the shipped policy with a frame.
pub fn policy(shipped: &str) -> String {
    let mut page = String::from(
        ".TH HOLDFAST-POLICY 5 \"\" \"holdfast\" holdfast\n\
         .SH NAME\nholdfast\\-policy \\- what may be destroyed on this host, by whom, and how \
         fast\n\
         .SH SYNOPSIS\n.I /etc/holdfast/policy.toml\n\
         .SH DESCRIPTION\nA TOML document. Every field is told in the policy that comes with \
         holdfast, which is this:\n\
         .PP\n.EX\n",
    );
    for line in shipped.lines() {
        page.push_str(&roff(line));
        page.push('\n');
    }
    page.push_str(
        ".EE\n.SH SEE ALSO\n.BR holdfast (1),\n.BR holdfast\\-policy\\-check (1),\n\
         .BR holdfast\\-allowance (5),\n\
         .BR holdfast\\-agent (8)\n",
    );
    page
}

/// A line as it is: nothing in it is a request, and nothing is typeset.
fn roff(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// References among the pages: the agent's is in section 8. And a date that is left out is an empty
/// one, not none.
pub fn mended(page: &str) -> String {
    page.replace("holdfast\\-agent(1)", "holdfast\\-agent(8)").replacen(
        "  \"holdfast ",
        " \"\" \"holdfast ",
        1,
    )
}

/// Compressed without a name or a time in it.
pub fn gzip(text: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut command = Command::new("gzip");
    command.args(["-9nc"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().ok_or_else(|| anyhow::anyhow!("gzip has no input"))?;
    let text = text.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&text));
    let output = child.wait_with_output()?;
    writer.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    anyhow::ensure!(output.status.success(), "`gzip` failed ({})", output.status);
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The policy page has every line of the policy, and none becomes a request.
    #[test]
    fn policy_page_escapes_every_line() {
        let page = policy("# a 'quoted' - line\n.hidden \\ x\n");
        assert!(
            page.contains("\n# a \\(aqquoted\\(aq \\- line\n\\&.hidden \\e x\n.EE\n"),
            "{page}"
        );
    }

    /// Pages name the agent's section, and an empty date keeps its place in their header.
    #[test]
    fn pages_name_the_agents_section() {
        let page = ".TH HOLDFAST 1  \"holdfast 0.1.0\" holdfast\nholdfast\\-agent(1)\n";
        assert_eq!(
            mended(page),
            ".TH HOLDFAST 1 \"\" \"holdfast 0.1.0\" holdfast\nholdfast\\-agent(8)\n"
        );
    }

    #[test]
    fn the_allowance_page_tells_every_field() {
        let page = include_str!("../../../agent/dist/man/holdfast-allowance.5");
        let fields = include_str!("../../../policy/src/allowance/document/raw.rs");
        let known: Vec<&str> = fields
            .split("table.")
            .filter_map(|part| part.split_once("(\"")?.1.split_once('"').map(|(name, _)| name))
            .collect();
        assert!(known.len() > 20, "{known:?}");
        for name in known {
            let told = page
                .lines()
                .any(|line| line.split([' ', ',', '"', '[', ']', '.']).any(|word| word == name));
            assert!(told, "{name} is not in holdfast-allowance.5");
        }
    }
}
