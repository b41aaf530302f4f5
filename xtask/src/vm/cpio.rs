//! Writes an initramfs: a cpio archive in the `newc` format (kernel documentation,
//! buffer-format.rst).

/// An archive being written.
#[derive(Debug, Default)]
pub struct Cpio {
    bytes: Vec<u8>,
    inode: u32,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const CHAR_DEVICE: u32 = 0o020_600;

impl Cpio {
    /// Adds a directory; its parent has to be there already.
    pub fn dir(&mut self, path: &str) {
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// Adds a file that may be run.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE, (0, 0), content);
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, CHAR_DEVICE, (major, minor), &[]);
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.inode += 1;
        // inode, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor,
        // namesize, check
        let name_size = path.len() as u32 + 1;
        let size = content.len() as u32;
        let fields = [self.inode, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        let length = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(length, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_aligned() {
        let mut archive = Cpio::default();
        archive.dir("dev");
        archive.device("dev/console", 5, 1);
        archive.file("init", b"#!/bin/sh\n");
        let bytes = archive.finish();
        let starts: Vec<usize> =
            (0..bytes.len()).filter(|&at| bytes[at..].starts_with(b"070701")).collect();
        assert_eq!(starts.len(), 4);
        assert!(starts.iter().all(|start| start % 4 == 0));
        assert!(bytes[starts[2]..].windows(10).any(|part| part == b"#!/bin/sh\n"));
    }

    #[test]
    fn header_has_both_sizes() {
        let mut archive = Cpio::default();
        archive.file("ab", b"xyz");
        let text = String::from_utf8(archive.finish()).unwrap();
        assert_eq!(&text[54..62], "00000003", "filesize");
        assert_eq!(&text[94..102], "00000003", "namesize");
        assert_eq!(&text[110..112], "ab");
    }
}
