//! Named tensors in a safetensors file, bit for bit.

use super::durable::Hashing;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use tch::{Kind, Tensor};

/// Name -> tensor on the CPU. `backbone.conv1.weight`, `head.fc.weight`, `loss.weight`.
pub type Named = BTreeMap<String, Tensor>;

fn dtype(kind: Kind) -> Option<Dtype> {
    Some(match kind {
        Kind::Bool => Dtype::BOOL,
        Kind::Uint8 => Dtype::U8,
        Kind::Int8 => Dtype::I8,
        Kind::Int16 => Dtype::I16,
        Kind::Int => Dtype::I32,
        Kind::Int64 => Dtype::I64,
        Kind::Half => Dtype::F16,
        Kind::BFloat16 => Dtype::BF16,
        Kind::Float => Dtype::F32,
        Kind::Double => Dtype::F64,
        _ => return None,
    })
}

fn kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::BOOL => Kind::Bool,
        Dtype::U8 => Kind::Uint8,
        Dtype::I8 => Kind::Int8,
        Dtype::I16 => Kind::Int16,
        Dtype::I32 => Kind::Int,
        Dtype::I64 => Kind::Int64,
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        _ => return None,
    })
}

/// Writes the tensors to `out` and returns (size in bytes, SHA-256).
///
/// The order is the format's own, widest type first (for alignment) and then by name, so equal
/// tensors make equal files. One tensor at a time is copied: memory stays flat.
///
/// # Panics
/// On a kind that a checkpoint never holds (complex, quantised).
pub(crate) fn write(out: &mut dyn Write, tensors: &Named) -> io::Result<(u64, String)> {
    write_with(out, tensors, &BTreeMap::new())
}

/// [`write`], with `texts` in the file's header.
fn write_with(
    out: &mut dyn Write,
    tensors: &Named,
    texts: &BTreeMap<String, String>,
) -> io::Result<(u64, String)> {
    let mut sorted: Vec<(&String, &Tensor, Dtype)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let dtype = dtype(tensor.kind())
                .unwrap_or_else(|| panic!("{name}: no file form for {:?}", tensor.kind()));
            (name, tensor, dtype)
        })
        .collect();
    sorted.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)));

    let mut end = 0;
    let infos = sorted
        .iter()
        .map(|&(name, tensor, dtype)| {
            let start = end;
            end += tensor.numel() * tensor.kind().elt_size_in_bytes();
            let shape = tensor.size().iter().map(|&d| d as usize).collect();
            (name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) })
        })
        .collect();
    let metadata = Metadata::new(None, infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_value(&metadata)?;
    if let Some(entries) = header.as_object_mut().filter(|_| !texts.is_empty()) {
        // The crate would write them in the order of a hash map, which differs from run to run.
        entries.insert("__metadata__".to_owned(), serde_json::json!(texts));
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let mut out = Hashing::new(out);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    let mut bytes = Vec::new();
    for (_, tensor, _) in sorted {
        bytes.resize(tensor.numel() * tensor.kind().elt_size_in_bytes(), 0);
        tensor.f_copy_data_u8(&mut bytes, tensor.numel()).map_err(io::Error::other)?;
        out.write_all(&bytes)?;
    }
    Ok(out.finish())
}

/// The tensors in the content of the file `path` (named in errors).
pub(crate) fn parse(path: &Path, content: &[u8]) -> Result<Named> {
    let broken = |what: String| {
        Error::input(format!("{} is not a readable safetensors file: {what}", path.display()))
            .help("it is truncated or damaged; take another copy or another checkpoint")
    };
    let file = SafeTensors::deserialize(content).map_err(|e| broken(e.to_string()))?;
    file.iter()
        .map(|(name, view)| {
            let kind = kind(view.dtype())
                .ok_or_else(|| broken(format!("tensor {name} is {:?}", view.dtype())))?;
            let shape: Vec<i64> = view.shape().iter().map(|&d| d as i64).collect();
            let tensor = Tensor::f_from_data_size(view.data(), &shape, kind)
                .map_err(|e| broken(format!("tensor {name}: {e}")))?;
            Ok((name.to_owned(), tensor))
        })
        .collect()
}

/// The tensors as a file has them.
///
/// # Errors
/// Memory that can't be had.
pub fn to_bytes(tensors: &Named) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write(&mut bytes, tensors).map_err(|error| Error::failed(error.to_string()))?;
    Ok(bytes)
}

/// The inverse of [`to_bytes`].
///
/// # Errors
/// Bytes of something else.
pub fn from_bytes(bytes: &[u8]) -> Result<Named> {
    parse(Path::new("what another rank sent"), bytes)
}

/// Reads any safetensors file: weights-only copies and pretrained weights.
///
/// # Errors
/// `Error::Input` where the file is missing or damaged.
pub fn read_weights(path: &Path) -> Result<Named> {
    let content = std::fs::read(path).map_err(|e| Error::io("read", path, e).into_input())?;
    parse(path, &content)
}

/// The tensors of a safetensors file and the texts in its header.
///
/// # Errors
/// As [`read_weights`].
pub fn read_with_texts(path: &Path) -> Result<(Named, BTreeMap<String, String>)> {
    let content = std::fs::read(path).map_err(|e| Error::io("read", path, e).into_input())?;
    let tensors = parse(path, &content)?;
    let texts = SafeTensors::read_metadata(&content).ok().and_then(|(_, m)| m.metadata().clone());
    Ok((tensors, texts.unwrap_or_default().into_iter().collect()))
}

/// Writes a weights-only file, whole or not at all.
pub fn write_weights(path: &Path, tensors: &Named) -> Result<()> {
    write_with_texts(path, tensors, &BTreeMap::new())
}

/// Writes tensors with texts in the header, whole or not at all. Equal content makes equal files.
pub fn write_with_texts(
    path: &Path,
    tensors: &Named,
    texts: &BTreeMap<String, String>,
) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    }
    super::durable::write_file(path, |out| write_with(out, tensors, texts).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(tensor: &Tensor) -> Vec<u8> {
        let mut bytes = vec![0; tensor.numel() * tensor.kind().elt_size_in_bytes()];
        tensor.copy_data_u8(&mut bytes, tensor.numel());
        bytes
    }

    #[test]
    fn every_kind_comes_back_bit_for_bit() {
        let odd = Tensor::from_slice(&[0.1f64, -0.0, f64::NAN, f64::INFINITY, 1e-310, 7.0]);
        let mut tensors = Named::new();
        for kind in [
            Kind::Float,
            Kind::Double,
            Kind::Half,
            Kind::BFloat16,
            Kind::Int64,
            Kind::Int,
            Kind::Uint8,
            Kind::Bool,
        ] {
            tensors.insert(format!("t.{kind:?}"), odd.nan_to_num(0.0, 3.0, -3.0).to_kind(kind));
        }
        tensors.insert("nan".into(), odd.shallow_clone());
        tensors.insert("scalar".into(), Tensor::from(3.5f32));
        tensors.insert("empty".into(), Tensor::zeros([0, 4], (Kind::Float, tch::Device::Cpu)));
        let columns = Tensor::arange(6, (Kind::Float, tch::Device::Cpu)).view([2, 3]).tr();
        assert!(!columns.is_contiguous());
        tensors.insert("transposed".into(), columns.shallow_clone());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights/epoch-0001.safetensors");
        write_weights(&path, &tensors).unwrap();
        let back = read_weights(&path).unwrap();

        assert_eq!(back.keys().collect::<Vec<_>>(), tensors.keys().collect::<Vec<_>>());
        for (name, tensor) in &tensors {
            assert_eq!(back[name].size(), tensor.size(), "{name}");
            assert_eq!(back[name].kind(), tensor.kind(), "{name}");
            assert_eq!(bits(&back[name]), bits(&tensor.contiguous()), "{name}");
        }
    }

    #[test]
    fn equal_tensors_make_equal_files_and_every_cut_is_seen() {
        let tensors: Named = ["b", "a"]
            .map(|n| (n.to_owned(), Tensor::ones([3, 5], (Kind::Float, tch::Device::Cpu))))
            .into();
        let mut one = Vec::new();
        let (size, sum) = write(&mut one, &tensors).unwrap();
        assert_eq!((size, sum), (one.len() as u64, super::super::durable::sha256(&one)));
        let mut two = Vec::new();
        write(&mut two, &tensors).unwrap();
        assert_eq!(one, two);
        for length in [0, 7, 8, 40, one.len() - 1] {
            let error = parse(Path::new("m.safetensors"), &one[..length]).unwrap_err();
            assert!(error.to_string().contains("m.safetensors"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
