//! From the bytes of a file to tensors. Each storage is read once; tensors that share it are views.

use super::pickle::{Dtype, Rebuilt};
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use tch::{Device, Kind, Tensor};

/// Bytes that are read at a time: memory stays at the weights' size plus two of these.
const PIECE: u64 = 1 << 24;

/// Where the numbers of a storage lie in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub at: u64,
    pub bytes: u64,
    /// CRC-32; 0: there is none.
    pub crc: u32,
    /// The storage as errors name it.
    pub name: String,
}

/// A tensor as its file describes it. `offset` and `stride` count elements.
#[derive(Clone, Debug)]
pub struct Info {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<i64>,
    pub(super) stride: Vec<i64>,
    pub(super) offset: i64,
    /// A place in the list of extents.
    pub(super) extent: usize,
}

impl Info {
    /// A tensor whose numbers lie in row-major order and fill their extent.
    pub fn whole(name: String, dtype: Dtype, shape: Vec<i64>, extent: usize) -> Info {
        let mut stride = vec![1i64; shape.len()];
        for dim in (1..shape.len()).rev() {
            stride[dim - 1] = stride[dim].saturating_mul(shape[dim].max(1));
        }
        Info { name, dtype, shape, stride, offset: 0, extent }
    }

    /// A tensor of a pickle, checked against the storage that it is a view of. `elements` are those
    /// that the storage has in units of this tensor's type.
    pub fn view(
        name: &str,
        tensor: &Rebuilt,
        elements: i64,
        extent: usize,
    ) -> Result<Info, String> {
        let Rebuilt { storage: _, dtype, offset, shape, stride } = tensor;
        let (offset, shape, stride) = (*offset, shape.clone(), stride.clone());
        let wrong = || format!("tensor {name} of shape {shape:?} does not lie in its storage");
        if shape.len() != stride.len() || shape.iter().chain(&stride).any(|n| *n < 0) || offset < 0
        {
            return Err(wrong());
        }
        let count = shape.iter().try_fold(1i64, |product, n| product.checked_mul(*n));
        let mut steps = shape.iter().zip(&stride);
        let last = steps.try_fold(offset, |sum, (n, stride)| {
            sum.checked_add((n - 1).max(0).checked_mul(*stride)?)
        });
        match (count, last) {
            (Some(0), _) => {}
            (Some(_), Some(last)) if last < elements => {}
            _ => return Err(wrong()),
        }
        Ok(Info { name: name.to_owned(), dtype: *dtype, shape, stride, offset, extent })
    }

    /// Elements.
    pub fn numel(&self) -> i64 {
        self.shape.iter().fold(1, |product, n| product.saturating_mul(*n))
    }

    /// Its numbers alone, as a view of its storage.
    fn of(&self, storage: &Tensor, kind: Kind) -> Result<Tensor, tch::TchError> {
        let whole = storage.size1()? / self.dtype.size as i64 * self.dtype.size as i64;
        let typed = storage.f_narrow(0, 0, whole)?.f_view_dtype(kind)?;
        match self.numel() {
            0 => Tensor::f_empty(self.shape.as_slice(), (kind, Device::Cpu)),
            _ => typed.f_as_strided(self.shape.as_slice(), self.stride.as_slice(), self.offset),
        }
    }
}

/// Reads tensors from their extents.
///
/// # Errors
/// What is wrong with the file, or with a tensor of a type that is not computed with.
pub fn load(file: &File, infos: &[Info], extents: &[Extent]) -> Result<Vec<Tensor>, String> {
    let size = file.metadata().map_err(|e| format!("it can't be read: {e}"))?.len();
    let mut used: Vec<usize> = infos.iter().map(|info| info.extent).collect();
    used.sort_unstable();
    used.dedup();
    let total = used.iter().try_fold(0u64, |sum, &one| sum.checked_add(extents[one].bytes));
    if total.is_none_or(|total| total > size) {
        return Err("its tensors hold more bytes than the file has: it is damaged".into());
    }
    let mut storages: HashMap<usize, Tensor> = HashMap::new();
    let mut tensors = Vec::with_capacity(infos.len());
    for info in infos {
        let Some(kind) = info.dtype.kind else {
            let (name, dtype) = (&info.name, info.dtype.name);
            return Err(format!("tensor {name} is {dtype}, which arcrun does not compute with"));
        };
        let storage = match storages.entry(info.extent) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(read(file, &extents[info.extent])?)
            }
        };
        let tensor = info.of(storage, kind);
        tensors.push(tensor.map_err(|e| format!("tensor {}: {e}", info.name))?);
    }
    Ok(tensors)
}

/// The bytes of an extent, uint8 [n].
fn read(file: &File, extent: &Extent) -> Result<Tensor, String> {
    let unreadable = |e: std::io::Error| format!("{} can't be read: {e}", extent.name);
    let torch = |e: tch::TchError| format!("{}: {e}", extent.name);
    let length = i64::try_from(extent.bytes).map_err(|_| format!("{} is too long", extent.name))?;
    let tensor = Tensor::f_empty([length], (Kind::Uint8, Device::Cpu)).map_err(torch)?;
    let mut hash = crc32fast::Hasher::new();
    let mut piece = vec![0; extent.bytes.min(PIECE) as usize];
    let mut done = 0;
    while done < extent.bytes {
        let part = &mut piece[..(extent.bytes - done).min(PIECE) as usize];
        file.read_exact_at(part, extent.at + done).map_err(unreadable)?;
        hash.update(part);
        let read = Tensor::f_from_slice(part).map_err(torch)?;
        let mut place = tensor.f_narrow(0, done as i64, part.len() as i64).map_err(torch)?;
        place.f_copy_(&read).map_err(torch)?;
        done += part.len() as u64;
    }
    match extent.crc {
        0 => Ok(tensor),
        crc if crc == hash.finalize() => Ok(tensor),
        _ => {
            Err(format!("the checksum of {} does not match its bytes: it is damaged", extent.name))
        }
    }
}
