//! Questions before steps that cannot be undone.

use std::io::{BufRead, IsTerminal};

use crate::failure::Failure;

/// Fails if stdin is not a terminal, so that nobody could answer a question about `what`.
pub fn require_terminal(what: &str) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(format_args!("{what}; give --yes when stdin is not a terminal")))
}

/// Asks a yes-or-no question on a terminal unless `--yes` was given; fails if stdin is not a terminal, or on "no".
pub fn ask(yes: bool, question: &str) -> Result<(), Failure> {
    let stdin = std::io::stdin();
    if yes {
        return Ok(());
    }
    require_terminal(question)?;
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    let unreadable = |error| Failure::failed(format_args!("cannot read the answer: {error}"));
    stdin.lock().read_line(&mut answer).map_err(unreadable)?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was changed"))
}
