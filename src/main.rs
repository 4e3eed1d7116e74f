fn main() -> std::process::ExitCode {
    arcrun::cli::main()
}
