//! Authentication at upstream registries: challenges, token services, and cached tokens.

pub mod authorization;
pub mod basic;
pub mod challenge;
pub mod token;
pub mod token_service;
