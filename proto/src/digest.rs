//! Content digests: parsing, printing, and hashing content piece by piece.
//! The grammar is that of the OCI image-spec 1.1, "Digests"; the algorithms are its two registered ones.

use std::{cmp::Ordering, fmt, hash, str::FromStr};

use sha2::{Digest as _, Sha256, Sha512};

/// Length in bytes of the longest digest we know (sha512).
const MAX_BYTES: usize = 64;

/// A registered digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// The text is not a digest that we can verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    /// It has no colon between algorithm and value.
    #[error("a digest is written algorithm:hex")]
    NoSeparator,
    /// The algorithm is not one we can compute.
    #[error("digest algorithm {0:?} is not supported (sha256, sha512 are)")]
    UnknownAlgorithm(String),
    /// The value is not lower-case hexadecimal of the algorithm's length.
    #[error("the value of a {} digest is {} lower-case hexadecimal digits", .0.name(), .0.bytes() * 2)]
    BadValue(Algorithm),
}

/// A digest such as `sha256:e3b0…`. Two digests of the same bytes by different algorithms are different digests.
#[derive(Clone, Copy)]
pub struct Digest {
    algorithm: Algorithm,
    /// The value, zero-padded at the end.
    value: [u8; MAX_BYTES],
}

impl Digest {
    /// The digest of `content` by `algorithm`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = DigestHasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// The algorithm it was made by.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The value as lower-case hexadecimal, without the algorithm.
    pub fn hex(&self) -> String {
        hex::encode(self.as_bytes())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.value[..self.algorithm.bytes()]
    }

    fn from_bytes(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let mut value = [0; MAX_BYTES];
        value[..bytes.len()].copy_from_slice(bytes);
        Self { algorithm, value }
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let (name, hex_value) = text.split_once(':').ok_or(InvalidDigest::NoSeparator)?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            other => return Err(InvalidDigest::UnknownAlgorithm(other.chars().take(32).collect())),
        };
        let bad_value = || InvalidDigest::BadValue(algorithm);
        if hex_value.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad_value());
        }
        let mut value = [0; MAX_BYTES];
        hex::decode_to_slice(hex_value, &mut value[..algorithm.bytes()]).map_err(|_| bad_value())?;
        Ok(Self { algorithm, value })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; MAX_BYTES * 2];
        let digits = &mut digits[..self.algorithm.bytes() * 2];
        hex::encode_to_slice(self.as_bytes(), digits).map_err(|_| fmt::Error)?;
        f.write_str(self.algorithm.name())?;
        f.write_str(":")?;
        f.write_str(std::str::from_utf8(digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Digest {}

impl hash::Hash for Digest {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.algorithm, self.as_bytes()).cmp(&(other.algorithm, other.as_bytes()))
    }
}

/// Hashes content as it arrives.
#[derive(Clone, Debug)]
pub struct DigestHasher(Inner);

#[derive(Clone, Debug)]
enum Inner {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl DigestHasher {
    /// Starts with no content.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => Inner::Sha256(Sha256::new()),
            Algorithm::Sha512 => Inner::Sha512(Sha512::new()),
        })
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        match &mut self.0 {
            Inner::Sha256(hasher) => hasher.update(piece),
            Inner::Sha512(hasher) => hasher.update(piece),
        }
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        match self.0 {
            Inner::Sha256(hasher) => Digest::from_bytes(Algorithm::Sha256, &hasher.finalize()),
            Inner::Sha512(hasher) => Digest::from_bytes(Algorithm::Sha512, &hasher.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EMPTY_SHA256: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_empty_digest_is_the_published_one() {
        assert_eq!(Digest::of(Algorithm::Sha256, b"").to_string(), EMPTY_SHA256);
        assert!(Digest::of(Algorithm::Sha512, b"").to_string().starts_with("sha512:cf83e1357eefb8bd"));
    }

    #[test]
    fn what_is_no_digest_is_refused() {
        let upper = EMPTY_SHA256.to_uppercase().replace("SHA256", "sha256");
        for text in [
            "",
            "sha256",
            "sha256:",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            &upper,
            &EMPTY_SHA256[..70],
            &format!("{EMPTY_SHA256}0"),
            &EMPTY_SHA256.replace('e', "g"),
            "sha256:../../etc/passwd",
            &EMPTY_SHA256.replace("sha256", "sha512"),
            &EMPTY_SHA256.replace("sha256", "SHA256"),
        ] {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(content in any::<Vec<u8>>(), long in any::<bool>()) {
            let digest = Digest::of(if long { Algorithm::Sha512 } else { Algorithm::Sha256 }, &content);
            prop_assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        }

        #[test]
        fn pieces_hash_as_the_whole(content in any::<Vec<u8>>(), cut in any::<prop::sample::Index>()) {
            let (head, tail) = content.split_at(cut.index(content.len() + 1));
            let mut hasher = DigestHasher::new(Algorithm::Sha256);
            hasher.update(head);
            hasher.update(tail);
            prop_assert_eq!(hasher.finish(), Digest::of(Algorithm::Sha256, &content));
        }
    }
}
