//! Task storage from user space: aya has no type for such a map. A process is named by a pidfd.
#![expect(unsafe_code, reason = "one bpf(2) command that aya does not offer")]

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use aya::maps::MapData;
use aya_obj::generated::{bpf_attr, bpf_cmd};

/// Sets what a process's first thread carries.
pub(super) fn update<V: aya::Pod>(
    map: &MapData,
    process: BorrowedFd<'_>,
    value: &V,
) -> io::Result<()> {
    let key = process.as_raw_fd();
    // SAFETY: all bytes zero is a value of this union of integers.
    let mut attr: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: this command reads this variant; key and value live until the call returns.
    unsafe {
        let update = &mut attr.__bindgen_anon_2;
        update.map_fd = map.fd().as_fd().as_raw_fd() as u32;
        update.key = (&raw const key) as u64;
        update.__bindgen_anon_1.value = std::ptr::from_ref(value) as u64;
    }
    // SAFETY: the kernel reads `attr`, four bytes of key and one value of the map's size, which
    // adopting or making the map has checked.
    let status = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            bpf_cmd::BPF_MAP_UPDATE_ELEM,
            &raw const attr,
            size_of::<bpf_attr>(),
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
