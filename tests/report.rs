//! `run report`: the page in a real browser, and what the command says.

mod browser;
mod support;

use arcrun::config::{Experiment, load_str};
use arcrun::record::{RunInfo, Status};
use browser::Browser;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use support::Tiny;

const HOSTILE: &str =
    "</script><script>alert(1)</script> <img src=x onerror=alert(2)> \"Zoë\" & 'π'";
const CONFIG: &str = "[data]\nkind = \"synthetic_faces\"\n[loss]\nkind = \"cosface\"\n";

/// A finished run of three epochs and five steps in a folder of its own.
fn write_run(folder: &Path, experiment: &str, lr: f64, loss: [f64; 3]) {
    fs::create_dir_all(folder).unwrap();
    let mut info = RunInfo::new(experiment, "20261122-120000-abcd", folder);
    info.parameters = 123_456;
    info.seconds = [("total".to_owned(), 61.0)].into();
    info.end(Status::Finished, None);
    info.write(folder).unwrap();
    let config = format!("{CONFIG}[optimizer]\nlr = {lr}\n");
    let config = load_str::<Experiment>("x.toml", &config, &[]).unwrap();
    fs::write(folder.join("config.toml"), config.experiment.to_toml()).unwrap();
    let mut epochs =
        "epoch,train_loss,train_accuracy,val_loss,val_accuracy,lr,seconds,images_per_second\n"
            .to_string();
    for (n, loss) in loss.iter().enumerate() {
        writeln!(epochs, "{},{},0.{n},{loss},0.{n}5,{lr},2.5,100.0", n + 1, loss - 0.5).unwrap();
    }
    fs::write(folder.join("epochs.csv"), epochs).unwrap();
    let steps = "step,epoch,loss,lr,images_per_second,accuracy,grad_norm,target_cosine\n\
        1,1,4.5,0.1,90.0,0.0,2.0,0.1\n2,1,3.25,0.1,91.0,0.25,inf,0.2\n3,2,NaN,0.1,92.0,,1.5,0.3\n\
        4,2,2.125,0.1,93.0,0.5,1.25,0.4\n5,3,1.0625,0.1,94.0,0.75,1.0,0.5\n";
    fs::write(folder.join("steps.csv"), steps).unwrap();
    let accuracy = 0.9 - loss[2] / 10.0;
    let eval = format!(
        "epoch,checkpoint,set,metric,value,std\n0,untrained,lfw,accuracy,0.5,0.01\n\
         0,untrained,lfw,eer,0.5,\n3,latest,lfw,accuracy,{accuracy},0.02\n3,latest,lfw,eer,0.125,\n"
    );
    fs::write(folder.join("eval.csv"), eval).unwrap();
}

/// A run whose every name is hostile, with scores, pictures, embeddings and a damaged line.
fn write_hostile(folder: &Path) {
    write_run(folder, HOSTILE, 0.1, [3.0, 1.5, 2.0]);
    let append = |file: &str, text: &str| {
        let content = fs::read_to_string(folder.join(file)).unwrap() + text;
        fs::write(folder.join(file), content).unwrap();
    };
    let mut csv = String::new();
    for checkpoint in ["untrained", "latest"] {
        let name = HOSTILE.replace('"', "\"\"");
        writeln!(csv, "3,{checkpoint},\"{name}\",accuracy,0.75,0.125").unwrap();
    }
    append("eval.csv", &csv);
    append("steps.csv", "6,3\n");
    let set = folder.join("scores").join("<img src=x onerror=alert(3)>");
    fs::create_dir_all(&set).unwrap();
    let picture = folder.join("face \"<b>.png");
    image::RgbImage::from_pixel(40, 40, image::Rgb([200, 90, 10])).save(&picture).unwrap();
    let mut scores = "fold,first,second,same,distance\n".to_string();
    for n in 0..40 {
        let name = picture.display().to_string().replace('"', "\"\"");
        let other = if n == 39 { "/nowhere/<i>gone.jpg" } else { name.as_str() };
        let distance = if n % 2 == 1 { n as f64 / 40.0 } else { 0.7 + n as f64 / 40.0 };
        writeln!(scores, "{},\"{name}\",\"{other}\",{},{distance}", 1 + n / 20, n % 2).unwrap();
    }
    fs::write(set.join("latest.csv"), &scores).unwrap();
    write_embeddings(folder);
}

/// Two classes in two epochs.
fn write_embeddings(folder: &Path) {
    use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
    let folder = folder.join("embeddings");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("classes.json"), json!([HOSTILE, "b"]).to_string()).unwrap();
    for epoch in 1..=2 {
        let bytes =
            |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
        let points = bytes(&[1.0, 0.0, 2.0, 0.5, -1.0, epoch as f32, -2.0, 0.0]);
        let labels: Vec<u8> = [0i64, 0, 1, 1].iter().flat_map(|v| v.to_le_bytes()).collect();
        let centres = bytes(&[1.5, 0.0, -1.0, 1.0]);
        let view =
            |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
        let tensors = [
            ("embeddings", view(Dtype::F32, &[4, 2], &points)),
            ("labels", view(Dtype::I64, &[4], &labels)),
            ("centres", view(Dtype::F32, &[2, 2], &centres)),
        ];
        let path = folder.join(format!("epoch-{epoch:04}.safetensors"));
        let told = [
            ("epoch", epoch.to_string()),
            ("split", "validation".into()),
            ("experiment", "x".into()),
        ];
        let told = told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        serialize_to_file(tensors, Some(told), &path).unwrap();
    }
}

fn report(tiny: &Tiny, args: &[&str]) -> String {
    tiny.succeed(&[&["report"], args].concat())
}

/// A figure by its heading, as a JavaScript expression.
fn figure(title: &str) -> String {
    format!(
        "[...document.querySelectorAll('figure')].find(f => f.querySelector('h3').firstChild.data === '{title}')"
    )
}

/// The first column of the table, row by row.
const FIRST: &str =
    "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[0].textContent.trim())";

#[test]
fn one_run_in_a_browser() {
    let tiny = Tiny::new();
    write_hostile(&tiny.path("run"));
    report(&tiny, &["run"]);
    let Some(browser) = Browser::open(&tiny.path("run/report.html")) else { return };
    let js = |script: &str| browser.js(&format!("return {script}"));

    // Names are texts, whatever they hold.
    assert_eq!(js("document.title"), HOSTILE);
    assert_eq!(js("document.querySelector('h1').textContent"), HOSTILE);
    assert_eq!(js("document.scripts.length"), 2);
    assert_eq!(
        js("document.querySelectorAll('[onerror], main b i, main i, main script').length"),
        0
    );
    let text = js("document.body.innerText");
    let text = text.as_str().unwrap();
    for part in [
        "steps.csv line 7: 2 fields where the header has 8",
        "/nowhere/<i>gone.jpg",
        "best epoch 2",
    ] {
        assert!(
            text.contains(part) || js("document.body.textContent").as_str().unwrap().contains(part),
            "{part}"
        );
    }
    assert!(text.contains("Loss: 1 value not finite (NaN at 3)"), "{text}");

    // Hover and keys show the value of the step.
    let loss = figure("Loss");
    let steps = "[...document.querySelectorAll('figure')].filter(f => f.querySelector('h3').firstChild.data === 'Loss')[1]";
    js(&format!("{steps}.scrollIntoView({{block: 'center', behavior: 'instant'}})"));
    let middle = js(&format!(
        "(b => [b.x + b.width / 2, b.y + b.height / 2])({steps}.querySelectorAll('circle.dot')[1].getBoundingClientRect())"
    ));
    browser.hover(middle[0].as_f64().unwrap(), middle[1].as_f64().unwrap());
    let tip = format!("{steps}.querySelector('.tip').innerText.replace(/\\s+/g, ' ').trim()");
    assert_eq!(js(&tip), "step 2, epoch 1 Loss 3.25");
    js(&format!("{steps}.querySelector('.plot').focus()"));
    let plot = format!("{steps}.querySelector('.plot')");
    for (key, shown) in [
        ("Home", "step 1, epoch 1 Loss 4.5"),
        ("End", "step 5, epoch 3 Loss 1.0625"),
        ("ArrowLeft", "step 4, epoch 2 Loss 2.125"),
        ("ArrowLeft", "step 3, epoch 2 Loss NaN"),
    ] {
        browser.key(key);
        assert_eq!(js(&tip), shown, "{key}");
    }
    browser.wait("document.getElementById('live').textContent === 'step 3, epoch 2: Loss NaN'");
    browser.key("Escape");
    assert_eq!(js(&format!("{plot}.querySelector('.tip').hidden")), true);
    let curve = format!("{loss}.querySelector('.curve').getAttribute('d')");
    let linear = js(&curve);
    js(&format!("{loss}.querySelector('figcaption button').click()"));
    assert_ne!(js(&curve), linear, "a logarithmic axis");

    // The theme, both ways.
    let colour = "getComputedStyle(document.body).backgroundColor";
    let first = js(colour);
    browser.click("#theme");
    let second = js(colour);
    assert_ne!(first, second);
    browser.click("#theme");
    assert_eq!(js(colour), first);

    // The epoch of the embeddings.
    let epoch = "document.querySelector('canvas').dataset.epoch";
    assert_eq!(js(epoch), "2");
    js("document.querySelector('input[type=range]').focus()");
    browser.key("ArrowLeft");
    assert_eq!(js(epoch), "1");
    js("document.querySelector('canvas').focus()");
    browser.key("ArrowDown");
    let said =
        format!("document.getElementById('live').textContent.startsWith({})", json!(HOSTILE));
    browser.wait(&said);

    // What differs from the defaults, and all of it.
    let rows = "document.querySelectorAll('.changed').length + ' ' + [...document.querySelectorAll('table')].pop().tBodies[0].rows.length";
    let few = js(rows);
    js(
        "[...document.querySelectorAll('button')].find(b => b.textContent === 'Show all keys').click()",
    );
    let all = js(rows);
    assert_ne!(few, all);
    let kind = "[...document.querySelectorAll('tr.changed')].find(r => r.cells[0].textContent.startsWith('loss.kind')).innerText.replace(/\\s+/g, ' ').trim()";
    assert!(js(kind).as_str().unwrap().ends_with("\"cosface\" \"arcface\""), "{}", js(kind));
    browser.is_sound();
}

#[test]
fn several_runs_in_a_browser() {
    let tiny = Tiny::new();
    for (name, lr, loss) in [("b", 0.1, 2.0), ("c", 0.01, 1.0), ("a", 1.0, 3.0)] {
        write_run(&tiny.path(name), name, lr, [5.0, 4.0, loss]);
    }
    assert!(report(&tiny, &["b", "c", "a"]).starts_with("report.html: 3 runs, "));
    let Some(browser) = Browser::open(&tiny.path("report.html")) else { return };
    let js = |script: &str| browser.js(&format!("return {script}"));
    let order = || -> String {
        let names = js(FIRST);
        names.as_array().unwrap().iter().map(|v| v.as_str().unwrap()[..1].to_owned()).collect()
    };
    let head = |name: &str| {
        format!("[...document.querySelectorAll('thead th')].find(t => t.textContent === '{name}')")
    };
    assert_eq!(order(), "bca");
    js(&format!("{}.querySelector('button').click()", head("val_loss")));
    assert_eq!(order(), "cba");
    assert_eq!(js(&format!("{}.getAttribute('aria-sort')", head("val_loss"))), "ascending");
    js(&format!("{}.querySelector('button').focus()", head("val_loss")));
    browser.key("Enter");
    assert_eq!(order(), "abc");
    assert_eq!(js(&format!("{}.getAttribute('aria-sort')", head("val_loss"))), "descending");
    js(&format!("{}.querySelector('button').focus()", head("lfw accuracy")));
    browser.key("Space");
    assert_eq!(order(), "cba", "the highest accuracy first");
    assert_eq!(js("document.querySelectorAll('th[aria-sort]').length"), 1);

    let curves = format!("{}.querySelectorAll('.curve').length", figure("Validation loss"));
    assert_eq!(js(&curves), 3);
    js("document.querySelector('.runs button').click()");
    assert_eq!(js(&curves), 2);
    assert_eq!(js("document.querySelector('.runs button').getAttribute('aria-pressed')"), "false");
    let differences = js(
        "document.querySelectorAll('table')[1].tBodies[0].innerText.replace(/\\s+/g, ' ').trim()",
    );
    assert_eq!(differences, "optimizer.lr 0.1 0.01 1.0");
    browser.is_sound();
}

#[test]
fn a_sweep_in_a_browser() {
    let tiny = Tiny::new();
    let mut text = "trial,status,parameter_lr,parameter_loss.kind,accuracy,eer\n".to_string();
    for n in 1..=10 {
        let kind = if n % 2 == 0 { "</script><b>" } else { "cosface" };
        writeln!(text, "{n},finished,{},{kind},0.{n:02},{}", 1e-4 * f64::from(n), 11 - n).unwrap();
    }
    text.push_str("11,diverged,5.0,cosface,NaN,inf\n");
    tiny.write("sweep/sweep.csv", &text);
    assert!(report(&tiny, &["sweep"]).starts_with("sweep/report.html: 1 sweep, "));
    let Some(browser) = Browser::open(&tiny.path("sweep/report.html")) else { return };
    let js = |script: &str| browser.js(&format!("return {script}"));
    let bars = js("document.querySelector('.bars').innerText.replace(/\\s+/g, ' ').trim()");
    assert!(bars.as_str().unwrap().starts_with("lr + 1.00 ρ, 10 trials"), "{bars}");
    let rows = "document.querySelector('table').tBodies[0].rows.length";
    assert_eq!(js(rows), 11);

    // By keyboard: the lower end of the metric's axis, up until some trials are out.
    js("[...document.querySelectorAll('g.vertical')].pop().focus()");
    for _ in 0..10 {
        browser.key("ArrowUp");
    }
    let left = js(rows).as_u64().unwrap();
    assert!((1..11).contains(&left), "{left}");
    let accuracies = js(
        "[...document.querySelector('table').tBodies[0].rows].map(r => Number(r.cells[4].textContent.slice(0, 6)))",
    );
    assert!(
        accuracies.as_array().unwrap().iter().all(|v| v.as_f64().unwrap() > 0.05),
        "{accuracies}"
    );
    browser.wait("/accuracy: .* of 11 trials/.test(document.getElementById('live').textContent)");
    browser.key("Escape");
    assert_eq!(js(rows), 11);

    // By pointer, and a click drops it.
    js("document.querySelector('figure').scrollIntoView({block: 'center', behavior: 'instant'})");
    let hit = js(
        "(b => [b.x + b.width / 2, b.y, b.height])(document.querySelector('.hit').getBoundingClientRect())",
    );
    let [x, y, height] = [0, 1, 2].map(|n| hit[n].as_f64().unwrap());
    browser.drag((x, y + height * 0.9), (x, y + height * 0.4));
    let left = js(rows).as_u64().unwrap();
    assert!((1..11).contains(&left), "{left}");
    browser.drag((x, y + height * 0.5), (x, y + height * 0.5));
    assert_eq!(js(rows), 11);
    assert_eq!(js("document.querySelectorAll('main b').length"), 0);
    browser.is_sound();
}

/// The JSON of a page.
fn data(page: &Path) -> Value {
    let text = fs::read_to_string(page).unwrap();
    let data = text.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_trained_run_is_told_as_its_files_have_it() {
    let tiny = Tiny::new();
    let run = tiny.train("run", &[]);
    let said = report(&tiny, &["run", "--output", "page.html"]);
    assert!(said.starts_with("page.html: 1 run, 0."), "{said}");
    let data = &data(&tiny.path("page.html"))["runs"][0];
    assert_eq!(data["problems"], json!([]));
    assert_eq!(data["steps"]["rows"], support::column(&run.join("steps.csv"), "loss").len());
    let loss: f64 = support::column(&run.join("steps.csv"), "loss")[4].parse().unwrap();
    let shown = data["steps"]["columns"][0]["y"][4].as_f64().unwrap();
    // Seven digits.
    assert!((shown - loss).abs() <= 5e-7 * loss.abs() * 10.0, "{shown} {loss}");
    let val_loss = support::column(&run.join("epochs.csv"), "val_loss");
    let least = val_loss.iter().map(|v| v.parse::<f64>().unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!(data["best"]["value"].as_f64().unwrap(), least);
    let state = data["settings"].as_array().unwrap();
    let of = |key: &str| state.iter().find(|s| s["key"] == key).unwrap();
    assert_eq!(
        (&of("loss.scale")["value"], &of("loss.scale")["default"]),
        (&json!("16.0"), &json!("64.0"))
    );
    assert!(!tiny.path("run/report.html").exists());
}

#[test]
fn a_run_without_an_epoch_and_without_files() {
    let tiny = Tiny::new();
    let run = tiny.path("run");
    fs::create_dir_all(&run).unwrap();
    RunInfo::new("early", "x", &run).write(&run).unwrap();
    report(&tiny, &["run"]);
    let page = data(&run.join("report.html"));
    let problems = page["runs"][0]["problems"].to_string();
    for file in ["config.toml cannot be read", "steps.csv is missing", "epochs.csv is missing"] {
        assert!(problems.contains(file), "{problems}");
    }
    let Some(browser) = Browser::open(&run.join("report.html")) else { return };
    let text = browser.js("return document.body.innerText");
    for part in ["no epoch yet", "No epoch yet", "No step yet", "The run is still going"] {
        assert!(text.as_str().unwrap().contains(part), "{part} in {text}");
    }
    browser.is_sound();
}

#[test]
fn a_hundred_thousand_steps_stay_small() {
    let tiny = Tiny::new();
    write_run(&tiny.path("run"), "long", 0.1, [3.0, 2.0, 1.0]);
    let mut steps = "step,epoch,loss,lr,images_per_second,accuracy,grad_norm,embedding_norm,target_cosine,top_cosine\n".to_string();
    for n in 1..=100_000u32 {
        let x = f64::from(n.wrapping_mul(2_654_435_761) % 1_000_003) / 7.0;
        writeln!(steps, "{n},1,{x},{x},{x},{x},{x},{x},{x},{x}").unwrap();
    }
    tiny.write("run/steps.csv", &steps);
    report(&tiny, &["run"]);
    let page: PathBuf = tiny.path("run/report.html");
    assert!(fs::metadata(&page).unwrap().len() < 5_000_000);
    let steps = &data(&page)["runs"][0]["steps"];
    let points = steps["x"].as_array().unwrap();
    assert!((1000..=1500).contains(&points.len()), "{}", points.len());
    assert_eq!((&steps["every"], points.last().unwrap()), (&json!(67), &json!(100_000.0)));
}

#[test]
fn wrong_input() {
    let tiny = Tiny::new();
    tiny.write("empty/x", "");
    write_run(&tiny.path("run"), "a", 0.1, [1.0, 1.0, 1.0]);
    tiny.write("damaged/run.json", "{");
    for (args, says) in [
        (&["empty"][..], &["empty is no run folder", "run.json"][..]),
        (&["nowhere"], &["nowhere is no run folder"]),
        (&["run", "nowhere"], &["nowhere is no run folder"]),
        (&["damaged"], &["damaged/run.json is damaged"]),
        (&["run", "--output", "none/x.html"], &["there is no folder none", "create it first"]),
        (&["run", "--output", "empty"], &["empty is a folder"]),
        (&[], &["RUN_DIR"]),
    ] {
        tiny.run(&[&["report"], args].concat()).exits(2).says(says);
    }
    assert!(!tiny.path("report.html").exists());
}
