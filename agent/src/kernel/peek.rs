//! Looks into the ring of what was destroyed without taking anything off it.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use holdfast_abi as abi;

use super::{destroyed, error::KernelError};

/// A record's header: its length, with two flags (BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT), and 4 bytes for the kernel.
const HEADER: usize = 8;
const FLAGS: u32 = 0b11 << 30;

/// The producer's page and the records behind it, read-only. The kernel maps the records twice, one after the other, so that none
/// is in two pieces.
pub(super) struct Peek {
    at: *const u8,
    page: usize,
    size: usize,
}

// SAFETY: it only reads memory that the kernel writes, wherever it is.
#[expect(unsafe_code, reason = "a mapping is the same for every thread")]
unsafe impl Send for Peek {}

impl Peek {
    /// Maps the ring.
    pub(super) fn new(ring: &MapData) -> Result<Self, KernelError> {
        let info = ring.info().map_err(|error| KernelError::refused("look at the ring", error))?;
        // SAFETY: asks for a number.
        #[expect(unsafe_code, reason = "the size of a page is the C library's to tell")]
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = info.max_entries() as usize;
        let fd = ring.fd().as_fd().as_raw_fd();
        // SAFETY: a new mapping, of a length and at an offset that the kernel checks.
        #[expect(unsafe_code, reason = "maps the kernel's ring buffer")]
        let at = unsafe {
            let offset = page as libc::off_t;
            libc::mmap(
                ptr::null_mut(),
                page + 2 * size,
                libc::PROT_READ,
                libc::MAP_SHARED,
                fd,
                offset,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(KernelError::io("map the ring DESTROYED", io::Error::last_os_error()));
        }
        Ok(Self { at: at.cast_const().cast(), page, size })
    }

    /// Where the next record will be.
    pub(super) fn end(&self) -> u64 {
        // SAFETY: the mapping begins with the producer's position, which the kernel writes in one piece.
        #[expect(unsafe_code, reason = "reads the kernel's ring buffer")]
        let end = unsafe { &*self.at.cast::<AtomicU64>() };
        end.load(Ordering::Acquire)
    }

    /// Whether there is a record from position `start` on that `is_it`.
    pub(super) fn has(&self, start: u64, is_it: impl Fn(&abi::Destroyed) -> bool) -> bool {
        let (mut at, end) = (start, self.end());
        while at < end {
            let offset = at as usize & (self.size - 1);
            let header = self.bytes(offset, HEADER);
            let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            let length = (length & !FLAGS) as usize;
            if length > self.size {
                return false;
            }
            let record = self.bytes(offset + HEADER, length);
            if destroyed::read(&record).is_some_and(|gone| is_it(&gone.head)) {
                return true;
            }
            at += (HEADER + length).next_multiple_of(8) as u64;
        }
        false
    }

    /// A copy: the kernel may write there again once a record was taken.
    fn bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let length = length.min((2 * self.size).saturating_sub(offset));
        // SAFETY: `offset` and `length` stay within the two copies of the records, which follow the producer's page.
        #[expect(unsafe_code, reason = "reads the kernel's ring buffer")]
        unsafe {
            let from = self.at.add(self.page + offset);
            ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), length);
        }
        bytes
    }
}

impl Drop for Peek {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it.
        #[expect(unsafe_code, reason = "ends the mapping")]
        unsafe {
            libc::munmap(self.at.cast_mut().cast(), self.page + 2 * self.size);
        }
    }
}
