//! The command line.

pub mod args;
pub mod explain;
pub mod parts;

pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
