//! Where a run is logged and under which names: `[record.wandb]` first, then `WANDB_*`.

use super::credentials::{ApiKey, Environment};
use crate::{Error, Result};
use std::path::PathBuf;

const SERVER: &str = "https://api.wandb.ai";
/// The project of runs that name none.
const PROJECT: &str = "arcrun";
/// Longest name of a project.
const PROJECT_LENGTH: usize = 128;

crate::config_choice! {
    /// Whether a run is logged to Weights & Biases.
    pub enum Mode {
        /// WANDB_MODE; without it online where there is an API key, else offline.
        Auto = "auto",
        /// Into files and to the server, while it runs.
        Online = "online",
        /// Into files, for `run sync`.
        Offline = "offline",
        /// Not at all.
        Disabled = "disabled",
    }
}

crate::config_struct! {
    /// Weights & Biases. What is empty here comes from the WANDB_* variables.
    pub struct Wandb {
        /// `auto`, `online`, `offline` or `disabled`. The API key is never stated here.
        pub mode: Mode = Mode::Auto;
        /// Empty: WANDB_PROJECT, else `arcrun`.
        pub project: String = String::new(),
            that("a name of at most 128 characters without / \\ # ? % :", |name: &String| {
                project_problem(name).is_none()
            });
        /// User or team. Empty: WANDB_ENTITY, else the account's default.
        pub entity: String = String::new();
        /// Name shown for the run. Empty: WANDB_NAME, else experiment and run id.
        pub display_name: String = String::new();
        /// Runs shown together. Empty: WANDB_RUN_GROUP.
        pub group: String = String::new();
        /// Empty: WANDB_JOB_TYPE, else `train`.
        pub job_type: String = String::new();
        /// Empty: WANDB_TAGS, by commas.
        pub tags: Vec<String> = Vec::new();
        /// Empty: WANDB_NOTES.
        pub notes: String = String::new();
        /// Also the images of the first batch, as they reach the network.
        pub images: bool = true;
        /// Also a histogram of each parameter, at the end of every epoch.
        pub histograms: bool = false;
        /// Also the weights of the best checkpoint, at the end.
        pub checkpoints: bool = false;
    }
}

/// What W&B refuses about a project's name; an empty one is none.
fn project_problem(name: &str) -> Option<String> {
    let refused = ['/', '\\', '#', '?', '%', ':'];
    if let Some(c) = name.chars().find(|c| refused.contains(c) || c.is_control()) {
        return Some(format!("it has a {c:?}"));
    }
    let length = name.chars().count();
    (length > PROJECT_LENGTH).then(|| format!("it has {length} characters, {PROJECT_LENGTH} fit"))
}

/// What to do when the server knows the run's id already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Go on in it.
    Allow,
    /// It has to be there.
    Must,
    /// It must not be there.
    Never,
}

/// Everything that is settled before the first step.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Never `Auto`.
    pub mode: Mode,
    /// Without the last slash.
    pub server: String,
    pub key: Option<ApiKey>,
    /// Empty: the account's default.
    pub entity: String,
    pub project: String,
    pub display_name: String,
    pub group: String,
    pub job_type: String,
    pub tags: Vec<String>,
    pub notes: String,
    /// Of a run that starts; None: drawn at random.
    pub run_id: Option<String>,
    pub resume: Resume,
    /// The folder that gets `wandb/`, instead of the run's.
    pub folder: Option<PathBuf>,
    pub images: bool,
    pub histograms: bool,
    pub checkpoints: bool,
    /// To be said once.
    pub notes_aloud: Vec<String>,
    pub warnings: Vec<String>,
}

impl Settings {
    /// # Errors
    /// A variable with a value that can't be used: nothing has been started yet.
    pub fn resolve(
        config: &Wandb,
        environment: &Environment,
        default_name: &str,
    ) -> Result<Settings> {
        let Wandb {
            mode,
            project,
            entity,
            display_name,
            group,
            job_type,
            tags,
            notes,
            images,
            histograms,
            checkpoints,
        } = config.clone();
        let or = |stated: String, variable: &str, default: &str| match stated.is_empty() {
            true => environment.get(variable).unwrap_or(default).to_owned(),
            false => stated,
        };
        let project = or(project, "WANDB_PROJECT", PROJECT);
        if let Some(problem) = project_problem(&project) {
            let message =
                format!("WANDB_PROJECT: W&B refuses the project name {project:?}: {problem}");
            return Err(Error::input(message).help("/ \\ # ? % : are not allowed in it"));
        }
        let server = server(environment)?;
        let key = environment.api_key(&host(&server));
        let mut notes_aloud = Vec::new();
        let mut warnings: Vec<String> = environment.warning.iter().cloned().collect();
        let wanted = wanted_mode(mode, environment)?;
        let mode = match (wanted, &key) {
            (Mode::Auto, Some(_)) => Mode::Online,
            (Mode::Auto, None) => {
                notes_aloud.push(
                    "no W&B API key: logged offline, `run sync` uploads it later".to_string(),
                );
                Mode::Offline
            }
            (Mode::Online, None) => {
                warnings.push(
                    "W&B is asked for online, but there is no API key: logged offline; set \
                     WANDB_API_KEY (in the environment or in .env) or write it to ~/.netrc"
                        .to_string(),
                );
                Mode::Offline
            }
            (mode, _) => mode,
        };
        let stated_tags = environment.get("WANDB_TAGS").filter(|_| tags.is_empty());
        let stated_tags = stated_tags.into_iter().flat_map(|tags| tags.split(','));
        let stated_tags: Vec<String> =
            stated_tags.map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect();
        let run_id = environment.get("WANDB_RUN_ID").map(run_id).transpose()?;
        Ok(Settings {
            mode,
            server,
            key,
            entity: or(entity, "WANDB_ENTITY", ""),
            project,
            display_name: or(display_name, "WANDB_NAME", default_name),
            group: or(group, "WANDB_RUN_GROUP", ""),
            job_type: or(job_type, "WANDB_JOB_TYPE", "train"),
            tags: if tags.is_empty() { stated_tags } else { tags },
            notes: or(notes, "WANDB_NOTES", ""),
            run_id,
            resume: resume(environment)?,
            folder: environment.get("WANDB_DIR").map(PathBuf::from),
            images,
            histograms,
            checkpoints,
            notes_aloud,
            warnings,
        })
    }
}

fn server(environment: &Environment) -> Result<String> {
    let stated = environment.get("WANDB_BASE_URL").unwrap_or(SERVER).trim_end_matches('/');
    // What stands before an @ may be a password: it is not repeated.
    if stated.contains('@') {
        return Err(Error::input("WANDB_BASE_URL holds a user name or a password")
            .help("leave out what stands before the @; the key goes into WANDB_API_KEY"));
    }
    if crate::http::is_web_address(stated) {
        return Ok(stated.to_owned());
    }
    Err(Error::input(format!("WANDB_BASE_URL is no web address: {stated}"))
        .help("it looks like https://api.wandb.ai"))
}

/// The host that a key belongs to.
fn host(server: &str) -> String {
    let url = reqwest::Url::parse(server).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

/// The stated mode; `Auto` only where WANDB_MODE is silent too.
fn wanted_mode(mode: Mode, environment: &Environment) -> Result<Mode> {
    let Some(stated) = environment.get("WANDB_MODE").filter(|_| mode == Mode::Auto) else {
        return Ok(mode);
    };
    match stated {
        "online" | "run" => Ok(Mode::Online),
        "offline" | "dryrun" => Ok(Mode::Offline),
        "disabled" => Ok(Mode::Disabled),
        other => Err(Error::input(format!("WANDB_MODE is {other:?}"))
            .help("it can be online, offline or disabled")),
    }
}

fn resume(environment: &Environment) -> Result<Resume> {
    match environment.get("WANDB_RESUME") {
        None | Some("allow" | "auto" | "true") => Ok(Resume::Allow),
        Some("must") => Ok(Resume::Must),
        Some("never") => Ok(Resume::Never),
        Some(other) => Err(Error::input(format!("WANDB_RESUME is {other:?}"))
            .help("it can be allow, must or never")),
    }
}

/// An id that W&B takes and that is safe in a path.
fn run_id(id: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.len() <= 64 && id.chars().all(plain) && !id.starts_with('.') {
        return Ok(id.to_owned());
    }
    Err(Error::input(format!("WANDB_RUN_ID is {id:?}"))
        .help("a run id has at most 64 letters, digits, - _ and ."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn resolve(config: &Wandb, values: &[(&str, &str)]) -> Result<Settings> {
        let values = values.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let environment = Environment::new(values, Path::new("/nowhere"));
        Settings::resolve(config, &environment, "cosface-1")
    }

    #[test]
    fn the_key_decides_where_nothing_else_does() {
        let config = Wandb::default();
        let offline = resolve(&config, &[]).unwrap();
        assert_eq!((offline.mode, offline.notes_aloud.len()), (Mode::Offline, 1));
        let key = ("WANDB_API_KEY", "k");
        let online = resolve(&config, &[key]).unwrap();
        assert_eq!((online.mode, online.notes_aloud.len()), (Mode::Online, 0));
        let mode = |config: &Wandb, mode| resolve(config, &[key, ("WANDB_MODE", mode)]);
        assert_eq!(mode(&config, "offline").unwrap().mode, Mode::Offline);
        assert_eq!(mode(&config, "disabled").unwrap().mode, Mode::Disabled);
        let stated = Wandb { mode: Mode::Online, ..Wandb::default() };
        assert_eq!(mode(&stated, "disabled").unwrap().mode, Mode::Online);
        let keyless = resolve(&stated, &[]).unwrap();
        assert_eq!((keyless.mode, keyless.warnings.len()), (Mode::Offline, 1));
        assert!(mode(&config, "off").unwrap_err().to_string().contains("WANDB_MODE is \"off\""));
    }

    #[test]
    fn the_file_wins_over_variables() {
        let variables = [
            ("WANDB_PROJECT", "p"),
            ("WANDB_ENTITY", "e"),
            ("WANDB_TAGS", "a, b,,"),
            ("WANDB_RUN_GROUP", "g"),
            ("WANDB_RUN_ID", "abc-1"),
            ("WANDB_RESUME", "must"),
            ("WANDB_BASE_URL", "http://127.0.0.1:80/"),
        ];
        let config = Wandb { entity: "team".into(), ..Wandb::default() };
        let settings = resolve(&config, &variables).unwrap();
        assert_eq!((settings.project.as_str(), settings.entity.as_str()), ("p", "team"));
        assert_eq!((settings.tags.join("+"), settings.group.as_str()), ("a+b".into(), "g"));
        assert_eq!(settings.run_id.as_deref(), Some("abc-1"));
        assert_eq!(
            (settings.resume, settings.server.as_str()),
            (Resume::Must, "http://127.0.0.1:80")
        );
        assert_eq!(
            (settings.display_name.as_str(), settings.job_type.as_str()),
            ("cosface-1", "train")
        );
        assert_eq!(host("http://127.0.0.1:80/x"), "127.0.0.1");
    }

    #[test]
    fn bad_variables_are_named() {
        for (name, value) in [
            ("WANDB_PROJECT", "a/b"),
            ("WANDB_RUN_ID", "../x"),
            ("WANDB_RESUME", "maybe"),
            ("WANDB_BASE_URL", "api.wandb.ai"),
            ("WANDB_BASE_URL", "ftp://x"),
            ("WANDB_BASE_URL", "https://me:secret@x"),
        ] {
            let error = resolve(&Wandb::default(), &[(name, value)]).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(name) && !text.contains("secret"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
        assert!(project_problem(&"p".repeat(129)).is_some());
        assert!(project_problem("gesicht-ü 1").is_none());
    }
}
