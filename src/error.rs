//! The one error type of the program, and the exit codes that scripts rely on.
//!
//! Two tiers: what the user can mend is an [`Error`] with a message and a remedy; what only a
//! developer can mend is a panic.

use std::path::Path;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Messages are lowercase fragments that name file, key and value; `help` says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's input is wrong and nothing was started. Exit code 2.
    #[error("{message}")]
    Input { message: String, help: Option<String> },
    /// The experiment file or an override is wrong, with places in the source. Exit code 2.
    #[error("{0}")]
    Config(#[from] crate::config::Diagnostics),
    /// The run started and failed. Exit code 1.
    #[error("{message}")]
    Failed { message: String, help: Option<String> },
    /// The loss or a gradient stopped being finite. Exit code 3.
    #[error("{message}")]
    Diverged { message: String, help: Option<String> },
    /// A signal stopped the run after it wrote a checkpoint. Exit code 75.
    #[error("{message}")]
    Stopped { message: String, help: Option<String> },
}

impl Error {
    pub fn input(message: impl Into<String>) -> Self {
        Error::Input { message: message.into(), help: None }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Error::Failed { message: message.into(), help: None }
    }

    pub fn diverged(message: impl Into<String>) -> Self {
        Error::Diverged { message: message.into(), help: None }
    }

    pub fn stopped(message: impl Into<String>) -> Self {
        Error::Stopped { message: message.into(), help: None }
    }

    /// A file operation that failed while running: `io("write", path, e)`.
    pub fn io(action: &str, path: &Path, error: std::io::Error) -> Self {
        let help = match error.kind() {
            std::io::ErrorKind::StorageFull => Some("free some space and continue the run"),
            std::io::ErrorKind::PermissionDenied => Some("check the permissions of the folder"),
            _ => None,
        };
        let message = format!("cannot {action} {}: {error}", path.display());
        Error::Failed { message, help: help.map(String::from) }
    }

    /// The same failure as the user's mistake: seen before anything was started.
    pub fn into_input(self) -> Self {
        match self {
            Error::Failed { message, help } => Error::Input { message, help },
            other => other,
        }
    }

    /// Adds the remedy. Configuration diagnostics carry their own and stay as they are.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Error::Input { help, .. }
            | Error::Failed { help, .. }
            | Error::Diverged { help, .. }
            | Error::Stopped { help, .. } => *help = Some(text.into()),
            Error::Config(_) => {}
        }
        self
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Input { .. } | Error::Config(_) => 2,
            Error::Failed { .. } => 1,
            Error::Diverged { .. } => 3,
            Error::Stopped { .. } => 75,
        }
    }
}
