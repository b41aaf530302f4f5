//! `holdfast allow`: writing, reading, signing and checking allowances, and handing them to the
//! agent.
//!
//! It never decides whether an allowance counts: `holdfast_policy::allowance::check` does, here and
//! in the agent.

mod args;
mod ask;
mod draft;
mod field;
mod files;
mod grant;
mod key;
mod new;
mod report;
mod show;
mod sign;
mod submit;
#[cfg(test)]
mod tests;
pub(super) mod time;
mod verify;

pub(super) use args::AllowCommand;
pub(super) use files::{Document, signatures};
pub(super) use report::{closing, progress, status_line};

use super::{Client, Exit, Failure};

pub(super) async fn run(client: &Client, command: &AllowCommand) -> Result<Exit, Failure> {
    match command {
        AllowCommand::New(args) => new::run(args),
        AllowCommand::Show(args) => show::run(client, args).await,
        AllowCommand::Sign(args) => sign::run(args),
        AllowCommand::Verify(args) => verify::run(args),
        AllowCommand::Submit(args) => submit::submit(client, args).await,
        AllowCommand::List(args) => submit::list(client, args.json).await,
        AllowCommand::Revoke(args) => submit::revoke(client, args).await,
    }
}
