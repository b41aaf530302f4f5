//! The stream of what was destroyed, for the manifest.

use std::{
    collections::{HashMap, VecDeque},
    fs, mem,
    path::Path,
};

use aya::maps::{Array, Map, MapData, MapInfo, PerCpuArray};
use holdfast_abi as abi;

use super::{apply, error::KernelError, maps, ring::Ring};

pub(super) const RING: &str = "DESTROYED";

/// What was destroyed, as the kernel tells it. The kernel goes on filling it while nobody reads, up
/// to its size.
pub struct DestroyedStream {
    ring: Ring,
    /// Up to where its reader has kept records.
    kept: u64,
    dirs: Dirs,
    /// The record that is looked at, and its names.
    head: abi::Destroyed,
    names: Vec<u8>,
    numbers: Array<MapData, u64>,
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
    /// Every field.
    pub head: &'a abi::Destroyed,
    /// Names, each ended by NUL, from what was destroyed up to the zone's root.
    pub names: &'a [u8],
    /// Names from the tenant's directory up to the zone's root, if the others do not reach that
    /// far.
    pub tenant: &'a [u8],
}

impl DestroyedStream {
    pub(super) fn open(dir: &Path) -> Result<Self, KernelError> {
        let info = MapInfo::from_pin(dir.join(RING))
            .map_err(|error| KernelError::refused("look at the map DESTROYED", error))?;
        let boot = "/proc/sys/kernel/random/boot_id";
        let boot = fs::read_to_string(boot)
            .map_err(|error| KernelError::io(format!("read {boot}"), error))?;
        let ring = Ring::new(&maps::pinned(dir, RING)?)?;
        let numbers: Array<MapData, u64> = open(dir, "NUMBERS")?;
        let kept = numbers.get(&abi::NUMBER_KEPT, 0);
        let kept = kept.map_err(|error| KernelError::refused("read the map NUMBERS", error))?;
        Ok(Self {
            kept: kept.clamp(ring.taken(), ring.end()),
            ring,
            numbers,
            dirs: Dirs::default(),
            head: blank(),
            names: Vec::new(),
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

    /// Up to where its reader has kept records.
    pub const fn kept(&self) -> u64 {
        self.kept
    }

    /// The next record from position `at` on, which moves behind it: `None` inside where it is not
    /// in a form that can be read, or nobody knows its directory. It stays in the ring until
    /// [`Self::keep`].
    pub fn next(&mut self, at: &mut u64) -> Option<Option<Gone<'_>>> {
        loop {
            let item = read(self.ring.next(at)?);
            self.dirs.pass(*at);
            let file = match item {
                Some(Item::Dir(dir)) => {
                    self.dirs.learn(dir, *at);
                    continue;
                }
                Some(Item::File(file)) => file,
                None => return Some(None),
            };
            // One of the self-test has done its work where it was found in the ring.
            if file.slot == abi::SELF_TEST_ZONE {
                continue;
            }
            self.head = file;
            let Some(dir) = self.dirs.known.get(&(file.tid, file.dir)) else { return Some(None) };
            self.head.flags |= dir.flags;
            self.names.clear();
            self.names.extend(&file.name[..file.name_len as usize]);
            self.names.extend(&dir.names);
            return Some(Some(Gone { head: &self.head, names: &self.names, tenant: &dir.tenant }));
        }
    }

    /// Everything before position `to` is kept. The ring gives its room back when no record behind
    /// `to` can refer to a directory in it.
    pub fn keep(&mut self, to: u64) {
        let to = to.min(self.ring.end());
        // The directories of what an earlier agent kept.
        let mut at = self.dirs.learned.max(self.ring.taken());
        while at < to && self.next(&mut at).is_some() {}
        if self.kept < to {
            self.kept = to;
            // For the next agent. Where that fails it goes by what is in the file.
            let _ = self.numbers.set(abi::NUMBER_KEPT, to, 0);
            self.ring.take(self.dirs.forget(to));
        }
    }

    /// How many records of each zone the kernel could not send: of those in force, and of those
    /// that were once and whose slot no other has taken over.
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

/// The directories that records can refer to. Those that come are at most [`abi::GONE_REACH`]
/// behind their directory: so much stays in the ring, for the next agent to learn them from.
#[derive(Default)]
struct Dirs {
    /// By thread and number.
    known: HashMap<(u32, u32), Dir>,
    /// Up to where they are known.
    learned: u64,
    /// Ends of records on the way there, some [`STEP`] apart.
    ends: VecDeque<u64>,
}

/// How finely the ring gives back its room, in bytes.
const STEP: u64 = 64 * 1024;

struct Dir {
    /// Where its record ends.
    end: u64,
    flags: u8,
    names: Box<[u8]>,
    tenant: Box<[u8]>,
}

impl Dirs {
    fn learn(&mut self, dir: DirRecord<'_>, end: u64) {
        let DirRecord { tid, id, flags, names, tenant } = dir;
        let (names, tenant) = (names.into(), tenant.into());
        self.known.insert((tid, id), Dir { end, flags, names, tenant });
    }

    /// A record has been read that ends there.
    fn pass(&mut self, end: u64) {
        self.learned = self.learned.max(end);
        if self.ends.back().is_none_or(|last| last + STEP <= end) {
            self.ends.push_back(end);
        }
    }

    /// Everything before `to` is kept. Returns up to where nothing is of use any more.
    fn forget(&mut self, to: u64) -> u64 {
        let mut useless = 0;
        while let Some(&end) = self.ends.front()
            && end + abi::GONE_REACH <= to
        {
            useless = end;
            self.ends.pop_front();
        }
        if useless > 0 {
            self.known.retain(|_, dir| dir.end > useless);
        }
        useless
    }
}

/// A record in the ring.
enum Item<'a> {
    File(abi::Destroyed),
    Dir(DirRecord<'a>),
}

/// What [`abi::GoneDir`] says.
struct DirRecord<'a> {
    tid: u32,
    id: u32,
    flags: u8,
    names: &'a [u8],
    tenant: &'a [u8],
}

/// A record without anything in it.
pub(super) fn blank() -> abi::Destroyed {
    // SAFETY: `Destroyed` is plain data, for which any bytes are a value.
    #[expect(unsafe_code, reason = "makes plain data")]
    unsafe {
        mem::zeroed()
    }
}

/// Reads a record of a file.
pub(super) fn file(item: &[u8]) -> Option<abi::Destroyed> {
    let mut file = blank();
    if item.len() < size_of_val(&file) {
        return None;
    }
    // SAFETY: `Destroyed` is plain data, for which any bytes are a value, and `item` is long
    // enough.
    #[expect(unsafe_code, reason = "reads plain data from the kernel's ring buffer")]
    unsafe {
        (&raw mut file).cast::<u8>().copy_from_nonoverlapping(item.as_ptr(), size_of_val(&file));
    }
    let is_one = file.kind == abi::GONE_FILE && file.name_len as usize <= file.name.len();
    is_one.then_some(file)
}

fn read(item: &[u8]) -> Option<Item<'_>> {
    let (head, names) = item.split_at_checked(abi::GoneDir::HEAD)?;
    let number = |at| bytes_at(head, at).map(u32::from_ne_bytes);
    let length = |at| bytes_at(head, at).map(|bytes| u16::from_ne_bytes(bytes).into());
    if number(mem::offset_of!(abi::GoneDir, kind))? != abi::GONE_DIR {
        return file(item).map(Item::File);
    }
    let (names, rest) =
        names.split_at_checked(length(mem::offset_of!(abi::GoneDir, names_len))?)?;
    Some(Item::Dir(DirRecord {
        tid: number(mem::offset_of!(abi::GoneDir, tid))?,
        id: number(mem::offset_of!(abi::GoneDir, id))?,
        flags: number(mem::offset_of!(abi::GoneDir, flags))? as u8,
        names,
        tenant: rest.get(..length(mem::offset_of!(abi::GoneDir, tenant_len))?)?,
    }))
}

fn bytes_at<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir(names: &[u8], tenant: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(abi::GONE_DIR.to_ne_bytes());
        bytes.extend(7_u32.to_ne_bytes());
        bytes.extend(101_u32.to_ne_bytes());
        bytes.extend((names.len() as u16).to_ne_bytes());
        bytes.extend((tenant.len() as u16).to_ne_bytes());
        bytes.extend(u32::from(abi::GONE_CUT).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend([names, tenant].concat());
        bytes
    }

    #[test]
    fn record_length_must_match() {
        let bytes = dir(b"deep\0", b"alice\0");
        let Some(Item::Dir(read_dir)) = read(&bytes) else { panic!("a directory") };
        assert_eq!((read_dir.id, read_dir.tid, read_dir.flags), (7, 101, abi::GONE_CUT));
        assert_eq!((read_dir.names, read_dir.tenant), (&b"deep\0"[..], &b"alice\0"[..]));
        assert!(read(&bytes[..bytes.len() - 1]).is_none(), "cut short");
        assert!(read(&bytes[..12]).is_none());
        let mut bytes = vec![0; size_of::<abi::Destroyed>()];
        assert!(read(&bytes).is_none(), "of no kind");
        bytes[..4].copy_from_slice(&abi::GONE_FILE.to_ne_bytes());
        assert!(matches!(read(&bytes), Some(Item::File(_))));
        assert!(read(&bytes[..bytes.len() - 1]).is_none(), "cut short");
        let at = mem::offset_of!(abi::Destroyed, name_len);
        bytes[at] = abi::NAME_ROOM as u8 + 1;
        assert!(read(&bytes).is_none(), "a name longer than its room");
    }

    /// Threads that record removals, each in a directory of its own, and one agent after the other.
    /// Every position is a record of 4 KiB here.
    #[test]
    fn every_record_finds_its_directory() {
        const SIZE: u64 = 4096;
        let mut random = 1_u64;
        let (mut ring, mut taken, mut kept) = (Vec::new(), 0, 0);
        let (mut told, mut dirs, mut next_id) = ([(0, 0); 3], Dirs::default(), 0);
        for _ in 0..40_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match random >> 59 {
                // As `hf_tell`: the record has its place before the directory is looked at.
                0..22 => {
                    let thread = (random >> 40) as usize % 3;
                    // Some rarely record anything.
                    if thread > 0 && random >> 45 & 63 > 0 {
                        continue;
                    }
                    let reserved = ring.len();
                    ring.push((0, 0));
                    let (id, at) = told[thread];
                    if id != 0 && (ring.len() as u64 - at) * SIZE < abi::GONE_REACH {
                        ring[reserved] = (abi::GONE_FILE, id);
                    } else {
                        next_id += 1;
                        told[thread] = (next_id, ring.len() as u64);
                        ring.push((abi::GONE_DIR, next_id));
                        ring.push((abi::GONE_FILE, next_id));
                    }
                }
                // Killed: the next one has what is in the ring, and knows what is on the disk.
                22 => dirs = Dirs::default(),
                // It takes a batch.
                _ => {
                    let end = (ring.len() as u64).min(kept + (random >> 50 & 31));
                    for at in (dirs.learned / SIZE).max(taken)..end {
                        let (kind, id) = ring[at as usize];
                        if kind == abi::GONE_DIR {
                            let (tid, flags) = (0, 0);
                            let dir = DirRecord { tid, id, flags, names: b"", tenant: b"" };
                            dirs.learn(dir, (at + 1) * SIZE);
                        }
                        let is_known = dirs.known.contains_key(&(0, id));
                        assert!(kind != abi::GONE_FILE || at < kept || is_known, "{id} at {at}");
                        dirs.pass((at + 1) * SIZE);
                    }
                    kept = end;
                    taken = taken.max(dirs.forget(kept * SIZE) / SIZE);
                }
            }
        }
        assert!(taken > 5_000 && next_id > 50, "{taken} taken off, {next_id} directories");
        assert!(kept - taken < 2 * abi::GONE_REACH / SIZE, "{kept} kept, {taken} taken off");
    }
}
