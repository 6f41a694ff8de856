//! Users, tokens, and the throttling of failed sign-ins.

pub mod login_throttle;
pub mod token;
pub mod user;
