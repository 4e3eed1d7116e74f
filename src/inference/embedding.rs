//! Images to embeddings: decoded by worker threads, embedded in float32 without a graph.
//!
//! Letters: N images, D values per embedding.

use crate::data::pipeline::{Pipeline, Work};
use crate::data::{Draw, Fault, Image, OnCorrupt, Preprocess, Renderer};
use crate::torch::precision::Exact;
use crate::train::model::Model as Network;
use crate::{Error, Result};
use std::sync::Arc;
use tch::{Kind, Tensor};

/// How images are embedded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Images in a forward pass; another size changes the last bits.
    pub batch_size: usize,
    /// Threads that decode.
    pub workers: usize,
    /// Batches decoded ahead; memory is bounded by that many.
    pub prefetch: usize,
    /// Embeds the mirror images too.
    pub mirror: bool,
    /// Whether a broken image ends it or is left out.
    pub on_corrupt: OnCorrupt,
}

/// Embeddings, not normalised, row by row in the order of the images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embeddings {
    /// D
    pub dim: usize,
    /// `N x D`, without the broken ones.
    pub image: Vec<f32>,
    /// `N x D` of the mirror images; empty where they were not asked for.
    pub mirrored: Vec<f32>,
    /// Images that could not be read, by number, and why; empty unless they may be left out.
    pub broken: Vec<(usize, String)>,
}

impl Embeddings {
    /// The rows of some images, in their order.
    pub fn select(&self, rows: &[usize]) -> Embeddings {
        let of = |values: &[f32]| match values.is_empty() {
            true => Vec::new(),
            false => {
                rows.iter().flat_map(|&r| &values[r * self.dim..][..self.dim]).copied().collect()
            }
        };
        Embeddings {
            dim: self.dim,
            image: of(&self.image),
            mirrored: of(&self.mirrored),
            broken: Vec::new(),
        }
    }
}

/// Embeds `images` with the network's weights as they are now. `progress` is told the images done and
/// their total, and answers whether to go on.
///
/// # Errors
/// `Input` naming the images that can't be read, unless those may be left out; `Stopped` where
/// `progress` says so.
pub fn embed(
    network: &Network,
    preprocess: &Preprocess,
    images: &[Image],
    options: Options,
    progress: &dyn Fn(usize, usize) -> bool,
) -> Result<Embeddings> {
    let _exact = Exact::new()?;
    let dim = network.dim() as usize;
    let Options { batch_size, workers, prefetch, mirror, on_corrupt } = options;
    let size = batch_size.max(1);
    let mut embeddings = Embeddings { dim, ..Embeddings::default() };
    embeddings.image.reserve_exact(images.len() * dim);
    let work = Decoding { images: images.into(), preprocess: preprocess.clone(), size };
    let batches = 0..images.len().div_ceil(size);
    let mut pipeline = Pipeline::start(work, batches, workers.max(1), prefetch);
    let mut done = 0;
    while let Some(decoded) = pipeline.take() {
        let Decoded { pixels, broken } = decoded?;
        let count = pixels.len() / (3 * preprocess.height * preprocess.width);
        done += count + broken.len();
        embeddings.broken.extend(broken);
        // Where one is broken, the others are only looked at, so that all can be named.
        let refused = on_corrupt == OnCorrupt::Error && !embeddings.broken.is_empty();
        if count > 0 && !refused {
            let shape = [count, 3, preprocess.height, preprocess.width].map(|n| n as i64);
            let pixels = Tensor::from_slice(&pixels).view(shape);
            let batch = network.normalize(&pixels);
            push(network, &batch, &mut embeddings.image)?;
            if mirror {
                push(network, &batch.flip([3]), &mut embeddings.mirrored)?;
            }
        }
        if !progress(done, images.len()) {
            return Err(Error::stopped("stopped while images were embedded"));
        }
    }
    match on_corrupt {
        OnCorrupt::Error if !embeddings.broken.is_empty() => {
            Err(refusal(images, &embeddings.broken))
        }
        _ => Ok(embeddings),
    }
}

/// Reads every image, without a network.
///
/// # Errors
/// `Input` naming those that can't be read; `Stopped` where `progress` says so.
pub fn readable(
    preprocess: &Preprocess,
    images: &[Image],
    options: Options,
    progress: &dyn Fn(usize, usize) -> bool,
) -> Result<()> {
    const BATCH: usize = 64;
    let work = Decoding { images: images.into(), preprocess: preprocess.clone(), size: BATCH };
    let batches = 0..images.len().div_ceil(BATCH);
    let mut pipeline = Pipeline::start(work, batches, options.workers.max(1), options.prefetch);
    let (mut done, mut broken) = (0, Vec::new());
    while let Some(decoded) = pipeline.take() {
        broken.extend(decoded?.broken);
        done = images.len().min(done + BATCH);
        if !progress(done, images.len()) {
            return Err(Error::stopped("stopped while images were read"));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(refusal(images, &broken)) }
}

/// Of images that can't be read: all counted, the first ten named.
fn refusal(images: &[Image], broken: &[(usize, String)]) -> Error {
    let name = |(number, why): &(usize, String)| format!("{}: {why}", images[*number].display());
    let help = "mend or remove them";
    if let [one] = broken {
        return Error::input(name(one)).help("mend or remove the image");
    }
    let shown: Vec<String> = broken.iter().take(10).map(name).collect();
    let more = if broken.len() > 10 { "\n  ..." } else { "" };
    let (count, shown) = (broken.len(), shown.join("\n  "));
    Error::input(format!("{count} images can't be read:\n  {shown}{more}")).help(help)
}

/// # Shapes
/// batch `[B, 3, H, W]`, normalised; appends `B x D`.
fn push(network: &Network, batch: &Tensor, to: &mut Vec<f32>) -> Result<()> {
    let embedding = tch::no_grad(|| network.embed(batch, false).to_kind(Kind::Float));
    let values = Vec::<f32>::try_from(embedding.contiguous().view(-1));
    to.extend(values.map_err(|e| Error::failed(e.to_string()))?);
    Ok(())
}

/// Whether an error is about one file, not about the machine.
fn of_file(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), IsADirectory | NotFound | PermissionDenied)
}

struct Decoding {
    images: Arc<[Image]>,
    preprocess: Preprocess,
    size: usize,
}

struct Decoded {
    /// `N x 3 x height x width` of those that could be decoded.
    pixels: Vec<u8>,
    broken: Vec<(usize, String)>,
}

impl Work for Decoding {
    type Scratch = Renderer;
    type Output = Result<Decoded>;

    fn run(
        &self,
        number: usize,
        renderer: &mut Renderer,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Decoded> {
        let first = number * self.size;
        let wanted = first..self.images.len().min(first + self.size);
        let one = 3 * self.preprocess.height * self.preprocess.width;
        let mut pixels = vec![0; wanted.len() * one];
        let (mut filled, mut broken) = (0, Vec::new());
        for number in wanted {
            if stopped() {
                break;
            }
            let image = &self.images[number];
            let out = &mut pixels[filled..filled + one];
            match renderer.render(image, &self.preprocess, &Draw::NONE, out) {
                Ok(()) => filled += one,
                Err(Fault::Broken(why)) => broken.push((number, why)),
                Err(Fault::System(error)) if of_file(&error) => {
                    broken.push((number, format!("can't be read: {error}")));
                }
                Err(Fault::System(error)) => return Err(Error::io("read", &image.name(), error)),
            }
        }
        pixels.truncate(filled);
        Ok(Decoded { pixels, broken })
    }
}
