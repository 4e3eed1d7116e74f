use super::*;
use crate::sweep::expand::expand;
use serde_json::json;

fn sweep(text: &str) -> (SweepFile, Resolver, Vec<Trial>) {
    let folder = tempfile::tempdir().unwrap();
    let base = "data.kind = \"synthetic_faces\"\nloss.kind = \"cosface\"\n";
    std::fs::write(folder.path().join("base.toml"), base).unwrap();
    let path = folder.path().join("x.toml");
    let file = SweepFile::parse(&path, &format!("base = \"base.toml\"\n{text}"));
    let file = file.unwrap_or_else(|error| panic!("{error}"));
    let expansion = expand(&file, &[]).unwrap_or_else(|error| panic!("{error}"));
    let resolver = Resolver::new("x.toml", &expansion.base).unwrap();
    (file, resolver, expansion.trials)
}

const SPACE: &str = "seeds = 2\n[grid]\nloss.kind = [\"arcface\", \"cosface\"]\n[tpe]\ncount = 4\nstartup = 2\n\
    [tpe.space]\nlr = { log_uniform = [1e-4, 1e-1] }\n\
    loss.margin = { uniform = [0.2, 0.6], when = 'loss.kind == \"arcface\"' }";

#[test]
fn proposals_hold_the_fixed_part_and_conditions() {
    let (file, resolver, trials) = sweep(SPACE);
    let mut seen: Vec<(Sets, Option<f64>)> = Vec::new();
    for trial in &trials {
        let set = propose(&file, &resolver, trial, &seen).unwrap();
        assert_eq!(set, propose(&file, &resolver, trial, &seen).unwrap());
        let fixed = trial.set.iter().all(|(key, value)| set.get(key) == Some(value));
        assert!(fixed && trial.set.contains_key("seed"), "{set:?}");
        assert_eq!(set.contains_key("loss.margin"), set["loss.kind"] == "arcface", "{set:?}");
        resolver.trial(&set).unwrap();
        let score = -set["optimizer.lr"].as_f64().unwrap().log10();
        seen.push((set, Some(score)));
    }
    let rates: std::collections::HashSet<String> =
        seen.iter().map(|(set, _)| set["optimizer.lr"].to_string()).collect();
    assert_eq!(rates.len(), trials.len());
}

#[test]
fn it_learns_from_trials_of_its_own_kind() {
    let (file, resolver, trials) = sweep(SPACE);
    let arcface = &trials[0];
    let of = |kind: &str| -> Vec<(Sets, Option<f64>)> {
        let set = |i: u64| json!({"loss.kind": kind, "seed": i % 2, "loss.margin": 0.3, "optimizer.lr": 0.001 * (i + 1) as f64});
        (0..20).map(|i| (set(i).as_object().unwrap().clone(), Some(i as f64))).collect()
    };
    let alone = propose(&file, &resolver, arcface, &[]).unwrap();
    assert_eq!(alone, propose(&file, &resolver, arcface, &of("cosface")).unwrap());
    assert_ne!(alone, propose(&file, &resolver, arcface, &of("arcface")).unwrap());
}

#[test]
fn proposals_that_are_skipped_are_drawn_again() {
    let text = "skip_if = ['optimizer.lr > 0.01']\n[tpe]\ncount = 20\n[tpe.space]\nlr = { uniform = [0.001, 0.1] }";
    let (file, resolver, trials) = sweep(text);
    assert_eq!(trials.len(), 20);
    for trial in &trials {
        let set = propose(&file, &resolver, trial, &[]).unwrap();
        assert!(set["optimizer.lr"].as_f64().unwrap() <= 0.01, "{set:?}");
    }
    let (file, resolver, trials) = sweep(&text.replace("> 0.01", "> 0.0001"));
    let error = propose(&file, &resolver, &trials[0], &[]).unwrap_err();
    assert!(error.to_string().contains("leaves out all that TPE proposes"), "{error}");
}

#[test]
fn a_block_that_is_gone() {
    let (_, resolver, trials) = sweep(SPACE);
    let (other, _, _) = sweep("[grid]\nlr = [0.1]");
    let error = propose(&other, &resolver, &trials[0], &[]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("of a TPE block"), "{error}");
}
