//! Posting results to a server: what it may answer, what is kept, and what is posted twice.

mod submit_server;

use arcrun::submit::{self, Client, Outcome, Row, Submission, Submissions, Submit};
use arcrun::train::signals::StopFlag;
use arcrun::wandb::Environment;
use arcrun::{Error, Result};
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};
use submit_server::{Act, Server, say};
use tempfile::TempDir;

const TOKEN: &str = "t0ken/with+signs==";

/// A run's folder and what is posted from it.
struct Run {
    folder: TempDir,
    config: Submit,
    told: RefCell<Vec<String>>,
}

impl Run {
    fn new(url: &str) -> Run {
        let config = Submit {
            url: url.into(),
            group_name: "us".into(),
            timeout_seconds: 20.0,
            retries: 2,
            backoff_seconds: 0.001,
            ..Submit::default()
        };
        Run { folder: tempfile::tempdir().unwrap(), config, told: RefCell::default() }
    }

    fn client(&self) -> Result<Client> {
        let values = [("ARCRUN_SUBMIT_TOKEN".to_string(), TOKEN.to_string())];
        Client::new(&self.config, &Environment::new(values.into(), Path::new("/nowhere")))
    }

    fn body(&self) -> Vec<u8> {
        let results = [("q.jpg".to_string(), vec!["a.jpg".to_string(), "b.jpg".to_string()])];
        submit::body(&self.config, &results).unwrap()
    }

    fn post_as(&self, epoch: u64, checkpoint: &str, force: bool) -> Result<Outcome> {
        let submissions = Submissions::open(self.folder.path())?;
        let body = self.body();
        let submission = Submission { epoch, checkpoint, body: &body };
        let tell = |text: &str| self.told.borrow_mut().push(text.to_owned());
        submissions.post(&self.client()?, &submission, force, &tell, &StopFlag::default())
    }

    fn post(&self) -> Result<Outcome> {
        self.post_as(3, "latest", false)
    }

    fn rows(&self) -> Vec<Row> {
        submit::rows(self.folder.path()).unwrap()
    }

    fn kept(&self) -> String {
        let path = self.folder.path().join("submissions/latest.answer.txt");
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    /// The only row: accuracy and status.
    #[track_caller]
    fn row(&self) -> (Option<f64>, String) {
        let [row] = self.rows().try_into().expect("one row");
        assert_eq!((row.epoch, row.checkpoint.as_str()), (3, "latest"));
        (row.accuracy, row.status)
    }
}

fn failed(outcome: Result<Outcome>) -> (String, String) {
    match outcome {
        Err(Error::Failed { message, help }) => (message, help.unwrap_or_default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_accuracy_is_written_and_the_same_is_not_posted_twice() {
    let server =
        Server::start([say(200, r#"{"accuracy": 0.875}"#), say(201, r#"{"accuracy": 0.5}"#)]);
    let run = Run::new(&server.url);
    assert_eq!(run.post().unwrap(), Outcome::Scored(0.875));
    assert_eq!(run.row(), (Some(0.875), "ok".into()));
    let [seen] = server.seen().try_into().unwrap();
    assert_eq!(seen.line, "POST /api/submit");
    assert_eq!(seen.authorization.unwrap(), format!("Bearer {TOKEN}"));
    assert_eq!(seen.content_type.unwrap(), "application/json");
    let expected = r#"{"groupname":"us","images":{"q.jpg":["a.jpg","b.jpg"]}}"#;
    assert_eq!(String::from_utf8(seen.body).unwrap(), expected);
    let folder = run.folder.path();
    let file = std::fs::read_to_string(folder.join("submissions/latest.json")).unwrap();
    assert_eq!(file, expected);
    let [row] = run.rows().try_into().unwrap();
    assert_eq!(seen.key.unwrap(), row.sha256);
    let text = std::fs::read_to_string(folder.join("submission_accuracy.csv")).unwrap();
    let time = jiff::Timestamp::now().to_string();
    assert!(text.starts_with("epoch,accuracy,time,"), "{text}");
    assert!(text.contains(&format!("\n3,0.875,{}", &time[..11])), "{text}");
    assert!(run.kept().contains(r#"{"accuracy": 0.875}"#));

    assert_eq!(run.post().unwrap(), Outcome::Known(0.875));
    assert_eq!(run.post_as(3, "min-loss", false).unwrap(), Outcome::Known(0.875));
    assert_eq!((server.seen().len(), run.rows().len()), (1, 1));
    assert_eq!(run.post_as(3, "latest", true).unwrap(), Outcome::Scored(0.5));
    assert_eq!(run.post_as(4, "latest", false).map_err(failed_message), Err("418".into()));
    assert_eq!((server.seen().len(), run.rows().len()), (3, 3));
}

fn failed_message(error: Error) -> String {
    let text = error.to_string();
    text.split_whitespace().find(|word| *word == "418").unwrap_or(&text).to_owned()
}

#[test]
fn a_wrong_token_ends_it_at_once_and_is_never_shown() {
    let server = Server::start([Act::Echo]);
    let run = Run::new(&server.url);
    let (message, help) = failed(run.post());
    assert!(message.contains("401 Unauthorized: bad: Bearer [hidden]"), "{message}");
    assert_eq!(help, "check the token in ARCRUN_SUBMIT_TOKEN");
    assert_eq!(run.row(), (None, "401 Unauthorized: bad: Bearer [hidden]".into()));
    assert!(run.kept().contains(": 401, 21 bytes\nbad: Bearer [hidden]\n"), "{}", run.kept());
    for entry in std::fs::read_dir(run.folder.path().join("submissions")).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains(TOKEN));
    }
    assert!(!format!("{message}{help}{:?}{:?}", run.rows(), run.told).contains(TOKEN));
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn what_a_server_says_is_short_and_harmless() {
    let noise = format!("{{\"error\": \"no \\u001b[2J group\\n{}\"}}", "x".repeat(5000));
    let server = Server::start([say(422, &noise)]);
    let (message, help) = failed(Run::new(&server.url).post());
    assert!(message.contains("422 Unprocessable Entity: no  [2J group xxx"), "{message}");
    assert!(message.len() < 500 && !message.contains('\u{1b}') && help.contains("[submit]"));
}

#[test]
fn a_busy_server_is_waited_for_as_it_asks() {
    let busy = |wait: &str| Act::Say(429, vec![("retry-after", wait.into())], b"busy".to_vec());
    let server = Server::start([busy("0.25"), say(200, r#"{"accuracy": "0.5"}"#)]);
    let run = Run::new(&server.url);
    let begun = Instant::now();
    assert_eq!(run.post().unwrap(), Outcome::Scored(0.5));
    assert!(begun.elapsed() >= Duration::from_millis(250));
    let told = run.told.borrow().join("\n");
    let expected = "429 Too Many Requests: busy (attempt 1 of 3); again in 0.2 s";
    assert!(
        told.starts_with(expected) || told.starts_with(&expected.replace("0.2 ", "0.3 ")),
        "{told}"
    );
    let keys: Vec<_> = server.seen().into_iter().map(|seen| (seen.key, seen.body)).collect();
    assert_eq!(keys[0], keys[1]);
    assert_eq!(run.rows().len(), 1);

    let server = Server::start([busy("7200")]);
    let run = Run::new(&server.url);
    let (message, help) = failed(run.post());
    assert!(message.contains("the server asks to wait 7200 s"), "{message}");
    assert!(help.contains("submit.longest_wait_seconds, which is 600"), "{help}");
    assert_eq!((server.seen().len(), run.row().0), (1, None));
}

#[test]
fn a_failure_that_passes_costs_nothing() {
    let server = Server::start([say(500, "oops"), Act::Close, say(200, r#"{"accuracy": 1}"#)]);
    let run = Run::new(&server.url);
    assert_eq!(run.post().unwrap(), Outcome::Scored(1.0));
    let seen = server.seen();
    assert!(seen.len() >= 3 && seen.iter().all(|s| s.body == seen[0].body && s.key == seen[0].key));
    assert_eq!(run.row(), (Some(1.0), "ok".into()));
    assert!(run.kept().contains(": 500, 4 bytes\noops\n"), "{}", run.kept());
}

#[test]
fn a_failure_that_lasts_is_given_up_and_said() {
    let server = Server::start([say(500, ""), say(502, "a"), say(503, "b")]);
    let run = Run::new(&server.url);
    let (message, help) = failed(run.post());
    let why = "given up after 3 attempts: 503 Service Unavailable: b";
    assert!(message.ends_with(why) && help.contains("Idempotency-Key"), "{message} {help}");
    assert_eq!(run.row(), (None, why.into()));
    assert_eq!(run.kept().matches("== ").count(), 3);
}

#[test]
fn no_answer_in_time_is_repeated_by_the_same_key() {
    let server = Server::start([Act::Hang, say(200, r#"{"accuracy": 0.25}"#)]);
    let mut run = Run::new(&server.url);
    run.config.timeout_seconds = 2.0;
    assert_eq!(run.post().unwrap(), Outcome::Scored(0.25));
    assert!(run.told.borrow()[0].contains("no answer in time"), "{:?}", run.told);
    let seen = server.seen();
    assert_eq!((seen.len(), &seen[0].key), (2, &seen[1].key));
}

#[test]
fn a_slow_answer_is_waited_for_and_one_that_is_too_slow_is_kept_as_far_as_it_came() {
    let pieces = |text: &str| text.as_bytes().chunks(5).map(<[u8]>::to_vec).collect();
    let slowly = |ms, text: &str| Act::Slowly(Duration::from_millis(ms), pieces(text));
    let server = Server::start([slowly(20, r#"{"accuracy": 0.75}"#)]);
    let run = Run::new(&server.url);
    assert_eq!(run.post().unwrap(), Outcome::Scored(0.75));

    // Ten seconds in all.
    let endless = format!(r#"{{"accuracy": 0.75, "more": "{}"}}"#, "x".repeat(1000));
    let server = Server::start([slowly(50, &endless)]);
    let mut run = Run::new(&server.url);
    (run.config.timeout_seconds, run.config.retries) = (2.0, 0);
    let (message, _) = failed(run.post());
    assert!(message.contains("given up: no answer in time"), "{message}");
    assert_eq!(run.row().0, None);
    assert!(run.kept().contains("cut short\n{\"acc"), "{}", run.kept());
}

#[test]
fn nonsense_is_a_row_with_an_empty_cell_and_not_repeated() {
    for (body, why) in [
        ("<html>soon</html>", "the answer is no JSON"),
        ("", "the answer is no JSON"),
        (r#"{"accuracy": NaN}"#, "the answer is no JSON"),
        (r#"{"score": 0.5}"#, "no accuracy in the answer"),
        (r#"{"accuracy": "NaN"}"#, "accuracy is \"NaN\", which is no number"),
        (r#"{"message": "quota"}"#, "no accuracy in the answer: quota"),
    ] {
        let server = Server::start([say(200, body), say(200, r#"{"accuracy": 0.5}"#)]);
        let run = Run::new(&server.url);
        assert_eq!(run.post().unwrap(), Outcome::Unusable(why.into()));
        assert_eq!(run.row(), (None, why.into()));
        assert!(run.kept().contains(body));
        assert_eq!(server.seen().len(), 1);
        // It was not scored: the next run posts it again.
        assert_eq!(run.post().unwrap(), Outcome::Scored(0.5));
        assert_eq!(run.rows().len(), 2);
    }
}

#[test]
fn an_accuracy_may_be_nested_or_a_percentage() {
    let server = Server::start([say(200, r#"{"result": {"top": [{"acc": 87.5}]}}"#)]);
    let mut run = Run::new(&server.url);
    run.config.accuracy_field = "result.top.0.acc".into();
    assert_eq!(run.post().unwrap(), Outcome::Scored(87.5));
    let note = "the accuracy 87.5 is not between 0 and 1";
    assert_eq!(run.row(), (Some(87.5), note.into()));
    assert!(run.told.borrow()[0].contains(note), "{:?}", run.told);
}

#[test]
fn a_huge_answer_is_read_up_to_a_bound() {
    let server = Server::start([Act::Slowly(Duration::ZERO, vec![vec![b'x'; 1 << 20]; 64])]);
    let run = Run::new(&server.url);
    let why = "the answer is longer than 1048576 bytes";
    assert_eq!(run.post().unwrap(), Outcome::Unusable(why.into()));
    assert_eq!(run.row(), (None, why.into()));
    let size = run.kept().len();
    assert!((1 << 20..(1 << 20) + 500).contains(&size), "{size}");
}

#[test]
fn a_redirect_is_said_instead_of_followed() {
    let to = Act::Say(302, vec![("location", "https://elsewhere/".into())], vec![]);
    let server = Server::start([to]);
    let (message, help) = failed(Run::new(&server.url).post());
    assert!(message.ends_with("302 Found to https://elsewhere/") && help.contains("submit.url"));
}

#[test]
fn nobody_there_is_a_row_too() {
    // Bound and closed: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = Run::new(&format!("http://{port}/"));
    let (message, _) = failed(run.post());
    assert!(message.contains("given up after 3 attempts: no connection"), "{message}");
    assert!(run.row().1.contains("no connection") && run.kept().is_empty());
}

/// A kill after the answer and before the row: the table is emptied to what it was before.
#[test]
fn a_kept_answer_makes_up_for_a_row_that_a_kill_prevented() {
    let server = Server::start([say(500, "oops"), say(200, r#"{"accuracy": 0.875}"#)]);
    let run = Run::new(&server.url);
    run.post().unwrap();
    let before = run.rows();
    let table = run.folder.path().join("submission_accuracy.csv");
    std::fs::remove_file(&table).unwrap();
    assert_eq!(run.post().unwrap(), Outcome::Known(0.875));
    assert_eq!(run.rows(), before);
    assert!(run.told.borrow().last().unwrap().contains("had no row"), "{:?}", run.told);
    assert_eq!(server.seen().len(), 2);

    // A kill in the middle of the row.
    let text = std::fs::read(&table).unwrap();
    std::fs::write(&table, &text[..text.len() - 30]).unwrap();
    assert_eq!(run.post().unwrap(), Outcome::Known(0.875));
    assert_eq!(run.rows().last(), before.last());
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn an_answer_that_cannot_be_written_is_at_least_said() {
    let server = Server::start([say(200, r#"{"accuracy": 0.875}"#)]);
    let run = Run::new(&server.url);
    let submissions = Submissions::open(run.folder.path()).unwrap();
    std::fs::create_dir(run.folder.path().join("submissions/latest.answer.txt")).unwrap();
    let (client, body) = (run.client().unwrap(), run.body());
    let submission = Submission { epoch: 3, checkpoint: "latest", body: &body };
    // Forced: what was answered before is not looked at.
    let tell = |text: &str| {
        assert!(text.contains("the server's answer is not kept"), "{text}");
        let table = run.folder.path().join("submission_accuracy.csv");
        std::fs::create_dir(table).unwrap();
    };
    let (message, _) =
        failed(submissions.post(&client, &submission, true, &tell, &StopFlag::default()));
    assert!(message.contains("the answer for epoch 3 was: accuracy 0.875"), "{message}");
}

#[test]
fn what_is_missing_is_said_before_anything_is_sent() {
    let missing = |change: &dyn Fn(&mut Submit)| {
        let mut config = Run::new("http://127.0.0.1:9/").config;
        change(&mut config);
        let values = [("BAD".to_string(), "two\nlines".to_string())];
        let environment = Environment::new(values.into(), Path::new("/nowhere"));
        let error = Client::new(&config, &environment).err().expect("something is missing");
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    };
    assert!(missing(&|_| {}).contains("ARCRUN_SUBMIT_TOKEN is not set"));
    assert_eq!(missing(&|c| c.url.clear()), "submit.url is not given");
    assert_eq!(missing(&|c| c.group_name.clear()), "submit.group_name is not given");
    let bad = missing(&|c| c.token_env = "BAD".into());
    assert!(bad.contains("the token in BAD has characters") && !bad.contains("two"), "{bad}");
    let user = missing(&|c| c.url = "https://me:secret@x/".into());
    assert!(user.contains("user name or a password") && !user.contains("secret"), "{user}");
}

#[test]
fn a_signal_ends_the_wait_for_an_answer() {
    let server = Server::start([Act::Hang]);
    let run = Run::new(&server.url);
    let (stop, body, client) = (StopFlag::default(), run.body(), run.client().unwrap());
    let submissions = Submissions::open(run.folder.path()).unwrap();
    let submission = Submission { epoch: 3, checkpoint: "latest", body: &body };
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            while server.seen().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            stop.set();
        });
        submissions.post(&client, &submission, false, &|_| {}, &stop)
    });
    assert_eq!(outcome.unwrap_err().exit_code(), 75);
    assert_eq!(run.row(), (None, "stopped by a signal".into()));
}

#[test]
fn two_processes_do_not_submit_the_same_run() {
    let run = Run::new("http://127.0.0.1:9/");
    let held = Submissions::open(run.folder.path()).unwrap();
    let error = Submissions::open(run.folder.path()).unwrap_err();
    assert!(error.to_string().contains("another process submits") && error.exit_code() == 2);
    drop(held);
    Submissions::open(run.folder.path()).unwrap();
    std::fs::write(run.folder.path().join("submission_accuracy.csv"), "a,b\n").unwrap();
    let error = Submissions::open(run.folder.path()).unwrap_err();
    assert!(error.to_string().contains("other columns") && error.exit_code() == 2);
}

#[test]
fn a_token_on_an_open_road_is_warned_of() {
    let warning = |url: &str, variable: &str| {
        let run = Run::new(url);
        let mut config = run.config.clone();
        config.token_env = variable.into();
        let values = [("T".to_string(), TOKEN.to_string())];
        let environment = Environment::new(values.into(), Path::new("/nowhere"));
        Client::new(&config, &environment).unwrap().warning()
    };
    assert!(warning("http://x.example/", "T").unwrap().contains("unencrypted"));
    assert_eq!(warning("http://x.example/", ""), None);
    assert_eq!(warning("https://x.example/", "T"), None);
    assert_eq!(warning("http://127.0.0.1:80/", "T"), None);
}
