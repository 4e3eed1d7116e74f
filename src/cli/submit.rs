//! `run submit`: retrieval results of a run's checkpoints, posted to a competition's server.

use super::args::SubmitArgs;
use super::images::images;
use super::say;
use super::search::{Found, Queries, Wanted, ranking};
use crate::data::OnCorrupt;
use crate::evaluate::retrieval::Index;
use crate::inference::{Kept, Model, checkpoint_name, plan_of};
use crate::record::Verbosity;
use crate::submit::{ACCURACY_FILE, Client, Named, Outcome, Submission, Submissions, body, names};
use crate::train::signals::StopFlag;
use crate::wandb::Environment;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

pub fn submit(args: &SubmitArgs, verbosity: Verbosity) -> Result<()> {
    let SubmitArgs { run, checkpoint, query, gallery, top_k, metric, dry_run, force, settings } =
        args;
    if *top_k == 0 {
        return Err(Error::input("--top-k is 0: there would be nothing to submit"));
    }
    let sets = settings.sets();
    let config = plan_of(run, &sets)?.experiment.submit;
    config.complete()?;
    let environment = Environment::of_process();
    let client = match dry_run {
        true => None,
        false => Some(Client::new(&config, &environment)?),
    };
    let warnings = client.iter().filter_map(Client::warning).chain(environment.warning);
    warnings.for_each(|warning| crate::tell!("warning: {warning}"));
    let queries = stated("query", query, &config.query)?;
    let gallery = stated("gallery", gallery, &config.gallery)?;
    let quiet = verbosity == Verbosity::Quiet;
    let named = Names { queries: named("query", &queries)?, gallery: named("gallery", &gallery)? };
    if *top_k > gallery.len() && !quiet {
        let size = gallery.len();
        crate::tell!("--top-k {top_k}: the gallery has {size} images; no query gets more");
    }
    let all = kept(run, checkpoint.as_deref())?;
    let submissions = Submissions::open(run)?;
    let stop = StopFlag::listen()?;
    let tell = |text: &str| crate::tell!("{text}");
    let (count, mut unusable) = (all.len(), 0);
    for (number, kept) in all.iter().enumerate() {
        let model = Model::load(run, plan_of(run, &sets)?, kept)?;
        let (name, epoch) = (model.checkpoint.clone(), model.epoch);
        if count > 1 && !quiet {
            crate::tell!("{name} (epoch {epoch}), {} of {count}", number + 1);
        }
        let (queries, gallery) = (queries.clone(), gallery.clone());
        let wanted =
            Wanted { k: *top_k, metric: *metric, index: Index::Exact, corrupt: OnCorrupt::Error };
        let found = ranking(&model, Queries::Images(queries), gallery, wanted, verbosity)?;
        let body = body(&config, &named.results(&found))?;
        let submission = Submission { epoch, checkpoint: &name, body: &body };
        let Some(client) = &client else {
            let file = submissions.rehearse(&submission)?;
            say(&format!("{}: {name} (epoch {epoch}), not posted\n", file.display()))?;
            continue;
        };
        let outcome = submissions.post(client, &submission, *force, &tell, &stop)?;
        say(&match outcome {
            Outcome::Scored(accuracy) => format!("{name} (epoch {epoch}): accuracy {accuracy}\n"),
            Outcome::Known(accuracy) => format!(
                "{name} (epoch {epoch}): accuracy {accuracy}; the same was scored before and is not \
                 posted again (--force does)\n"
            ),
            Outcome::Unusable(why) => {
                unusable += 1;
                format!("{name} (epoch {epoch}): no accuracy: {why}\n")
            }
        })?;
    }
    if unusable > 0 {
        let message = format!("{unusable} of {count} answers hold no accuracy");
        let help = format!(
            "see submissions/*.answer.txt and {ACCURACY_FILE} in {}; submit.accuracy_field is {:?}",
            run.display(),
            config.accuracy_field
        );
        return Err(Error::failed(message).help(help));
    }
    Ok(())
}

/// The images of an option, or where it is not given of `[submit]`.
fn stated(what: &str, option: &[String], config: &[String]) -> Result<Vec<PathBuf>> {
    match (option, config) {
        ([], []) => Err(Error::input(format!("no {what} images are named"))
            .help(format!("give --{what} GLOB, or {what} = [\"GLOB\"] in [submit]"))),
        ([], config) => images(&format!("submit.{what}"), config),
        (option, _) => images(&format!("--{what}"), option),
    }
}

/// The images' names, and aloud where they are more than file names.
fn named(what: &str, paths: &[PathBuf]) -> Result<Vec<String>> {
    let Named { names, below, twice } = names(paths)?;
    if let (Some(below), Some(twice)) = (below, twice) {
        let below = below.display().to_string();
        let below = if below.is_empty() { "." } else { &below };
        crate::tell!(
            "two {what} images are called {twice}: all are named by their path below {below}"
        );
    }
    Ok(names)
}

/// What the images are called, in their order.
struct Names {
    queries: Vec<String>,
    gallery: Vec<String>,
}

impl Names {
    fn results(&self, found: &Found) -> Vec<(String, Vec<String>)> {
        let hits = |query: usize| {
            let names = found.hits.of(query).map(|(index, _)| self.gallery[index as usize].clone());
            names.collect()
        };
        let queries = self.queries.iter().enumerate();
        queries.map(|(at, name)| (name.clone(), hits(at))).collect()
    }
}

/// The weights that are meant. Of all, names of the same ones count once.
fn kept(run: &Path, which: Option<&str>) -> Result<Vec<Kept>> {
    match which {
        Some("all") => {
            let all = Kept::every(run)?;
            for kept in all.iter().filter(|kept| kept.names.len() > 1) {
                crate::tell!("{} are the same: submitted once", kept.all_names());
            }
            Ok(all)
        }
        name => Ok(vec![Kept::one(run, checkpoint_name(name.unwrap_or("min-loss"))?)?]),
    }
}
