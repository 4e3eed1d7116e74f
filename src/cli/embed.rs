//! `run embed`: images to a file of embeddings.

use super::args::EmbedArgs;
use super::images::images;
use super::progress::Counter;
use super::say;
use crate::checkpoint::{durable, write_with_texts};
use crate::data::{Image, OnCorrupt};
use crate::evaluate::{Flip, merge_flip};
use crate::inference::{self, Model, checkpoint_name};
use crate::record::Verbosity;
use crate::train::signals::StopFlag;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use tch::Tensor;

/// What embeddings are written as.
#[derive(Clone, Copy)]
enum Format {
    Csv,
    Npy,
    Safetensors,
}

pub fn embed(args: &EmbedArgs, verbosity: Verbosity) -> Result<()> {
    let EmbedArgs { model, images: patterns, texts, output, flip, normalise, skip_broken } = args;
    let format = format(output)?;
    writable(output)?;
    let (what, files) = match texts {
        Some(file) => ("text", lines(file)?),
        None => ("image", images("--images", patterns)?),
    };
    let inputs = texts.iter().chain(&files).cloned().collect::<Vec<_>>();
    apart(&[("--output", output)], &inputs)?;
    let model = open(model)?;
    let flip = match flip {
        Some(flip) => *flip,
        None => model.plan.experiment.evaluate.flip,
    };
    let corrupt = if *skip_broken { OnCorrupt::Skip } else { OnCorrupt::Error };
    let begun = std::time::Instant::now();
    let embedded = match texts {
        Some(_) => {
            let texts: Vec<String> = files.iter().map(|text| text.display().to_string()).collect();
            let plain = model.embed_texts(&texts)?;
            let (vectors, dim) = (merge_flip(&plain, &plain, model.dim(), flip), model.dim());
            let dim = if flip == Flip::Concat { 2 * dim } else { dim };
            Embedded { kept: files.clone(), vectors, dim }
        }
        None => embed_files(&model, &files, flip, corrupt, verbosity)?,
    };
    let seconds = begun.elapsed().as_secs_f64();
    let Embedded { kept, mut vectors, dim } = embedded;
    if *normalise {
        normalise_rows(&mut vectors, dim, &kept)?;
    }
    match format {
        Format::Csv => write_csv(output, what, &kept, &vectors, dim)?,
        Format::Npy => {
            let list = output.with_extension(format!("{what}s.csv"));
            // The large file first: where it has no room, nothing is left.
            write_npy(output, &vectors, dim)?;
            write_list(&list, what, &kept)?;
            say(&format!("{}: the {what} of each row\n", list.display()))?;
        }
        Format::Safetensors => {
            let shape = [kept.len() as i64, dim as i64];
            let tensors = [("embeddings".to_string(), Tensor::from_slice(&vectors).view(shape))];
            let names: Vec<String> = kept.iter().map(|path| path.display().to_string()).collect();
            let texts = [
                (
                    if texts.is_some() { "texts" } else { "images" },
                    serde_json::json!(names).to_string(),
                ),
                ("experiment", model.plan.name.clone()),
                ("checkpoint", format!("{} (epoch {})", model.checkpoint, model.epoch)),
                ("flip", flip.to_string()),
                ("normalised", normalise.to_string()),
            ];
            let texts = texts.into_iter().map(|(name, text)| (name.to_string(), text)).collect();
            write_with_texts(output, &tensors.into(), &texts)?;
        }
    }
    say(&format!(
        "{}: {} x {dim}, {} (epoch {}), {:.0} {what}s/s\n",
        output.display(),
        kept.len(),
        model.checkpoint,
        model.epoch,
        files.len() as f64 / seconds
    ))
}

/// Opens the run that a command names.
pub fn open(args: &super::args::ModelArgs) -> Result<Model> {
    let super::args::ModelArgs { run, checkpoint, settings } = args;
    let checkpoint = checkpoint.as_deref().map(checkpoint_name).transpose()?;
    Model::open_with(run, checkpoint, &settings.sets())
}

/// Vectors of image files, after the flip test.
pub struct Embedded {
    /// The files that could be read.
    pub kept: Vec<PathBuf>,
    /// `N x D`, not normalised.
    pub vectors: Vec<f32>,
    pub dim: usize,
}

/// Embeds files under a progress bar; broken ones end it or are named and left out.
///
/// # Errors
/// A broken image, or a signal.
pub fn embed_files(
    model: &Model,
    files: &[PathBuf],
    flip: Flip,
    corrupt: OnCorrupt,
    verbosity: Verbosity,
) -> Result<Embedded> {
    let missing: Vec<String> = (files.iter().filter(|file| !file.is_file()))
        .map(|file| file.display().to_string())
        .collect();
    if !missing.is_empty() {
        let shown = missing[..missing.len().min(10)].join("\n  ");
        let more = if missing.len() > 10 { "\n  ..." } else { "" };
        return Err(Error::input(format!("no image file at:\n  {shown}{more}")));
    }
    let images: Vec<Image> = files.iter().map(Image::from).collect();
    let stop = StopFlag::listen()?;
    let counter = Counter::new("embedding", verbosity == Verbosity::Quiet);
    let options = model.options(flip != Flip::None, corrupt);
    let embeddings = model.embed_with(&images, options, &|done, total| {
        counter.set(done, total);
        !stop.is_set()
    });
    counter.finish();
    let embeddings = embeddings?;
    let broken: std::collections::HashSet<usize> =
        embeddings.broken.iter().map(|(number, _)| *number).collect();
    for (number, why) in &embeddings.broken {
        crate::tell!("left out: {}: {why}", files[*number].display());
    }
    if broken.len() == files.len() {
        return Err(Error::failed("none of the images can be read"));
    }
    let kept = files.iter().enumerate().filter(|(number, _)| !broken.contains(number));
    let (vectors, dim) = inference::merge(&embeddings, flip);
    Ok(Embedded { kept: kept.map(|(_, file)| file.clone()).collect(), vectors, dim })
}

/// The texts of a file, one in each line, as the names that embeddings are written under.
fn lines(file: &Path) -> Result<Vec<PathBuf>> {
    let text = crate::config::read_file(file)?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let lines: Vec<PathBuf> = lines.filter(|line| !line.is_empty()).map(PathBuf::from).collect();
    match lines.is_empty() {
        true => Err(Error::input(format!("{} holds no text", file.display()))
            .help("write one text in each line")),
        false => Ok(lines),
    }
}

fn format(output: &Path) -> Result<Format> {
    match output.extension().and_then(|e| e.to_str()) {
        Some("csv") => Ok(Format::Csv),
        Some("npy") => Ok(Format::Npy),
        Some("safetensors") => Ok(Format::Safetensors),
        _ => Err(Error::input(format!("--output {}: unknown form", output.display()))
            .help("its name ends in .csv, .npy or .safetensors")),
    }
}

/// Finds out before the work whether a file can be written at `path`; makes its folder.
///
/// # Errors
/// `Input` where it can't.
pub fn writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::input(format!("--output {} is a folder", path.display())));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e).into_input())?;
    let probe = tempfile::Builder::new().prefix(durable::TEMPORARY).tempfile_in(folder);
    probe.map(drop).map_err(|e| Error::io("write to", folder, e).into_input())
}

/// Finds out before the work whether an output would replace an input or another output.
///
/// # Errors
/// `Input` naming both.
pub fn apart(outputs: &[(&str, &Path)], inputs: &[PathBuf]) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    for (at, (option, output)) in outputs.iter().enumerate() {
        let place = real(output);
        if let Some((other, _)) = outputs[..at].iter().find(|(_, other)| real(other) == place) {
            return Err(Error::input(format!("{other} and {option} are the same file")));
        }
        // Only what is there can be replaced.
        if output.exists() && inputs.iter().any(|input| real(input) == place) {
            let message =
                format!("{option} {} is one of the files that are read", output.display());
            return Err(Error::input(message).help("give it another name"));
        }
    }
    Ok(())
}

/// Divides each row by its L2 norm.
///
/// # Errors
/// A row without a norm, naming its image.
fn normalise_rows(vectors: &mut [f32], dim: usize, images: &[PathBuf]) -> Result<()> {
    for (row, image) in vectors.chunks_mut(dim).zip(images) {
        let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if !norm.is_finite() || norm == 0.0 {
            return Err(Error::failed(format!(
                "the embedding of {} has no direction: its norm is {norm}",
                image.display()
            )));
        }
        row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
    }
    Ok(())
}

/// `image,e0,e1,...`
fn write_csv(
    path: &Path,
    what: &str,
    images: &[PathBuf],
    vectors: &[f32],
    dim: usize,
) -> Result<()> {
    durable::write_file(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        let header = std::iter::once(what.to_string()).chain((0..dim).map(|i| format!("e{i}")));
        writer.write_record(header)?;
        for (image, row) in images.iter().zip(vectors.chunks(dim)) {
            writer.write_field(image.as_os_str().as_encoded_bytes())?;
            writer.write_record(row.iter().map(f32::to_string))?;
        }
        writer.flush()
    })
}

/// `row,image`
fn write_list(path: &Path, what: &str, images: &[PathBuf]) -> Result<()> {
    durable::write_file(path, |out| {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(["row", what])?;
        for (row, image) in images.iter().enumerate() {
            writer
                .write_record([row.to_string().as_bytes(), image.as_os_str().as_encoded_bytes()])?;
        }
        writer.flush()
    })
}

/// NumPy's format, version 1.0: float32 `N x D`, row by row.
fn write_npy(path: &Path, vectors: &[f32], dim: usize) -> Result<()> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let rows = vectors.len() / dim;
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}");
    // Magic, length and header are a multiple of 64 long, and a line feed ends it.
    let length = (MAGIC.len() + 2 + header.len() + 1).next_multiple_of(64) - MAGIC.len() - 2;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    durable::write_file(path, |out| {
        out.write_all(MAGIC)?;
        out.write_all(&(length as u16).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        vectors.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))
    })
}
