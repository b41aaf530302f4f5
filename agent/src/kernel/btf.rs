//! Reads structure offsets and function signatures from the running kernel's BTF.
//!
//! Only what the programs need: names, members and parameters. The format is described in the
//! kernel's Documentation/bpf/btf.rst (6.1). Every read is bounds-checked; a damaged file gives an
//! error, never a guess.

use std::collections::HashMap;

use super::error::KernelError;

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_TYPE_TAG: u32 = 18;

/// The kernel's type information.
#[derive(Debug)]
pub(super) struct Btf {
    data: Vec<u8>,
    strings: usize,
    strings_end: usize,
    /// Where each type's header starts; index 0 is `void`.
    types: Vec<u32>,
    structs: HashMap<String, u32>,
    functions: HashMap<String, u32>,
}

impl Btf {
    /// Parses `data`, as found in `/sys/kernel/btf/vmlinux`. Only names in `wanted` can be looked
    /// up afterwards.
    pub(super) fn parse(data: Vec<u8>, wanted: &[&str]) -> Result<Self, KernelError> {
        let mut btf = Self {
            data,
            strings: 0,
            strings_end: 0,
            types: vec![u32::MAX],
            structs: HashMap::new(),
            functions: HashMap::new(),
        };
        if btf.u16(0)? != MAGIC {
            return Err(damaged("it does not start with the BTF magic number"));
        }
        let header = btf.u32(4)? as usize;
        let (type_offset, type_length) = (btf.u32(8)? as usize, btf.u32(12)? as usize);
        btf.strings = header + btf.u32(16)? as usize;
        btf.strings_end = btf.strings + btf.u32(20)? as usize;
        let mut at = header + type_offset;
        let end = at + type_length;
        while at < end {
            let id = btf.types.len() as u32;
            btf.types.push(at as u32);
            let info = btf.u32(at + 4)?;
            let (kind, count) = (kind(info), (info & 0xffff) as usize);
            if matches!(kind, KIND_STRUCT | KIND_FUNC) {
                let name = btf.string(btf.u32(at)?)?;
                if wanted.contains(&name.as_str()) {
                    let map =
                        if kind == KIND_STRUCT { &mut btf.structs } else { &mut btf.functions };
                    map.entry(name).or_insert(id);
                }
            }
            at += 12 + trailing(kind, count)?;
        }
        Ok(btf)
    }

    /// Offset in bytes of `path` (members separated by dots, anonymous ones left out) in
    /// `structure`.
    pub(super) fn offset(&self, structure: &str, path: &str) -> Result<u32, KernelError> {
        let missing =
            || KernelError::Layout { what: format!("struct {structure} has no member {path}") };
        let mut id = *self.structs.get(structure).ok_or_else(|| KernelError::Layout {
            what: format!("there is no struct {structure}"),
        })?;
        let mut offset = 0;
        for name in path.split('.') {
            let (at, member) = self.member(id, name, 0)?.ok_or_else(missing)?;
            offset += at;
            id = member;
        }
        Ok(offset)
    }

    /// Whether the kernel itself has that function.
    pub(super) fn has_function(&self, name: &str) -> bool {
        self.functions.contains_key(name)
    }

    /// The name of each parameter of `function`.
    pub(super) fn parameters(&self, function: &str) -> Result<Vec<String>, KernelError> {
        let id = self.functions.get(function).ok_or_else(|| KernelError::Layout {
            what: format!("there is no function {function}"),
        })?;
        let prototype = self.u32(self.at(*id)? + 8)?;
        let at = self.at(prototype)?;
        let count = (self.u32(at + 4)? & 0xffff) as usize;
        (0..count).map(|n| self.string(self.u32(at + 12 + 8 * n)?)).collect()
    }

    /// Offset and type of a member, looking into anonymous structures and unions.
    fn member(&self, id: u32, name: &str, depth: u32) -> Result<Option<(u32, u32)>, KernelError> {
        let at = self.at(self.resolve(id)?)?;
        let info = self.u32(at + 4)?;
        if !matches!(kind(info), KIND_STRUCT | KIND_UNION) || depth > 8 {
            return Ok(None);
        }
        let is_bitfield = info >> 31 != 0;
        for n in 0..(info & 0xffff) as usize {
            let entry = at + 12 + 12 * n;
            let bits = self.u32(entry + 8)?;
            let bits = if is_bitfield { bits & 0x00ff_ffff } else { bits };
            let (member_name, member) = (self.u32(entry)?, self.u32(entry + 4)?);
            let found = self.string(member_name)?;
            if found == name {
                return Ok(Some((bits / 8, member)));
            }
            if found.is_empty()
                && let Some((offset, member)) = self.member(member, name, depth + 1)?
            {
                return Ok(Some((bits / 8 + offset, member)));
            }
        }
        Ok(None)
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Result<u32, KernelError> {
        for _ in 0..32 {
            let at = self.at(id)?;
            match kind(self.u32(at + 4)?) {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = self.u32(at + 8)?;
                }
                _ => return Ok(id),
            }
        }
        Err(damaged("a chain of typedefs does not end"))
    }

    fn at(&self, id: u32) -> Result<usize, KernelError> {
        match self.types.get(id as usize) {
            Some(&at) if at != u32::MAX => Ok(at as usize),
            _ => Err(damaged("a type number is out of range")),
        }
    }

    fn u16(&self, at: usize) -> Result<u16, KernelError> {
        let bytes = self.data.get(at..at + 2).ok_or_else(|| damaged("it ends too early"))?;
        Ok(u16::from_ne_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&self, at: usize) -> Result<u32, KernelError> {
        let bytes = self.data.get(at..at + 4).ok_or_else(|| damaged("it ends too early"))?;
        Ok(u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn string(&self, offset: u32) -> Result<String, KernelError> {
        let start = self.strings + offset as usize;
        let bytes = self
            .data
            .get(start..self.strings_end)
            .ok_or_else(|| damaged("a name is out of range"))?;
        let length = bytes
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| damaged("a name does not end"))?;
        Ok(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }
}

fn kind(info: u32) -> u32 {
    (info >> 24) & 0x1f
}

/// Bytes that follow the 12-byte header of a type.
fn trailing(kind: u32, count: usize) -> Result<usize, KernelError> {
    Ok(match kind {
        // int, var, decl_tag
        1 | 14 | 17 => 4,
        // array, struct, union: 12 each
        3 => 12,
        KIND_STRUCT | KIND_UNION => 12 * count,
        // enum: 8 each; func_proto: 8 each
        6 | 13 => 8 * count,
        // datasec, enum64: 12 each
        15 | 19 => 12 * count,
        // ptr, fwd, typedef, volatile, const, restrict, func, float, type_tag
        2 | 7..=12 | 16 | 18 => 0,
        other => {
            return Err(KernelError::Layout {
                what: format!("BTF has types of kind {other}, which this version does not know"),
            });
        }
    })
}

fn damaged(why: &str) -> KernelError {
    KernelError::Layout { what: format!("the kernel's BTF cannot be read: {why}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A BTF blob with `struct s { int a; struct { int b; }; }` and `void f(s *x)`.
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0s\0a\0b\0f\0x\0";
        let mut types: Vec<u32> = Vec::new();
        types.extend([1, 1 << 24, 4, 32]); // 1: int
        types.extend([0, (4 << 24) | 1, 4, 9, 1, 32]); // 2: anonymous struct, member b at bit 32
        types.extend([5, (4 << 24) | 2, 12, 7, 1, 0, 0, 2, 64]); // 3: struct s
        types.extend([0, 2 << 24, 3]); // 4: pointer to s
        types.extend([0, (13 << 24) | 1, 0, 13, 4]); // 5: prototype
        types.extend([11, 12 << 24, 5]); // 6: func f
        let mut data = Vec::new();
        data.extend(MAGIC.to_ne_bytes());
        data.extend([1, 0]);
        for word in [24u32, 0, types.len() as u32 * 4, types.len() as u32 * 4, strings.len() as u32]
        {
            data.extend(word.to_ne_bytes());
        }
        data.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        data.extend(strings);
        data
    }

    #[test]
    fn finds_members_also_in_anonymous_structures() {
        let btf = Btf::parse(sample(), &["s", "f"]).unwrap();
        assert_eq!(btf.offset("s", "a").unwrap(), 0);
        assert_eq!(btf.offset("s", "b").unwrap(), 12);
        assert_eq!(btf.parameters("f").unwrap(), ["x"]);
        let error = btf.offset("s", "c").unwrap_err().to_string();
        assert!(error.contains("struct s has no member c"), "{error}");
    }

    #[test]
    fn truncated_file_is_an_error() {
        let whole = sample();
        for length in 0..whole.len() {
            if let Ok(btf) = Btf::parse(whole[..length].to_vec(), &["s"]) {
                assert!(btf.offset("s", "b").is_err() || length > whole.len() - 5, "{length}");
            }
        }
    }
}
