//! The command line of what makes data sets.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum DataCommand {
    /// Draws synthetic faces: JPEG files in folders by identity, and pairs of unseen identities.
    Synth(SynthArgs),
    /// Writes identity_CelebA.txt for a folder of identities, which then reads as data of kind celeba.
    CelebaIdentities {
        /// The folder, with ROOT/IDENTITY/IMAGE.jpg in it.
        root: PathBuf,
    },
    /// Rotates, scales and cuts faces so that eyes, nose and mouth lie where ArcFace has them.
    Align(AlignArgs),
}

#[derive(Debug, Args)]
pub struct AlignArgs {
    /// CSV file with the columns path,x1,y1,...,x5,y5: the eyes, the nose, the corners of the mouth, left to
    /// right in the image, in pixels.
    pub landmarks: PathBuf,
    /// The folder to make; the faces have the same relative paths in it.
    pub output: PathBuf,
    /// The folder that the paths begin in, if not that of the CSV file.
    #[arg(long, value_name = "FOLDER")]
    pub images: Option<PathBuf>,
    /// Width and height in pixels.
    #[arg(long, default_value_t = 112)]
    pub size: usize,
    /// Writes JPEG files of this quality instead of PNG.
    #[arg(long, value_name = "QUALITY", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub jpeg: Option<u8>,
}

#[derive(Debug, Args)]
pub struct SynthArgs {
    /// The folder to make.
    pub output: PathBuf,
    /// Identities to train on.
    #[arg(long, default_value_t = 200)]
    pub identities: usize,
    /// Images of each identity.
    #[arg(long, default_value_t = 20)]
    pub images: usize,
    /// Identities never trained on, for the pairs.
    #[arg(long, default_value_t = 50)]
    pub unseen: usize,
    /// Images of each of them.
    #[arg(long, default_value_t = 10)]
    pub unseen_images: usize,
    /// Width and height in pixels.
    #[arg(long, default_value_t = 112)]
    pub size: usize,
    /// Lines in pairs.txt, half of them genuine; a multiple of 20.
    #[arg(long, default_value_t = 1000)]
    pub pairs: usize,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Also draws a sheet of the first identities (rows) to this PNG.
    #[arg(long, value_name = "FILE.png")]
    pub contact_sheet: Option<PathBuf>,
}
