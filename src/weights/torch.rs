//! The two forms of `torch.save`: a zip archive (since 1.6) and a row of pickles with the numbers
//! behind them (before, and with `_use_new_zipfile_serialization=False`).
//!
//! Reference: torch/serialization.py and caffe2/serialize/inline_container.cc of PyTorch.

use super::data::{Extent, Info};
use super::format::{Container, Fault, Format, convert, strange_archive};
use super::pickle::{Known, Machine, Value};
use super::tree::{Selected, select};
use super::zip::Archive;
use crate::pickle::{Source, Wrong};
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;

/// The pickle of an archive is read at once; the numbers are not in it.
const LARGEST_PICKLE: u64 = 1 << 28;

const DAMAGED: &str =
    "it was cut short or is damaged, or torch.save did not write it: download it again";

/// Protocol of the legacy form.
const PROTOCOL: i64 = 1001;

/// A file's state dict.
pub struct Opened {
    pub format: Format,
    pub selected: Selected,
    pub infos: Vec<Info>,
    pub extents: Vec<Extent>,
}

/// Opens what `torch.save` wrote, a file of `size` bytes.
pub fn open(file: &File, size: u64, container: Container) -> Result<Opened, Fault> {
    match container {
        Container::Zip => zip(file, size),
        _ => legacy(file, size),
    }
}

fn fault(machine: &Machine, place: &str, wrong: Wrong) -> Fault {
    if let Some(code) = &machine.code {
        return Fault::new(format!(
            "holds code: `{code}`, which is never executed here; Python would run it on loading the file"
        ))
        .help("take weights that you trust, best as .safetensors, which can hold no code");
    }
    let what = format!("can't be read: byte {} of {place}: {}", wrong.at, wrong.what);
    Fault::new(what).help(DAMAGED)
}

fn zip(file: &File, size: u64) -> Result<Opened, Fault> {
    let archive = |what| Fault::new(format!("is a zip archive, but {what}")).help(DAMAGED);
    let Archive { entries } = Archive::open(file, size).map_err(archive)?;
    let pickles = entries.keys().filter_map(|name| name.strip_suffix("data.pkl"));
    let folder = pickles.filter(|folder| folder.is_empty() || folder.ends_with('/'));
    let Some(folder) = folder.min_by_key(|folder| folder.len()) else {
        return Err(strange_archive(&entries.keys().map(String::as_str).collect::<Vec<_>>()));
    };
    let extent = |name: &str| -> Result<Extent, Fault> {
        let entry = entries.get(&format!("{folder}{name}"));
        let entry = entry.ok_or_else(|| archive(format!("{name} is missing in it")))?;
        if !entry.stored {
            return Err(Fault::new(format!("is a zip archive whose {name} is packed"))
                .help("torch.save packs nothing: unpack it and pack it anew with zip -0 -r"));
        }
        let at = Archive::data(file, size, entry).map_err(archive)?;
        Ok(Extent { at, bytes: entry.size, crc: entry.crc, name: name.to_owned() })
    };
    let whole = |extent: &Extent| -> Result<Vec<u8>, Fault> {
        if extent.bytes > LARGEST_PICKLE {
            return Err(archive(format!("{} has {} bytes", extent.name, extent.bytes)));
        }
        let mut bytes = vec![0; extent.bytes as usize];
        let read = file.read_exact_at(&mut bytes, extent.at);
        read.map_err(|e| archive(format!("{} can't be read: {e}", extent.name)))?;
        if extent.crc != 0 && crc32fast::hash(&bytes) != extent.crc {
            return Err(archive(format!("the checksum of {} does not match", extent.name)));
        }
        Ok(bytes)
    };
    if entries.contains_key(&format!("{folder}byteorder"))
        && whole(&extent("byteorder")?)? != b"little"
    {
        return Err(big_endian());
    }
    let bytes = whole(&extent("data.pkl")?)?;
    let mut machine = Machine::default();
    let root = machine.run(&mut Source::new(bytes.as_slice(), bytes.len() as u64));
    let root = root.map_err(|wrong| fault(&machine, "data.pkl", wrong))?;
    let code = format!("{folder}code/");
    let script = entries.contains_key(&format!("{folder}constants.pkl"))
        || entries.keys().any(|name| name.starts_with(&code));
    let selected = select(&machine, root).map_err(|fault| match script {
        true if !fault.what.contains("TorchScript") => Fault {
            what: format!("{} (it is a TorchScript archive)", fault.what),
            help: Some(convert(Known::Script).into()),
        },
        _ => fault,
    })?;
    let mut extents: Vec<Extent> = Vec::new();
    let mut places = HashMap::new();
    let infos = infos(&machine, &selected, |key| {
        if let Some(place) = places.get(key) {
            return Ok((*place, extents[*place].bytes));
        }
        let found = extent(&format!("data/{key}"))?;
        let bytes = found.bytes;
        places.insert(key.to_owned(), extents.len());
        extents.push(found);
        Ok((extents.len() - 1, bytes))
    })?;
    let format = if script { Format::TorchScript } else { Format::TorchZip };
    Ok(Opened { format, selected, infos, extents })
}

fn big_endian() -> Fault {
    Fault::new("holds big-endian numbers").help("write it anew on a little-endian machine")
}

fn legacy(file: &File, size: u64) -> Result<Opened, Fault> {
    let reader = BufReader::new(file);
    let mut source = Source::new(reader, size);
    let first = pickle(&mut source)?;
    let (Value::Magic, _) = first else {
        let (root, machine) = first;
        let what = format!(
            "is a pickle that torch.save did not write: it holds {}",
            machine.describe(root)
        );
        return Err(Fault::new(what).help(convert(Known::Other)));
    };
    let (protocol, machine) = pickle(&mut source)?;
    if protocol != Value::Int(PROTOCOL) {
        let protocol = machine.describe(protocol);
        return Err(Fault::new(format!("is of torch.save's protocol {protocol}, not {PROTOCOL}")));
    }
    let (system, machine) = pickle(&mut source)?;
    if let Value::Dict(dict) = system {
        let big = |(key, value): &(Value, Value)| {
            machine.as_text(*key) == Some("little_endian") && *value == Value::Bool(false)
        };
        if machine.dicts[dict as usize].iter().any(big) {
            return Err(big_endian());
        }
    }
    let (root, machine) = pickle(&mut source)?;
    let (keys, named) = pickle(&mut source)?;
    let keys = named.sequence(keys).unwrap_or_default();
    let keys: Option<Vec<&str>> = keys.iter().map(|key| named.as_text(*key)).collect();
    let keys = keys.ok_or_else(|| Fault::new("has no list of its storages").help(DAMAGED))?;
    let extents = behind(file, size, source.at(), &keys, &machine)?;
    let selected = select(&machine, root)?;
    let places: HashMap<&str, usize> = keys.iter().enumerate().map(|(n, key)| (*key, n)).collect();
    let infos = infos(&machine, &selected, |key| {
        let place = places.get(key);
        let place =
            place.ok_or_else(|| Fault::new(format!("lacks storage {key}")).help(DAMAGED))?;
        Ok((*place, extents[*place].bytes))
    })?;
    Ok(Opened { format: Format::TorchLegacy, selected, infos, extents })
}

/// The next pickle of the row.
fn pickle(source: &mut Source<impl Read>) -> Result<(Value, Machine), Fault> {
    let mut machine = Machine::default();
    match machine.run(source) {
        Ok(value) => Ok((value, machine)),
        Err(wrong) => Err(fault(&machine, "it", wrong)),
    }
}

/// Where the storages lie that follow the pickles: each its count of elements, then the elements.
fn behind(
    file: &File,
    size: u64,
    from: u64,
    keys: &[&str],
    machine: &Machine,
) -> Result<Vec<Extent>, Fault> {
    let cut = |key: &str| Fault::new(format!("ends within storage {key}")).help(DAMAGED);
    let widths: HashMap<&str, u64> = machine
        .storages
        .iter()
        .map(|storage| (storage.key.as_str(), storage.dtype.map_or(1, |dtype| dtype.size)))
        .collect();
    let mut at = from;
    let mut extents = Vec::with_capacity(keys.len());
    for key in keys {
        let width = widths.get(key);
        let width = width.ok_or_else(|| {
            Fault::new(format!("holds storage {key}, which is no tensor's")).help(DAMAGED)
        })?;
        let mut count = [0; 8];
        if size.saturating_sub(at) < count.len() as u64 {
            return Err(cut(key));
        }
        file.read_exact_at(&mut count, at)
            .map_err(|e| Fault::new(format!("can't be read: {e}")))?;
        at += count.len() as u64;
        let bytes =
            u64::from_le_bytes(count).checked_mul(*width).filter(|bytes| *bytes <= size - at);
        let bytes = bytes.ok_or_else(|| cut(key))?;
        extents.push(Extent { at, bytes, crc: 0, name: format!("storage {key}") });
        at += bytes;
    }
    Ok(extents)
}

/// The selected tensors, checked against their storages; `place` gives the place and the bytes of a
/// storage.
fn infos(
    machine: &Machine,
    selected: &Selected,
    mut place: impl FnMut(&str) -> Result<(usize, u64), Fault>,
) -> Result<Vec<Info>, Fault> {
    let info = |(name, tensor): &(String, u32)| {
        let mut tensor = machine.tensors[*tensor as usize].clone();
        let storage = &machine.storages[tensor.storage as usize];
        let (extent, bytes) = place(&storage.key)?;
        let width = storage.dtype.map_or(1, |dtype| dtype.size);
        let stated = u64::try_from(storage.count).ok().and_then(|count| count.checked_mul(width));
        let stated = stated.filter(|stated| *stated <= bytes).ok_or_else(|| {
            let what = format!("is damaged: storage {} has only {bytes} bytes", storage.key);
            Fault::new(what).help(DAMAGED)
        })?;
        let mut elements = (stated / tensor.dtype.size) as i64;
        if let Some((from, count)) = storage.view {
            let end =
                from.checked_add(count).filter(|end| (0..=elements).contains(end) && from >= 0);
            elements = end.ok_or_else(|| Fault::new("is damaged: a view leaves its storage"))?;
            tensor.offset = tensor.offset.saturating_add(from);
        }
        Info::view(name, &tensor, elements, extent)
            .map_err(|what| Fault::new(format!("is damaged: {what}")).help(DAMAGED))
    };
    selected.tensors.iter().map(info).collect()
}
