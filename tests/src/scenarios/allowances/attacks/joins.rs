//! Attacks on an allowance that is open: somebody else's process wants to be part of its tree.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::harness::agent::BINARY;
use crate::harness::allowance::{refused, refused_for};
use crate::harness::{Ctx, Tool, check, check_eq, until};

/// `__join` is what the runner's child calls before it becomes CMD. Anybody can call it.
pub(super) fn joins(ctx: &mut Ctx<'_>) -> Result<()> {
    let tree = ctx.signed_tree(2, 20, super::BUDGET)?;
    let doc = ctx.removals("joins", &[&tree.root], 1000)?;
    let join = |id: &str| {
        let tool = Tool::new(BINARY).args([
            "__join",
            "--executable=/usr/bin/rm",
            "--real=/usr/bin/rm",
            id,
        ]);
        tool.args(["--", "rm", "-rf"]).arg(tree.tenant(0))
    };
    let unknown = join(&doc.id).run()?;
    check!(!unknown.succeeded(), "{}", unknown.describe("should be refused: nothing is open"));
    let (go, again) = (ctx.base.join("go"), ctx.base.join("again"));
    // Its own tree tries to join a second time, too.
    let script = "\"$1\" __join --executable=/usr/bin/touch --real=/usr/bin/touch \"$2\" \
        -- touch \"$3\" || touch \"$3.refused\"; \
        until [[ -e $4 ]]; do sleep 0.1; done";
    let words = ["bash", "-c", script, "script", BINARY, &doc.id].map(PathBuf::from);
    let refused = refused(ctx, "wrong_process")?;
    let running = doc.run(words.into_iter().chain([again.clone(), go.clone()])).start()?;
    until("it was refused to join again", Duration::from_secs(60), || {
        Ok(again.with_extension("refused").exists().then_some(()))
    })?;
    check_eq!(self::refused(ctx, "wrong_process")?, refused + 1.0, "refusals of the tree itself");
    let shell = Tool::new("bash").args([
        "-c",
        "\"$@\"; exit $?",
        "x",
        BINARY,
        "__join",
        "--executable=/usr/bin/rm",
        "--real=/usr/bin/rm",
        &doc.id,
        "--",
        "rm",
        "-rf",
    ]);
    for tool in [join(&doc.id), shell.arg(tree.tenant(0))] {
        let said = refused_for(ctx, "wrong_process", || tool.run())?;
        check!(said.contains("help:"), "it should say what to do: {said}");
    }
    let unknown = join("no-such-id").run()?;
    check!(!unknown.succeeded(), "{}", unknown.describe("should have been refused"));
    // Asked of the agent by hand, without any command.
    let request = format!(
        "POST /v1/allowances/{}/join HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\
        Connection: close\r\n\r\n",
        doc.id
    );
    let answer = ask(&request)?;
    check!(!answer.starts_with("HTTP/1.1 200"), "a stranger joined: {answer}");
    tree.lost_exactly(0)?;
    fs::write(&go, "")?;
    running.wait()?;
    check!(!again.exists(), "somebody joined a second time");
    doc.becomes("closed", Some("finished"))?;
    let late = refused_for(ctx, "already_used", || join(&doc.id).run())?;
    check!(late.contains("closed"), "it should say that it is closed: {late}");
    check_eq!(doc.files_spent(0)?, 0, "files spent");
    tree.lost_exactly(0)
}

fn ask(request: &str) -> Result<String> {
    use std::io::{Read as _, Write as _};
    let socket = std::path::Path::new(crate::harness::agent::RUN_DIR);
    let mut answer = String::new();
    for entry in fs::read_dir(socket)? {
        if let Ok(mut stream) = std::os::unix::net::UnixStream::connect(entry?.path()) {
            stream.write_all(request.as_bytes())?;
            stream.read_to_string(&mut answer)?;
        }
    }
    check!(answer.starts_with("HTTP/1.1 "), "no answer from the agent: {answer:?}");
    Ok(answer)
}
