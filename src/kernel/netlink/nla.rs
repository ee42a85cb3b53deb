//! Netlink attributes written and read by hand, for the messages that the typed codec does not have.

/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// All but `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const TYPE_MASK: u16 = 0x3fff;

/// Appends attributes.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Starts behind a fixed header.
    pub fn after(header: &[u8]) -> Self {
        Self(header.to_vec())
    }

    /// An attribute of any value.
    pub fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.0.extend((4 + value.len() as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// An attribute of 8 bits.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.put(kind, &[value])
    }

    /// An attribute of 32 bits.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// An attribute of 64 bits.
    pub fn u64(&mut self, kind: u16, value: u64) -> &mut Self {
        self.put(kind, &value.to_ne_bytes())
    }

    /// A text, zero-terminated.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut value = value.as_bytes().to_vec();
        value.push(0);
        self.put(kind, &value)
    }

    /// A nest, with `NLA_F_NESTED` set.
    pub fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        fill(&mut inner);
        self.put(kind | NESTED, &inner.0)
    }

    /// The bytes.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// The attributes in `bytes`, without the flag bits of their types; stops at the first that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = bytes.first_chunk::<4>()?;
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]) & TYPE_MASK;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A number of 32 bits at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A number of 64 bits at `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// A zero-terminated text.
pub fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = Writer::default()
            .u8(1, 7)
            .text(2, "br1")
            .nest(3, |w| {
                w.u64(4, 1 << 40);
            })
            .u32(5, 9)
            .finish();
        assert_eq!(bytes.len() % 4, 0);
        let kinds: Vec<u16> = attributes(&bytes).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [1, 2, 3, 5]);
        assert_eq!(text(find(&bytes, 2).unwrap()), "br1");
        assert_eq!(u64_at(find(find(&bytes, 3).unwrap(), 4).unwrap(), 0), Some(1 << 40));
        assert_eq!(u32_at(find(&bytes, 5).unwrap(), 0), Some(9));
        assert_eq!(find(&bytes, 6), None);
    }
}
