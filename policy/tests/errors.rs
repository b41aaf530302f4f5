//! What a wrong policy file is told: every mistake, where it is, and what to do about it.

use holdfast_abi::{MAX_BUDGETS, MAX_ZONES};
use holdfast_policy::{Policy, Problems};

const BUDGET: &str = "[[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"10m\"\n";

fn problems(text: &str) -> Problems {
    match Policy::parse("policy.toml", text) {
        Ok(policy) => panic!("nothing is wrong with\n{text}\nwhich is read as\n{policy}"),
        Err(problems) => problems,
    }
}

/// `line:col message` of each problem.
fn short(text: &str) -> Vec<String> {
    problems(text).iter().map(|p| format!("{}:{} {}", p.line, p.col, p.message)).collect()
}

/// A policy of one zone with this line in place of the one for the same field (or added), which
/// must be the only thing wrong. Its fields are on lines 2 to 6, and those of its budget on lines 8
/// to 14.
fn one(line: &str) -> String {
    let zone = [
        "name = \"z\"",
        "role = \"primary\"",
        "paths = [\"/z\"]",
        "tenant_depth = 1",
        "mode = \"observe\"",
    ];
    let budget = [
        "per = \"unit\"",
        "who = \"operators\"",
        "ops = [\"remove\"]",
        "files = 1",
        "bytes = 1",
        "tenants = 1",
        "window = \"10m\"",
    ];
    let field = |line: &str| line.split('=').next().map(str::trim).map(str::to_owned);
    let put = |own: &&str| {
        if field(own) == field(line) { line.to_owned() } else { (*own).to_owned() }
    };
    let mut text = format!(
        "[[zone]]\n{}\n[[zone.budget]]\n{}\n",
        zone.iter().map(put).collect::<Vec<_>>().join("\n"),
        budget.iter().map(put).collect::<Vec<_>>().join("\n")
    );
    if !text.contains(line) {
        text += line;
    }
    let problems = problems(&text);
    assert_eq!(problems.len(), 1, "{problems}");
    short(&text).remove(0)
}

#[test]
fn five_mistakes_are_five_located_errors() {
    let text = include_str!("golden/five-mistakes.toml");
    let problems = problems(text);
    assert_eq!(problems.len(), 5);
    assert_eq!(problems.to_string(), include_str!("golden/five-mistakes.txt"));
}

/// Problems in what is no TOML are reported up to the place where it breaks.
#[test]
fn syntax_error_hides_later_problems() {
    let problems = problems(include_str!("golden/not-toml.toml"));
    assert_eq!(problems.to_string(), include_str!("golden/not-toml.txt"));
}

#[test]
fn fields_and_types() {
    for (line, expected) in [
        ("window_s = 1", "15:1 a budget has no field `window_s`"),
        ("name = 1", "2:8 `name` cannot be a whole number"),
        ("role = true", "3:8 `role` cannot be true or false"),
        ("paths = \"/z\"", "4:9 `paths` cannot be a string"),
        ("paths = [\"/z\", 1]", "4:16 `paths` cannot be a whole number"),
        ("tenant_depth = \"1\"", "5:16 `tenant_depth` cannot be a string"),
        ("mode = {}", "6:8 `mode` cannot be a single table"),
        ("files = 1.5", "11:9 `files` cannot be a number with a fraction"),
        ("bytes = 2024-01-01", "12:9 `bytes` cannot be a date or time"),
        ("window = 600", "14:10 `window` cannot be a whole number"),
        ("per = unit", "8:7 `unit` needs double quotes"),
    ] {
        assert_eq!(one(line), expected);
    }
    assert_eq!(short("zone = 1"), ["1:8 `zone` cannot be a whole number"]);
    assert_eq!(short("[zone]\nname = \"z\""), ["1:1 `zone` cannot be a single table"]);
    assert_eq!(short("zone = [1]"), ["1:9 `zone` cannot be a whole number"]);
}

#[test]
fn zones() {
    for (line, expected) in [
        ("name = \"Z\"", "2:8 `Z` cannot be a zone's name"),
        ("name = \"canary\"", "2:8 the name `canary` is reserved"),
        ("role = \"backups\"", "3:8 there is no role `backups`"),
        ("mode = \"deny\"", "6:8 there is no mode `deny`"),
        ("tenant_depth = 5", "5:16 a tenant depth of 5 cannot be"),
        ("tenant_depth = -1", "5:16 a tenant depth of -1 cannot be"),
        ("paths = []", "4:9 a zone needs at least one path"),
        ("paths = [\"z\"]", "4:10 `z` is not an absolute path"),
        ("paths = [\"/z/../etc\"]", "4:10 the path has `..` in it"),
        ("paths = [\"/z/**\"]", "4:10 `**` is not supported"),
        ("paths = [\"/\"]", "4:10 the root of the filesystem cannot be a zone"),
        ("paths = [\"/z\", \"/z/y\"]", "4:16 `/z/y` is inside `/z` (line 4) of the same zone"),
    ] {
        assert_eq!(one(line), expected);
    }
}

/// A zone with these lines after its name and paths, from line 4 on.
fn zone_with(lines: &str) -> String {
    format!("[[zone]]\nname = \"z\"\npaths = [\"/z\"]\n{lines}\n{BUDGET}")
}

#[test]
fn wrong_trip_fields_are_located() {
    for (lines, expected) in [
        ("role = 'primary'\non_trip = 'kill'", "5:11 there is no on_trip `kill`"),
        ("role = 'primary'\non_trip = true", "5:11 `on_trip` cannot be true or false"),
        ("role = 'primary'\non_trip = hold", "5:11 `hold` needs double quotes"),
        ("role = 'primary'\nhold_timeout = 30", "5:16 `hold_timeout` cannot be a whole number"),
        ("role = 'primary'\nhold_timeout = '30'", "5:16 `30` has no unit"),
        ("role = 'primary'\nhold_timeout = '30min'", "5:16 `min` is not a unit of time"),
        ("role = 'primary'\nhold_timeout = '9s'", "5:16 a hold timeout of `9s` is out of bounds"),
        ("role = 'primary'\nhold_timeout = '8d'", "5:16 a hold timeout of `8d` is out of bounds"),
        ("role = 'primary'\ntell_terminal = 'no'", "5:17 `tell_terminal` cannot be a string"),
        ("role = 'primary'\ntenant_counts_after = '9'", "5:23 `9` has no unit"),
        ("role = 'primary'\ntenant_counts_after = '9 dogs'", "5:23 `dogs` is not a unit of files"),
        (
            "role = 'primary'\ntenant_counts_after = '0 files'",
            "5:23 a tenant cannot count after `0 files`",
        ),
        (
            "role = 'primary'\ntenant_counts_after = 100",
            "5:23 `tenant_counts_after` cannot be a whole number",
        ),
        ("role = 'primary'\nmanifest = 1", "5:12 `manifest` cannot be a whole number"),
        (
            "role = 'primary'\n[manifest]\nmax_bytes = '1KiB'",
            "6:13 a manifest of 1024 bytes is out of bounds",
        ),
        ("role = 'primary'\ntell_terminal = 1", "5:17 `tell_terminal` cannot be a whole number"),
        (
            "hold_timeout = '30m'\non_trip = 'deny'\nrole = 'primary'",
            "4:16 `hold_timeout` does nothing here: an op over budget is denied",
        ),
        (
            "role = 'primary'\non_trip = 'throttle'\nhold_timeout = '30m'",
            "6:16 `hold_timeout` does nothing here: an op over budget is throttled",
        ),
        (
            "role = 'backup'\nhold_timeout = '30m'",
            "5:16 `hold_timeout` does nothing here: an op over budget is denied",
        ),
        (
            "role = 'primary'\non_trip = 'deny'\ntell_terminal = true",
            "6:17 `tell_terminal` does nothing here: an op over budget is denied",
        ),
        (
            "role = 'backup'\ntell_terminal = false",
            "5:17 `tell_terminal` does nothing here: an op over budget is denied",
        ),
    ] {
        assert_eq!(short(&zone_with(lines)), [expected], "{lines}");
    }
    // Without knowing what happens, nothing is guessed about the rest.
    assert_eq!(
        short(&zone_with("role = 'backups'\nhold_timeout = '30m'")),
        ["4:8 there is no role `backups`"]
    );
    assert_eq!(
        short(&zone_with("role = 'backup'\non_trip = 'held'\ntell_terminal = false")),
        ["5:11 there is no on_trip `held`"]
    );
    // All at once.
    assert_eq!(
        short(&zone_with("role = 'backup'\nhold_timeout = '1s'\ntell_terminal = 0")),
        [
            "5:16 a hold timeout of `1s` is out of bounds",
            "5:16 `hold_timeout` does nothing here: an op over budget is denied",
            "6:17 `tell_terminal` cannot be a whole number",
        ]
    );
}

#[test]
fn budgets() {
    for (line, expected) in [
        ("per = \"process\"", "8:7 there is no kind of actor `process`"),
        ("who = \"operator\"", "9:7 there is no kind of caller `operator`"),
        ("ops = []", "10:7 a budget without ops counts nothing"),
        ("ops = [\"remove\", \"remove\"]", "10:18 `remove` is listed twice"),
        ("ops = [\"remove\", \"delete\"]", "10:18 there is no op `delete`"),
        ("ops = [\"punch\"]", "10:8 `punch` is not guarded yet"),
        ("ops = [\"overwrite\"]", "10:8 `overwrite` is not guarded yet"),
        ("ops = [\"device\"]", "10:8 `device` is not guarded yet"),
        ("files = 0", "11:9 a budget of zero files would stop every op, also ordinary ones"),
        ("files = -5", "11:9 a budget of -5 files cannot be"),
        ("files = 9223372036854775808", "11:9 a budget of 9223372036854775808 files is too large"),
        ("bytes = 0", "12:9 a budget of zero bytes would stop every op, also ordinary ones"),
        ("bytes = \"0GiB\"", "12:9 a budget of zero bytes would stop every op, also ordinary ones"),
        ("bytes = \"2G\"", "12:9 `G` is not a unit of size"),
        ("bytes = \"2\"", "12:9 `2` has no unit"),
        ("tenants = 0", "13:11 a budget of zero tenants would stop every op, also ordinary ones"),
        ("tenants = 16385", "13:11 a budget of 16385 tenants is too large"),
        ("window = \"10\"", "14:10 `10` has no unit"),
        ("window = \"0s\"", "14:10 a window of `0s` is out of bounds"),
        ("latch = \"11m\"", "15:9 a latch of 11m is longer than the window of 10m"),
        ("latch = \"10\"", "15:9 `10` has no unit"),
        ("window = \"401d\"", "14:10 a window of `401d` is out of bounds"),
        ("window = \"10min\"", "14:10 `min` is not a unit of time"),
    ] {
        assert_eq!(one(line), expected);
    }
}

#[test]
fn what_is_missing() {
    assert_eq!(short(""), ["1:1 the policy has no zones, so nothing would be guarded"]);
    assert_eq!(short("zone = []"), ["1:8 the policy has no zones, so nothing would be guarded"]);
    assert_eq!(
        short("\n[[zone]]\n"),
        [
            "2:1 this zone has no `name`",
            "2:1 this zone has no `paths`",
            "2:1 this zone has no `role`",
            "2:1 this zone has no budget, so nothing would be stopped in it",
        ]
    );
    assert_eq!(
        short("[[zone]]\nname = \"z\"\nrole = \"primary\"\npaths = [\"/z\"]\n  [[zone.budget]]\n"),
        [
            "5:3 this budget has no `per`",
            "5:3 this budget limits nothing",
            "5:3 this budget has no `window`",
        ]
    );
}

#[test]
fn two_zones() {
    let zone = |name: &str, path: &str| {
        format!("[[zone]]\nname = \"{name}\"\nrole = \"primary\"\npaths = [\"{path}\"]\n{BUDGET}")
    };
    let both = |a: &str, b: &str| short(&(zone("a", a) + &zone("b", b)));
    assert_eq!(
        short(&(zone("a", "/a") + &zone("a", "/b"))),
        ["10:8 the zone on line 2 is already named `a`"]
    );
    assert_eq!(both("/a", "/a/"), ["12:10 `/a` is the same as `/a` of zone `a` (line 4)"]);
    assert_eq!(both("/a", "/a/b"), ["12:10 `/a/b` is inside `/a` of zone `a` (line 4)"]);
    assert_eq!(both("/a/b", "/a"), ["12:10 `/a` contains `/a/b` of zone `a` (line 4)"]);
    assert_eq!(
        both("/a/*/x", "/a/b"),
        ["12:10 `/a/b` can match the same directory as, or one inside or above, `/a/*/x` of \
          zone `a` (line 4)"]
    );
}

#[test]
fn two_budgets_never_share_an_account() {
    let zone = "[[zone]]\nname = \"a\"\nrole = \"primary\"\npaths = [\"/a\"]\n";
    // The same in other words: all ops, everyone, 600 seconds.
    let again = "[[zone.budget]]\nper = \"unit\"\nwho = \"everyone\"\nbytes = 5\n\
                 window = \"600s\"\n\
                 ops = [\"detach\", \"remove\", \"replace\", \"truncate\", \"move_out\"]\n";
    assert_eq!(
        short(&format!("{zone}{BUDGET}{again}")),
        ["9:1 the budget on line 5 already has this per, who, ops and window: everyone per \
          unit, 10m"]
    );
}

/// A good policy's zone on lines 1 to 8, then these lines from 9 on.
fn signing(lines: &str) -> Vec<String> {
    let text =
        format!("[[zone]]\nname = \"z\"\nrole = 'primary'\npaths = [\"/z\"]\n{BUDGET}{lines}\n");
    short(&text)
}

const OPS: &str = "[[group]]\nname = 'ops'\npeople = ['alice', 'bob']\n";

#[test]
fn allowances() {
    for (line, expected) in [
        ("signer = '/a'", "10:1 `[allowances]` has no field `signer`"),
        ("signers = 'signers'", "10:11 `signers` is not an absolute path"),
        ("signers = ''", "10:11 `` is not an absolute path"),
        ("signers = '/a/../b'", "10:11 `/a/../b` is not written as a plain path"),
        ("signers = '/'", "10:11 `/` is not written as a plain path"),
        ("revoked = 'x'", "10:11 `x` is not an absolute path"),
        ("revoked = \"/a\\u200b\"", "10:11 there is a character in it that nobody sees: U+200B"),
        ("revoked = 1", "10:11 `revoked` cannot be a whole number"),
        ("max_length = '59s'", "10:14 a longest allowance of `59s` is out of bounds"),
        ("max_length = '8d'", "10:14 a longest allowance of `8d` is out of bounds"),
        ("max_length = '8'", "10:14 `8` has no unit"),
        ("any_host = 'no'", "10:12 `any_host` cannot be a string"),
    ] {
        assert_eq!(signing(&format!("[allowances]\n{line}")), [expected], "{line}");
    }
    assert_eq!(signing("[[allowances]]"), ["9:1 `allowances` cannot be a list"]);
}

#[test]
fn groups() {
    for (lines, expected) in [
        ("name = 'ops'\npeople = []", "11:10 a group needs at least one person"),
        ("name = 'ops'", "9:1 this group has no `people`"),
        ("people = ['a']", "9:1 this group has no `name`"),
        ("name = 'Ops'\npeople = ['a']", "10:8 `Ops` cannot be a group's name"),
        ("name = ''\npeople = ['a']", "10:8 `` cannot be a group's name"),
        ("name = 'ops'\npeople = ['a', 'b', 'a']", "11:21 `a` is in this group twice"),
        ("name = 'ops'\npeople = ['a', 'A']", "11:16 `A` is in this group twice"),
        ("name = 'ops'\npeople = ['a b']", "11:11 `a b` cannot be a person"),
        ("name = 'ops'\npeople = ['*@example.com']", "11:11 `*@example.com` cannot be a person"),
        ("name = 'ops'\npeople = ['a,b']", "11:11 `a,b` cannot be a person"),
        ("name = 'ops'\npeople = ['']", "11:11 `` cannot be a person"),
        ("name = 'ops'\npeople = ['älice']", "11:11 `älice` cannot be a person"),
        ("name = 'ops'\nmembers = ['a']\npeople = ['a']", "11:1 a group has no field `members`"),
    ] {
        assert_eq!(signing(&format!("[[group]]\n{lines}")), [expected], "{lines}");
    }
    assert_eq!(
        signing(&format!("{OPS}{OPS}")),
        ["13:8 the group on line 9 is already named `ops`"]
    );
    assert_eq!(
        signing(&format!("{OPS}[[group]]\nname = 'owners'\npeople = ['Alice', 'bob']")),
        ["14:11 `Alice` is written `alice` in another group"]
    );
    let many: Vec<String> = (0..257).map(|n| format!("'p{n}'")).collect();
    let many = format!("[[group]]\nname = 'ops'\npeople = [{}]", many.join(","));
    assert_eq!(
        signing(&many).remove(0).split_once(' ').unwrap().1,
        "this group has 257 people, 256 can be"
    );
    let many: String =
        (0..65).map(|n| format!("[[group]]\nname = 'g{n}'\npeople = ['a']\n")).collect();
    assert_eq!(signing(&many), ["201:1 there are 65 groups, 64 can be"]);
}

#[test]
fn trust() {
    let need = "needs = [{ group = 'ops', people = 2 }]";
    let primary = "role = 'primary'";
    for (lines, expected) in [
        (format!("{need}\nrole = 'prime'"), "14:8 there is no role `prime`"),
        (need.to_owned(), "12:1 this trust has no `role`"),
        (primary.to_owned(), "12:1 this trust has no `needs`"),
        (
            format!("{primary}\nneeds = []"),
            "14:9 a trust that needs nobody would let anybody through",
        ),
        (format!("{primary}\nneeds = 2"), "14:9 `needs` cannot be a whole number"),
        (format!("{primary}\nneeds = [{{ group = 'ops' }}]"), "14:10 this need has no `people`"),
        (format!("{primary}\nneeds = [{{ people = 1 }}]"), "14:10 this need has no `group`"),
        (
            format!("{primary}\nneeds = [{{ group = 'ops', people = 1, all = 1 }}]"),
            "14:39 a need has no field `all`",
        ),
        (
            format!("{primary}\nneeds = [{{ group = 'opps', people = 1 }}]"),
            "14:20 there is no group `opps`",
        ),
        (
            format!("{primary}\nneeds = [{{ group = 'ops', people = 0 }}]"),
            "14:36 a need of 0 people cannot be",
        ),
        (
            format!("{primary}\nneeds = [{{ group = 'ops', people = 3 }}]"),
            "14:36 3 people of group `ops` are needed, it has 2",
        ),
        (
            format!(
                "{primary}\nneeds = [{{ group = 'ops', people = 1 }}, \
                 {{ group = 'ops', people = 1 }}]"
            ),
            "14:41 group `ops` is needed twice",
        ),
        (
            format!("{primary}\n{need}\nverified = true"),
            "15:12 `verified = true` does nothing here: keys in files count too",
        ),
        (format!("{primary}\n{need}\nhardware = 'yes'"), "15:12 `hardware` cannot be a string"),
        (format!("{primary}\n{need}\nhardwear = true"), "15:1 a trust has no field `hardwear`"),
        (
            format!("{primary}\n{need}\n[[trust]]\n{primary}\n{need}"),
            "16:8 the trust on line 12 already says who signs for `primary` zones",
        ),
    ] {
        assert_eq!(signing(&format!("{OPS}[[trust]]\n{lines}")), [expected], "{lines}");
    }
}

#[test]
fn needs_that_no_people_can_meet() {
    let both = |owners: &str, ops: u32| {
        format!(
            "{OPS}[[group]]\nname = 'owners'\npeople = [{owners}]\n[[trust]]\nrole = 'backup'\n\
             needs = [{{ group = 'ops', people = {ops} }}, {{ group = 'owners', people = 1 }}]"
        )
    };
    let text = |lines: &str| {
        format!("[[zone]]\nname = 'z'\nrole = 'primary'\npaths = ['/z']\n{BUDGET}{lines}\n")
    };
    assert!(Policy::parse("", &text(&both("'bob'", 1))).is_ok(), "alice, and bob for the owners");
    assert!(Policy::parse("", &text(&both("'bob', 'carol'", 2))).is_ok());
    assert_eq!(
        signing(&both("'bob'", 2)),
        ["17:9 these needs can never be met: they take 3 different people, and the groups have \
          2 for them"]
    );
    let many: Vec<String> = (0..33).map(|n| format!("'p{n}'")).collect();
    assert_eq!(
        signing(&format!(
            "[[group]]\nname = 'g'\npeople = [{}]\n[[trust]]\nrole = 'primary'\n\
             needs = [{{ group = 'g', people = 33 }}]",
            many.join(",")
        )),
        ["14:9 33 people are needed, 32 can sign"]
    );
}

#[test]
fn kernel_capacity_is_enforced() {
    let zone = |n: usize| {
        format!("[[zone]]\nname = \"z{n}\"\nrole = \"primary\"\npaths = [\"/z{n}\"]\n{BUDGET}")
    };
    let zones = |n: usize| (0..n).map(zone).collect::<String>();
    assert_eq!(Policy::parse("", &zones(MAX_ZONES - 2)).unwrap().zones.len(), 62);
    assert_eq!(short(&zones(MAX_ZONES)), ["497:1 there are 64 zones, 62 can be"]);

    let budgets = |n: usize| {
        let budget = |n: usize| {
            format!("[[zone.budget]]\nper = \"unit\"\nfiles = 1\nwindow = \"{}m\"\n", n + 11)
        };
        zone(0) + &(1..n).map(budget).collect::<String>()
    };
    assert_eq!(Policy::parse("", &budgets(MAX_BUDGETS)).unwrap().zones[0].budgets.len(), 8);
    assert_eq!(short(&budgets(MAX_BUDGETS + 1)), ["37:1 this zone has 9 budgets, 8 can be"]);

    let paths = |n: usize| {
        let paths: Vec<String> = (0..n).map(|n| format!("\"/{n}\"")).collect();
        zone(0).replace("\"/z0\"", &paths.join(","))
    };
    assert!(Policy::parse("", &paths(4_096)).is_ok());
    let messages: Vec<String> =
        problems(&paths(4_097)).iter().map(|problem| problem.message.clone()).collect();
    assert_eq!(messages, ["there are more than 4096 paths"]);
}

#[test]
fn help_names_what_was_probably_meant() {
    let help = |text: &str| problems(text).iter().next().unwrap().help.clone();
    let zone = "[[zone]]\nname = \"a\"\nrole = \"primary\"\npaths = [\"/a\"]\n";
    let with = |line: &str| help(&format!("{zone}{BUDGET}{line}\n"));
    assert!(
        Policy::parse("p", "on_audit_failure = \"allow\"")
            .unwrap_err()
            .to_string()
            .contains("there is no on_audit_failure `allow`")
    );
    assert!(with("tennants = 1").starts_with("did you mean `tenants`?"));
    assert!(with("ops = [\"move-out\"]").starts_with("did you mean `move_out`?"));
    assert!(with("ops = [\"device\"]").contains("guarded are remove, replace, truncate"));
    assert!(with("bytes = \"2gib\"").contains("write `GiB`"));

    let of = |lines: &str| help(&zone_with(lines));
    assert_eq!(
        of("role = 'primary'\non_trip = 'trottle'"),
        "did you mean `throttle`? Possible here: `deny`, `hold` or `throttle`"
    );
    assert!(
        of("role = 'primary'\nhold-timeout = '1h'").starts_with("did you mean `hold_timeout`?")
    );
    assert_eq!(
        of("role = 'primary'\nhold_timeout = 30"),
        "it is a string, as in `hold_timeout = \"30m\"`"
    );
    assert_eq!(
        of("role = 'primary'\ntell_terminal = \"no\""),
        "it is true or false, without quotes, as in `tell_terminal = false`"
    );
    assert!(of("role = 'primary'\nhold_timeout = '9s'").contains("10s to 7d"));
    assert_eq!(
        of("role = 'primary'\non_trip = 'throttle'\nhold_timeout = '30m'"),
        "leave `hold_timeout` out, or write `on_trip = \"hold\"`"
    );
    assert_eq!(
        of("role = 'backup'\ntell_terminal = false"),
        "a zone of this role has `on_trip = \"deny\"` if it does not say: leave `tell_terminal` \
         out, or add `on_trip = \"hold\"` or `on_trip = \"throttle\"`"
    );
}

/// A policy can come from anywhere; what is quoted from it must not reach into the terminal it is
/// shown on.
#[test]
fn quoted_text_cannot_steer_the_terminal() {
    let shown = problems("[[zone]]\nname = \"a\\u001b[2J\" # \u{202e}\n").to_string();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown:?}");
    assert!(!shown.contains('\u{202e}'));
}

#[test]
fn problems_can_be_told_to_programs() {
    let value = serde_json::to_value(problems("a = 1\n")).unwrap();
    assert_eq!(value["path"], "policy.toml");
    assert_eq!(value["problems"][1]["line"], 1);
    assert_eq!(value["problems"][1]["message"], "a policy has no field `a`");
}

#[test]
fn break_glass_mistakes_are_located() {
    let zone = "[[zone]]\nname = \"customers\"\nrole = \"primary\"\npaths = [\"/a\"]\n";
    let start = format!("{zone}{BUDGET}[break_glass]\n");
    let with = |lines: &str| short(&format!("{start}{lines}\n"));
    assert_eq!(
        with(
            "max_length = \"2d\"\nmax_files = 0\nmax_bytes = \"5\"\n\
             zones = [\"customer\", \"customers\", \"customers\"]"
        ),
        [
            "10:14 a longest break-glass of `2d` is out of bounds",
            "11:13 0 files cannot be the most of a break-glass",
            "12:13 `5` has no unit",
            "13:10 there is no zone `customer`",
            "13:35 `customers` is named twice",
        ]
    );
    assert_eq!(
        with("signers = [\"alice@example.com\", \"Alice@example.com\", \"a b\"]\nmaxfiles = 1"),
        [
            "9:1 this break-glass has no `max_files`",
            "9:1 this break-glass has no `max_bytes`",
            "10:33 `Alice@example.com` is named twice",
            "10:54 `a b` cannot be a person",
            "11:1 `[break_glass]` has no field `maxfiles`",
        ]
    );
    let ok = "max_files = 1\nmax_bytes = 1\n";
    assert_eq!(
        with(&format!("{ok}zones = []")),
        ["12:9 with no zones no break-glass could ever be opened"]
    );
    assert_eq!(with("max_files = 1\nmax_bytes = 0").len(), 1);
    let policy = Policy::parse("policy.toml", &format!("{start}{ok}")).unwrap();
    let rule = policy.break_glass.unwrap();
    assert_eq!(
        (rule.max_length.as_secs(), rule.zones.as_ref(), rule.signers.len()),
        (3600, None, 0)
    );
    assert!(rule.is_for("customers"));
}
