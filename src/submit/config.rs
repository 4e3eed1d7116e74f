//! `[submit]`.

use crate::http;

/// The longest patience and pause: a day.
const DAY: f64 = 86_400.0;

crate::config_struct! {
    /// What `run submit` posts, and to whom. The bearer token is never stated here.
    pub struct Submit {
        /// Address that the results are posted to; empty: none, only `run submit --dry-run` works.
        pub url: String = String::new(),
            that("a web address that begins with http:// or https://", |url: &String| {
                url.is_empty() || http::is_web_address(url)
            });
        /// Name of the group that submits.
        pub group_name: String = String::new();
        /// Key of the group's name in what is posted.
        pub group_field: String = "groupname".into(), required();
        /// Key of the results in what is posted: `{query: [gallery, best first]}`.
        pub images_field: String = "images".into(), required();
        /// Key of the accuracy in the answer; dots lead into what is nested.
        pub accuracy_field: String = "accuracy".into(), required();
        /// Environment variable that holds the bearer token, or names it in `.env`; empty: no token
        /// is sent.
        pub token_env: String = "ARCRUN_SUBMIT_TOKEN".into(),
            that("the name of an environment variable, or empty", |name: &String| {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
                name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
            });
        /// Patience for one answer, seconds.
        pub timeout_seconds: f64 = 60.0, between(0.001, DAY);
        /// Repetitions where the server fails, is busy or can't be reached.
        pub retries: usize = 5, at_most(1000);
        /// Pause before the first repetition, seconds; doubles each time, up to a minute.
        pub backoff_seconds: f64 = 1.0, between(0.0, DAY);
        /// Longest pause that the server may ask for (Retry-After), seconds; beyond it, it is given
        /// up.
        pub longest_wait_seconds: f64 = 600.0, between(0.0, DAY);
        /// The images to find others for: files, folders, patterns such as `query/*.jpg`; `--query`
        /// wins.
        pub query: Vec<String> = Vec::new();
        /// The images among which they are found; `--gallery` wins.
        pub gallery: Vec<String> = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load_str;

    #[test]
    fn what_is_no_address_or_no_variable_is_refused() {
        let load = |line: &str| {
            let text = format!("data.kind = \"synthetic_faces\"\n[submit]\n{line}");
            load_str::<crate::config::Experiment>("x.toml", &text, &[])
                .map_err(|error| error.to_string())
        };
        assert!(load("url = \"https://x.example/api/submit\"").is_ok());
        assert!(load("token_env = \"\"").is_ok());
        for (key, value) in [
            ("url", "\"x.example/api\""),
            ("url", "\"ftp://x.example\""),
            ("url", "\"http://\""),
            ("token_env", "\"Bearer abc\""),
            ("images_field", "\"\""),
            ("timeout_seconds", "0"),
        ] {
            let error = load(&format!("{key} = {value}")).unwrap_err();
            assert!(error.contains(&format!("submit.{key}")), "{error}");
        }
    }
}
