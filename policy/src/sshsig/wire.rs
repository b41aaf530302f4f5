//! SSH's way to put fields into bytes (RFC 4251, section 5). It knows no field.

/// Most bits of a number, as in OpenSSH.
const MAX_NUMBER_BITS: usize = 16 * 1024;

/// Takes fields off the front of some bytes. An error says which one could not be taken, and why.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// One byte.
    pub(super) fn byte(&mut self, what: &str) -> Result<u8, String> {
        self.take::<1>(what).map(|[byte]| byte)
    }

    /// A number of four bytes.
    pub(super) fn number(&mut self, what: &str) -> Result<u32, String> {
        self.take(what).map(u32::from_be_bytes)
    }

    /// A field that says how long it is.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a [u8], String> {
        let length = usize::try_from(self.number(what)?).map_err(|_| cut(what))?;
        let (string, rest) = self.rest.split_at_checked(length).ok_or_else(|| cut(what))?;
        self.rest = rest;
        Ok(string)
    }

    /// A string that is text.
    pub(super) fn text(&mut self, what: &str) -> Result<&'a str, String> {
        match std::str::from_utf8(self.string(what)?) {
            Ok(text) if !text.contains('\0') => Ok(text),
            _ => Err(format!("{what} is not text")),
        }
    }

    /// A number of any size that is not negative, without leading zeros.
    pub(super) fn big_number(&mut self, what: &str) -> Result<&'a [u8], String> {
        let bytes = self.string(what)?;
        if bytes.first().is_some_and(|&first| first >= 0x80) {
            return Err(format!("{what} is negative"));
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let number = &bytes[zeros..];
        if number.len() * 8 > MAX_NUMBER_BITS {
            return Err(format!("{what} is too large"));
        }
        Ok(number)
    }

    /// There is nothing more.
    pub(super) fn end(self, what: &str) -> Result<(), String> {
        if self.rest.is_empty() { Ok(()) } else { Err(format!("something follows {what}")) }
    }

    fn take<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| cut(what))?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// Appends a field that says how long it is.
pub(super) fn put_string(to: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("fields are parts of a file, far below 4 GiB");
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(bytes);
}

/// Appends a number without leading zeros.
pub(super) fn put_big_number(to: &mut Vec<u8>, number: &[u8]) {
    let mut bytes = Vec::with_capacity(number.len() + 1);
    if number.first().is_some_and(|&first| first >= 0x80) {
        bytes.push(0);
    }
    bytes.extend_from_slice(number);
    put_string(to, &bytes);
}

fn cut(what: &str) -> String {
    format!("{what} is cut short")
}
