//! The header of a safetensors file: names, types, shapes and places, without the numbers.

use super::data::{Extent, Info};
use super::format::Fault;
use super::pickle::Dtype;
use safetensors::tensor::{Dtype as Stored, Metadata};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use tch::Kind;

/// The format's own limit.
const LONGEST_HEADER: u64 = 100_000_000;

const DAMAGED: &str = "it was cut short or is damaged: download or copy it again";

/// Tensors in order of their places, where their numbers lie, and the texts in the header.
pub struct Opened {
    pub infos: Vec<Info>,
    pub extents: Vec<Extent>,
    pub texts: BTreeMap<String, String>,
}

/// Reads the header of a file of `size` bytes.
pub fn open(file: &File, size: u64) -> Result<Opened, Fault> {
    let damaged = |what: String| {
        Fault::new(format!("is not a readable safetensors file: {what}")).help(DAMAGED)
    };
    let read = |bytes: &mut [u8], at| {
        file.read_exact_at(bytes, at).map_err(|e| damaged(format!("it can't be read: {e}")))
    };
    let mut length = [0; 8];
    read(&mut length, 0)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER || length > size - 8 {
        let what = format!("its header has {length} bytes, the file {size}");
        return Err(damaged(what));
    }
    let mut header = vec![0; length as usize];
    read(&mut header, 8)?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| damaged(format!("its header: {e}")))?;
    let start = 8 + length;
    let room = size - start;
    let mut tensors: Vec<_> = header.tensors().into_iter().collect();
    tensors.sort_by(|a, b| (a.1.data_offsets, &a.0).cmp(&(b.1.data_offsets, &b.0)));
    let (mut infos, mut extents) = (Vec::new(), Vec::new());
    for (name, tensor) in tensors {
        let (from, to) = (tensor.data_offsets.0 as u64, tensor.data_offsets.1 as u64);
        if from > to || to > room {
            let what = format!("tensor {name} ends at byte {to} of {room}");
            return Err(damaged(what));
        }
        let dtype = dtype(tensor.dtype);
        let shape: Option<Vec<i64>> =
            tensor.shape.iter().map(|dim| i64::try_from(*dim).ok()).collect();
        let count = |shape: &Vec<i64>| {
            let elements = shape.iter().try_fold(1u64, |all, dim| all.checked_mul(*dim as u64));
            elements.and_then(|elements| elements.checked_mul(dtype.size))
        };
        let fits = |shape: &Vec<i64>| dtype.kind.is_none() || count(shape) == Some(to - from);
        let Some(shape) = shape.filter(fits) else {
            let what = format!("tensor {name} of shape {:?} has {} bytes", tensor.shape, to - from);
            return Err(damaged(what));
        };
        let place =
            Extent { at: start + from, bytes: to - from, crc: 0, name: format!("tensor {name}") };
        infos.push(Info::whole(name, dtype, shape, extents.len()));
        extents.push(place);
    }
    let texts = header.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Opened { infos, extents, texts })
}

fn dtype(stored: Stored) -> Dtype {
    let (name, size, kind) = match stored {
        Stored::F64 => ("float64", 8, Some(Kind::Double)),
        Stored::F32 => ("float32", 4, Some(Kind::Float)),
        Stored::F16 => ("float16", 2, Some(Kind::Half)),
        Stored::BF16 => ("bfloat16", 2, Some(Kind::BFloat16)),
        Stored::I64 => ("int64", 8, Some(Kind::Int64)),
        Stored::I32 => ("int32", 4, Some(Kind::Int)),
        Stored::I16 => ("int16", 2, Some(Kind::Int16)),
        Stored::I8 => ("int8", 1, Some(Kind::Int8)),
        Stored::U8 => ("uint8", 1, Some(Kind::Uint8)),
        Stored::BOOL => ("bool", 1, Some(Kind::Bool)),
        Stored::U16 => ("uint16", 2, None),
        Stored::U32 => ("uint32", 4, None),
        Stored::U64 => ("uint64", 8, None),
        Stored::C64 => ("complex64", 8, None),
        _ => ("a type of 8 bits or fewer", 1, None),
    };
    Dtype { name, size, kind }
}
