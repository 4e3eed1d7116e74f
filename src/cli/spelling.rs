//! Spellings that people bring from other trainers.

use crate::config::{Shape, any_keys, suggest};

/// Options of other trainers, and the keys that they stand for.
const SHORTHANDS: [(&str, &str); 5] = [
    ("--batch-size", "train.batch_size"),
    ("--epochs", "train.epochs"),
    ("--lr", "optimizer.lr"),
    ("--weight-decay", "optimizer.weight_decay"),
    ("--seed", "seed"),
];

/// Long options with dashes for underscores, and shorthands as `--set`. `data synth --seed` and
/// `bench loader --epochs` are those commands' own.
pub fn normalise(argv: Vec<String>) -> Vec<String> {
    let command: Vec<&str> = argv.iter().skip(1).take(2).map(String::as_str).collect();
    let own: &[&str] = match command[..] {
        ["data", ..] => &SHORTHANDS.map(|(option, _)| option),
        ["bench", "loader"] => &["--epochs"],
        _ => &[],
    };
    let mut out = Vec::new();
    let mut rest = argv.into_iter();
    while let Some(argument) = rest.next() {
        if argument == "--" {
            out.push(argument);
            out.extend(rest);
            break;
        }
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value.to_string())),
            None => (argument.replace('_', "-"), None),
        };
        let shorthand = SHORTHANDS.iter().find(|(option, _)| *option == name);
        match (shorthand, value) {
            (Some((_, key)), value) if !own.contains(&name.as_str()) => {
                match value.or_else(|| rest.next()) {
                    Some(value) => out.extend(["--set".into(), format!("{key}={value}")]),
                    None => out.push(format!("--set={key}")),
                }
            }
            _ if !argument.starts_with("--") => out.push(argument),
            (_, Some(value)) => out.push(format!("{name}={value}")),
            (_, None) => {
                // What follows --set is a key, whose underscores stay.
                let takes_key = name == "--set";
                out.push(name);
                if takes_key {
                    out.extend(rest.next());
                }
            }
        }
    }
    out
}

/// `loss.margin=0.3` for the unknown option `--margin 0.3`.
pub fn setting_for(option: &str, argv: &[String], root: &Shape) -> Option<String> {
    let option = option.split('=').next().unwrap_or(option);
    let wanted = option.trim_start_matches('-').replace('-', "_");
    let keys = any_keys(root);
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_string();
    let lasts: Vec<String> = keys.iter().map(|key| last(key)).collect();
    let lasts: Vec<&str> = lasts.iter().map(String::as_str).collect();
    let key = match keys.iter().find(|key| **key == wanted) {
        Some(key) => key,
        None => {
            let near = suggest(&wanted, &lasts)?;
            let same = keys.iter().filter(|key| last(key) == near);
            same.min_by_key(|key| key.matches('.').count())?
        }
    };
    let at = argv.iter().position(|argument| argument.split('=').next() == Some(option))?;
    let value = match argv[at].split_once('=') {
        Some((_, value)) => Some(value),
        None => argv.get(at + 1).map(String::as_str).filter(|next| !next.starts_with("--")),
    };
    Some(format!("{key}={}", value.unwrap_or("VALUE")))
}
