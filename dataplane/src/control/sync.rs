//! Keeping up with the control plane: following the watch, catching up after a silence, and what outlives a restart.

pub mod ensure_synced;
pub mod saved;
pub mod watch;
