//! Reads a code without showing it: from the terminal, or one line of standard input. Never from
//! the command line, which `ps` shows.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::fd::AsFd as _;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// No code is typed in more than this.
const MOST: usize = 512;

/// The terminal, as it was before; it is so again at the end, whatever happens.
struct Quiet {
    terminal: File,
    before: Termios,
}

/// The first line of standard input, and not a byte more: the rest is for the command.
pub(super) fn from_stdin() -> io::Result<String> {
    // Without a buffer.
    let stdin = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    line(stdin)
}

/// Asks for it on the terminal, without an echo.
pub(super) fn from_terminal(prompt: &str) -> io::Result<String> {
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|error| {
        io::Error::new(
            error.kind(),
            format!(
                "there is no terminal to ask for the code on ({error}): give it on standard input, \
                 with --code-stdin"
            ),
        )
    })?;
    let quiet = Quiet::new(terminal)?;
    (&quiet.terminal).write_all(prompt.as_bytes())?;
    let typed = typed(&quiet.terminal);
    (&quiet.terminal).write_all(b"\r\n")?;
    typed
}

impl Quiet {
    fn new(terminal: File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        // No signals either: Ctrl-C would leave the terminal without an echo.
        quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // There is nothing else that could be tried.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// What is typed until the line ends, byte by byte.
fn typed(mut from: impl Read) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        let mut byte = [0];
        if from.read(&mut byte)? == 0 {
            break;
        }
        match byte[0] {
            b'\r' | b'\n' => break,
            // Ctrl-C, Ctrl-\, and Ctrl-D with nothing before it.
            3 | 28 => return Err(io::Error::new(io::ErrorKind::Interrupted, "nothing was opened")),
            4 if text.is_empty() => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no code was given"));
            }
            8 | 127 => drop(text.pop()),
            // Ctrl-U.
            21 => text.clear(),
            byte if text.len() < MOST => text.push(byte),
            _ => {}
        }
    }
    String::from_utf8(text).map_err(|_| io::Error::other("no code has such letters"))
}

fn line(mut from: impl Read) -> io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while text.len() < MOST && from.read(&mut byte)? != 0 && byte[0] != b'\n' {
        text.push(byte[0]);
    }
    if text.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "standard input has no code"));
    }
    String::from_utf8(text).map_err(|_| io::Error::other("no code has such letters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It can be given up with ^C or ^D.
    #[test]
    fn typed_code_can_be_corrected() {
        let typed = |bytes: &[u8]| typed(bytes).map_err(|error| error.kind());
        assert_eq!(typed(b"ABC\r"), Ok("ABC".to_owned()));
        assert_eq!(typed(b"ABX\x7fC\nrest"), Ok("ABC".to_owned()));
        assert_eq!(typed(b"\x08XYZ\x15ABC\n"), Ok("ABC".to_owned()));
        assert_eq!(typed(b"AB\x03C\n"), Err(io::ErrorKind::Interrupted));
        assert_eq!(typed(b"\x04"), Err(io::ErrorKind::UnexpectedEof));
    }

    /// The rest of the input is the command's.
    #[test]
    fn only_the_first_line_is_read() {
        let mut input = &b"CODE\nfor the command\n"[..];
        assert_eq!(line(&mut input).unwrap(), "CODE");
        assert_eq!(input, b"for the command\n");
        assert_eq!(line(&b"CODE"[..]).unwrap(), "CODE");
        assert!(line(&b""[..]).is_err());
    }
}
