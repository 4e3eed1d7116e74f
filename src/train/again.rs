//! The command that continues a run, as the shell takes it.

use crate::shell::word;
use std::path::Path;

/// `run EXPERIMENT --run-dir RUN --continue-train latest` and then `arguments`.
pub(super) fn command(experiment: &Path, run: &Path, arguments: &[String]) -> String {
    let [experiment, run] = [experiment, run].map(|path| word(&path.to_string_lossy()));
    let mut command = format!("run {experiment} --run-dir {run} --continue-train latest");
    for argument in arguments {
        command.push(' ');
        command.push_str(&word(argument));
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_comes_back_through_a_shell() {
        let arguments =
            ["--set", "lr=0.1", "--set", "name=it's two words", "--set", "x=", "--time-limit", ""]
                .map(String::from);
        let command = command(Path::new("my $HOME/a.toml"), Path::new("/a/b c"), &arguments);
        let script = format!("run() {{ printf '%s\\n' \"$@\"; }}; {command}");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let words: Vec<&str> = lines.lines().collect();
        let begin = ["my $HOME/a.toml", "--run-dir", "/a/b c", "--continue-train", "latest"];
        assert_eq!(words[..5], begin);
        assert_eq!(words[5..], arguments);
        assert!(command.contains("--set lr=0.1 --set 'name=it"), "{command}");
    }
}
