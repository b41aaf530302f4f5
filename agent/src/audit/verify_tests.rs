//! Every kind of change to a log of 10,000 records is found.
//!
//! What is checked is a fold over the lines, so that a change is tried with the state the verifier
//! had right before it, and followed until it is found or the log ends as it should.

use std::time::Instant;

use super::*;
use crate::audit::{AuditLog, Limits, Record};
use crate::clock::Now;

const RECORDS: u64 = 10_000;
const SAMPLES: u64 = 20_000;

struct Log {
    /// Each line, and the segment it is in.
    lines: Vec<(u64, Vec<u8>)>,
    /// The verifier before each line.
    before: Vec<Verifier>,
    last: Head,
}

/// Deterministic, so that a failure can be looked at (xorshift64*): `HOLDFAST_TEST_SEED` chooses
/// the draw.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// A log as an agent writes one, told by its last head and without anything else.
fn log() -> Log {
    let dir = tempfile::tempdir().unwrap();
    let now = |n: u64| Now {
        boot_ns: n * 1_000_000,
        wall_ns: 1_340_150_400_000_000_000 + n as i64 * 1_000_000,
    };
    let limits = Limits { segment_bytes: 1 << 20, ..Limits::default() };
    let (mut log, _) = AuditLog::start(dir.path(), limits, now(0)).unwrap();
    for n in 0..RECORDS {
        let error = (n % 3 == 0)
            .then(|| format!("record {n} of some length, with \"quotes\" and a \\ in it"));
        log.append(&Record::Adopt { started: Some("fresh"), error }, now(n));
        log.flush().unwrap();
    }
    log.close(now(RECORDS)).unwrap();
    let (key, audit) = (log.public(), dir.path().join("audit"));
    assert!(crate::audit::verify(&audit, &[key], &[]).unwrap().sound);
    let mut lines = Vec::new();
    for number in segments::list(&audit).unwrap() {
        let text = segments::read_from(&audit.join(segments::name(number)), 0).unwrap();
        lines.extend(
            text.split_inclusive(|byte| *byte == b'\n').map(|line| (number, line.to_vec())),
        );
    }
    let last = log.facts().signed.unwrap().head;
    let told = Expected { seq: last.seq, hash: last.hash.to_string(), from: "the journal" };
    let mut verifier = Verifier::new(vec![key], vec![told]);
    let mut before = Vec::new();
    for index in 0..lines.len() {
        before.push(verifier.clone());
        feed(&mut verifier, &lines, index).unwrap();
    }
    before.push(verifier.clone());
    assert!(verifier.end(0).sound);
    Log { lines, before, last }
}

fn feed(verifier: &mut Verifier, lines: &[(u64, Vec<u8>)], index: usize) -> Result<(), Bad> {
    let (segment, line) = &lines[index];
    if verifier.number != *segment {
        verifier.segment(*segment)?;
    }
    verifier.line(line)
}

impl Log {
    /// Whether it is found that `changed` stands where lines `from..to` were. Once the verifier is
    /// in the state that it had with the log as it was, it will find nothing any more.
    fn is_found(&self, from: usize, to: usize, changed: &[u8]) -> bool {
        let mut verifier = self.before[from].clone();
        let segment = self.lines.get(from).map_or(0, |(segment, _)| *segment);
        if verifier.number != segment && segment != 0 && verifier.segment(segment).is_err() {
            return true;
        }
        let mut rest = changed;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            if verifier.line(&rest[..=end]).is_err() {
                return true;
            }
            rest = &rest[end + 1..];
        }
        let mut torn = rest.to_vec();
        for index in to..self.lines.len() {
            let same = |a: &Verifier, b: &Verifier| {
                a.head == b.head && a.key == b.key && a.number == b.number
            };
            if torn.is_empty() && same(&verifier, &self.before[index]) && index > to + 2 {
                return false;
            }
            let (segment, line) = &self.lines[index];
            if verifier.number != *segment {
                // A file that ends without a newline, and another after it.
                if !torn.is_empty() && verifier.line(&torn).is_err()
                    || verifier.segment(*segment).is_err()
                {
                    return true;
                }
                torn.clear();
            }
            torn.extend_from_slice(line);
            if verifier.line(&torn).is_err() {
                return true;
            }
            torn.clear();
        }
        !verifier.end(torn.len()).sound
    }
}

#[test]
fn every_log_change_is_found() {
    let started = Instant::now();
    let log = log();
    let count = log.lines.len();
    assert!(count as u64 > RECORDS && log.lines.last().unwrap().0 > 1, "more than one segment");
    assert!(!log.is_found(5, 6, &log.lines[5].1), "the same is no change");
    let seed = std::env::var("HOLDFAST_TEST_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    // Zero would stay zero.
    let mut random = Random(seed.unwrap_or(2012).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut tried = 0_u64;
    let mut missed = Vec::new();
    let mut expect = |what: &str, index: usize, found: bool| {
        tried += 1;
        if !found {
            missed.push(format!("{what} at line {index}"));
        }
    };
    // Every record once in each way, then bytes anywhere.
    for index in 0..count {
        let line = &log.lines[index].1;
        expect("a record removed", index, log.is_found(index, index + 1, b""));
        expect(
            "a record doubled",
            index,
            log.is_found(index, index + 1, &[line.as_slice(), line].concat()),
        );
        expect("the end cut", index, log.is_found(index, count, b""));
        let at = random.below(line.len());
        expect("the end cut in a line", index, log.is_found(index, count, &line[..at]));
        let other = index + 1 + random.below(50);
        if log.lines.get(other).is_some_and(|(segment, _)| *segment == log.lines[index].0) {
            let between: Vec<u8> =
                log.lines[index + 1..other].iter().flat_map(|(_, line)| line.clone()).collect();
            let swapped = [log.lines[other].1.as_slice(), &between, line].concat();
            expect("two records swapped", index, log.is_found(index, other + 1, &swapped));
        }
    }
    // Each byte of the last line, which no other line vouches for.
    let last = &log.lines[count - 1].1;
    for at in 0..last.len() {
        for bits in (0..8).map(|bit| 1 << bit).chain([0x55, 0xff]) {
            let mut edited = last.clone();
            edited[at] ^= bits;
            expect("a byte of the last line edited", at, log.is_found(count - 1, count, &edited));
        }
    }
    for _ in 0..SAMPLES {
        let index = random.below(count);
        let line = &log.lines[index].1;
        let at = random.below(line.len());
        let mut edited = line.clone();
        let what = match random.below(4) {
            0 => {
                edited[at] ^= 1 << random.below(8);
                "a bit flipped"
            }
            1 => {
                edited[at] = edited[at].wrapping_add(1 + random.below(255) as u8);
                "a byte edited"
            }
            2 => {
                edited.remove(at);
                "a byte removed"
            }
            _ => {
                edited.insert(at, random.below(256) as u8);
                "a byte put in"
            }
        };
        expect(what, index, log.is_found(index, index + 1, &edited));
    }
    assert_eq!(missed, [""; 0], "of {tried}, up to record {}", log.last.seq);
    eprintln!("{tried} changes to {count} records, all found, in {:?}", started.elapsed());
}

/// One who has the log and not the key can write a chain anew that fits, up to the next signature.
#[test]
fn signature_exposes_a_rewritten_chain() {
    let log = log();
    let own_key = crate::audit::key::HostKey::make().unwrap();
    let start = log.lines.iter().position(|(_, line)| contains(line, "record 1200 ")).unwrap();
    let mut verifier = log.before[start].clone();
    for (_, line) in &log.lines[start..] {
        let found = chain::envelope(line).unwrap();
        let mut body: serde_json::Value = serde_json::from_slice(line).unwrap();
        let is_signed = Own::is_signed(&found.kind);
        if found.seq == verifier.head.unwrap().seq + 1 && contains(line, "record 1200 ") {
            body["error"] = "nothing happened".into();
        }
        let fields = body.as_object_mut().unwrap();
        for name in ["seq", "time", "prev", "sig"] {
            fields.remove(name);
        }
        // `type` comes first in what is written; here it only has to be a record.
        let mut text = serde_json::to_vec(&body).unwrap();
        text[0] = b'{';
        let mut forged = verifier.head.unwrap().line(&found.time, &text);
        if is_signed {
            forged = chain::sign(forged, &own_key);
        }
        let outcome = verifier.line(&forged);
        if is_signed {
            let bad = outcome.unwrap_err();
            assert!(bad.what.contains("its signature is not one of the host's key"), "{bad:?}");
            return;
        }
        outcome.unwrap();
    }
    panic!("no signature came");
}

fn contains(line: &[u8], text: &str) -> bool {
    String::from_utf8_lossy(line).contains(text)
}

#[test]
fn heads_parse_as_printed() {
    assert_eq!(Expected::parse("12:0123456789abc").unwrap().seq, 12);
    for wrong in [
        "",
        "12",
        "12:",
        "0:0123456789abc",
        "12:0123456789ab",
        "12:0123456789ABC",
        "x:0123456789abc",
        &format!("1:{}", "a".repeat(65)),
    ] {
        assert!(Expected::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn first_bad_record_names_its_place() {
    let log = log();
    let mut verifier = log.before[500].clone();
    feed(&mut verifier, &log.lines, 501).unwrap_err();
    let bad = {
        let mut verifier = log.before[500].clone();
        feed(&mut verifier, &log.lines, 501).unwrap_err()
    };
    assert_eq!((bad.file.as_str(), bad.line, bad.seq), ("audit-000001.jsonl", 501, Some(502)));
    assert_eq!(bad.means, "records are missing in between");
}
