//! Moments at which tests of crashes end the process. Without the feature `failpoints` nothing of this is in the
//! executable.

/// Marks a moment. `FAILPOINTS="name=return"` ends the process there, as a crash would; `name=3*off->return` does at
/// the fourth.
pub fn reached(name: &str) {
    fail::fail_point!(name, |_| {
        std::process::abort();
    });
    // Without the feature there is nothing to look up.
    let _ = name;
}
