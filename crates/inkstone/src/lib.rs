//! Inkstone as a program: commands, configuration, telemetry, and the one place where all the
//! parts are put together.
//!
//! To add a command: give it a variant in [`cli::Command`] and a file in [`commands`] whose `run`
//! does the work, says what it did on stdout, and returns a [`failure::Failure`] otherwise.

pub mod cli;
pub mod commands;
pub mod compose;
pub mod config;
mod data_dir;
mod demo;
pub mod failure;
mod output;
pub mod serve;
pub mod telemetry;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs the command that the command line asks for.
///
/// Exit codes: 0 done, 1 failed, 2 the command line or the configuration is not valid.
pub fn run() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to tell where even that cannot be written.
            let _printed = error.print();
            return if error.use_stderr() { ExitCode::from(failure::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                let _written = std::io::stderr().write_all(message.as_bytes());
            }
            failure.exit_code()
        }
    }
}
