//! The command line of what makes data sets.

use super::args::Settings;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::str::FromStr;

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
    /// Says what data holds: counts, sizes, formats, broken images, duplicates; draws samples.
    Inspect(InspectArgs),
    /// Checks that data is whole and, of a run, what the run was trained on.
    Verify(VerifyArgs),
    /// Makes one memory-mapped file of any data, to train from with data.kind = "pack".
    Pack(PackArgs),
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
pub struct InspectArgs {
    /// A folder of identities, an experiment file, a run's folder or a pack.
    #[arg(value_name = "ROOT|EXPERIMENT")]
    pub source: PathBuf,
    /// Also writes inspect.json, identities.png and samples.png to this folder.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
    /// Decodes every image to find the broken ones, instead of reading headers.
    #[arg(long)]
    pub decode: bool,
    /// JSON, with every duplicate and broken image.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// An experiment file, a run's folder, a pack or a folder of identities.
    #[arg(value_name = "EXPERIMENT|RUN_DIR|PACK")]
    pub source: PathBuf,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Debug, Args)]
pub struct PackArgs {
    /// An experiment file, or a folder of identities.
    #[arg(value_name = "EXPERIMENT|FOLDER")]
    pub source: PathBuf,
    /// The file to write.
    #[arg(long, value_name = "FILE.pack")]
    pub output: PathBuf,
    /// Stores pixels at the network's input size, as [preprocess] of the experiment says.
    #[arg(long)]
    pub decoded: bool,
    /// Height and width of those pixels, instead of the experiment's.
    #[arg(long, value_name = "HEIGHTxWIDTH", requires = "decoded")]
    pub size: Option<Size>,
    #[command(flatten)]
    pub settings: Settings,
}

/// `112x96`: height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub height: usize,
    pub width: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('x').map(|(height, width)| (height.parse(), width.parse()));
        match parts {
            Some((Ok(height), Ok(width))) => Ok(Size { height, width }),
            _ => Err("expected a height and a width, such as 112x96".into()),
        }
    }
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
