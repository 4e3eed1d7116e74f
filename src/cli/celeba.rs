//! `run data celeba-identities ROOT`: a folder of identities becomes one of kind `celeba`.

use super::say;
use crate::Result;
use crate::data::celeba::{IDENTITIES, write_identities};
use std::path::Path;

pub fn identities(root: &Path) -> Result<()> {
    let mut notes = Vec::new();
    let (identities, images) = write_identities(root, &mut notes)?;
    notes.iter().for_each(|note| crate::tell!("{note}"));
    let path = root.join(IDENTITIES);
    say(&format!("{images} images of {identities} identities in {}\n", path.display()))
}
