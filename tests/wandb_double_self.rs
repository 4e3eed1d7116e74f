//! The W&B server double itself: what it keeps, what it calls a violation, and its faults, by a
//! raw HTTP client.

mod wandb_double;

use reqwest::header::AUTHORIZATION;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime};
use wandb_double::raw::{Raw, UPSERT, basic};
use wandb_double::{Double, Fault, VIEWER, Where};

const RESUME: &str = "query Q { model(name: \"faces\", entityName: \"tester\") {
    bucket(name: \"r1\", missingOk: true) { id ...Counts historyTail config wandbConfig(keys: [\"t\"]) }
} }
fragment Counts on Run { historyLineCount eventsLineCount logLineCount }";
const CREATE: &str = "mutation { createRunFiles(input: {entityName: \"tester\",
    projectName: \"faces\", runName: \"r1\", files: [\"media/ä b.png\"]}) {
    uploadHeaders files { name uploadUrl } } }";

fn line(step: u64) -> String {
    format!(r#"{{"_step":{step},"_timestamp":1.5,"_runtime":0.5,"loss":NaN}}"#)
}

/// A double with a run, and a client.
fn ready() -> (Double, Raw) {
    let double = Double::start();
    let raw = Raw::new(&double);
    raw.upsert();
    (double, raw)
}

#[test]
fn keeps_what_it_is_sent() {
    let double = Double::start();
    let raw = Raw::new(&double);
    let (_, answer) = raw.query("{ viewer { id name: username entity } }", json!(null));
    assert_eq!(
        answer,
        json!({"data": {"viewer":
        {"id": "VXNlcjox", "name": VIEWER, "entity": VIEWER}}})
    );
    assert_eq!(raw.query(RESUME, json!({})).1, json!({"data": {"model": null}}));
    let first = raw.upsert();
    assert_eq!(first["new"], true);
    assert_eq!(first["bucket"]["project"], json!({"name": "faces", "entity": {"name": VIEWER}}));
    let again = raw.upsert();
    assert_eq!((&again["new"], &again["bucket"]["id"]), (&json!(false), &first["bucket"]["id"]));

    assert_eq!(raw.history(0, &[&line(0), &line(3)]), 200);
    assert_eq!(raw.history(1, &[&line(3), &line(4)]), 200, "sent again");
    let rest = json!({
        "files": {
            "output.log": {"offset": 0, "content": ["one", "two"]},
            "wandb-events.jsonl": {"offset": 0,
                "content": [r#"{"_wandb":true,"_timestamp":1.5,"_runtime":1,"system.cpu":3}"#]},
            "wandb-summary.json": {"offset": 0, "content": [r#"{"best":-Infinity}"#]},
        },
        "preempting": true,
    });
    assert_eq!(raw.stream(&rest).unwrap().0, 200);
    let over = json!({"files": {"output.log": {"offset": 1, "content": ["2", "3"]}},
        "complete": true, "exitcode": 7});
    assert_eq!(raw.stream(&over).unwrap().0, 200);

    double.assert_clean();
    let run = double.run("r1").unwrap();
    assert_eq!(run.history, [line(0), line(3), line(4)]);
    assert_eq!(double.history_rows("r1")[2]["loss"], "NaN");
    assert_eq!(double.event_rows("r1")[0]["system.cpu"], 3);
    assert_eq!(run.output, ["one", "2", "3"]);
    assert_eq!(run.summary["best"], "-Infinity");
    assert_eq!(Value::Object(run.plain_config()), json!({"lr": 0.5}));
    assert_eq!((run.preempting, run.complete, run.exitcode), (vec![true], true, Some(7)));
    assert_eq!((run.tags, run.upserts, run.streams), (vec!["a".to_string()], 2, 4));
    assert_eq!(double.count(Where::Upsert), 2);
    assert_eq!(double.count(Where::Any), 8);
    assert!(double.times(Where::Stream).is_sorted());

    let (_, answer) = raw.query(RESUME, json!({}));
    let bucket = &answer["data"]["model"]["bucket"];
    assert_eq!(bucket["id"], first["bucket"]["id"]);
    assert_eq!(bucket["historyLineCount"], 3);
    assert_eq!((&bucket["eventsLineCount"], &bucket["logLineCount"]), (&json!(1), &json!(3)));
    let tail: Vec<String> = serde_json::from_str(bucket["historyTail"].as_str().unwrap()).unwrap();
    assert_eq!(tail.last(), Some(&line(4)));
    assert_eq!(bucket["wandbConfig"], r#"{"t":{}}"#);
}

#[test]
fn stores_files() {
    let (double, raw) = ready();
    let (_, answer) = raw.query(CREATE, json!(null));
    let files = &answer["data"]["createRunFiles"];
    assert_eq!(files["files"][0]["name"], "media/ä b.png");
    let url = files["files"][0]["uploadUrl"].as_str().unwrap();
    let (key, value) = files["uploadHeaders"][0].as_str().unwrap().split_once(':').unwrap();
    let put = || raw.client.put(url).body("bytes").header(key, value);
    assert_eq!(raw.send(put()).unwrap().0, 200);
    let done = json!({"uploaded": ["media/ä b.png"]});
    assert_eq!(raw.stream(&done).unwrap().0, 200);
    double.assert_clean();
    let run = double.run("r1").unwrap();
    assert_eq!(run.files["media/ä b.png"], b"bytes");
    assert_eq!(run.uploaded, ["media/ä b.png"]);

    raw.send(put().header(AUTHORIZATION, "Basic x")).unwrap();
    raw.send(raw.client.put(url).body("bytes")).unwrap();
    assert_eq!(raw.send(raw.client.put(format!("{url}&y=2")).header(key, value)).unwrap().0, 403);
    raw.stream(&json!({"uploaded": ["other"]})).unwrap();
    let found = double.violations();
    let wanted = [
        "the key was sent to a storage URL",
        "not the uploadHeaders",
        "no Content-Length",
        "not a URL that",
        "`uploaded` names other",
    ];
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (found, wanted) in found.iter().zip(wanted) {
        assert!(found.contains(wanted), "{found}: {wanted}");
    }
}

/// Every violation of file_stream that can be told from one request after `line(5)`.
#[test]
fn violations_of_file_stream() {
    let history =
        |lines: &[&str]| json!({"files": {"wandb-history.jsonl": {"offset": 1, "content": lines}}});
    let file = |name: &str, offset: usize, text: &str| {
        json!({"files": {name:
        {"offset": offset, "content": [text]}}})
    };
    let long =
        format!(r#"{{"_step":6,"_timestamp":1,"_runtime":1,"x":"{}"}}"#, "x".repeat(10 << 20));
    let half =
        format!(r#"{{"_step":6,"_timestamp":1,"_runtime":1,"x":"{}"}}"#, "x".repeat(6 << 20));
    let other = half.replace(r#""_step":6"#, r#""_step":7"#);
    let cases: &[(Value, u16, &str)] = &[
        (history(&[r#"{"_timestamp":1,"_runtime":1}"#]), 200, "no _step"),
        (history(&[r#"{"_step":6.5,"_timestamp":1,"_runtime":1}"#]), 200, "no _step"),
        (history(&[r#"{"_step":6,"_runtime":1}"#]), 200, "no _timestamp"),
        (history(&[r#"{"_step":6,"_timestamp":1}"#]), 200, "no _runtime"),
        (history(&["{nan}"]), 200, "line 1 of wandb-history.jsonl"),
        (history(&["[]"]), 200, "no object"),
        (history(&[&line(5)]), 200, "_step 5 in line 1 of history after 5"),
        (history(&[&line(9), &line(8)]), 200, "_step 8 in line 2 of history after 9"),
        (history(&[&long]), 200, "bytes in wandb-history.jsonl"),
        (history(&[&half, &other]), 200, "bytes of lines"),
        (file("wandb-history.jsonl", 2, &line(9)), 400, "gap in wandb-history.jsonl"),
        (file("output.log", 1, ""), 400, "gap in output.log"),
        (file("wandb-history.jsonl", 0, &line(4)), 200, "another content"),
        (file("wandb-events.jsonl", 0, "{}"), 200, "no _timestamp"),
        (file("wandb-summary.json", 0, "?"), 200, "wandb-summary.json"),
        (file("diff.patch", 0, ""), 400, "unknown file diff.patch"),
        (json!({"extra": 1}), 200, "unknown field `extra`"),
        (json!({"files": {"output.log": {"offset": 0, "content": [], "x": 1}}}), 200, "field `x`"),
        (json!({"files": {"output.log": {"content": []}}}), 400, "no offset"),
        (json!({"files": {"output.log": {"offset": 0, "content": [1]}}}), 400, "content of"),
        (json!({"complete": true}), 200, "belong together"),
        (json!({"complete": 1}), 400, "`complete` is not a boolean"),
        (json!({"preempting": "yes"}), 400, "`preempting` is not a boolean"),
        (json!([]), 400, "not an object"),
    ];
    for (body, status, wanted) in cases {
        let (double, raw) = ready();
        assert_eq!(raw.history(0, &[&line(5)]), 200);
        double.assert_clean();
        assert_eq!(raw.stream(body).unwrap().0, *status, "{wanted}");
        let found = double.violations();
        assert!(found.iter().any(|found| found.contains(wanted)), "{found:?}: {wanted}");
        if *status == 400 {
            assert_eq!(double.run("r1").unwrap().streams, 1, "{wanted}: nothing is applied");
        }
    }
}

#[test]
fn violations_of_order() {
    let double = Double::start();
    let raw = Raw::new(&double);
    assert_eq!(raw.stream(&json!({})).unwrap().0, 404);
    assert!(double.violations()[0].contains("before UpsertBucket"));

    let (double, raw) = ready();
    let last = json!({"complete": true, "exitcode": 0});
    raw.stream(&last).unwrap();
    raw.stream(&last).unwrap();
    double.assert_clean();
    raw.stream(&json!({})).unwrap();
    assert!(double.violations()[0].contains("after `complete`"));
    raw.upsert();
    assert!(!double.run("r1").unwrap().complete);
    raw.stream(&json!({})).unwrap();
    assert_eq!(double.violations().len(), 1);

    let (double, raw) = ready();
    double.fault(Where::Stream, Fault::HangBefore, 1);
    std::thread::scope(|scope| {
        scope.spawn(|| Raw::new(&double).stream(&json!({})).unwrap());
        assert!(double.wait_until(Duration::from_secs(30), |s| s.count(Where::Stream) == 1));
        assert_eq!(raw.stream(&json!({})).unwrap().0, 200);
        double.release();
    });
    assert!(double.violations()[0].contains("two requests in flight"));
}

#[test]
fn keys_and_unknown_requests() {
    let double = Double::start();
    double.require_key("secret");
    let mut raw = Raw::new(&double);
    raw.upsert();
    raw.authorization = basic("api:other");
    let viewer = json!({"query": "{viewer{id}}"}).to_string();
    assert_eq!(raw.post("/graphql", viewer.clone()).unwrap().0, 401);
    assert_eq!(raw.stream(&json!({})).unwrap().0, 401);
    double.assert_clean();
    for (at, wrong) in
        ["", "Bearer secret", "Basic ?", &basic("secret"), &basic("api:")].into_iter().enumerate()
    {
        raw.authorization = wrong.into();
        assert_eq!(raw.post("/graphql", viewer.clone()).unwrap().0, 401, "{wrong}");
        assert_eq!(double.violations().len(), at + 1, "{wrong}");
    }

    let (double, raw) = ready();
    assert_eq!(raw.post("/other", String::new()).unwrap().0, 404);
    assert!(double.violations()[0].contains("POST /other"));
}

#[test]
fn violations_of_graphql() {
    let wrong = [
        ("{ viewer { shoe } }", json!({}), "Cannot query field shoe"),
        ("{ viewer }", json!({}), "a selection of fields is missing"),
        ("{ viewer { id { x } } }", json!({}), "without fields"),
        ("{ nothing { id } }", json!({}), "unknown GraphQL field nothing"),
        ("{ viewer { id ", json!({}), "ends too early"),
        ("query Q($a: String!) { viewer { id } }", json!({}), "$a must not be null"),
        ("query Q { viewer { id } }", json!({"b": 1}), "$b is given but not declared"),
        ("query Q { model(name: $p) { id } }", json!({}), "$p is not declared"),
        ("{ viewer { ...None } }", json!({}), "no fragment None"),
    ];
    for (query, variables, wanted) in wrong {
        let double = Double::start();
        let (status, answer) = Raw::new(&double).query(query, variables);
        assert_eq!(status, 400, "{query}");
        assert!(answer["errors"][0]["message"].is_string(), "{answer}");
        let found = double.violations();
        assert!(found.len() == 1 && found[0].contains(wanted), "{found:?}: {wanted}");
    }
    for (config, wanted) in [
        (json!({"lr": {"value": 1}}), "upsertBucket: Err"),
        (json!(r#"{"lr":1,"_wandb":{"value":{"t":{}}}}"#), "lr is not wrapped"),
        (json!(r#"{"lr":{"value":1}}"#), "no _wandb.value.t"),
    ] {
        let double = Double::start();
        Raw::new(&double).query(UPSERT, json!({"name": "r1", "config": config}));
        let found = double.violations();
        assert!(found.len() == 1 && found[0].contains(wanted), "{found:?}: {wanted}");
    }
}

#[test]
fn refusals_as_the_real_server_words_them() {
    let double = Double::start();
    double.only_entities(&["team"]);
    let raw = Raw::new(&double);
    let (status, answer) = raw.query(UPSERT, json!({"name": "r1", "project": "faces"}));
    assert_eq!(status, 404);
    let message = "entity tester not found during upsertBucket";
    assert_eq!(answer["errors"], json!([{"message": message, "path": ["upsertBucket"]}]));
    double.only_entities(&["team", VIEWER]);
    let (status, answer) = raw.query(UPSERT, json!({"name": "r1", "project": "a/b"}));
    assert_eq!(status, 400);
    assert_eq!(answer["errors"][0]["message"], "invalid project name \"a/b\"");
    let by_id = "mutation { upsertBucket(input: {id: \"none\"}) { inserted } }";
    assert_eq!(raw.query(by_id, json!({})).0, 404);
    assert!(double.runs().is_empty());
    double.assert_clean();
}

#[test]
fn faults() {
    let (double, raw) = ready();
    let history = |step: u64| {
        json!({"files": {"wandb-history.jsonl":
        {"offset": 0, "content": [line(step)]}}})
    };
    let held = || double.run("r1").unwrap().streams;
    let fault = |fault: Fault| double.fault(Where::Stream, fault, 1);
    let body = history(0);
    let send = || raw.stream(&body);

    // In order, each for its own kind.
    fault(Fault::retry_after(429, 7));
    double.fault(Where::Any, Fault::body(503, "busy"), 1);
    fault(Fault::graphql_error("no"));
    let viewer = json!({"query": "{viewer{id}}"}).to_string();
    assert_eq!(double.faults_left(), 3);
    let (status, _, text) = raw.post("/graphql", viewer.clone()).unwrap();
    assert_eq!((status, &*text), (503, "busy"));
    let (status, headers, _) = send().unwrap();
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (429, "7"));
    let (status, _, text) = send().unwrap();
    let error: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, error["errors"][0]["message"].as_str()), (200, Some("no")));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    fault(Fault::retry_at(503, at));
    let date = send().unwrap().1["retry-after"].to_str().unwrap().to_string();
    assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
    fault(Fault::Garbage);
    let (status, _, text) = send().unwrap();
    assert!(status == 200 && serde_json::from_str::<Value>(&text).is_err());
    fault(Fault::ResetBefore);
    let error = format!("{:?}", send().unwrap_err());
    assert!(error.contains("ConnectionReset"), "{error}");
    assert_eq!((held(), double.faults_left()), (0, 0), "nothing was applied so far");

    fault(Fault::ResetAfter);
    assert!(send().is_err());
    assert_eq!(held(), 1);
    fault(Fault::CutBody);
    let error = send().unwrap_err();
    assert!(!error.is_timeout(), "{error:?}");
    assert_eq!(held(), 2);
    fault(Fault::RateLimit { remaining: 0, reset: 3 });
    let (status, headers, _) = send().unwrap();
    assert_eq!((status, &headers["ratelimit-remaining"]), (200, &"0".parse().unwrap()));
    assert_eq!(headers["ratelimit-reset"], "3");
    fault(Fault::Slow(Duration::from_millis(200)));
    let start = Instant::now();
    assert_eq!(send().unwrap().0, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(held(), 4);

    // Hanging until the client gives up, and until it is released.
    // With a client of its own, since a connection is closed only while its runtime runs.
    fault(Fault::HangBefore);
    let hasty = Raw::patient_for(&double, Duration::from_secs(1));
    assert!(hasty.stream(&body).unwrap_err().is_timeout());
    drop(hasty);
    assert_eq!(held(), 4);
    for (hang, before, after) in [(Fault::HangBefore, 4, 5), (Fault::HangAfter, 6, 6)] {
        fault(hang);
        let seen = double.count(Where::Stream);
        std::thread::scope(|scope| {
            let hung = scope.spawn(|| Raw::new(&double).stream(&body).unwrap().0);
            let come = |state: &wandb_double::State| {
                state.count(Where::Stream) > seen && state.run("r1").unwrap().streams == before
            };
            assert!(double.wait_until(Duration::from_secs(30), come));
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(held(), before);
            assert!(!hung.is_finished());
            double.release();
            assert_eq!(hung.join().unwrap(), 200);
        });
        assert_eq!(held(), after);
    }
    let statuses: Vec<_> = double.requests(Where::Stream).iter().map(|s| s.status).collect();
    assert_eq!(statuses.iter().filter(|status| status.is_none()).count(), 3);
    double.assert_clean();
}

#[test]
fn goes_down_and_comes_back() {
    let (double, raw) = ready();
    double.down();
    assert!(raw.stream(&json!({})).is_err(), "the open connection");
    assert!(raw.stream(&json!({})).unwrap_err().is_connect(), "a new one");
    double.up();
    assert_eq!(raw.stream(&json!({})).unwrap().0, 200);
    double.press_stop();
    let answer: Value = serde_json::from_str(&raw.stream(&json!({})).unwrap().2).unwrap();
    assert_eq!(answer["stopped"], true);
    assert!(double.wait_until(Duration::ZERO, |state| state.run("r1").unwrap().streams == 2));
    assert!(!double.wait_until(Duration::from_millis(10), |state| state.runs.is_empty()));
    double.assert_clean();

    let url = double.url();
    drop(double);
    let address = url.strip_prefix("http://").unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
}
