//! An image before it is decoded.

use super::decode::{self, Fault};
use super::pack::Decoded;
use super::{Container, Stored};
use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image file, or a member of a file that holds many. Its name is its identity: two images of one
/// name are the same.
#[derive(Clone, Debug)]
pub enum Image {
    /// Shared, since a list is divided by copying its images, and there are millions.
    File(Arc<Path>),
    Member {
        container: Arc<dyn Container>,
        number: u32,
    },
}

impl Image {
    /// The file, or the name in its container.
    pub fn name(&self) -> Cow<'_, Path> {
        match self {
            Image::File(path) => Cow::Borrowed(path),
            Image::Member { container, number } => Cow::Owned(container.name(*number)),
        }
    }

    /// For messages.
    pub fn display(&self) -> String {
        self.name().display().to_string()
    }

    /// The file of an image that is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Image::File(path) => Some(path),
            Image::Member { .. } => None,
        }
    }

    /// Bytes of the file, or of the member.
    ///
    /// # Errors
    /// A file that is no longer there.
    pub fn size(&self) -> std::io::Result<u64> {
        match self {
            Image::File(path) => Ok(std::fs::metadata(path)?.len()),
            Image::Member { container, number } => container.size(*number),
        }
    }

    /// What is stored, in the container's memory or read into `scratch`, whose capacity is kept.
    ///
    /// # Errors
    /// Those of reading a file.
    pub fn read<'a>(&'a self, scratch: &'a mut Vec<u8>) -> Result<Stored<'a>, Fault> {
        match self {
            Image::File(path) => {
                decode::read(path, scratch)?;
                Ok(Stored::Encoded(scratch))
            }
            Image::Member { container, number } => container.read(*number, scratch),
        }
    }

    /// What it was decoded and resized for, where that was done before.
    pub fn decoded(&self) -> Option<&Decoded> {
        match self {
            Image::File(_) => None,
            Image::Member { container, number: _ } => container.decoded(),
        }
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Image::File(one), Image::File(two)) => one == two,
            _ => self.name() == other.name(),
        }
    }
}

impl Eq for Image {}

impl Hash for Image {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl From<PathBuf> for Image {
    fn from(path: PathBuf) -> Self {
        Image::File(path.into())
    }
}

impl From<&PathBuf> for Image {
    fn from(path: &PathBuf) -> Self {
        Image::File(path.as_path().into())
    }
}

impl From<&Path> for Image {
    fn from(path: &Path) -> Self {
        Image::File(path.into())
    }
}

impl From<&str> for Image {
    fn from(path: &str) -> Self {
        Image::File(Path::new(path).into())
    }
}

impl From<String> for Image {
    fn from(path: String) -> Self {
        Image::File(PathBuf::from(path).into())
    }
}

impl From<&Image> for Image {
    fn from(image: &Image) -> Self {
        image.clone()
    }
}
