use clap::CommandFactory;

use super::*;
use crate::output::Format;

/// Returns every command without subcommands, with its whole name.
fn leaves(command: &clap::Command, name: String) -> Vec<(String, clap::Command)> {
    if !command.has_subcommands() {
        return vec![(name, command.clone())];
    }
    let children = command.get_subcommands().filter(|child| child.get_name() != "help");
    children.flat_map(|child| leaves(child, format!("{name} {}", child.get_name()))).collect()
}

#[test]
fn every_command_has_an_example_of_itself() {
    for (name, command) in leaves(&Cli::command(), "roadstead".to_owned()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.starts_with("Example") && help.contains(&name), "{name}: {help}");
    }
}

#[test]
fn examples_fit_80_columns() {
    fn check(command: &clap::Command) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter(|line| line.starts_with("  ")) {
            assert!(line.chars().count() <= 80, "a terminal breaks this example: {line}");
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}

#[test]
fn the_output_format_is_taken_anywhere() {
    for line in ["-o json group list", "group -o json list", "group list -o json", "--output json cache stats acme"] {
        let matches = Cli::command().try_get_matches_from(["roadstead"].into_iter().chain(line.split(' '))).unwrap();
        let mut deepest = &matches;
        while let Some((_, below)) = deepest.subcommand() {
            deepest = below;
        }
        assert_eq!(deepest.get_one::<Format>("output"), Some(&Format::Json), "{line}");
    }
}

#[test]
fn examples_are_command_lines_that_parse() {
    for (name, command) in leaves(&Cli::command(), "roadstead".to_owned()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let help = help.replace(" \\\n      ", " ");
        let plain = |line: &&str| line.starts_with(&name) && !line.contains(['\'', '"', '…']);
        for line in help.lines().map(str::trim).filter(plain) {
            let line = line.split(" <").next().unwrap_or_default().split(" >").next().unwrap_or_default();
            let line = line.split("  ").next().unwrap_or_default();
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }
}

#[test]
fn every_flag_of_a_server_has_its_environment_variable() {
    for server in ["serve", "control", "dataplane"] {
        let cli = Cli::command();
        let flags = cli.find_subcommand(server).unwrap().get_arguments().filter_map(|arg| Some((arg.get_long()?, arg)));
        for (flag, arg) in flags.filter(|(flag, _)| !matches!(*flag, "help" | "version")) {
            let variable = format!("ROADSTEAD_{}", flag.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|name| name.to_str()), Some(variable.as_str()), "{server} --{flag}");
        }
    }
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}
