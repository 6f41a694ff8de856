//! Passwords, read from stdin or asked for on the terminal without echo. No flag takes one, because other users of the machine
//! can read command lines.

use std::io::{IsTerminal, Read};

use secrecy::{ExposeSecret, SecretString};

use crate::failure::Failure;

/// Longest password, in bytes; the control plane has the same limit.
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Reads an existing password from stdin if `--password-stdin` was given, otherwise asks for it.
pub fn existing(from_stdin: bool, of: &str) -> Result<SecretString, Failure> {
    if from_stdin {
        read("--password-stdin", "password", std::io::stdin().lock())
    } else {
        ask(&format!("Password of {of}: "))
    }
}

/// Reads a new password; on a terminal asks twice, so that a typing error locks nobody out.
pub fn new(from_stdin: bool, of: &str) -> Result<SecretString, Failure> {
    let first = existing(from_stdin, of)?;
    if !from_stdin && ask("Once more: ")?.expose_secret() != first.expose_secret() {
        return Err(Failure::failed("the two passwords differ; nothing was changed"));
    }
    Ok(first)
}

/// Reads an API token from stdin, or asks for it.
pub fn token(from_stdin: bool, control: &str) -> Result<SecretString, Failure> {
    if from_stdin {
        return read("--token-stdin", "token", std::io::stdin().lock());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the token is missing: give --token-stdin when stdin is not a terminal"));
    }
    ask(&format!("Token for {control}: "))
}

/// Reads an API token that somebody chose from stdin.
pub fn new_token() -> Result<SecretString, Failure> {
    read("--new-token-stdin", "token", std::io::stdin().lock())
}

fn ask(question: &str) -> Result<SecretString, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("the password is missing: give --password-stdin when stdin is not a terminal"));
    }
    let unreadable = |error| Failure::failed(format_args!("cannot read the password from the terminal: {error}"));
    let password = rpassword::prompt_password(question).map_err(unreadable)?;
    if password.is_empty() { Err(Failure::failed("no password was given")) } else { Ok(password.into()) }
}

/// Reads a secret to the end of the input, without the final line break.
fn read(flag: &str, what: &str, input: impl Read) -> Result<SecretString, Failure> {
    let mut text = String::new();
    let unreadable = |error| Failure::failed(format_args!("cannot read the {what} from stdin: {error}"));
    input.take(MAX_PASSWORD_BYTES + 2).read_to_string(&mut text).map_err(unreadable)?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err(Failure::usage(format_args!("{flag}: stdin holds no {what}")));
    }
    if password.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(Failure::usage(format_args!("{flag}: longer than {MAX_PASSWORD_BYTES} bytes")));
    }
    Ok(password.into())
}

#[cfg(test)]
mod tests;
