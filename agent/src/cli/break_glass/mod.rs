//! `holdfast break-glass`: what a person at the terminal does. It judges nothing but whether a code
//! is mistyped; the agent does.

mod args;
mod secret;
mod show;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

pub(super) use args::GlassCommand;
use args::{ChallengeArgs, CodesCommand, NewArgs, OpenArgs, WantedArgs};
pub(super) use show::status_line;

use super::client::ClientError;
use super::run::{self, Executable};
use super::{Client, Dirs, Exit, Failure, out};
use crate::api::{GlassBody, GlassReport, NewCodesBody, ProofBody, Secret, WantedBody};
use crate::break_glass::Code;

/// How often a mistyped code can be typed again.
const TRIES: u32 = 5;
/// No challenge and no signature is longer.
const MOST_FILE: u64 = 64 << 10;

pub(super) async fn run(
    client: &Client,
    dirs: &Dirs,
    command: &GlassCommand,
) -> Result<ExitCode, Failure> {
    let exit = match command {
        GlassCommand::Open(args) => return open(client, dirs, args).await,
        GlassCommand::Close(args) => close(client, args.json).await,
        GlassCommand::Status(args) => status(client, args.json).await,
        GlassCommand::Challenge(args) => challenge(client, args).await,
        GlassCommand::Codes(CodesCommand::New(args)) => new_codes(client, args).await,
        GlassCommand::Codes(CodesCommand::Status(args)) => codes(client, args.json).await,
    };
    exit.map(ExitCode::from)
}

async fn open(client: &Client, dirs: &Dirs, args: &OpenArgs) -> Result<ExitCode, Failure> {
    let executable = args.command.first().map(|name| run::find(name)).transpose()?;
    if args.challenge.is_none() && executable.is_none() && !args.wanted.host_wide {
        return Err(Failure::new(
            Exit::Usage,
            "say who it is for: either `--host-wide` (everybody in the zone, what is held \
             included) or `-- COMMAND`",
        ));
    }
    // Without an agent nobody has to look for a code.
    let not_run = |failure: Failure| match executable {
        Some(_) => Failure { exit: Exit::NotRun, ..failure },
        None => failure,
    };
    client.glass().await.map_err(|error| not_run(error.into()))?;
    let proof = proof(args).map_err(not_run)?;
    let run = executable.as_ref().map(|found| run::run_body(&args.command, found)).transpose();
    let body = GlassBody { proof, run: run.map_err(not_run)? };
    let report = match client.open_glass(&body).await {
        Ok(report) => report,
        Err(ClientError::Refused { message, reason: Some(reason), .. }) if args.json => {
            out::json(&json!({ "error": message, "reason": reason }))?;
            return Err(not_run(Failure::new(Exit::BadInput, "")));
        }
        Err(error) => return Err(not_run(error.into())),
    };
    match executable {
        Some(executable) => under(client, dirs, args, &executable, &report).await,
        None => {
            told(&report, args.json, show::opened)?;
            Ok(Exit::Ok.into())
        }
    }
}

/// Runs the command, ends the break-glass with it, and says what it came to.
async fn under(
    client: &Client,
    dirs: &Dirs,
    args: &OpenArgs,
    executable: &Executable,
    report: &GlassReport,
) -> Result<ExitCode, Failure> {
    run::say(show::opened(report).trim_end());
    let status = run::supervise(dirs, &args.command, executable, None, None).await;
    // Somebody else's may be open by now.
    match client.close_glass(Some(report.number)).await {
        Ok(report) if args.json => run::say(&serde_json::to_string(&report).unwrap_or_default()),
        Ok(report) => run::say(show::closed(&report).trim_end()),
        Err(error) => run::say(&format!(
            "the agent cannot tell what it came to: {error}\n  help: it closes it by itself when \
             the command has ended"
        )),
    }
    Ok(ExitCode::from(run::code(status?)))
}

fn proof(args: &OpenArgs) -> Result<ProofBody, Failure> {
    if let (Some(challenge), Some(signature)) = (&args.challenge, &args.signature) {
        return Ok(ProofBody::Signature {
            challenge: file(challenge)?,
            signature: file(signature)?,
        });
    }
    let wanted = wanted(&args.wanted)?;
    let code = Secret(code(args)?);
    Ok(ProofBody::Code { code, wanted })
}

/// A code that is not mistyped.
fn code(args: &OpenArgs) -> Result<String, Failure> {
    if args.code_stdin {
        let code = secret::from_stdin()?;
        return match Code::parse(&code) {
            Ok(_) => Ok(code),
            Err(mistyped) => Err(Failure::new(
                Exit::BadInput,
                format!("{mistyped}\n  help: look at the code again: it was not tried"),
            )),
        };
    }
    for _ in 0..TRIES {
        let code = secret::from_terminal("break-glass code (it is not shown): ")?;
        match Code::parse(&code) {
            Ok(_) => return Ok(code),
            Err(mistyped) => run::say(&format!("{mistyped}: type it again, it was not tried")),
        }
    }
    Err(Failure::new(Exit::BadInput, "that was no code; nothing was tried"))
}

fn wanted(args: &WantedArgs) -> Result<WantedBody, Failure> {
    let needs = |what: &str, value: &Option<String>| {
        value.clone().ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("a break-glass needs --{what}: see `holdfast break-glass open --help`"),
            )
        })
    };
    let wrong = |what: &str, fault: holdfast_policy::Fault| {
        Failure::new(Exit::Usage, format!("--{what}: {}\n  help: {}", fault.message, fault.help))
    };
    let length = holdfast_policy::parse_time(&args.length).map_err(|fault| wrong("for", fault))?;
    let bytes = args.bytes.as_deref().map(holdfast_policy::parse_bytes).transpose();
    Ok(WantedBody {
        zone: needs("zone", &args.zone)?,
        reason: needs("reason", &args.reason)?,
        seconds: length.as_secs(),
        files: args.files,
        bytes: bytes.map_err(|fault| wrong("bytes", fault))?,
        host_wide: args.host_wide,
    })
}

fn file(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MOST_FILE).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::new(Exit::BadInput, format!("cannot read {}: {error}", path.display()))
    })?;
    Ok(text)
}

async fn close(client: &Client, json: bool) -> Result<Exit, Failure> {
    told(&client.close_glass(None).await?, json, show::closed)?;
    Ok(Exit::Ok)
}

async fn status(client: &Client, json: bool) -> Result<Exit, Failure> {
    let status = client.glass().await?;
    if json {
        out::json(&status)?;
    } else {
        out::text(&show::status(&status))?;
    }
    Ok(Exit::Ok)
}

async fn challenge(client: &Client, args: &ChallengeArgs) -> Result<Exit, Failure> {
    let report = client.glass_challenge(&wanted(&args.wanted)?).await?;
    if args.json {
        out::json(&report)?;
    } else {
        // Byte for byte: it is signed as it is.
        out::text(&report.challenge)?;
        run::say(&format!(
            "have it signed until {}: `ssh-keygen -Y sign -n holdfast-break-glass -f KEY FILE`, \
             then `holdfast break-glass open --challenge FILE --sig FILE.sig`{}",
            report.until.time,
            if args.wanted.host_wide { "" } else { " `-- COMMAND`" }
        ));
    }
    Ok(Exit::Ok)
}

async fn new_codes(client: &Client, args: &NewArgs) -> Result<Exit, Failure> {
    let body = NewCodesBody { count: args.count.get(), replace: args.replace };
    let report = client.new_codes(&body).await?;
    if args.json {
        out::json(&report)?;
    } else {
        out::text(&show::new_codes(&report))?;
    }
    Ok(Exit::Ok)
}

async fn codes(client: &Client, json: bool) -> Result<Exit, Failure> {
    let report = client.codes().await?;
    if json {
        out::json(&report)?;
    } else {
        out::text(&show::codes(&report))?;
    }
    Ok(Exit::Ok)
}

fn told(
    report: &GlassReport,
    json: bool,
    show: impl Fn(&GlassReport) -> String,
) -> Result<(), Failure> {
    if json {
        out::json(report)?
    } else {
        out::text(&show(report))?
    }
    Ok(())
}
