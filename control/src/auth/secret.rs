//! The secrets of tokens: `rs_<kind>_`, 43 base62 digits (256 random bits) and 6 more of their CRC32, so that scanners
//! find a leaked one and a mistyped one is told without a look-up. Only their SHA-256 is stored: with 256 random
//! bits there is nothing to guess, and a look-up by hash tells nothing by the time it takes.

use roadstead_proto::TokenKind;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Digits of the random part: 62^43 > 2^256.
const RANDOM_DIGITS: usize = 43;
/// Digits of the checksum: 62^6 > 2^32.
const CHECKSUM_DIGITS: usize = 6;
/// Digits of what tells user names apart: 62^12 > 2^71.
const USERNAME_DIGITS: usize = 12;
/// Bytes below this, modulo 62, give every digit the same chance.
const FAIR_BYTES: u8 = 248;

fn prefix(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Admin => "rs_adm_",
        TokenKind::Group => "rs_dep_",
        TokenKind::Node => "rs_node_",
        TokenKind::Personal => "rs_per_",
        TokenKind::GroupAccess => "rs_grp_",
        TokenKind::Job => "rs_job_",
        TokenKind::Service => "rs_svc_",
    }
}

fn prefix_of(text: &str) -> Option<&'static str> {
    TokenKind::ALL.iter().copied().map(prefix).find(|prefix| text.starts_with(prefix))
}

/// A new secret for a token of this kind.
pub fn generate(kind: TokenKind) -> Result<SecretString, getrandom::Error> {
    let body = format!("{}{}", prefix(kind), random_digits(RANDOM_DIGITS)?);
    let checksum = checksum(&body);
    Ok(SecretString::from(body + &checksum))
}

/// A new user name for a token of this kind. No secret, but unique.
pub fn generate_username(kind: TokenKind) -> Result<String, getrandom::Error> {
    let name = match kind {
        TokenKind::Admin => "admin",
        TokenKind::Group => "deploy",
        TokenKind::Node => "node",
        TokenKind::Personal => "personal",
        TokenKind::GroupAccess => "group",
        TokenKind::Job => "job",
        TokenKind::Service => "service",
    };
    Ok(format!("{name}-{}", random_digits(USERNAME_DIGITS)?.to_ascii_lowercase()))
}

/// Hashes a secret for storage and look-up.
pub fn hash(secret: &SecretString) -> String {
    hex::encode(Sha256::digest(secret.expose_secret().as_bytes()))
}

/// Returns whether the text could be one of our secrets, or is not recognisably ours (an administrator's own choice).
/// False spares the look-up of a mistyped one.
pub fn is_plausible(secret: &SecretString) -> bool {
    is_ours(secret) || prefix_of(secret.expose_secret()).is_none()
}

/// Returns whether the text is made like our secrets: prefix, digits and their checksum.
pub fn is_ours(secret: &SecretString) -> bool {
    let text = secret.expose_secret();
    let Some(prefix) = prefix_of(text) else { return false };
    if text.len() != prefix.len() + RANDOM_DIGITS + CHECKSUM_DIGITS || !text.is_ascii() {
        return false;
    }
    let (body, sum) = text.split_at(text.len() - CHECKSUM_DIGITS);
    checksum(body) == sum
}

fn random_digits(count: usize) -> Result<String, getrandom::Error> {
    let mut digits = String::with_capacity(count);
    let mut bytes = [0; 64];
    while digits.len() < count {
        getrandom::fill(&mut bytes)?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR_BYTES);
        digits.extend(fair.map(|byte| char::from(ALPHABET[usize::from(byte % 62)])).take(count - digits.len()));
    }
    Ok(digits)
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[rest % 62];
        rest /= 62;
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_have_the_promised_shape_and_never_repeat() {
        for (kind, prefix) in [
            (TokenKind::Admin, "rs_adm_"),
            (TokenKind::Group, "rs_dep_"),
            (TokenKind::Node, "rs_node_"),
            (TokenKind::Personal, "rs_per_"),
            (TokenKind::GroupAccess, "rs_grp_"),
            (TokenKind::Job, "rs_job_"),
            (TokenKind::Service, "rs_svc_"),
        ] {
            let (a, b) = (generate(kind).unwrap(), generate(kind).unwrap());
            let text = a.expose_secret();
            assert!(text.starts_with(prefix) && text.len() == prefix.len() + 49, "{text}");
            assert!(text[prefix.len()..].bytes().all(|b| b.is_ascii_alphanumeric()));
            assert_ne!(text, b.expose_secret());
            assert!(is_plausible(&a));
        }
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_noticed(position in 7..56usize, digit in "[0-9A-Za-z]") {
            let mut text = generate(TokenKind::Group).unwrap().expose_secret().to_owned();
            prop_assume!(text[position..=position] != digit);
            text.replace_range(position..=position, &digit);
            prop_assert!(!is_plausible(&SecretString::from(text)));
        }

        #[test]
        fn any_text_is_taken_without_a_panic(text in ".*") {
            is_plausible(&SecretString::from(format!("rs_dep_{text}")));
            hash(&SecretString::from(text));
        }
    }
}
