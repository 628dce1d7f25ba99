use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == bellcage::component::compile::SUBCOMMAND) {
        return bellcage::executor::compile_child_main();
    }
    bellcage::cli::main()
}
