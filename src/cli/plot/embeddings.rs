//! `run plot embeddings`.

use crate::cli::args::{PlotEmbeddingsArgs, ProjectionArg};
use crate::cli::progress::Counter;
use crate::cli::say;
use crate::plot::embeddings::{Projection, draw};
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::{Error, Result};

pub fn embeddings(options: &PlotEmbeddingsArgs, verbosity: Verbosity) -> Result<()> {
    let PlotEmbeddingsArgs { runs, output, projection, perplexity } = options;
    let projection = match (projection, *perplexity) {
        (ProjectionArg::Tsne, perplexity) => Projection::Tsne { perplexity },
        (ProjectionArg::Pca, None) => Projection::Pca,
        (ProjectionArg::Pca, Some(_)) => {
            return Err(Error::input("--perplexity is of t-SNE, and the projection is pca")
                .help("add --projection tsne, or leave it out"));
        }
    };
    // Several runs are drawn into the first one's folder.
    let folder = output.clone().unwrap_or_else(|| runs[0].join("plots"));
    let counter = Counter::new("drawing", verbosity == Verbosity::Quiet);
    let stop = StopFlag::listen()?;
    let written = draw(runs, &folder, projection, &|done, total| {
        counter.set(done, total);
        !stop.is_set()
    })?;
    counter.finish();
    let pictures = written.iter().filter(|path| path.extension().is_some_and(|e| e == "png"));
    say(&format!(
        "{} pictures, embeddings.gif and embeddings.html in {}\n",
        pictures.count(),
        folder.display()
    ))
}
