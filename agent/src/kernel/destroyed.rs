//! The stream of what was destroyed, for the manifest.

use std::{fs, mem, path::Path};

use aya::maps::{Array, Map, MapData, MapInfo, PerCpuArray};
use holdfast_abi as abi;

use super::{apply, error::KernelError, maps, ring::Ring};

pub(super) const RING: &str = "DESTROYED";

/// What was destroyed, as the kernel tells it. The kernel goes on filling it while nobody reads, up to its size.
pub struct DestroyedStream {
    ring: Ring,
    /// The record that is looked at.
    head: Box<abi::Destroyed>,
    counters: PerCpuArray<MapData, abi::ZoneCounters>,
    control: Array<MapData, abi::Control>,
    zones: Array<MapData, abi::ZoneConf>,
    id: String,
}

/// What the kernel could not send of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Name of the zone; it need not be in force any more.
    pub zone: String,
    /// Records since its counters began.
    pub records: u64,
    /// When the last of them was, boot-time nanoseconds.
    pub last_ns: u64,
}

/// One record as it came: the fields, and the names that follow them.
#[derive(Clone, Copy)]
pub struct Gone<'a> {
    /// Every field but `names`, which is all zero.
    pub head: &'a abi::Destroyed,
    /// Names, each ended by NUL, from what was destroyed up to the zone's root.
    pub names: &'a [u8],
    /// Names from the tenant's directory up to the zone's root, if the others do not reach that far.
    pub tenant: &'a [u8],
}

impl DestroyedStream {
    pub(super) fn open(dir: &Path) -> Result<Self, KernelError> {
        let info = MapInfo::from_pin(dir.join(RING))
            .map_err(|error| KernelError::refused("look at the map DESTROYED", error))?;
        let boot = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(boot)
            .map_err(|error| KernelError::io(format!("read {boot}"), error))?;
        Ok(Self {
            ring: Ring::new(&maps::pinned(dir, RING)?)?,
            head: Box::new(blank()),
            counters: open(dir, "ZONE_COUNTERS")?,
            control: open(dir, "CONTROL")?,
            zones: open(dir, "ZONES")?,
            id: format!("{}/{}", boot.trim(), info.id()),
        })
    }

    /// Names this ring: another one has another name, also after a restart of the host.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Up to where records were taken off the ring.
    pub fn taken(&self) -> u64 {
        self.ring.taken()
    }

    /// The next record from position `at` on, which moves behind it: `None` inside where it is not
    /// in a form that can be read. It stays in the ring until [`Self::take`].
    pub fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>> {
        loop {
            let Some((names, tenant)) = read(self.ring.next(at)?, &mut self.head) else {
                return Some(None);
            };
            // One of the self-test has done its work where it was found in the ring.
            if self.head.slot != abi::SELF_TEST_ZONE {
                return Some(Some(Gone { head: &self.head, names, tenant }));
            }
        }
    }

    /// Takes everything before position `to` off the ring.
    pub fn take(&mut self, to: u64) {
        self.ring.take(to);
    }

    /// How many records of each zone the kernel could not send: of those in force, and of those that were once and whose slot no
    /// other has taken over.
    pub fn lost(&self) -> Result<Vec<Lost>, KernelError> {
        loop {
            let bank = self.bank()?;
            let lost =
                (1..abi::SELF_TEST_ZONE).filter_map(|slot| self.lost_of(bank, slot).transpose());
            let lost: Vec<Lost> = lost.collect::<Result<_, _>>()?;
            // If a policy came into force meanwhile a name and a counter may be of two zones.
            if self.bank()? == bank {
                return Ok(lost);
            }
        }
    }

    fn bank(&self) -> Result<u32, KernelError> {
        let control = self.control.get(&0, 0);
        let control =
            control.map_err(|error| KernelError::refused("read the control map", error))?;
        Ok(control.bank())
    }

    fn lost_of(&self, bank: u32, slot: u32) -> Result<Option<Lost>, KernelError> {
        let refused = |error| KernelError::refused("read the map of zones", error);
        let zone =
            apply::zone_name(&self.zones.get(&abi::zone_index(bank, slot), 0).map_err(refused)?);
        if zone.is_empty() {
            return Ok(None);
        }
        let per_cpu = self.counters.get(&slot, 0);
        let per_cpu =
            per_cpu.map_err(|error| KernelError::refused("read the zone counters", error))?;
        let none = Lost { zone, records: 0, last_ns: 0 };
        Ok(Some(per_cpu.iter().fold(none, |lost, cpu| Lost {
            records: lost.records + cpu.manifest_lost,
            last_ns: lost.last_ns.max(cpu.manifest_lost_ns),
            ..lost
        })))
    }
}

fn open<M>(dir: &Path, name: &str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = aya::maps::MapError>,
{
    maps::open_map(dir, name)?
        .try_into()
        .map_err(|error| KernelError::refused(format!("open the map {name}"), error))
}

/// A record without anything in it.
pub(super) fn blank() -> abi::Destroyed {
    // SAFETY: `Destroyed` is plain data, for which any bytes are a value.
    #[expect(unsafe_code, reason = "makes plain data")]
    unsafe {
        mem::zeroed()
    }
}

/// Reads the fields of a record into `head`, and returns its names and those of the tenant.
pub(super) fn read<'a>(item: &'a [u8], head: &mut abi::Destroyed) -> Option<(&'a [u8], &'a [u8])> {
    let (fixed, names) = item.split_at_checked(abi::Destroyed::HEAD)?;
    // SAFETY: `Destroyed` is plain data, for which any bytes are a value; `fixed` is as long as
    // what comes before its names.
    #[expect(unsafe_code, reason = "reads plain data from the kernel's ring buffer")]
    unsafe {
        let to = (&raw mut *head).cast::<u8>();
        to.copy_from_nonoverlapping(fixed.as_ptr(), fixed.len());
    }
    let (names, rest) = names.split_at_checked(head.names_len.into())?;
    Some((names, rest.get(..head.tenant_len.into())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(names: &[u8], tenant: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; abi::Destroyed::HEAD];
        bytes[..8].copy_from_slice(&77_u64.to_ne_bytes());
        let at = mem::offset_of!(abi::Destroyed, names_len);
        bytes[at..at + 2].copy_from_slice(&(names.len() as u16).to_ne_bytes());
        bytes[at + 2..at + 4].copy_from_slice(&(tenant.len() as u16).to_ne_bytes());
        bytes.extend([names, tenant].concat());
        bytes
    }

    #[test]
    fn a_record_is_as_long_as_it_says() {
        let mut head = blank();
        let bytes = record(b"file\0alice\0", b"");
        let read_names = read(&bytes, &mut head).unwrap();
        assert_eq!((read_names, head.time_ns), ((&b"file\0alice\0"[..], &b""[..]), 77));
        let bytes = record(b"deep\0", b"alice\0");
        assert_eq!(read(&bytes, &mut head).unwrap().1, b"alice\0");
        assert!(read(&bytes[..bytes.len() - 1], &mut head).is_none(), "cut short");
        assert!(read(&bytes[..100], &mut head).is_none());
    }
}
