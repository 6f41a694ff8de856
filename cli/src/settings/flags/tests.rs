use clap::CommandFactory;

use crate::args::Cli;

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
