//! Each counter on a few lines of source.

use super::*;

/// The counts of a crate `a` of these files.
fn crates(files: &[(&str, &str)]) -> Crates {
    let mut counts = Counts::default();
    for (path, text) in files {
        counts.read("a", path, text).unwrap();
    }
    Crates::from([("a".to_owned(), counts)])
}

/// The number that the table has for the crate.
fn number(label: &str, files: &[(&str, &str)]) -> usize {
    let report = table::report(&crates(files));
    let row = report.lines().find_map(|line| line.strip_prefix(&format!("{label:<32}")));
    row.unwrap().split_whitespace().last().unwrap().parse().unwrap()
}

fn in_code(label: &str, text: &str) -> usize {
    number(label, &[("a/src/x.rs", text)])
}

#[test]
fn files_and_lines() {
    let files = [("a/src/x.rs", "\n\n\n"), ("a/src/y.rs", "//\n"), ("a/tests/z.rs", "\n\n")];
    assert_eq!(number("files", &files), 3);
    assert_eq!(number("lines", &files), 6);
    assert_eq!(number("median file, in lines", &files), 2);
    assert_eq!(number("longest file, in lines", &files), 3);
}

#[test]
fn lines_of_tests() {
    let text = "struct A;\n#[cfg(test)]\nmod tests {\n    fn f() {}\n}\n";
    assert_eq!(in_code("lines of tests", text), 4);
    let method = "impl A {\n    fn f() {}\n    #[cfg(test)]\n    fn g() {}\n}\n";
    assert_eq!(in_code("lines of tests", method), 2);
    for path in ["a/tests/x.rs", "a/src/tests.rs", "a/src/x_tests.rs"] {
        assert_eq!(number("lines of tests", &[(path, "fn f() {}\n\n")]), 2, "{path}");
    }
    let mut scenarios = Counts::default();
    scenarios.read("tests/b", "tests/b/src/x.rs", "fn f() {}\n\n").unwrap();
    assert_eq!((scenarios.test_lines, scenarios.functions.len()), (2, 1));
    let shipped = [("a/src/x/mod.rs", "#[cfg(test)]\nmod y;\n"), ("a/src/x/y.rs", "\n\n\n")];
    assert_eq!(number("lines of tests", &shipped), 5);
}

#[test]
fn test_code_is_not_code() {
    let text = "struct A;\n#[cfg(test)]\nmod tests { fn f(a: bool) {} }\n";
    assert_eq!(in_code("bool parameters", text), 0);
    assert_eq!(number("bool parameters", &[("a/src/tests.rs", "fn f(a: bool) {}")]), 0);
}

#[test]
fn lines_over_100_columns() {
    let text = format!("//{}\n//{}\n", "ü".repeat(98), "u".repeat(99));
    assert_eq!(in_code("lines over 100 columns", &text), 1);
    assert_eq!(in_code("- per 1000 lines", &text), 500);
}

#[test]
fn function_lengths() {
    let text = "fn a() {}\ntrait T { fn b(); fn c() {\n} }\nimpl A {\n/// D\nfn d()\n{\n}\n}\n";
    assert_eq!(in_code("functions", text), 3);
    assert_eq!(in_code("median function, in lines", text), 2);
    assert_eq!(in_code("longest function, in lines", text), 3);
}

#[test]
fn cycles_of_modules() {
    let cycle = |from_c: &str| {
        let files = [
            ("a/src/lib.rs", "mod a; mod b; mod c; mod d; pub use d::deep::D; use crate::a;"),
            ("a/src/a.rs", "use crate::{b::{B}, c};"),
            ("a/src/b/mod.rs", "use std::a; fn f() { println!(\"{}\", super::c::C) }"),
            ("a/src/c/d/e.rs", from_c),
            ("a/src/d.rs", "mod deep { type A = super::super::c::C; type B = super::a::A; }"),
        ];
        assert_eq!(number("modules", &files), 4);
        number("modules in a cycle", &files)
    };
    assert_eq!(cycle("use crate::c; use super::super::d; use a::b;"), 0);
    assert_eq!(cycle("#[cfg(test)] mod tests { use crate::a; }"), 0);
    assert_eq!(cycle("use super::super::super::a::A;"), 3);
    assert_eq!(cycle("fn f(a: crate::b::B) {}"), 2);
    assert_eq!(cycle("fn f(d: crate::D) {}"), 2, "a re-export is traced to its module");
}

#[test]
fn variants_of_enums() {
    let text = "enum Event { A, B } enum RunOutcome { A, B, C } enum Events { A }";
    assert_eq!(in_code("variants of Event", text), 2);
    assert_eq!(in_code("variants of RunOutcome", text), 3);
    assert!(!table::report(&crates(&[("a/src/x.rs", text)])).contains("Events"));
}

#[test]
fn string_fields() {
    let text = "struct A { a: String, b: &'static str } enum B { C(std::string::String) }";
    assert_eq!(in_code("fields of type String", text), 2);
}

#[test]
fn string_errors() {
    let text = "trait T { fn a() -> Option<Result<u8, String>>; }\n\
        fn b() -> Result<String, Error> { let c: Result<u8, String> = d(); c }\n\
        struct E { f: Result<u8, String> }\n\
        fn g(h: Result<(), String>) {}";
    assert_eq!(in_code("Result<_, String> in signatures", text), 2);
    let bodiless = "trait T { fn a(); } struct E { f: Result<u8, String> }";
    assert_eq!(in_code("Result<_, String> in signatures", bodiless), 0);
}

#[test]
fn bool_parameters() {
    let text = "fn a(b: bool, c: u8, d: bool) -> bool { e } impl F { fn g(&self, h: bool) {} }";
    assert_eq!(in_code("bool parameters", text), 3);
}

#[test]
fn type_names_in_two_places() {
    let text = "pub struct A; mod b { pub(crate) enum A {} } pub enum C {} mod d { struct C; }";
    assert_eq!(in_code("type names in two places", text), 1);
    let report = table::report(&crates(&[("a/src/x.rs", text)]));
    assert!(report.ends_with("type names in two places\n  A: a/src/x.rs:1, a/src/x.rs:1\n"));
}

#[test]
fn words_of_test_names() {
    let text = "#[cfg(test)] mod tests {\n\
        #[test] fn a_b() {} #[tokio::test] async fn a_b_c() {} fn not_a_test() {}\n\
        proptest! { /// Doc.\n #[test] fn a_b_c_d_e_f(g in 0..1) {} }\n\
        }\n\
        const S: &[Scenario] = &[Scenario::each(\"a_b_c_d_e_f_g\", run).slow()];";
    assert_eq!(in_code("tests", text), 4);
    assert_eq!(in_code("median test name, in words", text), 6);
    assert_eq!(in_code("test names over 6 words", text), 1);
    assert_eq!(in_code("- in percent", text), 25);
}

#[test]
fn walk_finds_crates_in_crates() {
    let mut crates = Crates::new();
    walk(&paths::ebpf(), "", &mut crates).unwrap();
    for name in ["ebpf", "ebpf/abi"] {
        let file = format!("{name}/src/");
        assert!(crates[name].files.iter().all(|(_, path)| path.starts_with(name)));
        assert!(crates[name].files.iter().any(|(_, path)| path.starts_with(&file)), "{name}");
    }
    assert!(crates["ebpf"].files.iter().all(|(_, path)| !path.starts_with("ebpf/abi")));
}

#[test]
fn error_names_file_and_line() {
    let error = Counts::default().read("a", "a/src/x.rs", "fn a() {}\nfn {}\n").unwrap_err();
    assert!(error.to_string().starts_with("line 2: "), "{error}");
}
