use std::process::ExitCode;

/// The processes that bellcage starts of itself come first: nothing else may have happened in them.
fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(first) if first == bellcage::component::compile::SUBCOMMAND => bellcage::executor::compile_child_main(),
        Some(first) if first == bellcage::executor::workers::SUBCOMMAND => bellcage::executor::workers::worker_main(),
        _ => bellcage::cli::main(),
    }
}
