use std::process::ExitCode;

/// The processes that bellcage starts of itself come first: nothing else may have happened in them.
fn main() -> ExitCode {
    bellcage::executor::process_main().unwrap_or_else(bellcage::cli::main)
}
