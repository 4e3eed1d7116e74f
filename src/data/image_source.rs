//! An image before it is decoded.

use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image file, or the bytes of one that came in a container such as a `.bin` set. Its name is its
/// identity: two images of one name are the same.
#[derive(Clone, Debug)]
pub enum Image {
    File(PathBuf),
    Encoded {
        /// Container and number: `lfw.bin#17`.
        name: PathBuf,
        /// The encoded file: JPEG, PNG ...
        bytes: Arc<[u8]>,
    },
}

impl Image {
    /// The file, or the name in its container.
    pub fn name(&self) -> &Path {
        match self {
            Image::File(path) => path,
            Image::Encoded { name, .. } => name,
        }
    }

    /// For messages.
    pub fn display(&self) -> std::path::Display<'_> {
        self.name().display()
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
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
        Image::File(path)
    }
}

impl From<&PathBuf> for Image {
    fn from(path: &PathBuf) -> Self {
        Image::File(path.clone())
    }
}

impl From<&Path> for Image {
    fn from(path: &Path) -> Self {
        Image::File(path.into())
    }
}

impl From<&str> for Image {
    fn from(path: &str) -> Self {
        Image::File(path.into())
    }
}

impl From<String> for Image {
    fn from(path: String) -> Self {
        Image::File(path.into())
    }
}

impl From<&Image> for Image {
    fn from(image: &Image) -> Self {
        image.clone()
    }
}
