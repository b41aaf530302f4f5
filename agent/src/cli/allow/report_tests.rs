use super::*;
use crate::api::{SignerReport, Until, UserRef};

fn spent(spent: u64, limit: u64) -> Spent {
    Spent { limit, spent, left: limit - spent }
}

fn report() -> AllowanceReport {
    AllowanceReport {
        id: "CHG-1".to_owned(),
        serial: 7,
        digest: "ab".repeat(32),
        state: "open".to_owned(),
        reason: "remove caches\u{1b}[2J".to_owned(),
        requested_by: "carol@example.com".to_owned(),
        signers: vec![SignerReport {
            person: "alice@example.com".to_owned(),
            key: "SHA256:x".to_owned(),
            algorithm: "sk-ssh-ed25519@openssh.com".to_owned(),
            touched: Some(true),
            verified: Some(false),
        }],
        opened: Some("2026-07-01T20:00:00.000Z".to_owned()),
        opened_by: Some(Person {
            uid: 0,
            pid: Some(9),
            login_uid: Some(1000),
            comm: Some("holdfast".to_owned()),
        }),
        until: Some(Until { time: "2026-07-01T22:00:00.000Z".to_owned(), time_ns: 1 }),
        seconds_left: Some(4320),
        bind: BindReport {
            command: Some("/root/clean.sh --all".to_owned()),
            pid: Some(42),
            ..BindReport::default()
        },
        grants: vec![GrantReport {
            zone: "customers".to_owned(),
            ops: vec!["remove".to_owned()],
            subtrees: vec!["/srv/*/cache".to_owned()],
            places: 2,
            files: spent(12, 1000),
            bytes: spent(1024, 10 << 30),
            tenants: spent(1, 20),
        }],
        closed: None,
    }
}

fn closed(why: &str) -> AllowanceReport {
    let closed =
        ClosedReport { at: "2026-07-01T21:00:00.000Z".to_owned(), why: why.to_owned(), by: None };
    AllowanceReport {
        state: "closed".to_owned(),
        until: None,
        seconds_left: None,
        closed: Some(closed),
        ..report()
    }
}

#[test]
fn everything_about_one_is_told() {
    let page = render(&report());
    for part in [
        "allowance CHG-1  OPEN until 2026-07-01T22:00:00.000Z (1h 12m left)",
        r"remove caches\x1b[2J",
        "alice@example.com with SHA256:x (sk-ssh-ed25519@openssh.com, touched)",
        "`/root/clean.sh --all` and what it starts (pid 42)",
        "2026-07-01T20:00:00.000Z by user 0, login user 1000 with holdfast",
        "zone customers: remove in /srv/*/cache (2 places)",
        "12 of 1000 files, 1.0 KiB of 10.0 GiB, 1 of 20 tenants spent; 988 files, 10.0 GiB, 19 \
         tenants left",
    ] {
        assert!(page.contains(part), "{part:?} in\n{page}");
    }
    assert!(render(&closed("expired")).contains("2026-07-01T21:00:00.000Z: its time was over"));
}

#[test]
fn list_shows_open_and_ended_allowances() {
    let page = list(&[report(), closed("rebooted")]);
    assert!(page.contains("CHG-1  OPEN until"), "{page}");
    assert!(page.contains("CHG-1  closed: the host was started anew"), "{page}");
    assert_eq!(list(&[]), "this host has seen no allowance\n");
}

#[test]
fn unsubmitted_id_omits_unknown_fields() {
    let unknown = AllowanceReport {
        state: "revoked".to_owned(),
        reason: String::new(),
        requested_by: String::new(),
        digest: String::new(),
        signers: Vec::new(),
        opened: None,
        opened_by: None,
        bind: BindReport::default(),
        grants: Vec::new(),
        ..closed("revoked")
    };
    assert_eq!(
        render(&unknown),
        "allowance CHG-1  revoked before it was ever used here\n  closed  \
         2026-07-01T21:00:00.000Z: revoked\n"
    );
    assert!(
        list(&[unknown]).starts_with("allowance CHG-1  revoked before it was ever used here\n\n")
    );
    let failed =
        AllowanceReport { state: "failed".to_owned(), until: None, seconds_left: None, ..report() };
    assert!(render(&failed).starts_with("allowance CHG-1  could not be opened"));
}

#[test]
fn progress_fits_into_one_line() {
    assert_eq!(
        progress(&report()),
        "holdfast: 1h 12m left; 12/1000 files, 1.0 KiB/10.0 GiB, 1/20 tenants"
    );
    let mut many = report();
    many.grants = vec![many.grants[0].clone(); 8];
    let line = progress(&many);
    assert_eq!(line.chars().count(), 79, "{line}");
    assert!(line.contains("left; customers 12/1000") && line.ends_with('…'), "{line}");
}

#[test]
fn closing_report_shows_what_is_left() {
    assert_eq!(
        closing(&closed("finished")),
        "holdfast: allowance CHG-1 is closed: its command has ended\n  zone customers  12 of 1000 \
         files, 1.0 KiB of 10.0 GiB, 1 of 20 tenants spent; 988 files, 10.0 GiB, 19 tenants left\n"
    );
}

#[test]
fn every_way_to_end_has_words() {
    use crate::allowances::Why;
    let all = [
        Why::Finished,
        Why::NeverStarted,
        Why::Expired,
        Why::Revoked,
        Why::Closed,
        Why::Rebooted,
        Why::Policy,
        Why::Lost,
    ];
    for word in all.map(Why::word) {
        let end = closed(word).closed.unwrap();
        assert!(!why(&end).contains('_'), "{word}");
        let plain = ["revoked", "closed"].contains(&word);
        assert_eq!(why(&end) == word, plain, "{word} needs a sentence");
    }
    let by = Person { uid: 0, pid: None, login_uid: None, comm: None };
    let revoked = ClosedReport { at: String::new(), why: "revoked".to_owned(), by: Some(by) };
    assert_eq!(why(&revoked), "revoked by user 0");
}

#[test]
fn open_allowance_is_a_status_line() {
    let line = status_line(&OpenAllowance {
        id: "CHG-1".to_owned(),
        reason: "r".to_owned(),
        until: Until { time: "2026-07-01T22:00:00.000Z".to_owned(), time_ns: 1 },
        seconds_left: 60,
        bind: BindReport {
            user: Some(UserRef { uid: 0, name: Some("root".to_owned()) }),
            ..BindReport::default()
        },
        files: spent(12, 1000),
        bytes: spent(0, 1024),
    });
    assert_eq!(
        line,
        "ALLOWED CHG-1 until 2026-07-01T22:00:00.000Z (1m 0s left): 12 of 1000 files, 0 B of 1.0 \
         KiB; for user root (0)"
    );
}
