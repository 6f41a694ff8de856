//! The product as its users see it: the real executable, asked over HTTP, gRPC and its command line, in front of a fake
//! hub that counts and misbehaves, with real clients. One binary, for linking takes long; one module for each promise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fake_hub;
