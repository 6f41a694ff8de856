//! The words of an upstream: the code and message of its error body, bounded and as plain text.

use std::fmt;

use serde::Deserialize;

/// Longest error body that is read, in bytes.
pub(super) const MAX_BODY_BYTES: usize = 16 * 1024;
/// Longest code that is passed on, in characters; the distribution spec's longest has 21.
const MAX_CODE_CHARS: usize = 64;
/// Longest message that is passed on, in characters.
const MAX_MESSAGE_CHARS: usize = 300;

/// An upstream's own words on an error; empty where it sent none that can be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The error code: upper case, digits and underscores.
    code: String,
    /// The message.
    message: String,
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: serde_json::Value,
    #[serde(default)]
    message: serde_json::Value,
}

impl Said {
    /// Reads the first error of a distribution-spec error body. Anything else, a web page say, is not passed on.
    pub(super) fn read(body: &[u8]) -> Self {
        let Ok(ErrorBody { errors }) = serde_json::from_slice(body) else { return Self::default() };
        let Some(first) = errors.first() else { return Self::default() };
        let text = |value: &serde_json::Value| plain(value.as_str().unwrap_or_default());
        let code = text(&first.code);
        let is_code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
        let code =
            if code.chars().count() <= MAX_CODE_CHARS && code.chars().all(is_code) { code } else { String::new() };
        Self { code, message: text(&first.message).chars().take(MAX_MESSAGE_CHARS).collect() }
    }

    /// The error code, where one was sent.
    pub fn code(&self) -> Option<&str> {
        Some(self.code.as_str()).filter(|code| !code.is_empty())
    }
}

/// Keeps printable characters; everything else becomes one space.
fn plain(text: &str) -> String {
    let words = text.split(|c: char| c.is_whitespace() || c.is_control() || is_format(c));
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Returns whether a character is invisible or turns the direction of text (Unicode categories Cf and Zl/Zp as far as they occur).
const fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => Ok(()),
            ("", text) | (text, "") => write!(f, " (it says: {text})"),
            (code, message) => write!(f, " (it says: {code}: {message})"),
        }
    }
}

#[cfg(test)]
mod tests;
