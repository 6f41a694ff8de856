//! Sizes in bytes, and fill levels of a store.

use bytesize::ByteSize;
use roadstead_control::rules::cache::watermark::Level;

/// Parses a size such as "512", "20MiB", "1.5GB" or "10 GiB".
pub fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is not a size; expected for example 512, 20MiB or 1.5GB");
    let trimmed = text.trim();
    if !trimmed.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(expected());
    }
    match trimmed.parse::<ByteSize>() {
        // Larger numbers saturate.
        Ok(size) if size.as_u64() < u64::MAX => Ok(size.as_u64()),
        Ok(_) => Err(format!("{text:?} is too large")),
        Err(_) => Err(expected()),
    }
}

/// Parses a size that the control plane can count.
pub fn size_i64(text: &str) -> Result<i64, String> {
    i64::try_from(size(text)?).map_err(|_| format!("{text:?} is too large"))
}

/// Parses a size, or "off", which is 0. A size of 0 is refused: it would leave room for nothing.
pub fn size_or_off(text: &str) -> Result<i64, String> {
    match text {
        "off" => Ok(0),
        _ => match size_i64(text) {
            Ok(0) => Err("0 would leave room for nothing; off sets no limit".to_owned()),
            Ok(bytes) => Ok(bytes),
            Err(error) => Err(format!("{error}, or off")),
        },
    }
}

/// Parses a fill level: a percentage of the store from 1 to 100 ("90%"), or a size.
pub fn level(text: &str) -> Result<Level, String> {
    let expected = || "expected 1% to 100%, or a size, for example 90% or 500GiB".to_owned();
    match text.strip_suffix('%').map(str::parse) {
        None => size_i64(text).map(Level::Bytes).map_err(|error| format!("{error}, or 90%")),
        Some(Ok(percent @ 1..=100)) => Ok(Level::Percent(percent)),
        Some(_) => Err(expected()),
    }
}

#[cfg(test)]
mod tests;
