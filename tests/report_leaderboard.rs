//! `run report` of what `run sweep` writes, in a real browser.

mod browser;
mod support;

use arcrun::record::RunInfo;
use browser::Browser;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use support::Tiny;

/// A run of two epochs.
fn write_run(folder: &Path, loss: f64) {
    fs::create_dir_all(folder).unwrap();
    RunInfo::new("sweep", "20261122-120000-abcd", folder).write(folder).unwrap();
    let epochs = format!("epoch,train_loss,val_loss\n1,3.0,{}\n2,2.0,{loss}\n", loss + 1.0);
    fs::write(folder.join("epochs.csv"), epochs).unwrap();
}

/// What a sweep writes: status, ranks, groups over seeds, trials that lack parameters and values.
#[test]
fn a_leaderboard_in_a_browser() {
    let tiny = Tiny::new();
    let mut text =
        "trial,name,status,run,attempts,epoch,rank,parameter_lr,parameter_seed,parameter_loss,\
        parameter_loss.margin,seconds,acc,acc_mean,acc_std,acc_seeds,val_loss\n"
            .to_string();
    for (n, (rank, mean)) in [(1, 0.1), (1, 0.1), (2, 0.2), (2, 0.2), (3, 0.5)].iter().enumerate() {
        let (name, margin) = (format!("lr={rank},#seed {n}"), if *rank == 2 { "0.35" } else { "" });
        let value = mean + if n % 2 == 0 { 0.01 } else { -0.01 };
        let run = format!("trials/{name}");
        writeln!(
            text,
            "{n:012},\"{name}\",finished,\"{run}\",1,3,{rank},0.{rank},{n},arcface,{margin},2.5,{value},\
             {mean},0.0141,2,{}",
            10 - n
        )
        .unwrap();
        write_run(&tiny.path("sweep").join(&run), 1.0 + mean);
    }
    text.push_str("000000000005,f,failed: out of memory,trials/f,3,0,,0.4,5,cosface,,,,,,0,\n");
    text.push_str("000000000006,w,waiting,,0,0,,0.5,6,cosface,0.2,,,,,0,\n");
    text.push_str("000000000007,p,pruned,../../etc,1,1,,0.5,7,cosface,,,NaN,,,0,\n");
    tiny.write("sweep/sweep.csv", &text);
    fs::write(tiny.path("sweep/trials/lr=1,#seed 0/report.html"), "").unwrap();
    tiny.succeed(&["report", "sweep"]);
    let Some(browser) = Browser::open(&tiny.path("sweep/report.html")) else { return };
    let js = |script: &str| browser.js(&format!("return {script}"));
    let statuses = js("document.querySelector('.statuses').innerText.replace(/\\s+/g, ' ').trim()");
    assert_eq!(statuses, "8 trials: 5 finished, 1 failed: out of memory, 1 waiting, 1 pruned");
    // Groups first, with their spread.
    let group = "document.querySelector('table').tBodies[0].rows";
    assert_eq!(js(&format!("{group}.length")), 3);
    assert_eq!(js(&format!("{group}[0].cells[1].textContent")), "0.1000 ± 0.0141 (2)");
    // Links lead to the runs that are there, and to their reports.
    let links = js(
        "[...document.querySelectorAll('table')[1].querySelectorAll('a')].map(a => a.getAttribute('href'))",
    );
    let links = links.as_array().unwrap();
    assert_eq!(links.len(), 5);
    assert_eq!(links[0], "trials/lr%3D1%2C%23seed%200/report.html");
    assert_eq!(links[1], "trials/lr%3D1%2C%23seed%201/");
    let heads = js(
        "[...document.querySelectorAll('table')[1].querySelectorAll('thead th')].map(t => t.textContent).join()",
    );
    let heads = heads.as_str().unwrap();
    assert!(heads.starts_with("name,rank,status,acc,lr,seed,loss,loss.margin,"), "{heads}");
    // The objective is chosen; its ranks say that less is better here.
    assert_eq!(js("document.querySelector('select').selectedOptions[0].textContent"), "acc");
    assert_eq!(
        js("document.querySelectorAll('table')[1].querySelector('td.best').textContent"),
        "0.0900 (best)"
    );
    // A trial without a margin or an accuracy is drawn over what it has.
    let ways = |part: &str| js(&format!("document.querySelectorAll('g.trial {part}').length"));
    assert_eq!((ways("path.way:not(.gap)"), ways("path.gap")), (json!(8), json!(3)));
    let dead = "[...document.querySelectorAll('g.trial path')].filter(p => /NaN|null|undefined/.test(p.getAttribute('d'))).length";
    assert_eq!(js(dead), 0);
    // The curves of the best, by their names.
    let curves = "[...document.querySelectorAll('figure')].find(f => f.querySelector('h3').firstChild.data === 'Validation loss').querySelectorAll('.curve').length";
    assert_eq!(js(curves), 5);
    js("document.querySelector('.runs button').click()");
    assert_eq!(js(curves), 4);
    assert_eq!(
        js("document.querySelector('.runs button').innerText.split('\\n')[0].trim()"),
        "lr=1,#seed 0"
    );
    browser.is_sound();

    // A page elsewhere leads there too.
    tiny.succeed(&["report", "sweep", "--output", "page.html"]);
    let text = fs::read_to_string(tiny.path("page.html")).unwrap();
    let text = text.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let there: Value = serde_json::from_str(text).unwrap();
    assert_eq!(there["sweeps"][0]["links"][1], "sweep/trials/lr=1,#seed 1/");
    assert_eq!(there["sweeps"][0]["links"][7], Value::Null);
}
