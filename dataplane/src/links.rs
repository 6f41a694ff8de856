//! Links between repositories and stored content: recording them, and the log of corrupt content.

pub mod corruption_log;
pub mod recorder;
