//! A headless Chromium that a test drives through chromedriver.

#![allow(dead_code, reason = "each test binary uses a part")]

use fantoccini::actions::{InputSource, KeyAction, KeyActions, MouseActions, PointerAction};
use fantoccini::{Client, ClientBuilder, Locator};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// A page in a browser of its own; both end with the value.
pub struct Browser {
    runtime: Runtime,
    client: Option<Client>,
    session: String,
    port: u16,
    driver: Child,
    _profile: TempDir,
}

/// A program by the variable that names it, else on PATH.
fn program(variable: &str, names: &[&str]) -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(variable) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    let candidates =
        std::env::split_paths(&path).flat_map(|folder| names.iter().map(move |n| folder.join(n)));
    candidates.into_iter().find(|file| file.is_file())
}

impl Browser {
    /// Opens a page of this disk; says aloud where it can't, for want of a browser.
    pub fn open(page: &Path) -> Option<Browser> {
        let Some(driver) = program("CHROMEDRIVER", &["chromedriver"]) else {
            println!("skipped: no chromedriver on PATH or in CHROMEDRIVER");
            return None;
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let port = port(&mut driver);
        let profile = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--no-first-run",
            "--window-size=1280,900",
        ]
        .map(String::from)
        .to_vec();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        let mut options = json!({ "args": arguments });
        if let Some(chromium) =
            program("CHROMIUM", &["chromium", "chromium-browser", "google-chrome"])
        {
            options["binary"] = json!(chromium);
        }
        let capabilities = json!({
            "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let connector = hyper_util::client::legacy::connect::HttpConnector::new();
        let (client, session) = runtime.block_on(async {
            let client = ClientBuilder::new(connector)
                .capabilities(capabilities.as_object().unwrap().clone())
                .connect(&format!("http://127.0.0.1:{port}"))
                .await
                .unwrap();
            client.goto(&format!("file://{}", page.display())).await.unwrap();
            let session = client.session_id().await.unwrap().unwrap();
            (client, session)
        });
        let browser =
            Browser { runtime, client: Some(client), session, port, driver, _profile: profile };
        browser.wait("document.readyState === 'complete' && (document.querySelector('svg') || !document.querySelector('figure'))");
        Some(browser)
    }

    fn client(&self) -> &Client {
        self.client.as_ref().unwrap()
    }

    /// What the body of a function returns.
    #[track_caller]
    pub fn js(&self, body: &str) -> Value {
        self.runtime
            .block_on(self.client().execute(body, Vec::new()))
            .unwrap_or_else(|e| panic!("{body}: {e}"))
    }

    /// Until an expression holds; gives up after ten seconds.
    #[track_caller]
    pub fn wait(&self, expression: &str) {
        for _ in 0..500 {
            if self.js(&format!("return Boolean({expression})")) == json!(true) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!(
            "waited in vain: {expression}; {}",
            self.js("return document.getElementById('live').textContent")
        );
    }

    pub fn click(&self, css: &str) {
        self.runtime.block_on(async {
            self.client().find(Locator::Css(css)).await.unwrap().click().await.unwrap();
        });
    }

    /// Presses a key where the focus is, by its name in JavaScript.
    pub fn key(&self, name: &str) {
        let value = match name {
            "Escape" => '\u{e00c}',
            "Space" => ' ',
            "Enter" => '\u{e007}',
            "End" => '\u{e010}',
            "Home" => '\u{e011}',
            "ArrowLeft" => '\u{e012}',
            "ArrowUp" => '\u{e013}',
            "ArrowRight" => '\u{e014}',
            "ArrowDown" => '\u{e015}',
            other => panic!("no key {other}"),
        };
        let keys = KeyActions::new("keys".into())
            .then(KeyAction::Down { value })
            .then(KeyAction::Up { value });
        self.runtime.block_on(self.client().perform_actions(keys)).unwrap();
    }

    /// Moves the pointer, in pixels of the window.
    pub fn hover(&self, x: f64, y: f64) {
        let mouse = MouseActions::new("mouse".into()).then(move_to(x, y));
        self.runtime.block_on(self.client().perform_actions(mouse)).unwrap();
    }

    pub fn drag(&self, from: (f64, f64), to: (f64, f64)) {
        let button = fantoccini::actions::MOUSE_BUTTON_LEFT;
        let mouse = MouseActions::new("mouse".into())
            .then(move_to(from.0, from.1))
            .then(PointerAction::Down { button })
            .then(move_to((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0))
            .then(move_to(to.0, to.1))
            .then(PointerAction::Up { button });
        self.runtime.block_on(self.client().perform_actions(mouse)).unwrap();
    }

    /// The entries of one of the driver's logs so far.
    fn log(&self, kind: &str) -> Vec<Value> {
        let body = json!({ "type": kind }).to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (session, length) = (&self.session, body.len());
        write!(
            stream,
            "POST /session/{session}/se/log HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}",
            self.port
        )
        .unwrap();
        // The driver keeps the connection open: what counts is the length that it states.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = BufReader::new(stream);
        let mut length = 0;
        let mut line = String::new();
        while answer.read_line(&mut line).unwrap() > 0 && !line.trim().is_empty() {
            if let Some(stated) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = stated.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["value"].as_array().unwrap_or_else(|| panic!("{body}")).clone()
    }

    /// No message on the console, nothing asked of any network, every id once, every reference to
    /// one leads somewhere, one heading of the first rank, no level left out.
    #[track_caller]
    pub fn is_sound(&self) {
        assert_eq!(self.log("browser"), Vec::<Value>::new(), "the console");
        let mut requests = 0;
        for entry in self.log("performance") {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let request = &message["message"]["params"];
            let of = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            // The browser's own start page, before ours.
            let own = of(&request["documentURL"]).starts_with("chrome");
            if message["message"]["method"] == "Network.requestWillBeSent" && !own {
                requests += 1;
                let url = of(&request["request"]["url"]);
                assert!(url.starts_with("file://") || url.starts_with("data:"), "{url}");
            }
        }
        assert!(requests > 0, "the page itself");
        let findings = self.js(
            "const all = [...document.querySelectorAll('[id]')].map(e => e.id), out = [];
             for (const id of all) if (all.filter(other => other === id).length > 1) out.push(`${id} twice`);
             for (const name of ['aria-labelledby', 'aria-describedby', 'for']) {
               for (const e of document.querySelectorAll(`[${name}]`)) {
                 if (!document.getElementById(e.getAttribute(name))) out.push(`${name} leads nowhere`);
               }
             }
             for (const a of document.querySelectorAll('a[href^=\"#\"]')) {
               if (!document.querySelector(a.getAttribute('href'))) out.push(`${a.href} leads nowhere`);
             }
             for (const e of document.querySelectorAll('img')) if (!e.alt) out.push('a picture without words');
             for (const e of document.querySelectorAll('button')) if (!e.textContent.trim()) out.push('a silent button');
             for (const e of document.querySelectorAll('table')) if (!e.caption) out.push('a table without a caption');
             const heads = [...document.querySelectorAll('h1, h2, h3')].map(e => Number(e.tagName[1]));
             if (heads.filter(n => n === 1).length !== 1) out.push('not one h1');
             heads.forEach((n, k) => { if (k && n > heads[k - 1] + 1 && n > 3) out.push('a heading left out'); });
             if (/undefined|\\[object|NaN%/.test(document.body.innerText)) out.push('a value without a form');
             return out;",
        );
        assert_eq!(findings, json!([]));
    }
}

fn move_to(x: f64, y: f64) -> PointerAction {
    PointerAction::MoveTo { duration: None, x, y }
}

/// The port that the driver chose.
fn port(driver: &mut Child) -> u16 {
    let lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return port.trim_end_matches('.').parse().unwrap();
        }
    }
    panic!("chromedriver did not start");
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // A test that failed has said so already.
            let _ = self.runtime.block_on(client.close());
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
