//! The registry port: the server, the request pipeline, and what it knows of a connection.

pub mod client_address;
pub mod idle_timeout;
pub mod limit;
pub mod pipeline;
pub mod registry_url;
pub mod server;
pub mod tls;
pub mod trace;
