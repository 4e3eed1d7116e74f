use super::*;
use crate::sweep::expand::expand;

/// A sweep in a folder, whose results lie beside it.
fn shown(folder: &Path, text: &str, all: bool) -> String {
    let base =
        "data.kind = \"synthetic_faces\"\nloss.kind = \"cosface\"\n[paths]\nresults = \"results\"";
    std::fs::write(folder.join("base.toml"), base).unwrap();
    let file = SweepFile::parse(&folder.join("x.toml"), &format!("base = \"base.toml\"\n{text}"));
    let file = file.unwrap_or_else(|error| panic!("{error}"));
    let expansion = expand(&file, &[]).unwrap_or_else(|error| panic!("{error}"));
    match all {
        true => dry_run_all(&file, &expansion, 2).unwrap(),
        false => dry_run(&file, &expansion, 2).unwrap(),
    }
}

const TEXT: &str = "[set]\ntrain.epochs = 3\n[grid]\nlr = [0.1, 1e-4]\n\
    loss.kind = [\"arcface\", \"cosface\"]";

#[test]
fn a_table_with_its_cost() {
    let folder = tempfile::tempdir().unwrap();
    let text = shown(folder.path(), TEXT, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "#  id            lr    loss.kind");
    assert!(lines[1].starts_with("1  ") && lines[1].ends_with("  0.1   arcface"), "{text}");
    assert!(lines[4].ends_with("  1e-4  cosface"), "{text}");
    assert!(text.contains("4 trials, 12 epochs in all"), "{text}");
    assert!(text.contains("how long that takes is not known"), "{text}");
}

#[test]
fn epochs_of_the_trials() {
    let folder = tempfile::tempdir().unwrap();
    let text = shown(folder.path(), "[grid]\ntrain.epochs = [2, 5]", false);
    assert!(text.contains("2 trials, 7 epochs in all"), "{text}");
}

#[test]
fn long_tables_are_cut() {
    let folder = tempfile::tempdir().unwrap();
    let text = shown(folder.path(), "seeds = 41", false);
    assert!(text.contains("... 6 more"), "{text}");
    assert_eq!(
        text.lines().filter(|line| line.trim_start().starts_with(char::is_numeric)).count(),
        35 + 1
    );
    assert!(text.contains("\n37  ") && !text.contains("\n36  "), "{text}");
    let text = shown(folder.path(), "seeds = 41", true);
    assert!(!text.contains("more") && text.contains("\n36  "), "{text}");
    assert!(!shown(folder.path(), "seeds = 40", false).contains("more"));
}

/// A finished run whose epochs took as long as said.
fn run(folder: &Path, config: &str, ended: &str, seconds: &[f64]) {
    std::fs::create_dir_all(folder).unwrap();
    let mut info = RunInfo::new("base", "r", folder);
    info.end(Status::Finished, None);
    info.ended = Some(ended.into());
    info.write(folder).unwrap();
    std::fs::write(folder.join("config.toml"), config).unwrap();
    let rows: Vec<String> = seconds.iter().map(|s| format!("1,{s}\n")).collect();
    std::fs::write(folder.join("epochs.csv"), format!("epoch,seconds\n{}", rows.concat())).unwrap();
}

#[test]
fn time_from_runs_like_it() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    let base = "data.kind = \"synthetic_faces\"\nloss.kind = \"cosface\"\n";
    let runs = results.join("base");
    run(&runs.join("a"), base, "2026-01-01T00:00:00Z", &[10.0, 20.0]);
    // Newer, and of another batch size.
    let other = format!("{base}train.batch_size = 7");
    run(&runs.join("b"), &other, "2026-01-02T00:00:00Z", &[99.0]);
    let text = shown(folder.path(), TEXT, false);
    // 12 epochs of 15 s by two.
    assert!(text.contains("about 90 s with 2 trials at a time: 15 s an epoch, as in the newest finished run of base"), "{text}");
    run(&results.join("sweeps/x/trials/lr=1"), base, "2025-01-01T00:00:00Z", &[2.0]);
    let text = shown(folder.path(), TEXT, false);
    assert!(text.contains("about 12 s") && text.contains("as in the trials so far"), "{text}");
}

#[test]
fn durations() {
    let shown = [1.25, 59.6, 200.0, 7300.0, 200_000.0].map(duration);
    assert_eq!(shown, ["1.2 s", "60 s", "3 min 20 s", "2 h 1 min", "2 d 7 h"]);
}
