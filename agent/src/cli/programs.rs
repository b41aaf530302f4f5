//! `holdfast programs`: what each kernel program of the guard is, and what it costs at the moment.

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{Dirs, Exit, Failure, out};
use crate::kernel::{self, KernelError, Program};
use crate::text;

#[derive(Debug, Args)]
pub(super) struct ProgramsArgs {
    /// Count runs for so many seconds, at most 3600; Ctrl-C ends it sooner
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = clap::value_parser!(u32).range(1..=3600)
    )]
    seconds: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    /// For how long runs were counted.
    seconds: f64,
    programs: Vec<Row>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    name: String,
    hook: Option<String>,
    id: u32,
    runs: u64,
    run_ns: u64,
    /// `None` if it did not run.
    mean_ns: Option<u64>,
    /// Since it was loaded.
    skipped_runs: u64,
    jited_bytes: u32,
    verified_instructions: u32,
}

pub(super) async fn run(dirs: &Dirs, args: &ProgramsArgs) -> Result<Exit, Failure> {
    if !rustix::process::geteuid().is_root() {
        let message = "only root may look at kernel programs\n  help: use sudo";
        return Err(Failure::new(Exit::Failure, message));
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let before = look(&dirs.pin_dir)?;
    // Until it is dropped, or closed by the kernel with this process.
    let _counting = kernel::count_runs().map_err(|error| failed(&error))?;
    let start = Instant::now();
    out::note(&format!(
        "counting runs for {} (Ctrl-C ends it sooner); meanwhile each run of any BPF program on \
         this host takes two time stamps more",
        text::count(args.seconds.into(), "second")
    ));
    tokio::select! {
        () = tokio::time::sleep(Duration::from_secs(args.seconds.into())) => {}
        _ = interrupt.recv() => {}
    }
    let after = look(&dirs.pin_dir)?;
    let report = Report {
        seconds: start.elapsed().as_secs_f64(),
        programs: after.into_iter().map(|after| row(&before, after)).collect(),
    };
    if args.json {
        out::json(&report)?;
    } else {
        out::text(&render(&report))?;
    }
    Ok(Exit::Ok)
}

fn look(pin_dir: &Path) -> Result<Vec<Program>, Failure> {
    let programs = kernel::programs(pin_dir).map_err(|error| failed(&error))?;
    if programs.is_empty() {
        let message = format!(
            "no guard is pinned in {}\n  help: `holdfast doctor` shows why, or use the agent's \
             --pin-dir",
            out::path(pin_dir)
        );
        return Err(Failure::new(Exit::Failure, message));
    }
    Ok(programs)
}

fn failed(error: &KernelError) -> Failure {
    Failure::new(Exit::Failure, error.to_string())
}

/// What a program did since `before`. One that was not there then was loaded meanwhile, and has
/// counted from 0.
fn row(before: &[Program], after: Program) -> Row {
    let before = before.iter().find(|program| program.id == after.id);
    let since = |now: u64, then: fn(&Program) -> u64| now - before.map_or(0, then).min(now);
    let runs = since(after.runs, |program| program.runs);
    let run_ns = since(after.run_ns, |program| program.run_ns);
    Row {
        name: after.name,
        hook: after.hook,
        id: after.id,
        runs,
        run_ns,
        mean_ns: run_ns.checked_div(runs),
        skipped_runs: after.skipped_runs,
        jited_bytes: after.jited_bytes,
        verified_instructions: after.verified_instructions,
    }
}

fn render(report: &Report) -> String {
    let titles = ["PROGRAM", "HOOK", "RUNS", "NS/RUN", "SKIPPED", "BYTES", "VERIFIED"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(report.programs.iter().map(|row| {
        vec![
            row.name.clone(),
            row.hook.clone().unwrap_or_else(|| "unknown".to_owned()),
            row.runs.to_string(),
            row.mean_ns.map_or_else(|| "-".to_owned(), |ns| ns.to_string()),
            row.skipped_runs.to_string(),
            row.jited_bytes.to_string(),
            row.verified_instructions.to_string(),
        ]
    }));
    let runs = report.programs.iter().map(|row| row.runs).sum();
    let run_ns: u64 = report.programs.iter().map(|row| row.run_ns).sum();
    format!(
        "{}\n{} in {:.1} s: {:.3} ms, {:.3} % of one processor\n",
        out::table(&rows, 0),
        text::count(runs, "run"),
        report.seconds,
        run_ns as f64 / 1e6,
        run_ns as f64 / 1e7 / report.seconds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, id: u32, runs: u64, run_ns: u64) -> Program {
        Program {
            name: name.to_owned(),
            hook: Some("lsm inode_unlink".to_owned()),
            id,
            runs,
            run_ns,
            skipped_runs: 2,
            jited_bytes: 4096,
            verified_instructions: 7000,
        }
    }

    #[test]
    fn runs_are_those_between_looks() {
        let before = [program("hf_unlink", 7, 1_000, 900_000), program("hf_end", 8, 5, 50)];
        let unlink = row(&before, program("hf_unlink", 7, 3_000, 2_900_000));
        assert_eq!((unlink.runs, unlink.run_ns, unlink.mean_ns), (2_000, 2_000_000, Some(1_000)));
        // Counted since it was loaded, also while nobody looked.
        assert_eq!(unlink.skipped_runs, 2);
        let idle = row(&before, program("hf_end", 8, 5, 50));
        assert_eq!((idle.runs, idle.run_ns, idle.mean_ns), (0, 0, None));
    }

    /// An upgrade between the looks loads programs of the same names with other ids.
    #[test]
    fn program_loaded_meanwhile_counts_from_zero() {
        let before = [program("hf_unlink", 7, 1_000, 900_000)];
        let new = row(&before, program("hf_unlink", 21, 40, 20_000));
        assert_eq!((new.runs, new.mean_ns), (40, Some(500)));
    }

    #[test]
    fn table_ends_with_total() {
        let before = [program("hf_unlink", 7, 0, 0), program("hf_end", 8, 0, 0)];
        let after = [program("hf_unlink", 7, 2_000, 2_000_000), program("hf_end", 8, 0, 0)];
        let programs = after.into_iter().map(|after| row(&before, after)).collect();
        let text = render(&Report { seconds: 4.0, programs });
        let lines: Vec<Vec<&str>> =
            text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0].len(), 7, "{text}");
        assert_eq!(
            lines[1],
            ["hf_unlink", "lsm", "inode_unlink", "2000", "1000", "2", "4096", "7000"]
        );
        assert_eq!(lines[2][3..5], ["0", "-"], "{text}");
        assert!(
            text.ends_with("\n2000 runs in 4.0 s: 2.000 ms, 0.050 % of one processor\n"),
            "{text}"
        );
    }

    #[test]
    fn unknown_program_has_no_hook() {
        let unknown = Program { hook: None, ..program("hf_other", 9, 0, 0) };
        let text = render(&Report { seconds: 1.0, programs: vec![row(&[], unknown)] });
        assert!(text.contains("hf_other  unknown"), "{text}");
    }
}
