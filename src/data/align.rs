//! Alignment of faces: each is rotated, scaled and shifted so that eyes, nose and mouth come to lie where
//! ArcFace has them in its images of 112x112. Finding the landmarks is left to other programs.
//!
//! Reference: `norm_crop` of InsightFace's `utils/face_align.py`, that is `SimilarityTransform` of
//! scikit-image and `warpAffine` of OpenCV. Differs from the reference in: sizes that are a multiple of
//! 128 have no margin of their own.

mod landmarks;
mod similarity;
#[cfg(test)]
mod tests;

pub use landmarks::{Face, read};
pub use similarity::{Estimate, Similarity};

use super::decode::{self, Fault, Rgb};
use super::{Progress, jpeg};
use crate::{Error, Result};
use image::ImageEncoder;
use rayon::prelude::*;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where the five landmarks lie in an image of [`TEMPLATE_SIZE`].
pub const TEMPLATE: [[f64; 2]; 5] = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];
pub const TEMPLATE_SIZE: usize = 112;

/// The name of the list of broken images.
pub const SKIPPED: &str = "skipped.csv";

/// How faces are aligned.
#[derive(Clone, Debug)]
pub struct Alignment {
    /// The file of landmarks, for messages.
    pub landmarks: PathBuf,
    /// The folder that the faces' paths begin in.
    pub images: PathBuf,
    /// Width and height of what is written, pixels.
    pub size: usize,
    /// The quality of JPEG files, 1 to 100; none: PNG.
    pub jpeg: Option<u8>,
}

/// What was written and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub written: usize,
    /// Images that can't be decoded, and why.
    pub skipped: Vec<(PathBuf, String)>,
    /// What should be said.
    pub notes: Vec<String>,
}

struct Job<'a> {
    face: &'a Face,
    transform: Similarity,
    /// Below the output folder.
    target: PathBuf,
}

/// The transform of five landmarks to the template of an image of `size x size`.
pub fn estimate(points: &[[f64; 2]; 5], size: usize) -> Option<Estimate> {
    let ratio = size as f64 / TEMPLATE_SIZE as f64;
    Similarity::estimate(points, &TEMPLATE.map(|point| point.map(|place| place * ratio)))
}

/// Writes every face to the same relative path below `output`, as PNG or JPEG, and the broken images to
/// `skipped.csv` there. Everything is written beside `output` and moved there at the end.
///
/// # Errors
/// Before anything is written: an `output` that has something in it, an image that is not there, landmarks
/// in one place, faces that would have one name, landmarks that are mostly mirrored. Later: more than 1 %
/// broken images, a disk that fails, `progress` that says no.
pub fn align(
    faces: &[Face],
    alignment: &Alignment,
    output: &Path,
    progress: &Progress<'_>,
) -> Result<Outcome> {
    let mut notes = Vec::new();
    let jobs = jobs(faces, alignment, &mut notes)?;
    // `.` has a name only when written out.
    let output = &std::path::absolute(output).map_err(|e| Error::io("find", output, e))?;
    let occupied = fs::read_dir(output).is_ok_and(|mut entries| entries.next().is_some());
    if occupied || output.exists() && !output.is_dir() {
        let message = format!("{} exists already", output.display());
        return Err(Error::input(message).help("name another folder or remove this one"));
    }
    let parent = output.parent().unwrap_or(output);
    fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e).into_input())?;
    // Removed when dropped, with what a failure left in it.
    let work = tempfile::Builder::new()
        .prefix(".align-")
        .tempdir_in(parent)
        .map_err(|e| Error::io("create a folder in", parent, e).into_input())?;
    let fresh = work.path().join("fresh");
    fs::create_dir(&fresh).map_err(|e| Error::io("create", &fresh, e))?;
    let skipped = write(&jobs, alignment, &fresh, progress)?;
    if !skipped.is_empty() {
        write_skipped(&fresh.join(SKIPPED), &skipped)?;
    }
    // An empty folder of that name gives way.
    fs::rename(&fresh, output).map_err(|e| Error::io("create", output, e))?;
    Ok(Outcome { written: jobs.len() - skipped.len(), skipped, notes })
}

/// What is to be done, after everything that can be checked before it.
fn jobs<'a>(
    faces: &'a [Face],
    alignment: &Alignment,
    notes: &mut Vec<String>,
) -> Result<Vec<Job<'a>>> {
    let Alignment { landmarks, images, size, jpeg } = alignment;
    let refuse = |line: u64, what: String| {
        Error::input(format!("{}, line {line}: {what}", landmarks.display()))
    };
    let mut lines = HashMap::new();
    let mut mirrored = Vec::new();
    let mut jobs = Vec::with_capacity(faces.len());
    for face in faces {
        let Face { path, line, points } = face;
        let Some(Estimate { transform, mirrored: turned }) = estimate(points, *size) else {
            let help = "landmarks are in pixels; if yours go from 0 to 1, multiply them by the width \
                        and the height of the image";
            return Err(refuse(
                *line,
                format!("the landmarks of {} lie in one place", path.display()),
            )
            .help(help));
        };
        if turned {
            mirrored.push(*line);
        }
        let target = path.with_extension(if jpeg.is_some() { "jpg" } else { "png" });
        if let Some(first) = lines.insert(target.clone(), *line) {
            let what = format!("{} would be written twice, for line {first} too", target.display());
            return Err(
                refuse(*line, what).help("one face for each image, and one image for each name")
            );
        }
        jobs.push(Job { face, transform, target });
    }
    if let Some(first) = mirrored.first() {
        let count = format!("{} of {} faces", mirrored.len(), faces.len());
        if 2 * mirrored.len() > faces.len() {
            let what = format!("the landmarks of {count} are mirrored, here first");
            let help = "x1,y1 is the eye on the left of the image, not the person's left eye; x4,y4 the \
                        left corner of the mouth";
            return Err(refuse(*first, what).help(help));
        }
        notes.push(format!("the landmarks of {count} look mirrored, first in line {first}"));
    }
    // Opening nothing: a list of millions takes seconds.
    let missing = jobs.par_iter().find_first(|job| !images.join(&job.face.path).is_file());
    match missing {
        Some(Job { face, .. }) => {
            let what = format!("no image {}", images.join(&face.path).display());
            Err(refuse(face.line, what).help("--images names the folder that the paths begin in"))
        }
        None => Ok(jobs),
    }
}

/// One thread's buffers.
#[derive(Default)]
struct Scratch {
    file: Vec<u8>,
    decoded: Rgb,
    aligned: Rgb,
}

/// Returns the broken ones.
fn write(
    jobs: &[Job<'_>],
    alignment: &Alignment,
    folder: &Path,
    progress: &Progress<'_>,
) -> Result<Vec<(PathBuf, String)>> {
    let (done, broken) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let skipped = jobs.par_iter().map_init(Scratch::default, |scratch, job| {
        if !progress(done.load(Ordering::Relaxed), jobs.len()) {
            return Err(Error::stopped("stopped: nothing was written"));
        }
        let path = alignment.images.join(&job.face.path);
        let outcome = match scratch.align(&path, job, alignment) {
            Ok(()) => {
                let target = folder.join(&job.target);
                let parent = target.parent().unwrap_or(folder);
                fs::create_dir_all(parent).map_err(|e| Error::io("create", parent, e))?;
                fs::write(&target, &scratch.file).map_err(|e| Error::io("write", &target, e))?;
                None
            }
            Err(Fault::System(error)) => return Err(Error::io("read", &path, error)),
            Err(Fault::Broken(reason)) => {
                let so_far = broken.fetch_add(1, Ordering::Relaxed) + 1;
                if 100 * so_far > jobs.len() {
                    let (landmarks, line) = (alignment.landmarks.display(), job.face.line);
                    let (path, all) = (path.display(), jobs.len());
                    let message = format!(
                        "{landmarks}, line {line}: cannot decode {path}: {reason}; {so_far} of {all} \
                         images are broken, more than 1 %"
                    );
                    return Err(Error::failed(message).help("mend them or remove their lines"));
                }
                Some((job.face.path.clone(), reason))
            }
        };
        done.fetch_add(1, Ordering::Relaxed);
        Ok(outcome)
    });
    let skipped: Vec<Option<_>> = skipped.collect::<Result<_>>()?;
    progress(jobs.len(), jobs.len());
    Ok(skipped.into_iter().flatten().collect())
}

impl Scratch {
    /// Leaves the encoded image in `file`.
    fn align(
        &mut self,
        path: &Path,
        job: &Job<'_>,
        alignment: &Alignment,
    ) -> std::result::Result<(), Fault> {
        let Self { file, decoded, aligned } = self;
        decode::read(path, file)?;
        decode::decode(file, decoded).map_err(Fault::Broken)?;
        let size = alignment.size;
        job.transform.warp(decoded.view(), size, aligned);
        file.clear();
        match alignment.jpeg {
            Some(quality) => jpeg::encode(&aligned.pixels, size, size, quality.into(), file),
            None => image::codecs::png::PngEncoder::new(&mut *file)
                .write_image(
                    &aligned.pixels,
                    size as u32,
                    size as u32,
                    image::ColorType::Rgb8.into(),
                )
                .map_err(std::io::Error::other),
        }
        .map_err(Fault::System)
    }
}

fn write_skipped(path: &Path, skipped: &[(PathBuf, String)]) -> Result<()> {
    let failed = |e: csv::Error| Error::io("write", path, e.into());
    let mut writer = csv::Writer::from_path(path).map_err(failed)?;
    writer.write_record(["path", "reason"]).map_err(failed)?;
    for (image, reason) in skipped {
        writer.write_record([&image.to_string_lossy(), reason.as_str()]).map_err(failed)?;
    }
    writer.flush().map_err(|e| Error::io("write", path, e))
}
