//! Pickles written by hand in torch.save's legacy form: what old versions wrote, and what nobody writes
//! but to do harm. A wrong one is an error in a moment and in little memory.

use arcrun::checkpoint::Named;
use arcrun::weights::read;

/// torch.save's mark, its protocol, and an empty description of the system.
const BEGIN: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// A file of this state, the keys of its storages, and what follows.
fn file(state: &[u8], keys: &[&str], numbers: &[u8]) -> Vec<u8> {
    let mut bytes = [BEGIN, b"\x80\x02", state, b".\x80\x02]"].concat();
    for key in keys {
        bytes.extend([&text(key), &b"a"[..]].concat());
    }
    bytes.extend([b".", numbers].concat());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

fn int(number: i64) -> Vec<u8> {
    [&b"\x8a\x08"[..], &number.to_le_bytes()].concat()
}

/// A storage of float32 with key `0`; `view` is what old versions put behind the count.
fn storage(count: i64, view: &[u8]) -> Vec<u8> {
    [
        b"(",
        &text("storage")[..],
        b"ctorch\nFloatStorage\n",
        &text("0"),
        &text("cpu"),
        &int(count),
        view,
        b"tQ",
    ]
    .concat()
}

/// A tensor over that storage.
fn tensor(storage: &[u8], offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    let tuple = |numbers: &[i64]| {
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| int(*number)).collect();
        [&b"("[..], &numbers, b"t"].concat()
    };
    let parts = [
        &b"ctorch._utils\n_rebuild_tensor_v2\n("[..],
        storage,
        &int(offset),
        &tuple(shape),
        &tuple(stride),
        b"\x89ccollections\nOrderedDict\n)RtR",
    ];
    parts.concat()
}

/// A dict of one entry.
fn dict(key: &str, value: &[u8]) -> Vec<u8> {
    [b"}", &text(key)[..], value, b"s"].concat()
}

/// Storage `0` with the numbers 0, 1, ...
fn numbers(count: i64) -> Vec<u8> {
    let values = (0..count).flat_map(|number| (number as f32).to_le_bytes());
    count.to_le_bytes().into_iter().chain(values).collect()
}

fn load(bytes: &[u8]) -> arcrun::Result<Named> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.pth");
    std::fs::write(&path, bytes).unwrap();
    read(&path)
}

#[track_caller]
fn values(bytes: &[u8], name: &str) -> Vec<f32> {
    let tensors = load(bytes).unwrap();
    Vec::<f32>::try_from(tensors[name].contiguous().view(-1)).unwrap()
}

#[track_caller]
fn wrong(bytes: &[u8], says: &str) {
    let error = load(bytes).unwrap_err();
    assert!(error.to_string().contains(says), "no {says:?} in {error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn what_old_versions_wrote_is_read() {
    let plain = dict("w", &tensor(&storage(4, b""), 1, &[3], &[1]));
    assert_eq!(values(&file(&plain, &["0"], &numbers(4)), "w"), [1.0, 2.0, 3.0]);
    let none = dict("w", &tensor(&storage(4, b"N"), 0, &[2, 2], &[1, 2]));
    assert_eq!(values(&file(&none, &["0"], &numbers(4)), "w"), [0.0, 2.0, 1.0, 3.0]);
    // A storage that is a part of another one, from its second number on.
    let view = [b"(", &text("1")[..], &int(1), &int(3), b"t"].concat();
    let part = dict("w", &tensor(&storage(5, &view), 1, &[2], &[1]));
    assert_eq!(values(&file(&part, &["0"], &numbers(5)), "w"), [2.0, 3.0]);
    // Python 2: byte strings, and an OrderedDict made of a list of pairs.
    let pair = [&b"]U\x01w"[..], &tensor(&storage(2, b""), 0, &[2], &[1]), b"\x86a"].concat();
    let old = [b"ccollections\nOrderedDict\n(]", &pair[1..], b"tR"].concat();
    assert_eq!(values(&file(&old, &["0"], &numbers(2)), "w"), [0.0, 1.0]);
    // On a GPU; a class of tensors of its own.
    let state = dict("w", &tensor(&storage(2, b""), 0, &[2], &[1]));
    let state = replace(&state, b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n");
    assert_eq!(values(&file(&state, &["0"], &numbers(2)), "w"), [0.0, 1.0]);
}

fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

#[test]
fn tensors_are_held_against_their_storage() {
    let of = |count, offset, shape: &[i64], stride: &[i64]| {
        let state = dict("w", &tensor(&storage(count, b""), offset, shape, stride));
        file(&state, &["0"], &numbers(4))
    };
    let outside = "tensor w of shape";
    wrong(&of(4, 0, &[5], &[1]), outside);
    wrong(&of(4, 3, &[2], &[1]), outside);
    wrong(&of(4, -1, &[2], &[1]), outside);
    wrong(&of(4, 0, &[2], &[-1]), outside);
    wrong(&of(4, 0, &[-2], &[1]), outside);
    wrong(&of(4, 0, &[2], &[1, 1]), outside);
    wrong(&of(4, 0, &[2], &[i64::MAX]), outside);
    wrong(&of(4, 0, &[i64::MAX, i64::MAX], &[0, 0]), outside);
    wrong(&of(4, i64::MAX, &[2], &[1]), outside);
    wrong(&of(5, 0, &[2], &[1]), "storage 0 has only 16 bytes");
    wrong(&of(-1, 0, &[2], &[1]), "storage 0 has only");
    wrong(&of(i64::MAX, 0, &[2], &[1]), "storage 0 has only");
    wrong(&of(4, 0, &[1; 65], &[1; 65]), "a tuple of 65, not up to 64 whole numbers");
    // A view of a view.
    for (from, count) in [(3, 2), (-1, 2), (i64::MAX, 1), (0, i64::MAX)] {
        let view = [b"(", &text("1")[..], &int(from), &int(count), b"t"].concat();
        let state = dict("w", &tensor(&storage(4, &view), 0, &[1], &[1]));
        wrong(&file(&state, &["0"], &numbers(4)), "a view leaves its storage");
    }
    // Numbers that are not there, or are nobody's.
    let state = dict("w", &tensor(&storage(4, b""), 0, &[4], &[1]));
    wrong(&file(&state, &["0"], &numbers(3)), "storage 0 has only 12 bytes");
    wrong(&file(&state, &[], b""), "lacks storage 0");
    wrong(&file(&state, &["0", "1"], &numbers(4)), "storage 1, which is no tensor's");
    wrong(&file(&state, &["0"], &[0xff; 8]), "ends within storage 0");
    wrong(&file(&state, &["0"], &[0; 7]), "ends within storage 0");
    // A value repeated beyond all memory is only described.
    let huge = dict("w", &tensor(&storage(4, b""), 0, &[1 << 50], &[0]));
    let tensors = load(&file(&huge, &["0"], &numbers(4))).unwrap();
    assert_eq!(tensors["w"].size(), [1 << 50]);
}

#[test]
fn code_is_named_however_it_is_written() {
    let evil: [(&[u8], &str); 7] = [
        (b"cposix\nsystem\n(X\x02\0\0\0lstR", "`posix.system`"),
        (b"X\x02\0\0\0osX\x06\0\0\0system\x93", "`os.system`"),
        (b"(X\x02\0\0\0lsios\nsystem\n", "`os.system`"),
        (b"cbuiltins\neval\n", "`builtins.eval`"),
        (b"c__builtin__\nexec\n", "`__builtin__.exec`"),
        (b"csubprocess\nPopen\n)\x81", "`subprocess.Popen`"),
        (b"cos.path\njoin\n", "`os.path.join`"),
    ];
    for (code, name) in evil {
        wrong(&file(&dict("args", code), &[], b""), &format!("holds code: {name}"));
        // Alone, as a plain pickle.
        wrong(&[b"\x80\x02", code, b"."].concat(), &format!("holds code: {name}"));
    }
}

#[test]
fn loops_depth_and_multitudes_are_harmless() {
    // A dict that is its own `model`, with a tensor and without.
    let w = [&text("w")[..], &tensor(&storage(1, b""), 0, &[1], &[1]), b"s"].concat();
    let own = [&b"}q\0"[..], &text("model"), b"h\0s"].concat();
    wrong(&file(&own, &[], b""), "holds no tensors");
    wrong(&file(&[own, w].concat(), &["0"], &numbers(1)), "nested too deep");
    // A module that is its own attribute, and one that has itself twice.
    let module = b"c__torch__.M\nM\n)\x81q\0}";
    for twice in [false, true] {
        let own = [&module[..], &text("a"), b"h\0s", &text("b"), b"h\0s"].concat();
        let own = if twice { own } else { own[..own.len() - 9].to_vec() };
        wrong(
            &file(&[&own[..], b"b"].concat(), &[], b""),
            "TorchScript archive of too many modules",
        );
    }
    let deep = [b"N", vec![0x85; 1_000_000].as_slice()].concat();
    wrong(&file(&deep, &[], b""), "holds a tuple of 1, not a state dict");
    wrong(&file(&vec![b'N'; 1 << 25], &[], b""), "more than 16777216 values");
    // A long list of pairs that is made a dict of again and again.
    let list = [&b"]("[..], &b"NN\x86".repeat(100_000), b"eq\0"].concat();
    let dicts = b"ccollections\nOrderedDict\n(h\0tR0".repeat(1000);
    wrong(&file(&[list, dicts].concat(), &[], b""), "more than 16777216 values");
}

#[test]
fn lengths_and_opcodes_are_checked() {
    for (middle, says) in [
        (&b"X\xff\xff\xff\xff"[..], "BINUNICODE: 4294967295 bytes should follow"),
        (b"B\xff\xff\xff\xff", "BINBYTES: 4294967295 bytes"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f", "BINBYTES8: 9223372036854775807 bytes"),
        (b"\x95\xff\xff\0\0\0\0\0\0", "FRAME: 65535 bytes"),
        (b"\x8b\xff\xff\xff\xff", "LONG4: a negative length"),
        (b"T\xff\xff\xff\xff", "BINSTRING: a negative length"),
        (b"j\xff\xff\xff\xff", "LONG_BINGET: nothing was stored under 4294967295"),
        (b"R", "REDUCE: it takes 2 values"),
        (b"NNR", "REDUCE: a call with None, not a tuple"),
        (b"N)R", "REDUCE: a call of None"),
        (b"NNb", "BUILD: it gives attributes to None"),
        (b"Na", "APPEND: it adds to nothing"),
        (b"NNa", "APPEND: it adds to None"),
        (b"NNNs", "SETITEM: it adds to None"),
        (b"}(Nu", "SETITEMS: 1 keys and values"),
        (b"NQ", "BINPERSID: a reference made of None"),
        (b")Q", "BINPERSID: a reference that is no storage"),
        (b"u", "SETITEMS: it needs a MARK"),
        (b"P0\n", "PERSID: this opcode is refused"),
        (b"\x82\x01", "EXT1: this opcode is refused"),
        (b"\xfe", "0xfe: there is no such opcode"),
        (b"", "STOP: 0 values are left"),
        (b"N(", "STOP: 1 values are left"),
    ] {
        wrong(&file(middle, &[], b""), says);
    }
    wrong(BEGIN, "byte 25 of it: 1 bytes should follow");
    wrong(&[&BEGIN[..17], b"M\xe8\x03."].concat(), "protocol the number 1000, not 1001");
}
