//! The `sempre` command.

/// A tenth to a quarter less CPU per workflow than the C library's (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    sempre::cli::run(std::env::args_os())
}
