//! One value of an allowance from the words somebody gave for it. What a value can be is the
//! document's to say: it is put into a document that is otherwise right, and that is read.

use std::collections::BTreeSet;

use holdfast_abi::Op;
use holdfast_policy::allowance::{Allowance, Bind, Grant, Hosts};
use holdfast_policy::{Fault, OpSet, PathPattern, ZoneName, parse_bytes};

use super::time;

/// A value, or what is wrong with the words.
pub(super) type Value<T> = Result<T, String>;

pub(super) fn id(text: &str) -> Value<String> {
    probe(|sample| text.clone_into(&mut sample.id)).map(|read| read.id)
}

pub(super) fn reason(text: &str) -> Value<String> {
    probe(|sample| text.clone_into(&mut sample.reason)).map(|read| read.reason)
}

pub(super) fn person(text: &str) -> Value<String> {
    probe(|sample| text.clone_into(&mut sample.requested_by)).map(|read| read.requested_by)
}

pub(super) fn user(text: &str) -> Value<String> {
    probe(|sample| sample.bind.user = Some(text.to_owned())).map(|_| text.to_owned())
}

pub(super) fn unit(text: &str) -> Value<String> {
    probe(|sample| sample.bind.unit = Some(text.to_owned())).map(|_| text.to_owned())
}

pub(super) fn hosts(names: &[String]) -> Value<Hosts> {
    let names: BTreeSet<String> = names.iter().cloned().collect();
    if names.contains("*") && names.len() == 1 {
        return Ok(Hosts::Any);
    }
    probe(|sample| sample.hosts = Hosts::These(names)).map(|read| read.hosts)
}

pub(super) fn zone(text: &str) -> Value<ZoneName> {
    ZoneName::parse(text).map_err(told)
}

pub(super) fn subtrees(texts: &[String]) -> Value<Vec<PathPattern>> {
    let patterns: Result<Vec<PathPattern>, Fault> =
        texts.iter().map(|text| PathPattern::parse(text)).collect();
    let patterns = patterns.map_err(told)?;
    probe(|sample| sample.grants[0].subtrees = patterns)
        .map(|mut read| std::mem::take(&mut read.grants[0].subtrees))
}

/// Words with commas or blanks between them.
pub(super) fn ops(text: &str) -> Value<OpSet> {
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    let guarded: Vec<&str> = OpSet::GUARDED.iter().map(Op::word).collect();
    let possible = format!("possible are {}", guarded.join(", "));
    let ops: Value<Vec<Op>> = words
        .map(|word| {
            let op = Op::from_word(word).filter(|op| OpSet::GUARDED.contains(*op));
            op.ok_or_else(|| {
                format!("`{}` is no op that is guarded ({possible})", word.escape_debug())
            })
        })
        .collect();
    OpSet::new(&ops?).ok_or_else(|| format!("there is no op ({possible})"))
}

pub(super) fn files(text: &str) -> Value<u64> {
    let files = number(text)?;
    probe(|sample| sample.grants[0].files = files).map(|_| files)
}

/// A size with its unit, or a plain number of bytes.
pub(super) fn bytes(text: &str) -> Value<u64> {
    let bytes = text.parse::<u64>().or_else(|_| parse_bytes(text).map_err(told))?;
    probe(|sample| sample.grants[0].bytes = bytes).map(|_| bytes)
}

pub(super) fn tenants(text: &str) -> Value<u32> {
    let tenants = number(text)?;
    let number = u32::try_from(tenants).map_err(|_| format!("{tenants} tenants are too many"))?;
    probe(|sample| sample.grants[0].tenants = number).map(|_| number)
}

pub(super) fn moment(text: &str) -> Value<i64> {
    time::parse(text)
}

/// Seconds.
pub(super) fn length(text: &str) -> Value<i64> {
    let length = holdfast_policy::Window::parse(text).map_err(told)?;
    i64::try_from(length.seconds()).map_err(|error| error.to_string())
}

fn number(text: &str) -> Value<u64> {
    text.parse().map_err(|_| format!("`{}` is not a number", text.escape_debug()))
}

/// Reads a document that is right but for what `change` does to it.
fn probe(change: impl FnOnce(&mut Allowance)) -> Value<Allowance> {
    let mut sample = sample();
    change(&mut sample);
    Allowance::parse("", &sample.canonical()).map_err(|problems| {
        let told = problems.iter().map(|problem| format!("{} ({})", problem.message, problem.help));
        told.collect::<Vec<_>>().join("; ")
    })
}

fn sample() -> Allowance {
    Allowance {
        id: "x".to_owned(),
        reason: "x".to_owned(),
        requested_by: "x".to_owned(),
        hosts: Hosts::These(BTreeSet::from(["x".to_owned()])),
        not_before: 0,
        not_after: 3600,
        grants: vec![Grant {
            zone: ZoneName::parse("x").expect("x can be a zone's name"),
            subtrees: vec![PathPattern::parse("/x").expect("/x is a pattern")],
            ops: OpSet::GUARDED,
            files: 1,
            bytes: 1,
            tenants: 1,
        }],
        bind: Bind::default(),
        rehearsal: None,
    }
}

fn told(fault: Fault) -> String {
    fault.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_a_document_takes() {
        assert_eq!(id("CHG-1042"), Ok("CHG-1042".to_owned()));
        assert_eq!(
            hosts(&["Web1".to_owned()]),
            Ok(Hosts::These(BTreeSet::from(["web1".to_owned()])))
        );
        assert_eq!(hosts(&["*".to_owned()]), Ok(Hosts::Any));
        assert_eq!(bytes("10GiB"), Ok(10 << 30));
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!((files("1000"), tenants("2"), length("2h")), (Ok(1000), Ok(2), Ok(7200)));
        assert_eq!(
            ops("remove, truncate").map(|ops| ops.to_string().contains("truncate")),
            Ok(true)
        );
    }

    /// What a document refuses is refused on entry.
    #[test]
    fn invalid_fields_are_refused_at_once() {
        let wrong = [
            id("a b").err(),
            id("x\"\ny = 1").err(),
            reason("").err(),
            reason("two\nlines").err(),
            person("a, b").err(),
            hosts(&["web*".to_owned()]).err(),
            hosts(&["*".to_owned(), "a".to_owned()]).err(),
            hosts(&[]).err(),
            zone("Customers").err(),
            subtrees(&["srv".to_owned()]).err(),
            subtrees(&[]).err(),
            ops("").err(),
            ops("remove,format").err(),
            ops("device").err(),
            files("0").err(),
            files("-1").err(),
            bytes("10").is_ok().then_some(String::new()),
            bytes("ten").err(),
            tenants("99999999999").err(),
            length("soon").err(),
            moment("now").err(),
        ];
        for (index, problem) in wrong.iter().enumerate() {
            assert!(problem.is_some(), "case {index}");
        }
    }
}
