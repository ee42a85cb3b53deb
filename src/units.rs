//! Quantities as types: they parse what people write, print what people read and serialise as text.
//!
//! No value in netbench travels as a bare `u64` of bits, bytes or seconds when it has crossed a file or a command line.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What was wrong with a piece of text that should have been a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ParseError {
    /// The kind of quantity, with the text that was read.
    pub what: String,
    /// What is expected instead.
    pub why: String,
}

impl ParseError {
    fn new(kind: &str, text: &str, why: impl Into<String>) -> Self {
        Self { what: format!("`{}` is not a {kind}", text.escape_debug()), why: why.into() }
    }
}

/// Serialises through `Display` and deserialises through `FromStr`.
macro_rules! text_serde {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string" })
            }
        }
    };
}

/// Splits `12.5gbit` into its number and its suffix.
fn number_and_suffix(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let number: f64 = text[..end].replace('_', "").parse().ok()?;
    Some((number, text[end..].trim()))
}

/// A data rate in bits per second, decimal multiples: `10gbit`, `40G`, `500mbit`, `2.5gbit`.
///
/// 64 bits wide: 40 Gbit/s does not fit the 32-bit bytes per second of the older qdisc structures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(pub u64);

impl BitRate {
    /// The rate in bits per second.
    pub fn bits_per_second(self) -> u64 {
        self.0
    }
    /// The rate in whole bytes per second, as qdiscs take it.
    pub fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }
}

impl FromStr for BitRate {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad =
            || ParseError::new("rate", text, "write a number and a unit, such as `10gbit`, `2.5gbit` or `500mbit`");
        let (number, suffix) = number_and_suffix(text).ok_or_else(bad)?;
        let lower = suffix.to_ascii_lowercase();
        let unit = lower.strip_suffix("/s").or_else(|| lower.strip_suffix("ps")).unwrap_or(&lower);
        let scale = match unit {
            "bit" | "b" => 1e0,
            "k" | "kbit" | "kb" => 1e3,
            "m" | "mbit" | "mb" => 1e6,
            "g" | "gbit" | "gb" => 1e9,
            "t" | "tbit" | "tb" => 1e12,
            _ => return Err(bad()),
        };
        let bits = (number * scale).round();
        if !(8.0..=1e15).contains(&bits) {
            return Err(ParseError::new("rate", text, "a rate is at least 8 bit/s and at most 1000 Tbit/s"));
        }
        Ok(Self(bits as u64))
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scale, unit) in
            [(1_000_000_000_000, "tbit"), (1_000_000_000, "gbit"), (1_000_000, "mbit"), (1_000, "kbit")]
        {
            if self.0 >= scale && self.0.is_multiple_of(scale / 1000) {
                let whole = self.0 / scale;
                let part = (self.0 % scale) / (scale / 1000);
                return match part {
                    0 => write!(f, "{whole}{unit}"),
                    _ => write!(f, "{whole}.{}{unit}", format!("{part:03}").trim_end_matches('0')),
                };
            }
        }
        write!(f, "{}bit", self.0)
    }
}
text_serde!(BitRate);

/// A size in bytes; `k`, `m`, `g` are binary multiples (128k = 131072), as in iperf3 and netperf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

impl FromStr for ByteSize {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("size", text, "write a number of bytes, such as `1460`, `128k` or `16m`");
        let (number, suffix) = number_and_suffix(text).ok_or_else(bad)?;
        let scale: u64 = match suffix.to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
            "" => 1,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            _ => return Err(bad()),
        };
        let bytes = number * scale as f64;
        if bytes > (1u64 << 50) as f64 || bytes.fract() != 0.0 {
            return Err(bad());
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}
text_serde!(ByteSize);

/// A length of time: `3s`, `200ms`, `50us`, `1m`; a bare number is seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad =
            || ParseError::new("length of time", text, "write a number and a unit, such as `3s`, `200ms` or `50us`");
        let (number, suffix) = number_and_suffix(text).ok_or_else(bad)?;
        let scale = match suffix {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" | "" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            _ => return Err(bad()),
        };
        let nanos = (number * scale * 1e9).round();
        if !(0.0..=8.64e13 * 365.0).contains(&nanos) {
            return Err(bad());
        }
        Ok(Self(Duration::from_nanos(nanos as u64)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        if nanos == 0 {
            return f.write_str("0s");
        }
        for (scale, unit) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
            if nanos >= scale && nanos.is_multiple_of(scale / 1000) {
                let (whole, part) = (nanos / scale, (nanos % scale) / (scale / 1000));
                return match part {
                    0 => write!(f, "{whole}{unit}"),
                    _ => write!(f, "{whole}.{}{unit}", format!("{part:03}").trim_end_matches('0')),
                };
            }
        }
        write!(f, "{nanos}ns")
    }
}
text_serde!(Span);

/// A MAC address; prints in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl FromStr for MacAddr {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("MAC address", text, "write six hexadecimal bytes, such as `02:00:00:00:00:01`");
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() {
            return Err(bad());
        }
        if bytes[0] & 1 == 1 {
            return Err(ParseError::new("MAC address of an interface", text, "its first byte is odd: a group address"));
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}
text_serde!(MacAddr);

/// A kernel interface name: 1 to 15 bytes, printable, no `/`, no white space, no `:`, not `.` or `..`
/// (`dev_valid_name()` in net/core/dev.c).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(String);

impl IfName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > 15 {
            let why = format!("the kernel allows 15 bytes, this has {}", text.len());
            return Err(ParseError::new("interface name", text, why));
        }
        let allowed = |b: u8| b.is_ascii_graphic() && b != b'/' && b != b':' && b != b'%';
        if text.is_empty() || text == "." || text == ".." || !text.bytes().all(allowed) {
            return Err(ParseError::new("interface name", text, "use 1 to 15 letters, digits, `-`, `_` or `.`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
text_serde!(IfName);

/// A set of CPUs in the kernel's list form: `0`, `2-3`, `0,4-7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuList(pub Vec<usize>);

impl FromStr for CpuList {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let bad = || ParseError::new("CPU list", text, "write CPU numbers and ranges, such as `0`, `2-3` or `0,4-7`");
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: usize = first.trim().parse().map_err(|_| bad())?;
            let last: usize = last.trim().parse().map_err(|_| bad())?;
            if last < first || last >= 8192 {
                return Err(bad());
            }
            cpus.extend(first..=last);
        }
        cpus.sort_unstable();
        cpus.dedup();
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = &self.0[..];
        let mut separator = "";
        while let Some(&first) = rest.first() {
            let run = rest.iter().enumerate().take_while(|&(i, &cpu)| cpu == first + i).count();
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + run - 1)?,
            }
            separator = ",";
            rest = &rest[run..];
        }
        Ok(())
    }
}
text_serde!(CpuList);

/// FNV-1a, 64 bits: names and addresses are derived from it, so it must never change between versions.
pub fn stable_hash(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_64_bits_wide_and_round_trip() {
        for (text, bits, shown) in [
            ("10gbit", 10_000_000_000, "10gbit"),
            ("40G", 40_000_000_000, "40gbit"),
            ("2.5gbit", 2_500_000_000, "2.5gbit"),
            ("100 Mbit/s", 100_000_000, "100mbit"),
            ("9.42Gbps", 9_420_000_000, "9.42gbit"),
        ] {
            let rate: BitRate = text.parse().unwrap();
            assert_eq!(rate.0, bits, "{text}");
            assert_eq!(rate.to_string(), shown);
            assert_eq!(shown.parse::<BitRate>().unwrap(), rate);
        }
        for bad in ["", "fast", "10", "10 GiB", "-1gbit", "0gbit", "1e99gbit"] {
            assert!(bad.parse::<BitRate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["br1", "eth0", "enp3s0f0v15", "a.b-c_d"] {
            assert!(good.parse::<IfName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "sixteen-letters!", "a:b", "tab\t", "é"] {
            assert!(bad.parse::<IfName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cpu_lists_print_as_the_kernel_does() {
        let list: CpuList = "7,0,4-6".parse().unwrap();
        assert_eq!(list.0, [0, 4, 5, 6, 7]);
        assert_eq!(list.to_string(), "0,4-7");
        assert!("3-1".parse::<CpuList>().is_err());
    }

    #[test]
    fn sizes_spans_and_macs_round_trip() {
        assert_eq!("128k".parse::<ByteSize>().unwrap().0, 131_072);
        assert_eq!("1.5m".parse::<ByteSize>().unwrap().to_string(), "1536k");
        assert_eq!("200ms".parse::<Span>().unwrap().0, Duration::from_millis(200));
        assert_eq!("1.5s".parse::<Span>().unwrap().to_string(), "1.5s");
        assert_eq!("02:00:00:00:00:0A".parse::<MacAddr>().unwrap().to_string(), "02:00:00:00:00:0a");
        assert!("03:00:00:00:00:01".parse::<MacAddr>().is_err());
    }
}
