//! The API key, from where people keep it: the environment, `.env`, `~/.netrc`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// An API key. Nothing prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    pub fn new(key: &str) -> Option<ApiKey> {
        let key = key.trim();
        (!key.is_empty()).then(|| ApiKey(key.to_owned()))
    }

    /// The key itself, for a request.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(hidden)")
    }
}

/// The environment, with `.env` of a folder below it: what is set wins over what is written there.
#[derive(Clone, Default)]
pub struct Environment {
    values: BTreeMap<String, String>,
    /// `NETRC`, else `~/.netrc`.
    netrc: Option<std::path::PathBuf>,
    /// What is wrong with `.env`, if anything.
    pub warning: Option<String>,
}

impl Environment {
    /// Of this process, in its working folder.
    pub fn of_process() -> Environment {
        let values = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Environment::new(values.collect(), Path::new("."))
    }

    pub fn new(mut values: BTreeMap<String, String>, folder: &Path) -> Environment {
        let mut warning = None;
        let path = folder.join(".env");
        if path.is_file() {
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    // Some editors begin a file with a byte order mark.
                    let text = text.trim_start_matches('\u{feff}');
                    let mut bad = 0;
                    for line in dotenvy::from_read_iter(text.as_bytes()) {
                        match line {
                            Ok((name, value)) => _ = values.entry(name).or_insert(value),
                            Err(_) => bad += 1,
                        }
                    }
                    // A line may hold a secret: it is not repeated.
                    warning = (bad > 0).then(|| {
                        let path = path.display();
                        format!("{path}: {bad} of its lines can't be understood and are left out")
                    });
                }
                Err(error) => {
                    warning = Some(format!("{} is not read: {error}", path.display()));
                }
            }
        }
        let home = values.get("HOME").map(|home| Path::new(home).join(".netrc"));
        let netrc = values.get("NETRC").map(Into::into).or(home);
        Environment { values, netrc, warning }
    }

    /// A variable that is set and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The key for the server `host`.
    pub fn api_key(&self, host: &str) -> Option<ApiKey> {
        if let Some(key) = self.get("WANDB_API_KEY") {
            return ApiKey::new(key);
        }
        // A pipe would keep the program waiting.
        let path = self.netrc.as_ref().filter(|path| path.is_file())?;
        let text = std::fs::read_to_string(path).ok()?;
        ApiKey::new(&password(&text, host)?)
    }
}

/// The password of a machine in a netrc file; `default` counts where the machine is not named.
fn password(netrc: &str, host: &str) -> Option<String> {
    let mut fallback = None;
    let mut words = netrc.lines().flat_map(words_of_line).peekable();
    while let Some(word) = words.next() {
        let named = match word {
            "machine" => words.next().is_some_and(|name| name == host),
            "default" => false,
            _ => continue,
        };
        let is_default = word == "default";
        let mut found = None;
        while let Some(word) = words.next_if(|word| !matches!(*word, "machine" | "default")) {
            if word == "password" {
                found = words.next().map(str::to_owned);
            }
        }
        match found {
            Some(password) if named => return Some(password),
            Some(password) if is_default => fallback = Some(password),
            _ => {}
        }
    }
    fallback
}

/// A `#` at the start of a word begins a comment.
fn words_of_line(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().take_while(|word| !word.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(values: &[(&str, &str)], folder: &Path) -> Environment {
        let values = values.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        Environment::new(values, folder)
    }

    #[test]
    fn environment_then_dot_env_then_netrc() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let home = folder.display().to_string();
        let host = "api.wandb.ai";
        let key = |values: &[(&str, &str)]| {
            let values = [values, &[("HOME", home.as_str())]].concat();
            environment(&values, folder).api_key(host).map(|key| key.reveal().to_owned())
        };
        assert_eq!(key(&[]), None);
        std::fs::write(
            folder.join(".netrc"),
            "machine other login user password no\nmachine api.wandb.ai # mine\n  login user\n  \
             password three\n",
        )
        .unwrap();
        assert_eq!(key(&[]).as_deref(), Some("three"));
        let dot_env = "A=1\nexport WANDB_API_KEY=\"two\"  # comment\n";
        std::fs::write(folder.join(".env"), dot_env).unwrap();
        assert_eq!(key(&[]).as_deref(), Some("two"));
        assert_eq!(key(&[("WANDB_API_KEY", " one ")]).as_deref(), Some("one"));
        let hidden = format!("{:?}", ApiKey::new("secret"));
        assert!(!hidden.contains("secret"));
    }

    #[test]
    fn netrc_of_another_machine_is_no_key() {
        assert_eq!(password("machine a password x", "b"), None);
        assert_eq!(password("default login u password d machine a password x", "b").unwrap(), "d");
        assert_eq!(password("default password d\nmachine b password x", "b").unwrap(), "x");
        assert_eq!(password("machine b login user", "b"), None);
        assert_eq!(password("machine", "b"), None);
    }

    #[test]
    fn a_broken_dot_env_is_said_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let text = "\u{feff}WANDB_PROJECT=p\nWANDB_API_KEY=secret'\n";
        std::fs::write(folder.path().join(".env"), text).unwrap();
        let environment = environment(&[], folder.path());
        assert_eq!(environment.get("WANDB_PROJECT"), Some("p"));
        let warning = environment.warning.unwrap();
        assert!(warning.contains(".env") && !warning.contains("secret"), "{warning}");
    }
}
