use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use tempfile::TempDir;

use super::*;

const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

fn key() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, KEY)
}

fn hook() -> (TcpListener, Target) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}/in?x=1", listener.local_addr().unwrap());
    (listener, target.parse().unwrap())
}

/// One request with its headers and body; answered with `status`.
fn take(listener: &TcpListener, status: &str) -> (Vec<String>, String) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (Vec::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().unwrap();
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(reader.get_mut(), "HTTP/1.1 {status}\r\n\r\n").unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("in vain: {what}");
}

#[test]
fn web_hook_signs_body_and_time() {
    let (listener, target) = hook();
    let webhook = Webhook::start(target, key()).unwrap();
    webhook.send("{\"event\":\"trip\"}".to_owned());
    let (head, body) = take(&listener, "204 No Content");
    assert_eq!(head[0], "POST /in?x=1 HTTP/1.1");
    assert_eq!(body, "{\"event\":\"trip\"}");
    let header = |name: &str| {
        let start = format!("{name}: ");
        head.iter().find_map(|line| line.strip_prefix(&start)).unwrap().to_owned()
    };
    let hex = header("Holdfast-Signature").strip_prefix("sha256=").unwrap().to_owned();
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let signature: Vec<u8> = (0..hex.len()).step_by(2).map(pair).collect();
    let signed = format!("{}.{body}", header("Holdfast-Time"));
    assert!(hmac::verify(&key(), signed.as_bytes(), &signature).is_ok());
    let edited = signed.replace("trip", "drip");
    assert!(hmac::verify(&key(), edited.as_bytes(), &signature).is_err());
    until("it is counted", || webhook.delivered() == 1);
    assert_eq!(webhook.dropped(), 0);
}

/// The next one is sent.
#[test]
fn failed_post_is_counted_and_dropped() {
    let (listener, target) = hook();
    let webhook = Webhook::start(target, key()).unwrap();
    webhook.send("1".to_owned());
    let _ = take(&listener, "500 No");
    until("the refusal is counted", || webhook.dropped() == 1);
    webhook.send("2".to_owned());
    assert_eq!(take(&listener, "200 OK").1, "2");
    drop(listener);
    webhook.send("3".to_owned());
    until("nobody is there", || webhook.dropped() == 2);
    assert_eq!(webhook.delivered(), 1);
}

/// A hook that takes the connection and never answers.
#[test]
fn hanging_hook_is_not_waited_for() {
    let (_listener, target) = hook();
    let webhook = Webhook::start(target, key()).unwrap();
    for _ in 0..QUEUE + 100 {
        webhook.send("x".to_owned());
    }
    assert!(webhook.dropped() >= 99, "{}", webhook.dropped());
    assert_eq!(webhook.delivered(), 0);
}

/// A hook that answers a byte at a time, for ever. With a time limit for each byte one message took
/// days, and no other was sent.
#[test]
fn trickling_hook_is_given_up() {
    for (start, taken) in [("", false), ("HTTP/1.1 204 No Content\r\n", true)] {
        let (listener, target) = hook();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(start.as_bytes()).unwrap();
            while stream.write_all(b"H").is_ok() {
                std::thread::sleep(std::time::Duration::from_millis(200));
            }
        });
        let (done, outcome) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let patience = std::time::Duration::from_secs(1);
            done.send(deliver::post(&target, &key(), "x", patience).is_ok()).unwrap();
        });
        let patience = std::time::Duration::from_secs(60);
        assert_eq!(outcome.recv_timeout(patience), Ok(taken), "{start:?}");
    }
}

/// Of an endless answer only the first bytes are read. What a hook may say that is not a yes:
/// another place to go to, nothing, no HTTP, or a yes that never ends.
#[test]
fn hook_answer_is_not_followed() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1 << 22));
    for (answer, taken) in [
        ("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://192.0.2.1/\r\n\r\n", false),
        ("", false),
        ("HTTP/1.1", false),
        ("220 mail.example.com ESMTP\r\n", false),
        ("\u{1b}[2J\u{1b}[2J\u{1b}[2J\u{1b}[2J", false),
        (endless.as_str(), true),
    ] {
        let (listener, target) = hook();
        let said = answer.to_owned();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            // Who has read enough is gone.
            let _ = stream.write_all(said.as_bytes());
        });
        let outcome = deliver::post(&target, &key(), "x", deliver::PATIENCE);
        let start: String = answer.chars().take(30).collect();
        assert_eq!(outcome.is_ok(), taken, "{start:?}: {outcome:?}");
        let message = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
}

#[test]
fn a_hook_is_near() {
    let parse = |text: &str| text.parse::<Target>();
    for near in
        ["http://127.0.0.1:80", "http://[::1]:9/x", "http://10.1.2.3:80/a", "http://[fd00::1]:80/"]
    {
        assert!(parse(near).is_ok(), "{near}");
    }
    for not in [
        "http://192.0.2.1:80/",
        "http://[2001:db8::1]:80/",
        "http://[::ffff:192.0.2.1]:80/",
        "http://169.254.169.254:80/",
        "http://localhost:80/",
        "http://127.0.0.1/",
        "http://127.0.0.1:80/a b",
        "http://127.0.0.1:80/\r\nX: y",
        "127.0.0.1:80",
    ] {
        assert!(parse(not).is_err(), "{not}");
    }
    assert!(parse("https://127.0.0.1:443/").unwrap_err().contains("no TLS"));
    assert_eq!(parse("http://127.0.0.1:80").unwrap().to_string(), "http://127.0.0.1:80/");
}

#[test]
fn key_must_be_long_and_private() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("key");
    let write = |bytes: &[u8], mode| {
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read_key(&path).map(|key| hmac::sign(&key, b"x").as_ref().to_vec())
    };
    assert!(read_key(&path).is_err());
    assert_eq!(
        write(b"0123456789abcdef0123456789abcdef\n", 0o600),
        Ok(hmac::sign(&key(), b"x").as_ref().to_vec())
    );
    assert!(write(KEY, 0o640).unwrap_err().contains("others can read"));
    assert!(write(&[b'x'; 4097], 0o600).unwrap_err().contains("longer than 4 KiB"));
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    assert!(read_key(&pipe).unwrap_err().contains("no file"));
    assert!(
        write(b"short\n                                      ", 0o600)
            .unwrap_err()
            .contains("32 bytes")
    );
}
