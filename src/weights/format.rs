//! What a file is, by its content: names and extensions say little about weights.

use crate::weights::pickle::Known;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The form that weights are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `torch.save` since PyTorch 1.6.
    TorchZip,
    /// `torch.save` before, a row of pickles.
    TorchLegacy,
    /// `torch.jit.save`: the tensors are read, the code in it is not.
    TorchScript,
    Safetensors,
    /// The folder of an arcrun checkpoint.
    Checkpoint,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::TorchZip => "PyTorch (zip)",
            Format::TorchLegacy => "PyTorch (legacy)",
            Format::TorchScript => "TorchScript",
            Format::Safetensors => "safetensors",
            Format::Checkpoint => "arcrun checkpoint",
        })
    }
}

/// What is wrong with a file, and what to do about it.
#[derive(Debug)]
pub struct Fault {
    /// Follows the file's name: "is empty".
    pub what: String,
    pub help: Option<String>,
}

impl Fault {
    pub fn new(what: impl Into<String>) -> Fault {
        Fault { what: what.into(), help: None }
    }

    pub fn help(mut self, help: impl Into<String>) -> Fault {
        self.help = Some(help.into());
        self
    }
}

/// Bytes that tell what a file is.
const HEAD: u64 = 512;

const AGAIN: &str = "download it again, and compare its size with the publisher's";
const UNPACK: &str = "unpack it and state the file of weights in it";
const CONVERT: &str = "convert it to a PyTorch state dict or to safetensors";

/// Of the outer form: a zip archive may still be no weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    Zip,
    Pickle,
    Safetensors,
}

/// Tells the form of a file of `size` bytes.
///
/// # Errors
/// What it is instead of weights.
pub fn sniff(file: &File, size: u64) -> Result<Container, Fault> {
    let mut head = vec![0; size.min(HEAD) as usize];
    file.read_exact_at(&mut head, 0).map_err(|e| Fault::new(format!("can't be read: {e}")))?;
    let begins = |with: &[u8]| head.starts_with(with);
    if head.is_empty() {
        return Err(Fault::new("is empty: it has 0 bytes").help(AGAIN));
    }
    // Eight bytes of length, which may look like anything, then JSON.
    if head.get(8) == Some(&b'{') && head[4..8] == [0; 4] {
        return Ok(Container::Safetensors);
    }
    if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") {
        return Ok(Container::Zip);
    }
    if begins(b"\x80") && head.get(1).is_some_and(|protocol| (2..=5).contains(protocol)) {
        return Ok(Container::Pickle);
    }
    Err(stranger(&head))
}

/// What a file that is no weights is.
fn stranger(head: &[u8]) -> Fault {
    let text =
        String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_lowercase();
    let begins = |with: &[u8]| head.starts_with(with);
    if text.starts_with("version https://git-lfs") {
        return Fault::new("is a pointer of git-lfs, not the file that it stands for")
            .help("fetch the file itself: git lfs pull");
    }
    if ["<!doctype", "<html", "<?xml", "<head", "<script"].iter().any(|tag| text.starts_with(tag)) {
        return Fault::new("is a web page, not weights").help(
            "the server sent a page instead of the file (a login, a quota, a moved address): open the \
             address in a browser and download the file itself",
        );
    }
    if text.starts_with('{') || text.starts_with('[') {
        return Fault::new("is JSON, not weights").help(
            "an index lists files that hold parts of the weights: state a file of weights, and join \
             the parts before",
        );
    }
    let packed: [(&[u8], &str); 6] = [
        (b"\x1f\x8b", "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!", "rar"),
    ];
    if let Some((_, name)) = packed.iter().find(|(magic, _)| begins(magic)) {
        return Fault::new(format!("is packed by {name}")).help(UNPACK);
    }
    if head.get(257..262) == Some(b"ustar") {
        return Fault::new("is a tar archive").help(UNPACK);
    }
    if begins(b"\x89HDF\r\n\x1a\n") {
        return Fault::new("is HDF5, as Keras writes it").help(CONVERT);
    }
    if begins(b"\x93NUMPY") {
        return Fault::new("is a NumPy array").help(CONVERT);
    }
    if begins(b"\x08") && ["pytorch", "onnx", "tf2onnx"].iter().any(|made| text.contains(made)) {
        return Fault::new("is ONNX").help(CONVERT);
    }
    if head.iter().all(|byte| *byte == 0) {
        return Fault::new("holds nothing but zeros where weights begin").help(AGAIN);
    }
    let first = head[..head.len().min(8)].escape_ascii();
    Fault::new(format!("is no file of weights: it begins with {first}")).help(
        "PyTorch state dicts (.pt, .pth, .bin, .ckpt), .safetensors and arcrun checkpoints are read",
    )
}

/// What an archive that is no PyTorch file is, by the names in it.
pub fn strange_archive(names: &[&str]) -> Fault {
    let any = |test: fn(&str) -> bool| names.iter().any(|name| test(name));
    if any(|name| name.ends_with(".npy")) {
        return Fault::new("is an archive of NumPy arrays (.npz)").help(CONVERT);
    }
    if any(|name| name.ends_with("model.weights.h5")) {
        return Fault::new("is a Keras model").help(CONVERT);
    }
    let inside = |name: &&&str| {
        [".pt", ".pth", ".bin", ".ckpt", ".safetensors"].iter().any(|end| name.ends_with(end))
    };
    if let Some(name) = names.iter().find(inside) {
        return Fault::new("is a zip archive that no PyTorch wrote")
            .help(format!("unpack it and state the file in it: {name}"));
    }
    let first: Vec<&str> = names.iter().take(3).copied().collect();
    let what = match first.as_slice() {
        [] => "is an empty zip archive".into(),
        first => format!("is a zip archive that no PyTorch wrote: it holds {}", first.join(", ")),
    };
    Fault::new(what).help("state a file of weights")
}

/// How to make a state dict of a file that holds something else.
pub fn convert(known: Known) -> &'static str {
    match known {
        Known::Script => {
            "if you trust it, in Python: torch.save(torch.jit.load(FILE, \
             map_location=\"cpu\").state_dict(), NEW)"
        }
        _ => {
            "objects are never built from a file, which could run code; if you trust it, in Python and \
             with the code that it was made by: save the state dict alone, torch.save(MODEL.state_dict(), \
             NEW)"
        }
    }
}
