//! The ring of deletion records, mapped. It is read in place, and a record stays in it until it is
//! taken off: so an agent that is killed before that finds it again.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
    ptr, slice,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use aya::maps::MapData;
use holdfast_abi as abi;

use super::{destroyed, error::KernelError};

/// A record's header: its length, with two flags, and 4 bytes for the kernel.
const HEADER: usize = 8;
/// BPF_RINGBUF_BUSY_BIT: it is still written.
const BUSY: u32 = 1 << 31;
/// BPF_RINGBUF_DISCARD_BIT: it is none.
const DISCARD: u32 = 1 << 30;

/// Positions are bytes since the ring was made; they never fall.
pub(super) struct Ring {
    /// The consumer's position. The kernel writes nothing to what lies between it and the end.
    consumer: Mapping,
    /// The producer's page and the records behind it, read-only. The kernel maps the records twice,
    /// one after the other, so that none is in two pieces.
    producer: Mapping,
    page: usize,
    size: usize,
}

impl Ring {
    /// Maps the ring.
    pub(super) fn new(map: &MapData) -> Result<Self, KernelError> {
        let info = map.info().map_err(|error| KernelError::refused("look at the ring", error))?;
        // SAFETY: asks for a number.
        #[expect(unsafe_code, reason = "the size of a page is the C library's to tell")]
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let size = info.max_entries() as usize;
        let (read, write) = (libc::PROT_READ, libc::PROT_WRITE);
        let consumer = Mapping::new(map, 0, page, read | write)?;
        let producer = Mapping::new(map, page, page + 2 * size, read)?;
        Ok(Self { consumer, producer, page, size })
    }

    /// Where the next record will be.
    pub(super) fn end(&self) -> u64 {
        self.producer.position().load(Ordering::Acquire)
    }

    /// Up to where records were taken off.
    pub(super) fn taken(&self) -> u64 {
        self.consumer.position().load(Ordering::Relaxed)
    }

    /// Takes everything before `to` off, so that the kernel has that room again.
    pub(super) fn take(&mut self, to: u64) {
        if self.taken() < to && to <= self.end() {
            self.consumer.position().store(to, Ordering::Release);
        }
    }

    /// The next record from `at` on, which moves behind it. `at` is not before what was taken off.
    pub(super) fn next(&self, at: &mut u64) -> Option<&[u8]> {
        let end = self.end();
        while *at < end {
            let (header, record, length) = self.look(*at);
            if header & BUSY != 0 {
                return None;
            }
            *at += (HEADER + length).next_multiple_of(8) as u64;
            if header & DISCARD == 0 {
                // SAFETY: within the mapping, see `look`; the kernel writes there again only when
                // it is taken off, which needs this ring unborrowed.
                #[expect(unsafe_code, reason = "reads the kernel's ring buffer")]
                return Some(unsafe { slice::from_raw_parts(record, length) });
            }
        }
        None
    }

    /// Whether there is a record from position `start` on that `is_it`, whatever was taken off.
    pub(super) fn has(&self, start: u64, is_it: impl Fn(&abi::Destroyed) -> bool) -> bool {
        let (mut at, end) = (start, self.end());
        while at < end {
            let (header, record, length) = self.look(at);
            let mut copy = vec![0; length];
            // SAFETY: within the mapping, see `look`. A copy: the kernel may write there again.
            #[expect(unsafe_code, reason = "reads the kernel's ring buffer")]
            unsafe {
                ptr::copy_nonoverlapping(record, copy.as_mut_ptr(), length);
            }
            let is_one = header & DISCARD == 0;
            if is_one && destroyed::file(&copy).is_some_and(|file| is_it(&file)) {
                return true;
            }
            at += (HEADER + length).next_multiple_of(8) as u64;
        }
        false
    }

    /// The header at a position, and where its record is: within the mapping, whatever it says.
    fn look(&self, at: u64) -> (u32, *const u8, usize) {
        let offset = at as usize & (self.size - 1);
        // SAFETY: a header is aligned to 8 bytes, and with its record it stays within the two
        // copies of the records, which follow the producer's page.
        #[expect(unsafe_code, reason = "reads the kernel's ring buffer")]
        unsafe {
            let from = self.producer.at.add(self.page + (offset & !7));
            let header = (*from.cast::<AtomicU32>()).load(Ordering::Acquire);
            let length = (header & !(BUSY | DISCARD)) as usize;
            (header, from.add(HEADER), length.min(self.size - HEADER))
        }
    }
}

struct Mapping {
    at: *mut u8,
    length: usize,
}

// SAFETY: it is memory that the kernel shares, wherever it is.
#[expect(unsafe_code, reason = "a mapping is the same for every thread")]
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(map: &MapData, offset: usize, length: usize, access: i32) -> Result<Self, KernelError> {
        let (fd, offset) = (map.fd().as_fd().as_raw_fd(), offset as libc::off_t);
        // SAFETY: a new mapping, of a length and at an offset that the kernel checks.
        #[expect(unsafe_code, reason = "maps the kernel's ring buffer")]
        let at =
            unsafe { libc::mmap(ptr::null_mut(), length, access, libc::MAP_SHARED, fd, offset) };
        if at == libc::MAP_FAILED {
            return Err(KernelError::io("map the ring DESTROYED", io::Error::last_os_error()));
        }
        Ok(Self { at: at.cast(), length })
    }

    /// The position at its beginning, which the kernel reads and writes in one piece.
    fn position(&self) -> &AtomicU64 {
        // SAFETY: either mapping begins with one, and lives as long as this value.
        #[expect(unsafe_code, reason = "reads the kernel's ring buffer")]
        unsafe {
            &*self.at.cast::<AtomicU64>()
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and nothing borrows from it.
        #[expect(unsafe_code, reason = "ends the mapping")]
        unsafe {
            libc::munmap(self.at.cast(), self.length);
        }
    }
}
