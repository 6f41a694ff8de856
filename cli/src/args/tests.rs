use clap::CommandFactory;

use super::*;

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
fn examples_are_command_lines_that_parse() {
    for (name, command) in leaves(&Cli::command(), "roadstead".to_owned()) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let plain = |line: &&str| line.starts_with(&name) && !line.contains(['\'', '"', '\\', '…']);
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
