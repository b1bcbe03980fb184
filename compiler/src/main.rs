//! The `gatec` program.

fn main() -> std::process::ExitCode {
    gatec::cli::main()
}
