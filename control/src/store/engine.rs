//! The database engines: SQLite and PostgreSQL.

pub mod liveness;
pub mod postgres;
pub mod settings;
pub mod sql;
pub mod sqlite;
