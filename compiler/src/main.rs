//! The `gatec` program.

/// E-graphs are many small values: the system's allocator takes an eighth more of a build's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    gatec::cli::main()
}
