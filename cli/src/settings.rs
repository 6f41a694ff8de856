//! Settings of the servers: flags and their environment variables, checked as a whole before a port is bound. An error names
//! the flag and its value; the exit code is 2.

mod control_plane;
mod limits;
mod peers;
mod ports;
mod process;
mod refuse;
mod registry;
mod secret_key;
mod servers;
mod storage;

pub use process::{LogFormat, ProcessSettings};
pub use secret_key::SecretKeyFlags;
pub use servers::{ControlFlags, ControlSettings, DataplaneFlags, DataplaneSettings, ServeFlags, ServeSettings};
pub use storage::storage_url;
