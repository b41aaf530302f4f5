//! What a wrong allowance is told: every mistake, where it is, and what to do about it.

use holdfast_policy::Problems;
use holdfast_policy::allowance::{Allowance, MAX_DOCUMENT};

use crate::support::{DOCUMENT, allowance, replaced};

fn problems(text: &str) -> Problems {
    match Allowance::parse("change.toml", text) {
        Ok(allowance) => {
            panic!("nothing is wrong with\n{text}\nwhich is\n{}", allowance.canonical())
        }
        Err(problems) => problems,
    }
}

/// `line:col message` of each problem.
fn short(text: &str) -> Vec<String> {
    problems(text).iter().map(|p| format!("{}:{} {}", p.line, p.col, p.message)).collect()
}

/// The good document with one line in place of another.
fn one(old: &str, new: &str) -> String {
    let all = short(&replaced(DOCUMENT, old, new));
    assert_eq!(all.len(), 1, "{new}: {all:?}");
    all[0].clone()
}

/// The good document with these lines behind it, from 17 on.
fn more(lines: &str) -> Vec<String> {
    short(&format!("{DOCUMENT}\n{lines}\n"))
}

#[test]
fn all_mistakes_are_told_at_once() {
    let problems = problems(include_str!("../golden/allowance-mistakes.toml"));
    assert_eq!(problems.to_string(), include_str!("../golden/allowance-mistakes.txt"));
}

#[test]
fn an_empty_document_lacks_everything() {
    assert_eq!(
        short(""),
        [
            "1:1 this allowance has no `version`",
            "1:1 this allowance has no `id`",
            "1:1 this allowance has no `reason`",
            "1:1 this allowance has no `requested_by`",
            "1:1 this allowance has no `hosts`",
            "1:1 this allowance has no `not_before`",
            "1:1 this allowance has no `not_after`",
            "1:1 an allowance without a grant allows nothing",
        ]
    );
}

#[test]
fn its_own_fields() {
    for (old, new, expected) in [
        ("version = 1", "version = \"1\"", "1:11 `version` cannot be a string"),
        ("version = 1", "version = 0", "1:11 version 0 of allowances is not known here"),
        ("\"CHG-1042\"", "1042", "2:6 `id` cannot be a whole number"),
        ("CHG-1042", "", "2:6 `` cannot be an id"),
        ("CHG-1042", "../1042", "2:6 `../1042` cannot be an id"),
        ("CHG-1042", ".", "2:6 `.` cannot be an id"),
        ("CHG-1042", "a/b", "2:6 `a/b` cannot be an id"),
        ("CHG-1042", &"x".repeat(65), &format!("2:6 `{}` cannot be an id", "x".repeat(65))),
        ("remove the caches of the old release", " ", "3:10 the reason is empty"),
        ("remove the", "a\\nb", "3:10 the reason has more than one line"),
        ("remove the", "a\\tb", "3:10 there is a character in it that nobody sees: U+0009"),
        ("remove the", "a\\u001b[2J", "3:10 there is a character in it that nobody sees: U+001B"),
        ("remove the", "a\u{200d}b", "3:10 there is a character in it that nobody sees: U+200D"),
        ("remove the", "a\u{2067}b", "3:10 there is a character in it that nobody sees: U+2067"),
        ("remove the", "a\u{3164}b", "3:10 there is a character in it that nobody sees: U+3164"),
        ("carol@example.com", "", "4:16 `` cannot be a person"),
        ("carol@example.com", "carol, dave", "4:16 `carol, dave` cannot be a person"),
        ("carol@example.com", "*", "4:16 `*` cannot be a person"),
        ("[\"web1\"]", "\"web1\"", "5:9 `hosts` cannot be a string"),
        ("[\"web1\"]", "[1]", "5:10 `hosts` cannot be a whole number"),
        ("[\"web1\"]", "[]", "5:9 an allowance for no host allows nothing"),
        ("\"web1\"", "\"web1\", \"*\"", "5:18 `*` and names cannot stand together"),
        ("web1", "web?", "5:10 `web?` is a pattern, and hosts are named one by one"),
        ("web1", "", "5:10 `` cannot be a host"),
        ("web1", "web 1", "5:10 `web 1` cannot be a host"),
        ("web1", "wéb1", "5:10 `wéb1` cannot be a host"),
        ("web1", "LocalHost", "5:10 `LocalHost` is what any host may be called"),
        (
            "web1",
            "localhost.localdomain",
            "5:10 `localhost.localdomain` is what any host may be called",
        ),
    ] {
        assert_eq!(one(old, new), expected, "{new}");
    }
    let long = "ä".repeat(501);
    assert_eq!(
        one("remove the caches of the old release", &long),
        "3:10 the reason has 501 characters, 500 can be"
    );
    allowance(&replaced(DOCUMENT, "remove the caches of the old release", &"ä".repeat(500)));
}

#[test]
fn times() {
    let after = "2026-07-01T22:00:00Z";
    for (new, expected) in [
        ("\"2026-07-01T22:00:00Z\"", "7:13 `not_after` cannot be a string"),
        ("2026-07-01T22:00:00", "7:13 this time has no zone"),
        ("2026-07-01", "7:13 this date has no time"),
        ("22:00:00", "7:13 this time has no date"),
        ("2026-07-01T22:00Z", "7:13 this time has no seconds"),
        ("2026-07-01T22:00:00.5Z", "7:13 this time is not a whole second of a minute"),
        ("2026-07-01T22:00:60Z", "7:13 this time is not a whole second of a minute"),
        (
            "9999-12-31T23:59:59-01:00",
            "7:13 this time is out of bounds: a year from 1970 to 9999 is meant",
        ),
        (
            "1969-12-31T23:59:59Z",
            "7:13 this time is out of bounds: a year from 1970 to 9999 is meant",
        ),
        ("2026-07-01T20:00:00Z", "7:13 the allowance is over before it begins"),
        ("2026-07-01T22:00:00+02:00", "7:13 the allowance is over before it begins"),
    ] {
        assert_eq!(one(after, new), expected, "{new}");
    }
    for wrong in ["2026-02-30T22:00:00Z", "2026-07-01T24:00:00Z", "2026-07-01T22:00:00+25:00"] {
        assert!(short(&replaced(DOCUMENT, after, wrong))[0].starts_with("7:"), "{wrong}");
    }
}

#[test]
fn grants() {
    for (old, new, expected) in [
        ("\"customers\"", "\"Customers\"", "10:8 `Customers` cannot be a zone's name"),
        ("\"customers\"", "\"canary\"", "10:8 the name `canary` is reserved"),
        ("\"/srv/customers/*/cache\"", "", "11:12 a grant without subtrees allows nothing"),
        ("/srv/customers/*/cache", "srv", "11:13 `srv` is not an absolute path"),
        ("/srv/customers/*/cache", "/", "11:13 the whole filesystem cannot be a subtree"),
        ("/srv/customers/*/cache", "//", "11:13 the whole filesystem cannot be a subtree"),
        ("/srv/customers/*/cache", "/srv/../etc", "11:13 the path has `..` in it"),
        ("/srv/customers/*/cache", "/srv/**", "11:13 `**` is not supported"),
        ("/*/", "/\u{ad}/", "11:13 there is a character in it that nobody sees: U+00AD"),
        ("\"remove\", \"truncate\"", "", "12:7 a grant without ops allows nothing"),
        ("\"truncate\"", "\"remove\"", "12:18 `remove` is listed twice"),
        ("\"truncate\"", "\"delete\"", "12:18 there is no op `delete`"),
        ("\"truncate\"", "\"device\"", "12:18 `device` is not guarded yet"),
        ("1000", "0", "13:9 a grant of 0 files cannot be"),
        ("1000", "-1", "13:9 a grant of -1 files cannot be"),
        ("1000", "9223372036854775808", "13:9 a grant of 9223372036854775808 files cannot be"),
        ("1000", "\"all\"", "13:9 `files` cannot be a string"),
        ("\"10GiB\"", "-1", "14:9 a grant of -1 bytes cannot be"),
        ("\"10GiB\"", "\"10\"", "14:9 `10` has no unit"),
        ("\"10GiB\"", "1e9", "14:9 `bytes` cannot be a number with a fraction"),
        ("tenants = 20", "tenants = -1", "15:11 a grant of -1 tenants cannot be"),
        ("tenants = 20", "tenants = 131073", "15:11 a grant of 131073 tenants cannot be"),
        ("tenants = 20", "", "9:1 this grant has no `tenants`"),
        ("files = 1000", "", "9:1 this grant has no `files`"),
        ("bytes = \"10GiB\"", "", "9:1 this grant has no `bytes`"),
        ("ops = [\"remove\", \"truncate\"]", "", "9:1 this grant has no `ops`"),
        ("tenants = 20", "tenants = 20\ntennants = 1", "16:1 a grant has no field `tennants`"),
    ] {
        assert_eq!(one(old, new), expected, "{new}");
    }
    let text = DOCUMENT.replace("[[grant]]", "[grant]");
    assert_eq!(short(&text), ["9:1 `grant` cannot be a single table"]);
    let (head, grant) = DOCUMENT.split_at(DOCUMENT.find("[[grant]]").unwrap());
    assert_eq!(allowance(&format!("{head}{}", grant.repeat(8))).grants.len(), 8);
    assert_eq!(short(&format!("{head}{}", grant.repeat(9))), ["65:1 there are 9 grants, 8 can be"]);
    let none = head.replace("version", "grant = []\nversion");
    assert_eq!(short(&none), ["1:9 an allowance without a grant allows nothing"]);
}

#[test]
fn bind() {
    let digest = "0".repeat(64);
    for (lines, expected) in [
        ("[bind]", "17:1 `[bind]` is empty"),
        ("bind = 1", "17:1 a grant has no field `bind`"),
        ("[[bind]]", "17:1 `bind` cannot be a list"),
        ("[bind]\nusers = 'root'\nuser = 'root'", "18:1 `[bind]` has no field `users`"),
        ("[bind]\nuser = 0", "18:8 `user` cannot be a whole number"),
        ("[bind]\nuser = ''", "18:8 `` cannot be a user"),
        ("[bind]\nuser = 'a b'", "18:8 `a b` cannot be a user"),
        ("[bind]\nuser = '*'", "18:8 `*` cannot be a user"),
        ("[bind]\nuser = '00'", "18:8 `00` cannot be a user's number"),
        ("[bind]\nuser = '4294967295'", "18:8 `4294967295` cannot be a user's number"),
        ("[bind]\nunit = ''", "18:8 `` cannot be a unit"),
        ("[bind]\nunit = '/'", "18:8 the root of all cgroups cannot be a unit"),
        ("[bind]\nunit = '/a/../b'", "18:8 `/a/../b` is not written as a plain path"),
        ("[bind]\nunit = '.service'", "18:8 `.service` cannot be a unit"),
        ("[bind]\nunit = 'user.slice'", "18:8 `user.slice` cannot be a unit"),
        ("[bind]\nunit = 'a*.service'", "18:8 `a*.service` cannot be a unit"),
        ("[rehearsal]\nsha256 = 'x'", "18:10 `x` cannot be a SHA-256"),
        ("[rehearsal]", "17:1 this rehearsal has no `sha256`"),
    ] {
        assert_eq!(more(lines), [expected], "{lines}");
    }
    for (lines, expected) in [
        ("path = 'bash'", "18:8 `bash` is not an absolute path"),
        ("path = '/'", "18:8 `/` is not written as a plain path"),
        ("path = '/usr//bin/bash'", "18:8 `/usr//bin/bash` is not written as a plain path"),
        ("path = '/usr/./bash'", "18:8 `/usr/./bash` is not written as a plain path"),
        ("path = '/b'\nscript = '/s'", "17:1 this command has no `script_sha256`"),
        ("path = '/b'\nscript_sha256 = '0'", "19:17 `script_sha256` does nothing without `script`"),
        ("", "17:1 this command has no `path`"),
    ] {
        let lines = format!("[bind.command]\n{lines}\nsha256 = '{digest}'");
        assert_eq!(more(&lines), [expected], "{lines}");
    }
    let upper = digest.replace('0', "A");
    let short = more(&format!("[bind.command]\npath = '/b'\nsha256 = '{upper}'"));
    assert_eq!(short, [format!("19:10 `{upper}` cannot be a SHA-256")]);
}

#[test]
fn help_names_what_was_probably_meant() {
    let help = |text: &str| problems(text).iter().next().unwrap().help.clone();
    let with = |old: &str, new: &str| help(&replaced(DOCUMENT, old, new));
    assert!(
        with("tenants = 20", "tenants = 20\ntenant = 1").starts_with("did you mean `tenants`?")
    );
    assert!(with("version = 1", "version = 1\nhost = []").starts_with("did you mean `hosts`?"));
    assert!(with("\"truncate\"", "\"truncat\"").starts_with("did you mean `truncate`?"));
    assert!(with("22:00:00Z", "22:00:00").contains("as in 2026-07-01T22:00:00+02:00"));
    assert!(with("\"10GiB\"", "\"10gib\"").contains("write `GiB`"));
    assert_eq!(
        help(&format!("{DOCUMENT}[bind]\n")),
        "remove it or fill it: it takes user, unit and `[bind.command]`"
    );
}

/// Of another version nobody knows what is wrong with it.
#[test]
fn other_version_hides_other_mistakes() {
    let text = format!("{}nonsense = 1\n", DOCUMENT.replace("version = 1", "version = 2"));
    assert_eq!(short(&text), ["1:11 version 2 of allowances is not known here"]);
}

#[test]
fn document_length_is_bounded() {
    let fill = |length: usize| {
        let text = format!("{DOCUMENT}# ");
        let rest = length - text.len();
        text + &"x".repeat(rest)
    };
    allowance(&fill(MAX_DOCUMENT));
    assert_eq!(short(&fill(MAX_DOCUMENT + 1)), ["1:1 the document has 65537 bytes, 65536 can be"]);
    // What would be too long once it is canonical is refused too: else nobody could sign it.
    let quotes = format!("'/{}',", "\"".repeat(200)).repeat(1) + &paths(160);
    let text = replaced(DOCUMENT, "\"/srv/customers/*/cache\"", &quotes);
    assert!(text.len() < MAX_DOCUMENT, "{}", text.len());
    let found = short(&text);
    assert!(found[0].starts_with("1:1 its canonical text would have "), "{found:?}");
}

/// Paths that are longer once they are canonical.
fn paths(number: usize) -> String {
    (0..number).map(|n| format!("'/{n}/{}',", "\"".repeat(250))).collect()
}

#[test]
fn deep_nesting_never_breaks_the_parser() {
    for open in ["[", "a = [", "{", "a.", "[[a]]\n[a.b]\n"] {
        let text = open.repeat(MAX_DOCUMENT / open.len());
        assert!(Allowance::parse("deep", &text).is_err(), "{open}");
    }
}
