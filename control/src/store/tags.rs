//! Tags, their history, and the settings for them.

pub mod history;
pub mod settings;
pub mod tag;
