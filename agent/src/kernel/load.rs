//! Loading and attaching the programs, or adopting those that are pinned.
//!
//! Invariants: programs are attached before those they replace are let go, and at any moment
//! exactly one load of them counts (`Control::instance`). A start that fails half-way leaves what
//! was there in force.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    num::NonZero,
    panic::resume_unwind,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::MapInfo,
    programs::{
        FEntry, FExit, Lsm, Program,
        links::{FdLink, PinnedLink},
        loaded_programs,
    },
};
use holdfast_abi as abi;

use super::{
    Started, Unpinned,
    error::KernelError,
    grace,
    maps::{self, Maps, PINNED},
    offsets::{self, Layout},
    programs,
};

/// The kernel programs, in the binary. Empty in a build without them.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/holdfast.bpf.o"));

/// How often to look whether the kernel has let go of its programs.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How a program is attached.
#[derive(Clone, Copy)]
enum Kind {
    Lsm,
    Enter,
    Exit,
    /// On what attaches a mount ([`Layout::attaches_mount`]). Without it new mounts are guarded
    /// when the agent has seen them.
    Mount,
    /// LSM, on kernels whose `inode_setattr` takes an id mapping.
    LsmIdmap,
    /// LSM, on kernels whose `inode_setattr` does not.
    LsmNoIdmap,
}

/// A program, how it is attached, and to what.
type Target = (&'static str, Kind, &'static str);

/// The program that sees mounts before they are there.
pub(super) const ON_MOUNT: &str = "hf_mount";

/// Every program with the hook or function it goes on. Exits come first: a hook never charges what
/// nobody would give back. The one that takes the verifier longest comes last: see [`take_all`].
const PROGRAMS: &[Target] = &[
    ("hf_rmdir_exit", Kind::Exit, "vfs_rmdir"),
    ("hf_rmdir_exit_again", Kind::Exit, "vfs_rmdir"),
    ("hf_rename_exit", Kind::Exit, "vfs_rename"),
    ("hf_rename_exit_again", Kind::Exit, "vfs_rename"),
    ("hf_link_exit", Kind::Exit, "vfs_link"),
    ("hf_link_exit_again", Kind::Exit, "vfs_link"),
    ("hf_truncate_exit", Kind::Exit, "do_truncate"),
    ("hf_truncate_exit_again", Kind::Exit, "do_truncate"),
    ("hf_end", Kind::Enter, "exit_signals"),
    ("hf_rename_enter", Kind::Enter, "vfs_rename"),
    ("hf_made", Kind::Enter, "security_inode_init_security"),
    (ON_MOUNT, Kind::Mount, "make_visible"),
    ("hf_learn", Kind::Lsm, "file_lock"),
    ("hf_inherit", Kind::Lsm, "task_alloc"),
    ("hf_unlink", Kind::Lsm, "inode_unlink"),
    ("hf_rmdir", Kind::Lsm, "inode_rmdir"),
    ("hf_link", Kind::Lsm, "inode_link"),
    ("hf_setattr", Kind::LsmIdmap, "inode_setattr"),
    ("hf_setattr_old", Kind::LsmNoIdmap, "inode_setattr"),
    ("hf_rename", Kind::Lsm, "inode_rename"),
];

/// Where things are pinned.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    pub(super) base: PathBuf,
    pub(super) maps: PathBuf,
    pub(super) links: PathBuf,
}

impl Pins {
    pub(super) fn new(pin_dir: &Path) -> Self {
        Self::at(pin_dir.join(format!("v{}", abi::ABI_VERSION)))
    }

    fn at(base: PathBuf) -> Self {
        Self { maps: base.join("maps"), links: base.join("links"), base }
    }

    /// The directory with the pins of every ABI version.
    fn root(&self) -> &Path {
        self.base.parent().unwrap_or(&self.base)
    }

    /// Removes them all. Links go first: a program without its maps would be worse than none.
    /// Returns how many.
    fn remove(&self) -> Result<usize, KernelError> {
        let mut removed = 0;
        for dir in [&self.links, &self.maps] {
            let failed = |error| KernelError::io(format!("clear {}", dir.display()), error);
            let entries = match fs::read_dir(dir) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            };
            for entry in entries {
                fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
                removed += 1;
            }
            fs::remove_dir(dir).map_err(failed)?;
        }
        fs::remove_dir(&self.base)
            .map_err(|error| KernelError::io(format!("remove {}", self.base.display()), error))?;
        Ok(removed)
    }

    /// The programs that these pins keep attached: their kernel ids and names.
    fn programs(&self) -> BTreeMap<u32, String> {
        let Ok(entries) = fs::read_dir(&self.links) else { return BTreeMap::new() };
        let program = |path: PathBuf| {
            let name = program_of(path.file_name()?.to_str()?)?.to_owned();
            let (_, id) = link_ids(&path).ok()?;
            Some((id, name))
        };
        entries.flatten().filter_map(|entry| program(entry.path())).collect()
    }

    fn link(&self, program: &str, instance: u64) -> PathBuf {
        // bpffs takes no dots in names.
        self.links.join(format!("{program}-{instance:016x}"))
    }
}

/// The program of such a pin.
fn program_of(link: &str) -> Option<&str> {
    link.rsplit_once('-').map(|(program, _)| program)
}

/// One program that is attached.
pub(super) struct Attached {
    name: &'static str,
    pin: PathBuf,
    /// Kernel ids of the link and of the program.
    ids: (u32, u32),
}

/// The maps that decide, which each set of programs uses.
const DECIDING: [&str; 11] = [
    "CONTROL",
    "ZONES",
    "ROOTS",
    "FILESYSTEMS",
    "PATTERNS",
    "NAMES",
    "ACCOUNTS",
    "COUNTERS",
    "ZONE_COUNTERS",
    "EVENTS",
    "DESTROYED",
];

/// The programs of the load that counts.
pub(super) fn attached(pins: &Pins, instance: u64) -> Result<Vec<Attached>, KernelError> {
    let mut attached = Vec::new();
    for (name, ..) in PROGRAMS {
        let pin = pins.link(name, instance);
        // Of two for one hook, the one that fits this kernel is there.
        if pin.exists() {
            let ids = link_ids(&pin)
                .map_err(|why| KernelError::io("look at a link", std::io::Error::other(why)))?;
            attached.push(Attached { name, pin, ids });
        }
    }
    Ok(attached)
}

fn link_ids(pin: &Path) -> Result<(u32, u32), String> {
    let link = PinnedLink::from_pin(pin).map_err(|error| error.to_string())?;
    let info = FdLink::from(link).info().map_err(|error| error.to_string())?;
    Ok((info.id(), info.program_id()))
}

/// Whether each program is attached as it was, each map is there in its shape, and the programs use
/// these maps.
pub(super) fn check_attached(attached: &[Attached], pins: &Pins) -> Result<(), String> {
    for program in attached {
        match link_ids(&program.pin) {
            Ok(ids) if ids == program.ids => {}
            Ok(_) => return Err(format!("another program is at the pin of {}", program.name)),
            Err(_) if !program.pin.exists() => {
                return Err(format!("{} is not attached: its pin was removed", program.name));
            }
            Err(why) => return Err(format!("{} cannot be looked at: {why}", program.name)),
        }
    }
    let maps = maps::check_pins(&pins.maps).map_err(|error| error.to_string())?;
    if maps != PINNED.len() {
        return Err(format!("of {} pinned maps {maps} are there", PINNED.len()));
    }
    let programs: BTreeSet<u32> = attached.iter().map(|program| program.ids.1).collect();
    let mut used = BTreeSet::new();
    for info in loaded_programs() {
        // The kernel lists programs only for CAP_SYS_ADMIN, which the packaged service does not
        // have: then what the self-test counts shows that the programs use the maps that the agent
        // has open.
        let Ok(info) = info else { return Ok(()) };
        if programs.contains(&info.id()) {
            used.extend(info.map_ids().map_err(|error| error.to_string())?.into_iter().flatten());
        }
    }
    for name in DECIDING {
        let info = MapInfo::from_pin(pins.maps.join(name)).map_err(|error| error.to_string())?;
        if !used.contains(&info.id()) {
            return Err(format!("the map at the pin {name} is none that the programs use"));
        }
    }
    Ok(())
}

/// How many runs of each program the kernel has skipped, as the program was running on that CPU
/// already. None are known without CAP_SYS_ADMIN.
pub(super) fn skipped_runs(attached: &[Attached]) -> Result<Vec<(&'static str, u64)>, KernelError> {
    let mut skipped = Vec::new();
    // One that is unloaded meanwhile is none of ours.
    for info in loaded_programs().filter_map(Result::ok) {
        if let Some(program) = attached.iter().find(|program| program.ids.1 == info.id()) {
            skipped.extend(programs::skipped_runs(&info)?.map(|runs| (program.name, runs)));
        }
    }
    Ok(skipped)
}

/// Brings the programs up, whatever was there before.
pub(super) fn start(pins: &Pins, trace_ops: bool) -> Result<(Maps, Started), KernelError> {
    let flags = if trace_ops { abi::FLAG_TRACE } else { 0 };
    let build = build_id()?;
    let pinned = maps::check_pins(&pins.maps)?;
    if pinned == PINNED.len() {
        let mut maps = Maps::open(&pins.maps)?;
        let mut control = maps.control()?;
        if control.build == build && links_present(pins, control.instance) {
            control.flags = flags | (control.flags & abi::FLAG_ALLOWANCES);
            maps.set_control(control)?;
            return Ok((maps, Started::Adopted));
        }
    }
    make_dirs(pins)?;
    let instance = super::boot_time_ns() | 1;
    let links = load(pins, instance)?;
    let mut maps = Maps::open(&pins.maps)?;
    let before = maps.control()?;
    for (program, link) in links {
        let path = pins.link(program, instance);
        let _: PinnedLink = link
            .pin(&path)
            .map_err(|error| KernelError::refused(format!("pin {}", path.display()), error))?;
    }
    // What is open stays open.
    let flags = flags | (before.flags & abi::FLAG_ALLOWANCES);
    take_over(&mut maps, abi::Control { instance, flags, build, ..before })?;
    drop_other_links(pins, instance)?;
    Ok((maps, if before.instance == 0 { Started::Fresh } else { Started::Upgraded }))
}

/// Makes this load of the programs the one that counts. Those before it count on until no op can be
/// between the two: for that moment an op may be charged twice, and none is charged by neither.
fn take_over(maps: &mut Maps, control: abi::Control) -> Result<(), KernelError> {
    let before = maps.control()?;
    if before.instance != 0 {
        maps.set_control(abi::Control { successor: control.instance, ..before })?;
        grace();
    }
    maps.set_control(abi::Control { successor: 0, ..control })?;
    grace();
    Ok(())
}

/// A digest of the programs in this binary.
fn build_id() -> Result<u64, KernelError> {
    if OBJECT.is_empty() {
        return Err(KernelError::NotBuilt);
    }
    let mut hasher = DefaultHasher::new();
    OBJECT.hash(&mut hasher);
    Ok(hasher.finish())
}

fn links_present(pins: &Pins, instance: u64) -> bool {
    instance != 0
        && [true, false].iter().any(|&idmap| {
            PROGRAMS
                .iter()
                .filter(|(_, kind, _)| fits(*kind, idmap) && !matches!(kind, Kind::Mount))
                .all(|(program, ..)| PinnedLink::from_pin(pins.link(program, instance)).is_ok())
        })
}

fn make_dirs(pins: &Pins) -> Result<(), KernelError> {
    for dir in [&pins.maps, &pins.links] {
        fs::create_dir_all(dir).map_err(|error| {
            KernelError::io(format!("make the directory {}", dir.display()), error)
        })?;
    }
    Ok(())
}

/// Loads and attaches every program. They step aside until the control map names `instance`.
fn load(pins: &Pins, instance: u64) -> Result<Vec<(&'static str, FdLink)>, KernelError> {
    let Layout { offsets, setattr_has_idmap, attaches_mount } = offsets::read()?;
    let btf = Btf::from_sys_fs().map_err(|error| KernelError::refused("give its BTF", error))?;
    let mut loader = EbpfLoader::new();
    loader
        .btf(Some(&btf))
        .allow_unsupported_maps()
        .override_global("OFFSETS", &offsets, true)
        .override_global("INSTANCE", &instance, true);
    for (name, _) in PINNED {
        loader.map_pin_path(name, pins.maps.join(name));
    }
    let mut ebpf =
        loader.load(OBJECT).map_err(|error| KernelError::refused("make the maps", error))?;
    let wanted = PROGRAMS.iter().filter(|(_, kind, _)| fits(*kind, setattr_has_idmap));
    let wanted: Vec<Target> = wanted
        .filter_map(|&(name, kind, target)| match kind {
            Kind::Mount => Some((name, kind, attaches_mount?)),
            _ => Some((name, kind, target)),
        })
        .collect();
    let mut taken = take_all(&mut ebpf, &wanted, &btf);
    let mut links = Vec::new();
    let mut sees_mounts = attaches_mount.map(drop).ok_or("it has none of the functions".to_owned());
    for target in &wanted {
        let program = ebpf.program_mut(target.0).ok_or(KernelError::NotBuilt)?;
        let taken = taken.remove(target.0).ok_or(KernelError::NotBuilt)?;
        match taken.and_then(|()| attach(program, target)) {
            Ok(link) => links.push((target.0, link)),
            Err(error) if matches!(target.1, Kind::Mount) => sees_mounts = Err(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    if let Err(error) = sees_mounts {
        tracing::error!(
            error = end_of(&error),
            "the kernel does not tell of mounts before they are there: a filesystem that is \
             mounted below a protected path is guarded only when the agent has seen it, \
             milliseconds later"
        );
    }
    Ok(links)
}

/// Has the kernel take the programs, as many at a time as there are processors: it verifies them
/// for most of a start.
fn take_all(
    ebpf: &mut Ebpf,
    wanted: &[Target],
    btf: &Btf,
) -> HashMap<&'static str, Result<(), KernelError>> {
    let mut jobs: Vec<_> = ebpf
        .programs_mut()
        .filter_map(|(name, program)| {
            Some((wanted.iter().position(|target| target.0 == name)?, program))
        })
        .collect();
    // The last is taken first: one that takes long and began late would be waited for alone.
    jobs.sort_by_key(|(place, _)| *place);
    let jobs = Mutex::new(jobs);
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop();
    let work = || {
        let mut taken = Vec::new();
        while let Some((place, program)) = next() {
            let target = &wanted[place];
            taken.push((target.0, take(program, target, btf)));
        }
        taken
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads.min(wanted.len())).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|e| resume_unwind(e)))
            .collect()
    })
}

/// What the verifier said last: its log can be megabytes.
fn end_of(error: &str) -> &str {
    const KEPT: usize = 600;
    let start = error.char_indices().nth_back(KEPT).map_or(0, |(at, _)| at);
    &error[start..]
}

/// Whether a program of this kind is for a kernel of this kind.
fn fits(kind: Kind, setattr_has_idmap: bool) -> bool {
    match kind {
        Kind::LsmIdmap => setattr_has_idmap,
        Kind::LsmNoIdmap => !setattr_has_idmap,
        Kind::Lsm | Kind::Enter | Kind::Exit | Kind::Mount => true,
    }
}

/// Has the kernel verify and keep one program.
fn take(
    program: &mut Program,
    &(name, kind, target): &Target,
    btf: &Btf,
) -> Result<(), KernelError> {
    tracing::debug!(program = name, target, "loading");
    let loaded = match kind {
        Kind::Lsm | Kind::LsmIdmap | Kind::LsmNoIdmap => {
            <&mut Lsm>::try_from(program).and_then(|program| program.load(target, btf))
        }
        Kind::Enter | Kind::Mount => {
            <&mut FEntry>::try_from(program).and_then(|program| program.load(target, btf))
        }
        Kind::Exit => <&mut FExit>::try_from(program).and_then(|program| program.load(target, btf)),
    };
    loaded.map_err(|error| KernelError::refused(format!("load {name} for {target}"), error))
}

fn attach(program: &mut Program, &(name, kind, target): &Target) -> Result<FdLink, KernelError> {
    macro_rules! attach {
        ($type:ty) => {
            <&mut $type>::try_from(program).and_then(|program| {
                let link = program.attach()?;
                program.take_link(link).map(FdLink::from)
            })
        };
    }
    let link = match kind {
        Kind::Lsm | Kind::LsmIdmap | Kind::LsmNoIdmap => attach!(Lsm),
        Kind::Enter | Kind::Mount => attach!(FEntry),
        Kind::Exit => attach!(FExit),
    };
    link.map_err(|error| KernelError::refused(format!("attach {name} to {target}"), error))
}

/// Whether an LSM program of that name, as far as the kernel keeps names, is one of a guard.
pub(super) fn is_lsm_program(name: &str) -> bool {
    /// `BPF_OBJ_NAME_LEN` (include/uapi/linux/bpf.h), without the NUL.
    const KEPT: usize = 15;
    let mut hooks = PROGRAMS
        .iter()
        .filter(|(_, kind, _)| !matches!(kind, Kind::Enter | Kind::Exit | Kind::Mount));
    hooks.any(|(program, ..)| program.get(..KEPT).unwrap_or(program) == name)
}

/// How that program is attached and to what, such as `lsm inode_unlink`.
pub(super) fn hook(program: &str) -> Option<String> {
    let (_, kind, target) = PROGRAMS.iter().find(|(name, ..)| *name == program)?;
    let kind = match kind {
        Kind::Lsm | Kind::LsmIdmap | Kind::LsmNoIdmap => "lsm",
        Kind::Enter => "fentry",
        Kind::Exit => "fexit",
        Kind::Mount => return Some(format!("fentry {}", offsets::read().ok()?.attaches_mount?)),
    };
    Some(format!("{kind} {target}"))
}

/// Whether a guard that is pinned has this program; `None` if none is.
pub(super) fn is_pinned(pin_dir: &Path, program: &str) -> Option<bool> {
    let names = fs::read_dir(Pins::new(pin_dir).links).ok()?.flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    let is_it = |name: &OsString| name.to_str().and_then(program_of) == Some(program);
    (!names.is_empty()).then(|| names.iter().any(is_it))
}

/// Kernel ids and names of the programs that are pinned, by every ABI version.
pub(super) fn pinned_programs(pin_dir: &Path) -> Result<BTreeMap<u32, String>, KernelError> {
    Ok(versions(pin_dir)?.iter().flat_map(Pins::programs).collect())
}

/// Lets go of the links of every other instance.
fn drop_other_links(pins: &Pins, instance: u64) -> Result<(), KernelError> {
    let suffix = format!("-{instance:016x}");
    let failed = |error| KernelError::io(format!("clear {}", pins.links.display()), error);
    for entry in fs::read_dir(&pins.links).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_string_lossy().ends_with(&suffix) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Lets go of the programs and maps of every other ABI version. What was spent there is forgotten.
/// To be called once a policy is in force here.
pub(super) fn drop_other_versions(pins: &Pins) -> Result<(), KernelError> {
    for version in versions(pins.root())? {
        if version.base != pins.base {
            tracing::info!(
                pins = %version.base.display(),
                "the guard of another version is let go"
            );
            version.remove()?;
        }
    }
    Ok(())
}

/// The pins of another ABI version than this one, if there are any.
pub(super) fn other_versions(pins: &Pins) -> Result<Option<PathBuf>, KernelError> {
    let others = versions(pins.root())?.into_iter().map(|version| version.base);
    Ok(others.into_iter().find(|base| *base != pins.base))
}

/// The pins of every ABI version.
fn versions(pin_dir: &Path) -> Result<Vec<Pins>, KernelError> {
    let failed = |error| KernelError::io(format!("look into {}", pin_dir.display()), error);
    let entries = match fs::read_dir(pin_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut versions = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix('v'));
        if number.is_some_and(|number| number.parse::<u32>().is_ok()) {
            versions.push(Pins::at(pin_dir.join(&name)));
        }
    }
    Ok(versions)
}

/// Removes every pin, whatever version made it, and waits for at most `patience` until the kernel
/// has let go of the programs: it does so a moment after the last reference to a link is gone.
pub(super) fn unpin(pin_dir: &Path, patience: Duration) -> Result<Unpinned, KernelError> {
    let mut removed = 0;
    let programs = pinned_programs(pin_dir)?;
    for version in versions(pin_dir)? {
        removed += version.remove()?;
    }
    match fs::remove_dir(pin_dir) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        // Something that is not ours.
        Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => {}
        Err(error) => return Err(KernelError::io(format!("remove {}", pin_dir.display()), error)),
    }
    let start = Instant::now();
    while is_any_loaded(&programs) {
        if start.elapsed() >= patience {
            return Ok(Unpinned { pins: removed, off: false });
        }
        thread::sleep(LOOK_AGAIN);
    }
    Ok(Unpinned { pins: removed, off: true })
}

/// Whether the kernel still has one of these programs. Where it does not say, nobody is kept
/// waiting.
fn is_any_loaded(programs: &BTreeMap<u32, String>) -> bool {
    !programs.is_empty()
        && loaded_programs()
            .map_while(Result::ok)
            .any(|program| programs.contains_key(&program.id()))
}
