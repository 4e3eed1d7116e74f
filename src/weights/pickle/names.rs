//! The names in a `torch.save` pickle: compared with those that weights are made of, never looked up.

use std::fmt;
use tch::Kind;

/// A class or function by its full name.
#[derive(Clone, Debug)]
pub struct Name {
    pub module: String,
    pub name: String,
    pub known: Known,
}

/// What a name stands for, where that matters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Known {
    /// A dict: `OrderedDict`, `defaultdict`.
    Dict,
    /// `torch.Size`.
    Size,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`: the storage has the type.
    Tensor,
    /// `_rebuild_tensor_v3`: the type is an argument.
    TypedTensor,
    /// A tensor with gradients: the first argument.
    Parameter,
    /// A tensor of a class of its own: (function, class, arguments, attributes).
    FromType,
    Storage(Option<Dtype>),
    Dtype(Dtype),
    /// A class of a TorchScript archive, whose objects are attributes and nothing else.
    Script,
    /// A function that runs commands or other code.
    Harmful,
    Other,
}

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dtype {
    /// As torch names it.
    pub name: &'static str,
    /// Bytes of an element.
    pub size: u64,
    /// None: arcrun computes with no such type.
    pub kind: Option<Kind>,
}

const fn dtype(name: &'static str, size: u64, kind: Option<Kind>) -> Dtype {
    Dtype { name, size, kind }
}

/// The class of storages and the type of their elements.
const STORAGES: [(&str, Dtype); 17] = [
    ("FloatStorage", dtype("float32", 4, Some(Kind::Float))),
    ("DoubleStorage", dtype("float64", 8, Some(Kind::Double))),
    ("HalfStorage", dtype("float16", 2, Some(Kind::Half))),
    ("BFloat16Storage", dtype("bfloat16", 2, Some(Kind::BFloat16))),
    ("LongStorage", dtype("int64", 8, Some(Kind::Int64))),
    ("IntStorage", dtype("int32", 4, Some(Kind::Int))),
    ("ShortStorage", dtype("int16", 2, Some(Kind::Int16))),
    ("CharStorage", dtype("int8", 1, Some(Kind::Int8))),
    ("ByteStorage", dtype("uint8", 1, Some(Kind::Uint8))),
    ("BoolStorage", dtype("bool", 1, Some(Kind::Bool))),
    ("ComplexFloatStorage", dtype("complex64", 8, None)),
    ("ComplexDoubleStorage", dtype("complex128", 16, None)),
    ("QInt8Storage", dtype("qint8", 1, None)),
    ("QUInt8Storage", dtype("quint8", 1, None)),
    ("QInt32Storage", dtype("qint32", 4, None)),
    ("QUInt4x2Storage", dtype("quint4x2", 1, None)),
    ("QUInt2x4Storage", dtype("quint2x4", 1, None)),
];

/// The type of a tensor's elements; torch's own types are all known.
pub fn dtype_of(kind: Kind) -> Dtype {
    let mut known = STORAGES.iter().map(|(_, dtype)| *dtype);
    known.find(|dtype| dtype.kind == Some(kind)).unwrap_or(dtype("another type", 1, None))
}

/// Types that have no class of storages.
const LATER: [Dtype; 9] = [
    dtype("uint16", 2, None),
    dtype("uint32", 4, None),
    dtype("uint64", 8, None),
    dtype("complex32", 4, None),
    dtype("float8_e4m3fn", 1, None),
    dtype("float8_e5m2", 1, None),
    dtype("float8_e4m3fnuz", 1, None),
    dtype("float8_e5m2fnuz", 1, None),
    dtype("float8_e8m0fnu", 1, None),
];

/// Modules all of whose functions are counted as harmful.
const HARMFUL: [&str; 14] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "commands",
    "pty",
    "shutil",
    "socket",
    "runpy",
    "webbrowser",
    "importlib",
    "imp",
    "ctypes",
    "code",
];
const HARMFUL_BUILTINS: [&str; 6] = ["eval", "exec", "compile", "execfile", "__import__", "open"];

impl Name {
    pub fn new(module: String, name: String) -> Name {
        let known = known(&module, &name);
        Name { module, name, known }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [module, name] = [&self.module, &self.name].map(|text| text.escape_default());
        write!(f, "{module}.{name}")
    }
}

fn known(module: &str, name: &str) -> Known {
    match (module, name) {
        ("collections", "OrderedDict" | "defaultdict") => Known::Dict,
        ("torch", "Size") => Known::Size,
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Known::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Known::TypedTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
            Known::Parameter
        }
        ("torch._tensor" | "torch.tensor", "_rebuild_from_type" | "_rebuild_from_type_v2") => {
            Known::FromType
        }
        ("torch" | "torch.storage", "UntypedStorage" | "_UntypedStorage") => Known::Storage(None),
        ("torch" | "torch.cuda" | "torch.storage", name) if name.ends_with("Storage") => {
            let known = STORAGES.iter().find(|(class, _)| *class == name);
            known.map_or(Known::Other, |(_, dtype)| Known::Storage(Some(*dtype)))
        }
        ("torch", name) => {
            let all = STORAGES.iter().map(|(_, dtype)| dtype).chain(&LATER);
            let mut named = all.filter(|dtype| dtype.name == name);
            named.next().map_or(Known::Other, |dtype| Known::Dtype(*dtype))
        }
        ("builtins" | "__builtin__", name) if HARMFUL_BUILTINS.contains(&name) => Known::Harmful,
        (module, _) if HARMFUL.contains(&module.split('.').next().unwrap_or_default()) => {
            Known::Harmful
        }
        (module, _) if module == "__torch__" || module.starts_with("__torch__.") => Known::Script,
        _ => Known::Other,
    }
}
