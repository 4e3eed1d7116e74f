//! `benches/gpu/bench.py` from end to end, on the CPU: where `ARCRUN_TEST_TORCH_PYTHON` names a Python with
//! torch and torchvision.

use std::path::Path;
use std::process::Command;

#[test]
fn the_gpu_bench_runs_on_the_cpu() {
    let Some(python) = std::env::var_os("ARCRUN_TEST_TORCH_PYTHON") else {
        eprintln!(
            "skipped: the bench for GPUs (ARCRUN_TEST_TORCH_PYTHON names no Python with torch)"
        );
        return;
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table.md");
    let output = Command::new(python)
        .arg(root.join("benches/gpu/bench.py"))
        .arg(env!("CARGO_BIN_EXE_run"))
        .args(["--device", "cpu", "--model", "efficient_fr", "--size", "32"])
        .args(["--batch", "8", "--precision", "fp32", "tf32", "bf16"])
        .args([
            "--file-batch",
            "8",
            "--file-precision",
            "fp32",
            "--images",
            "40",
            "--identities",
            "5",
        ])
        .args(["--steps", "2", "--warm-up", "1", "--rounds", "2", "--workers", "1"])
        .args(["--threads", "1", "--budget", "500"])
        .arg("--output")
        .arg(&table)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let text = std::fs::read_to_string(&table).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), text);
    let row = |start: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("no {start} in {text}\n{said}"));
        line.split('|').map(|cell| cell.trim().to_string()).collect()
    };
    for start in ["| device | fp32 | 8 |", "| device | bf16 | 8 |", "| files | fp32 | 8 |"] {
        let row = row(start);
        let [ours, theirs, ratio] = [4, 5, 6].map(|at| row[at].replace(',', "").parse::<f64>());
        assert!(ours.is_ok_and(|speed| speed > 0.0), "{row:?}\n{said}");
        assert!(theirs.is_ok_and(|speed| speed > 0.0), "{row:?}\n{said}");
        assert!(ratio.is_ok() && row[11] == "2", "{row:?}");
    }
    let files = row("| files | fp32 | 8 |");
    assert!(files[9].ends_with('%') && files[10].ends_with('%'), "{files:?}");
    // The CPU has no such format, and the program says so.
    assert!(row("| device | tf32 | 8 |")[4].contains("train.tf32"), "{text}");
    assert!(
        text.contains("arcrun from files over arcrun from the device's memory, fp32: "),
        "{text}"
    );
}
