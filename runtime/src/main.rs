//! The binary `wayside`.

fn main() -> std::process::ExitCode {
    wayside_runtime::cli::main()
}
