use super::super::ask::Lines;
use super::*;

const AROUND: Surroundings<'_> = Surroundings { now: 1_782_936_000, host: "web1" };

fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn args() -> NewArgs {
    NewArgs {
        id: text("CHG-1"),
        reason: text("remove caches"),
        requested_by: text("carol@example.com"),
        hosts: vec!["web2".to_owned(), "web1".to_owned()],
        from: text("2026-07-01T22:00:00+02:00"),
        until: text("2026-07-02T00:00:00+02:00"),
        zone: text("customers"),
        subtrees: vec!["/srv/customers/*/cache".to_owned()],
        ops: text("remove"),
        files: text("1000"),
        bytes: text("10GiB"),
        tenants: text("20"),
        ..NewArgs::default()
    }
}

fn answered(args: &NewArgs, answers: &str) -> (Result<Allowance, Failure>, String) {
    let mut draft = Draft::of(args).unwrap();
    let mut lines = Lines { answers: answers.as_bytes(), questions: Vec::new() };
    let done = draft.complete(&mut lines, &AROUND).and_then(|()| draft.finish(&AROUND));
    (done, String::from_utf8(lines.questions).unwrap())
}

#[test]
fn flags_say_everything() {
    let draft = Draft::of(&args()).unwrap();
    assert!(draft.missing().is_empty());
    let allowance = draft.finish(&AROUND).unwrap();
    assert_eq!((allowance.not_before, allowance.not_after), (1_782_936_000, 1_782_943_200));
    assert_eq!(allowance.grants.len(), 1);
    assert_eq!(allowance.bind, Bind::default());
}

#[test]
fn more_grants_follow_the_flag_grant() {
    let more = "zone=backup subtree=/backup/a ops=remove files=1 bytes=0 tenants=0".to_owned();
    let both = NewArgs { grants: vec![more.clone()], ..args() };
    let zones = |args: &NewArgs| -> Vec<String> {
        let allowance = Draft::of(args).unwrap().finish(&AROUND).unwrap();
        allowance.grants.iter().map(|grant| grant.zone.to_string()).collect()
    };
    assert_eq!(zones(&both), ["customers", "backup"]);
    let (zone, subtrees) = (None, vec![]);
    let only = NewArgs {
        grants: vec![more],
        zone,
        subtrees,
        ops: None,
        files: None,
        bytes: None,
        tenants: None,
        ..args()
    };
    assert_eq!(zones(&only), ["backup"]);
}

#[test]
fn all_missing_fields_are_listed() {
    let nothing = Draft::of(&NewArgs::default()).unwrap();
    let expected = [
        "--id",
        "--reason",
        "--requested-by",
        "--host",
        "--until or --for",
        "--zone",
        "--subtree",
        "--ops",
        "--files",
        "--bytes",
        "--tenants",
    ];
    assert_eq!(nothing.missing(), expected);
    let failure = nothing.finish(&AROUND).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    assert!(expected.iter().all(|flag| failure.message.contains(flag)), "{}", failure.message);
    let half = NewArgs { grants: vec!["zone=a files=1".to_owned()], ..args() };
    assert_eq!(
        Draft::of(&half).unwrap().missing(),
        [
            "`subtree=` in --grant 1",
            "`ops=` in --grant 1",
            "`bytes=` in --grant 1",
            "`tenants=` in --grant 1"
        ]
    );
}

#[test]
fn all_wrong_fields_are_listed() {
    let wrong = NewArgs {
        id: text("a b"),
        from: text("tomorrow"),
        files: text("many"),
        grants: vec!["zone=A".to_owned()],
        command: Some("/nonexistent/command".into()),
        ..args()
    };
    let failure = Draft::of(&wrong).unwrap_err();
    assert_eq!(failure.exit, Exit::Usage);
    for part in ["--id: ", "--from: ", "--files: ", "--grant 1: zone: ", "--command: "] {
        assert!(failure.message.contains(part), "{part:?} in\n{}", failure.message);
    }
}

#[test]
fn end_before_begin_names_its_line() {
    let wrong = NewArgs { until: text("2026-07-01T21:00:00+02:00"), ..args() };
    let failure = Draft::of(&wrong).unwrap().finish(&AROUND).unwrap_err();
    assert!(failure.message.contains("the new allowance:7:"), "{}", failure.message);
}

#[test]
fn missing_fields_are_asked_with_defaults() {
    let answers = "remove caches\nnot a person\ncarol@example.com\n\nCustomers\ncustomers\n\
                   /srv/customers/*/cache /srv/b\n\n1000\n10GiB\n\n\n\n";
    let (allowance, shown) = answered(&NewArgs::default(), answers);
    let allowance = allowance.unwrap();
    assert_eq!(allowance.id, "2026-07-01-customers");
    assert_eq!(allowance.hosts, field::hosts(&["web1".to_owned()]).unwrap());
    assert_eq!((allowance.not_before, allowance.not_after), (AROUND.now, AROUND.now + 7200));
    assert_eq!(allowance.grants[0].subtrees.len(), 2);
    assert_eq!((allowance.grants[0].files, allowance.grants[0].tenants), (1000, 1));
    assert_eq!(shown.matches("who asks for it").count(), 2, "{shown}");
    assert_eq!(shown.matches("in which zone?").count(), 2, "{shown}");
    assert!(shown.contains("on which hosts? [web1] "), "{shown}");
}

#[test]
fn only_missing_fields_are_asked() {
    let (allowance, shown) = answered(&NewArgs { files: None, ..args() }, "5\n");
    assert_eq!(allowance.unwrap().grants[0].files, 5);
    assert_eq!(shown, "at most how many files? ");
    let until = NewArgs { until: None, ..args() };
    let (allowance, _) = answered(&until, "2026-07-01T21:00:00Z\n");
    assert_eq!(allowance.unwrap().not_after, 1_782_939_600);
    assert!(answered(&until, "soon\n").0.is_err());
}

#[test]
fn command_is_bound_by_file_content() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "abc").unwrap();
    let bound = NewArgs {
        command: Some("sh".into()),
        script: Some(script.clone()),
        user: text("root"),
        unit: text("maintenance.service"),
        ..args()
    };
    let bind = Draft::of(&bound).unwrap().finish(&AROUND).unwrap().bind;
    let command = bind.command.unwrap();
    assert!(command.path.starts_with('/') && command.path.ends_with("/sh"), "{}", command.path);
    let (path, sha256) = command.script.unwrap();
    assert_eq!(path, script.canonicalize().unwrap().to_str().unwrap());
    assert_eq!(sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(
        (bind.user.as_deref(), bind.unit.as_deref()),
        (Some("root"), Some("maintenance.service"))
    );
}
