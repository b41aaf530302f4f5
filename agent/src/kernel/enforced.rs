//! What the pinned guard enforces, as it can be seen without an agent.

use aya::maps::MapError;
use holdfast_abi as abi;

use super::apply::{read_zone, zone_name};
use super::error::KernelError;
use super::load::{Pins, other_versions};
use super::maps::{self, Maps};

/// A zone in which ops over budget do not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enforced {
    /// Its name.
    pub zone: String,
    /// Whether a break-glass is open there for everybody.
    pub opened: bool,
}

/// Every zone that is enforced; none if nothing is pinned. What a version with another layout or
/// with other maps enforces cannot be read: an error.
pub(super) fn enforced(pins: &Pins) -> Result<Vec<Enforced>, KernelError> {
    if let Some(other) = other_versions(pins)? {
        return Err(KernelError::Incompatible {
            path: other,
            found: "pins of another version".to_owned(),
            wanted: format!("version {}", abi::ABI_VERSION),
        });
    }
    let found = maps::check_pins(&pins.maps)?;
    if found < maps::PINNED.len() {
        // What a start that failed has left: maps without a program.
        if !has_links(pins)? {
            return Ok(Vec::new());
        }
        return Err(KernelError::Incompatible {
            path: pins.maps.clone(),
            found: format!("{found} maps of programs that are attached"),
            wanted: maps::PINNED.len().to_string(),
        });
    }
    let maps = Maps::open(&pins.maps)?;
    let bank = maps.control()?.bank();
    let mut enforced = Vec::new();
    for slot in 1..abi::SELF_TEST_ZONE {
        let conf = read_zone(&maps, bank, slot)?;
        if conf.in_use == 1 && conf.mode == abi::Mode::Enforce as u32 {
            enforced.push(Enforced { zone: zone_name(&conf), opened: is_opened(&maps, conf.id)? });
        }
    }
    Ok(enforced)
}

/// Whether any program is pinned.
fn has_links(pins: &Pins) -> Result<bool, KernelError> {
    match std::fs::read_dir(&pins.links) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(KernelError::io(format!("look into {}", pins.links.display()), error)),
    }
}

/// Whether everybody may spend a break-glass in that zone now.
fn is_opened(maps: &Maps, zone: u64) -> Result<bool, KernelError> {
    let refused = |error| KernelError::refused("read what is open", error);
    let bind = abi::BindKey { id: zone, kind: abi::BindKey::ZONE, pad: 0 };
    let serial = match maps.binds.get(&bind, 0) {
        Ok(serial) => serial,
        Err(MapError::KeyNotFound) => return Ok(false),
        Err(error) => return Err(refused(error)),
    };
    match maps.allowances.get(&serial, 0) {
        Ok(open) => {
            Ok(open.kind == abi::AllowanceConf::BREAK_GLASS
                && open.until_ns > super::boot_time_ns())
        }
        Err(MapError::KeyNotFound) => Ok(false),
        Err(error) => Err(refused(error)),
    }
}
