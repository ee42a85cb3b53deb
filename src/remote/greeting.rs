//! The first bytes of every connection and of every datagram socket. Their layout is the same in every version, so that
//! any two can tell each other apart.
//!
//! ```text
//! bytes   0..8    8       9       10       11             12..16            16..80
//!         magic   oldest  newest  purpose  secret length  stream (big end)  secret, then zeros
//! ```
//!
//! A datagram has eight bytes of ones in front: the number that a receiver of UDP_STREAM passes over.

use std::{fmt, hint::black_box, io::Read};

/// What a connection of ours begins with.
pub const MAGIC: [u8; 8] = *b"netbench";
/// Bytes of a greeting.
pub const LENGTH: usize = 80;
/// Bytes of a greeting in a datagram.
pub const DATAGRAM: usize = 8 + LENGTH;
/// Longest secret.
const LONGEST: usize = 64;
/// Shortest token that a person may choose.
const SHORTEST: usize = 8;

/// Protocols that this build speaks, oldest and newest. A change of a message's shape is a new one.
pub const PROTOCOLS: (u8, u8) = (1, 3);
/// The first that has single packets for `mtu probe`.
pub const WITH_PATHS: u8 = 2;
/// The first whose server sends them with a time to live that the client chooses.
pub const WITH_TTL: u8 = 3;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The control connection; the secret is the server's token.
    Control,
    /// The data of a stream; the secret is the job's cookie.
    Data {
        /// Which.
        stream: u32,
    },
}

/// The first bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Protocols that the client speaks, oldest and newest.
    pub protocols: (u8, u8),
    /// What the connection is for.
    pub purpose: Purpose,
    /// What lets it in.
    pub secret: Secret,
}

/// Why bytes are no greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the first bytes of a netbench connection")]
pub struct Stranger;

impl Greeting {
    /// A greeting of this build.
    pub fn new(purpose: Purpose, secret: Secret) -> Self {
        Self { protocols: PROTOCOLS, purpose, secret }
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&MAGIC);
        (bytes[8], bytes[9]) = self.protocols;
        let (purpose, stream) = match self.purpose {
            Purpose::Control => (1, 0),
            Purpose::Data { stream } => (2, stream),
        };
        bytes[10] = purpose;
        bytes[11] = self.secret.length;
        bytes[12..16].copy_from_slice(&stream.to_be_bytes());
        bytes[16..].copy_from_slice(&self.secret.bytes);
        bytes
    }

    /// Its bytes as a datagram.
    pub fn encode_datagram(&self) -> [u8; DATAGRAM] {
        let mut bytes = [0xff; DATAGRAM];
        bytes[8..].copy_from_slice(&self.encode());
        bytes
    }

    /// Reads one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Stranger> {
        let bytes: &[u8; LENGTH] = bytes.try_into().map_err(|_| Stranger)?;
        let (stream, secret) = (u32::from_be_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]), &bytes[16..]);
        let length = bytes[11];
        let padded = secret.get(usize::from(length)..).is_some_and(|rest| rest.iter().all(|&byte| byte == 0));
        if bytes[..8] != MAGIC || bytes[8] > bytes[9] || !padded {
            return Err(Stranger);
        }
        let purpose = match (bytes[10], stream) {
            (1, 0) => Purpose::Control,
            (2, stream) => Purpose::Data { stream },
            _ => return Err(Stranger),
        };
        let secret = Secret { bytes: secret.try_into().map_err(|_| Stranger)?, length };
        Ok(Self { protocols: (bytes[8], bytes[9]), purpose, secret })
    }

    /// Reads one from a datagram.
    pub fn decode_datagram(bytes: &[u8]) -> Result<Self, Stranger> {
        match bytes.split_at_checked(8) {
            Some((ones, rest)) if ones == [0xff; 8] => Self::decode(rest),
            _ => Err(Stranger),
        }
    }
}

/// Can these be the first bytes of a greeting? A stranger is known by the first wrong one.
pub fn may_begin(bytes: &[u8]) -> bool {
    let known = bytes.len().min(MAGIC.len());
    bytes[..known] == MAGIC[..known]
}

/// The newest protocol that both sides speak.
pub fn agree(ours: (u8, u8), theirs: (u8, u8)) -> Option<u8> {
    let newest = ours.1.min(theirs.1);
    (newest >= ours.0.max(theirs.0)).then_some(newest)
}

/// A token or a cookie, up to 64 bytes. Comparing takes the same time whatever the bytes are; printing shows nothing.
#[derive(Clone)]
pub struct Secret {
    bytes: [u8; LONGEST],
    length: u8,
}

impl Secret {
    /// None: what an open server asks for.
    pub const NONE: Self = Self { bytes: [0; LONGEST], length: 0 };

    /// A token that a person wrote.
    pub fn from_text(text: &str) -> Result<Self, String> {
        if !(SHORTEST..=LONGEST).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("a token has {SHORTEST} to {LONGEST} letters, digits and signs, without blanks"));
        }
        let mut secret = Self::NONE;
        secret.bytes[..text.len()].copy_from_slice(text.as_bytes());
        secret.length = text.len() as u8;
        Ok(secret)
    }

    /// A new one, of 20 letters and digits: 100 bits from the kernel.
    pub fn random() -> std::io::Result<Self> {
        // Without letters that are mistaken for each other.
        const LETTERS: [u8; 32] = *b"abcdefghijkmnpqrstuvwxyz23456789";
        let mut noise = [0; 20];
        std::fs::File::open("/dev/urandom")?.read_exact(&mut noise)?;
        let mut secret = Self { length: noise.len() as u8, ..Self::NONE };
        for (letter, noise) in secret.bytes.iter_mut().zip(noise) {
            *letter = LETTERS[usize::from(noise) % LETTERS.len()];
        }
        Ok(secret)
    }

    /// As text, for whoever shall have it.
    pub fn reveal(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..usize::from(self.length)]).into_owned()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        // Every byte is looked at, and the compiler is kept from leaving early.
        let pairs = self.bytes.iter().zip(&other.bytes);
        let difference = pairs.fold(self.length ^ other.length, |sum, (a, b)| black_box(sum | (a ^ b)));
        black_box(difference) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_equal_only_to_themselves() {
        let a = Secret::from_text("correct-horse").unwrap();
        assert_eq!(a, Secret::from_text("correct-horse").unwrap());
        for other in ["correct-hors", "correct-horsf", "xorrect-horse", "correct-horse1"] {
            assert_ne!(a, Secret::from_text(other).unwrap());
        }
        assert_ne!(a, Secret::NONE);
        assert!(Secret::from_text("short").is_err() && Secret::from_text("with a blank").is_err());
        assert!(Secret::from_text(&"x".repeat(65)).is_err() && Secret::from_text(&"x".repeat(64)).is_ok());
        let (one, two) = (Secret::random().unwrap(), Secret::random().unwrap());
        assert_ne!(one, two);
        assert_eq!(Secret::from_text(&one.reveal()).unwrap(), one);
        assert_eq!(format!("{a:?}"), "Secret(…)");
    }

    #[test]
    fn the_newest_common_protocol_is_taken() {
        assert_eq!(agree((1, 3), (2, 5)), Some(3));
        assert_eq!(agree((1, 1), (1, 1)), Some(1));
        assert_eq!(agree((3, 4), (1, 2)), None);
        assert_eq!(agree((1, 2), (3, 4)), None);
    }

    #[test]
    fn other_protocols_are_known_by_their_first_byte() {
        for stranger in ["GET / HTTP/1.1\r\n", "SSH-2.0-OpenSSH", "\u{16}\u{3}", "nettest"] {
            assert!(!may_begin(stranger.as_bytes()), "{stranger:?}");
        }
        assert!(may_begin(b"") && may_begin(b"net") && may_begin(b"netbench\x01"));
    }

    fn greetings() -> impl Strategy<Value = Greeting> {
        let purposes = prop_oneof![Just(Purpose::Control), any::<u32>().prop_map(|stream| Purpose::Data { stream })];
        (any::<(u8, u8)>(), purposes, "[!-~]{8,64}").prop_map(|((a, b), purpose, secret)| Greeting {
            protocols: (a.min(b), a.max(b)),
            purpose,
            secret: Secret::from_text(&secret).unwrap(),
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(greeting in greetings()) {
            let bytes = greeting.encode();
            prop_assert!((0..LENGTH).all(|length| may_begin(&bytes[..length])));
            prop_assert_eq!(Greeting::decode(&bytes), Ok(greeting.clone()));
            prop_assert_eq!(Greeting::decode_datagram(&greeting.encode_datagram()), Ok(greeting));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Greeting::decode_datagram(&bytes);
            if let Ok(greeting) = Greeting::decode(&bytes) {
                prop_assert_eq!(&greeting.encode()[..], &bytes[..]);
            }
        }

        #[test]
        fn another_length_is_refused(greeting in greetings(), cut in 0usize..LENGTH, more in 1usize..50) {
            let mut bytes = greeting.encode().to_vec();
            prop_assert_eq!(Greeting::decode(&bytes[..cut]), Err(Stranger));
            bytes.resize(LENGTH + more, 0);
            prop_assert_eq!(Greeting::decode(&bytes), Err(Stranger));
        }

        #[test]
        fn a_flipped_byte_never_panics_and_never_lets_in(greeting in greetings(), at in 16usize..LENGTH, by in 1u8..) {
            let mut bytes = greeting.encode();
            bytes[at] ^= by;
            let lets_in = Greeting::decode(&bytes).is_ok_and(|other| other.secret == greeting.secret);
            prop_assert!(!lets_in);
        }
    }
}
