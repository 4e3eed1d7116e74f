//! What a run says of itself at its start: configuration, environment, metrics, as records.

use super::proto::{Config, Environment, Git, Item, Metric, MetricOptions, Timestamp};
use super::system::Sampler;
use crate::record::RunInfo;
use serde_json::{Value, json};

pub(super) fn metric(name: &str, glob: &str, over: &str) -> Metric {
    let options =
        MetricOptions { step_sync: !over.is_empty(), defined: true, ..MetricOptions::default() };
    Metric {
        name: name.into(),
        glob: glob.into(),
        step_metric: over.into(),
        options: Some(options),
        summary: None,
    }
}

pub(super) fn environment(
    info: &RunInfo,
    git: Option<Git>,
    started_at: Option<Timestamp>,
) -> Environment {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as u32;
    let (gpu, gpu_count) = Sampler::default().gpus();
    let program = info.command.first().cloned().unwrap_or_default();
    let executable = std::env::current_exe().map(|path| path.display().to_string());
    Environment {
        os: info.platform.clone(),
        started_at,
        args: info.command.iter().skip(1).cloned().collect(),
        program,
        git,
        host: info.host.clone(),
        executable: executable.unwrap_or_default(),
        cpu_count: cores,
        cpu_count_logical: cores,
        gpu,
        gpu_count,
        writer_id: format!("{}-{}", info.run, info.continued),
    }
}

/// TOML as JSON: numbers stay numbers, dates become text.
fn to_json(config: &str) -> Value {
    fn json(value: toml::Value) -> Value {
        match value {
            toml::Value::Table(table) => {
                table.into_iter().map(|(name, value)| (name, json(value))).collect()
            }
            toml::Value::Array(values) => values.into_iter().map(json).collect(),
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(number) => number.into(),
            toml::Value::Float(number) => number.into(),
            toml::Value::Boolean(yes) => yes.into(),
            toml::Value::Datetime(time) => time.to_string().into(),
        }
    }
    toml::from_str::<toml::Table>(config).map_or(Value::Null, |table| json(table.into()))
}

/// Each top-level key around its value, as W&B keeps a configuration.
pub(super) fn wrapped(config: &str) -> Value {
    let Value::Object(map) = to_json(config) else { return json!({}) };
    map.into_iter().map(|(name, value)| (name, json!({ "value": value }))).collect()
}

pub(super) fn config_record(config: &str) -> Config {
    let Value::Object(map) = to_json(config) else { return Config::default() };
    let own = [("_wandb".to_owned(), json!({}))];
    let update = own.into_iter().chain(map).map(|(key, value)| Item {
        key,
        nested: Vec::new(),
        json: value.to_string(),
    });
    Config { update: update.collect() }
}

/// A key as a file name: no separators.
pub(super) fn file_name(key: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    key.chars().map(plain).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_keeps_its_types() {
        let json = to_json("a = 1\nb = 1.5\nc = [true, \"x\"]\n[d]\ne = 1979-05-27\n");
        assert_eq!(json.to_string(), r#"{"a":1,"b":1.5,"c":[true,"x"],"d":{"e":"1979-05-27"}}"#);
        assert_eq!(wrapped("a = 1").to_string(), r#"{"a":{"value":1}}"#);
        assert_eq!(file_name("train/a b\\ü"), "train_a_b_ü");
    }
}
