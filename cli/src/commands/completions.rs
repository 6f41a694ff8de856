//! `roadstead completions`: completion scripts for shells.

use crate::{failure::Failure, output};

/// Supported shells.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Print a completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  source <(roadstead completions bash)
  roadstead completions zsh > ~/.zfunc/_roadstead
  roadstead completions fish > ~/.config/fish/completions/roadstead.fish")]
pub struct Completions {
    /// Shell to print the script for
    shell: Shell,
}

impl Completions {
    /// Prints the script for a command line.
    pub fn run(self, mut command_line: clap::Command) -> Result<(), Failure> {
        use clap_complete::Shell as Generator;
        let generator = match self.shell {
            Shell::Bash => Generator::Bash,
            Shell::Zsh => Generator::Zsh,
            Shell::Fish => Generator::Fish,
        };
        let mut script = Vec::new();
        clap_complete::generate(generator, &mut command_line, "roadstead", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
