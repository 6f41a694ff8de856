//! The registry port: the request pipeline, the bounds on it, and the port's own address.

pub mod limit;
pub mod pipeline;
pub mod registry_url;
pub mod trace;
