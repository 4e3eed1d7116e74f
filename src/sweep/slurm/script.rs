//! The job script of an array: what Slurm is asked for, and the one command of a task.

use super::Slurm;
use crate::shell::word;
use crate::{Error, Result};
use std::fmt::Write;
use std::path::Path;

/// One array of a submission.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    pub settings: &'a Slurm,
    /// Of the sweep.
    pub name: &'a str,
    /// This program. Paths are absolute.
    pub program: &'a Path,
    /// Of the sweep.
    pub folder: &'a Path,
    /// Where the task is started: relative paths of the experiment start there.
    pub directory: &'a Path,
    /// Place in the manifest of the trial of task 0.
    pub first: usize,
    /// The tasks, in order.
    pub tasks: &'a [usize],
}

impl Script<'_> {
    /// The script.
    ///
    /// # Errors
    /// A path that can't stand in a job script.
    pub fn text(&self) -> Result<String> {
        let Slurm {
            partition,
            gpus,
            cpus,
            mem,
            time,
            account,
            signal_before,
            requeue_limit: _,
            concurrent,
            extra,
        } = self.settings;
        let folder = plain(self.folder)?;
        let directory = plain(self.directory)?;
        let program = plain(self.program)?;
        let mut array = ranges(self.tasks);
        if *concurrent > 0 {
            let _ = write!(array, "%{concurrent}");
        }
        // %A and %a are the array and the task; a `%` of the path itself is doubled.
        let output = quoted(&format!("{}/slurm/%A_%a.out", folder.replace('%', "%%")));
        let mut asked = vec![
            format!("job-name={}", job_name(self.name)),
            format!("array={array}"),
            format!("chdir={}", quoted(directory)),
            format!("output={output}"),
            format!("error={output}"),
            "open-mode=append".into(),
            "requeue".into(),
            "nodes=1".into(),
            "ntasks=1".into(),
        ];
        if *signal_before > 0 {
            // To the script alone, which has become the program: its trial is told by it.
            asked.push(format!("signal=B:USR1@{signal_before}"));
        }
        let count = |count: usize| if count > 0 { count.to_string() } else { String::new() };
        for (option, value) in [
            ("partition", partition),
            ("account", account),
            ("time", time),
            ("mem", mem),
            ("cpus-per-task", &count(*cpus)),
            ("gpus-per-node", &count(*gpus)),
        ] {
            if !value.is_empty() {
                asked.push(format!("{option}={value}"));
            }
        }
        let mut text = String::from("#!/bin/bash\n");
        for option in asked {
            let _ = writeln!(text, "#SBATCH --{option}");
        }
        let lines: Vec<&str> = extra.iter().flat_map(|lines| lines.lines()).collect();
        let is_option = |line: &&&str| line.trim_start().starts_with("#SBATCH");
        // Slurm reads its options up to the first command.
        for line in lines.iter().filter(is_option) {
            let _ = writeln!(text, "{}", line.trim_start());
        }
        if *signal_before > 0 {
            text.push_str(
                "# Until the program listens, the signal would end the shell.\ntrap '' USR1\n",
            );
        }
        for line in lines.iter().filter(|line| !is_option(line)) {
            let _ = writeln!(text, "{line}");
        }
        if *gpus > 0 {
            text.push_str(
                "if [ -n \"${SLURM_JOB_GPUS:-}\" ]; then\n    \
                 export CUDA_VISIBLE_DEVICES=\"${CUDA_VISIBLE_DEVICES:-$SLURM_JOB_GPUS}\"\nfi\n",
            );
        }
        let (program, folder) = (word(program), word(folder));
        let _ = writeln!(text, "exec {program} sweep task {folder} --offset {}", self.first);
        Ok(text)
    }
}

/// `0-3,7`
pub fn ranges(tasks: &[usize]) -> String {
    let runs = tasks.chunk_by(|one, next| one + 1 == *next);
    let shown = runs.map(|run| match run {
        [one] => one.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    });
    shown.collect::<Vec<_>>().join(",")
}

/// The sweep's name as one word that needs no quotes.
fn job_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(plain).collect();
    if name.is_empty() { "sweep".into() } else { name }
}

/// The path as text that Slurm leaves alone.
fn plain(path: &Path) -> Result<&str> {
    let text = path.to_str().filter(|text| !text.contains(['\n', '\\']));
    text.ok_or_else(|| {
        let message = format!("the path {path:?} can't stand in a job script of Slurm");
        Error::input(message).help("use a path without backslashes, line breaks and broken UTF-8")
    })
}

/// A value of an `#SBATCH` line, in which Slurm knows quotes and backslashes.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(settings: &Slurm, folder: &str, tasks: &[usize]) -> Result<String> {
        Script {
            settings,
            name: "lr x margin",
            program: Path::new("/opt/arcrun/run"),
            folder: Path::new(folder),
            directory: Path::new("/home/me/faces"),
            first: 1000,
            tasks,
        }
        .text()
    }

    #[test]
    fn nothing_is_asked_that_is_not_set() {
        let text = script(&Slurm::default(), "/home/me/faces/sweeps/lr", &[0, 1, 2, 4]).unwrap();
        let expected = r#"#!/bin/bash
#SBATCH --job-name=lr_x_margin
#SBATCH --array=0-2,4
#SBATCH --chdir="/home/me/faces"
#SBATCH --output="/home/me/faces/sweeps/lr/slurm/%A_%a.out"
#SBATCH --error="/home/me/faces/sweeps/lr/slurm/%A_%a.out"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --signal=B:USR1@120
# Until the program listens, the signal would end the shell.
trap '' USR1
exec /opt/arcrun/run sweep task /home/me/faces/sweeps/lr --offset 1000
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn everything() {
        let settings = Slurm {
            partition: "gpu".into(),
            gpus: 1,
            cpus: 8,
            mem: "32G".into(),
            time: "04:00:00".into(),
            account: "faces".into(),
            signal_before: 0,
            requeue_limit: 1,
            concurrent: 4,
            extra: vec!["module load cuda".into(), "  #SBATCH --constraint=a100".into()],
        };
        let text = script(&settings, r#"/data/it's 100% "new"/$x"#, &[3]).unwrap();
        let expected = r#"#!/bin/bash
#SBATCH --job-name=lr_x_margin
#SBATCH --array=3%4
#SBATCH --chdir="/home/me/faces"
#SBATCH --output="/data/it's 100%% \"new\"/$x/slurm/%A_%a.out"
#SBATCH --error="/data/it's 100%% \"new\"/$x/slurm/%A_%a.out"
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --partition=gpu
#SBATCH --account=faces
#SBATCH --time=04:00:00
#SBATCH --mem=32G
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --constraint=a100
module load cuda
if [ -n "${SLURM_JOB_GPUS:-}" ]; then
    export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES:-$SLURM_JOB_GPUS}"
fi
exec /opt/arcrun/run sweep task '/data/it'\''s 100% "new"/$x' --offset 1000
"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn what_slurm_cannot_name_is_refused() {
        for folder in ["/a\nb", "/a\\b"] {
            let error = script(&Slurm::default(), folder, &[0]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains("can't stand in a job script"), "{error}");
        }
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!(ranges(&[0]), "0");
        assert_eq!(ranges(&[0, 1, 3, 5, 6, 7]), "0-1,3,5-7");
    }
}
