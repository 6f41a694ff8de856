//! Questions before steps that cannot be undone.

use std::io::{BufRead, IsTerminal};

use crate::failure::Failure;

/// Asks on a terminal unless `--yes` was given; fails if stdin is not a terminal.
pub fn deletion(yes: bool, what: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if yes {
        return Ok(());
    }
    if !stdin.is_terminal() {
        return Err(Failure::usage(format_args!("deleting {what} needs --yes when stdin is not a terminal")));
    }
    eprint!("Delete {what}? [y/N] ");
    let mut answer = String::new();
    let unreadable = |error| Failure::failed(format_args!("cannot read the answer: {error}"));
    stdin.lock().read_line(&mut answer).map_err(unreadable)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was deleted"))
}
