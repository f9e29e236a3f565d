//! The `sempre` command.

fn main() -> std::process::ExitCode {
    sempre::cli::run(std::env::args_os())
}
