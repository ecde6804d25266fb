//! parse → run → exit code.

fn main() -> std::process::ExitCode {
    remold::cli::main(std::env::args_os())
}
