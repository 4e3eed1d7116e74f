use super::*;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashSet;

/// `tools/parity/bin_sets.py`: every set holds the same images and booleans.
struct Fixtures {
    expected: BinFile,
    sets: Vec<(String, Vec<u8>)>,
}

fn fixtures() -> Fixtures {
    #[derive(serde::Deserialize)]
    struct Text {
        images: Vec<String>,
        same: Vec<bool>,
        sets: Vec<(String, String)>,
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/evaluate/bin_sets.json");
    let text: Text = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let decode = |text: &String| STANDARD.decode(text).unwrap();
    let images = text.images.iter().map(|image| decode(image).into()).collect();
    let sets = text.sets.iter().map(|(name, set)| (name.clone(), decode(set))).collect();
    Fixtures { expected: BinFile { images, same: text.same }, sets }
}

fn parse(bytes: &[u8]) -> Result<BinFile, Wrong> {
    read(bytes, bytes.len() as u64)
}

/// The message and the byte.
fn wrong(bytes: &[u8]) -> (u64, String) {
    let wrong = parse(bytes).unwrap_err();
    (wrong.at, wrong.what)
}

#[test]
fn every_form_reads_as_python_reads_it() {
    let Fixtures { expected, sets } = fixtures();
    assert!(sets.len() > 150);
    for (name, set) in sets {
        let read = parse(&set).unwrap_or_else(|wrong| panic!("{name}: {wrong:?}"));
        assert_eq!(read, expected, "{name}");
        for (a, b) in [(0, 2), (1, 5)] {
            assert!(Arc::ptr_eq(&read.images[a], &read.images[b]), "{name}");
        }
    }
}

#[test]
fn a_set_cut_short_anywhere_is_refused() {
    for (name, set) in fixtures().sets {
        for length in 0..set.len() {
            let (at, what) = wrong(&set[..length]);
            assert!(at <= length as u64 && !what.is_empty(), "{name} cut to {length}: {what}");
        }
    }
}

/// Nothing panics or hangs, and what is read holds no more than the file.
#[test]
fn a_set_with_any_byte_changed_is_read_or_refused() {
    for (name, mut set) in fixtures().sets {
        for at in 0..set.len() {
            let right = set[at];
            for other in [right ^ 1, right ^ 0x80, right.wrapping_add(7), 0, b'.', b'R', 0xff] {
                set[at] = other;
                if let Ok(read) = parse(&set) {
                    assert_eq!(read.images.len(), 2 * read.same.len(), "{name}: byte {at}");
                    let mut seen = HashSet::new();
                    let new = read.images.iter().filter(|image| seen.insert(image.as_ptr()));
                    let held: usize = new.map(|image| image.len()).sum();
                    assert!(held <= set.len(), "{name}: byte {at}");
                }
            }
            set[at] = right;
        }
    }
}

/// Two pairs of one-byte images around `middle`, which makes the second image.
fn around(middle: &[u8]) -> Vec<u8> {
    [b"\x80\x04](C\x01a", middle, b"C\x01cC\x01de](\x88\x89e\x86."].concat()
}

#[test]
fn what_runs_code_is_refused_by_name_and_place() {
    assert!(parse(&around(b"C\x01b")).is_ok());
    for (middle, expected) in [
        (&b"cos\nsystem\nC\x02ls\x85R"[..], "GLOBAL: the name `os.system` is refused"),
        (b"\x8c\x02os\x8c\x06system\x93", "STACK_GLOBAL: the name `os.system` is refused"),
        (b"c__builtin__\neval\n", "GLOBAL: the name `__builtin__.eval` is refused"),
        (b"cnumpy\nload\n", "GLOBAL: the name `numpy.load` is refused"),
        (b"cnumpy.core.multiarray\nscalar\n)R", "REDUCE: Scalar with ()"),
        (b"cbuiltins\nbytes\nK\x7f\x85R", "REDUCE: Bytes with (127)"),
        (b"c_codecs\nencode\nX\x01\0\0\0aX\x06\0\0\0base64\x86R", "REDUCE: Encode with (a text"),
        (b"C\x01bC\x01b)\x86R", "REDUCE: a call of a byte string of 1, a tuple of 2"),
        (b"ios\nsystem\n", "INST: this opcode is refused"),
        (b"(cbuiltins\nbytes\no", "OBJ: this opcode is refused"),
        (b"cbuiltins\nbytes\n)\x81", "NEWOBJ: this opcode is refused"),
        (b"\x82\x01", "EXT1: this opcode is refused"),
        (b"P1\n", "PERSID: this opcode is refused"),
        (b"C\x01b}b", "EMPTY_DICT: this opcode is refused"),
        (b"\x80\x04", "PROTO: this opcode is refused"),
        (b"\xfe", "0xfe: there is no such opcode"),
        (b"cnumpy\ndtype\nX\x02\0\0\0i8\x89\x88\x87R", "REDUCE: numbers of type `i8`"),
        (b"cnumpy\ndtype\nX\x02\0\0\0u1\x89\x88\x87R)b", "BUILD: the type U1 of ()"),
    ] {
        let (at, what) = wrong(&around(middle));
        assert!(what.starts_with(expected), "{what}");
        assert!((7..7 + middle.len() as u64).contains(&at), "byte {at}: {what}");
    }
}

#[test]
fn lengths_are_held_against_the_file() {
    for (middle, expected) in [
        (&b"C\xff"[..], "SHORT_BINBYTES: 255 bytes should follow, the file has 14"),
        (b"B\xff\xff\xff\xff", "BINBYTES: 4294967295 bytes"),
        (b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff", "BINBYTES8: 18446744073709551615 bytes"),
        (b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f", "BYTEARRAY8: 9223372036854775807 bytes"),
        (b"X\xff\xff\xff\xff", "BINUNICODE: 4294967295 bytes"),
        (b"\x95\xff\0\0\0\0\0\0\0", "FRAME: 255 bytes"),
        (b"T\xff\xff\xff\xff", "BINSTRING: a negative length"),
        (b"j\xff\xff\xff\xff", "LONG_BINGET: nothing was stored under 4294967295"),
    ] {
        let (_, what) = wrong(&around(middle));
        assert!(what.starts_with(expected), "{what}");
    }
    let long = [b"c", [b'a'; 1000].as_slice(), b"\nb\n"].concat();
    let (_, what) = wrong(&around(&long));
    assert_eq!(what, "GLOBAL: a name of more than 256 bytes");
    let (at, what) = wrong(&around(&vec![b'N'; 1 << 23]));
    assert!(what.contains("more than 4194304 values"), "byte {at}: {what}");
}

/// Lists that hold themselves and tuples a million deep.
#[test]
fn loops_and_depth_are_harmless() {
    let (_, what) = wrong(b"\x80\x02]q\0h\0a](\x88e\x86.");
    assert_eq!(what, "image 0 is a list of 1, not an encoded image file");
    let (_, what) = wrong(b"\x80\x02]q\0(h\0h\0e.");
    assert_eq!(what, "image 0 is a list of 2, not an encoded image file");
    let deep = [b"\x80\x02N", vec![0x85; 1_000_000].as_slice(), b"."].concat();
    let (_, what) = wrong(&deep);
    assert_eq!(what, "the pickle holds a tuple of 1, not (images, same)");
    let stored = b"q\0q\x01r\xff\xff\xff\xff";
    assert!(parse(&around(&[b"C\x01b", stored.as_slice()].concat())).is_ok());
}

#[test]
fn what_is_no_set_says_what_it_is() {
    for (bytes, expected) in [
        (&b""[..], "1 bytes should follow, the file has 0"),
        (b"\x80", "1 bytes should follow"),
        (b"(lp0\n.", "MARK, not PROTO: no pickle of protocol 2 to 5"),
        (b"\x80\x01].", "protocol 1, not 2 to 5"),
        (b"\x80\x06].", "protocol 6, not 2 to 5"),
        (b"\xff\xd8\xff\xe0", "0xff, not PROTO"),
        (b"\x80\x02]", "STOP is missing"),
        (b"\x80\x02].N", "STOP: 1 bytes follow it"),
        (b"\x80\x02N(.", "STOP: 1 values are left"),
        (b"\x80\x02].", "the pickle holds a list of 0, not (images, same)"),
        (b"\x80\x02N]\x86.", "the images are None, not a list"),
        (b"\x80\x02]]\x86.", "the set has no pairs"),
        (b"\x80\x02]N\x86.", "the booleans are None, not a list"),
        (b"\x80\x02]](\x88\x88e\x86.", "0 images and 2 booleans"),
        (b"\x80\x02]](K\x02e\x86.", "boolean 0 is 2"),
        (b"\x80\x02]](Ne\x86.", "boolean 0 is None"),
        (b"\x80\x02](X\x01\0\0\0ae]\x86.", "image 0 is a text"),
        (b"\x80\x02X\x03\0\0\0\xe2\x82\xac.", "BINUNICODE: '\u{20ac}' is not latin1"),
        (b"\x80\x02X\x01\0\0\0\xff.", "BINUNICODE: a text that is not UTF-8"),
        (b"\x80\x02(N\x85\x85a", "APPEND: it appends to nothing"),
        (b"\x80\x02N(\x85", "TUPLE1: it takes 1 values"),
        (b"\x80\x02Ne", "APPENDS: it needs a MARK"),
    ] {
        let (_, what) = wrong(bytes);
        assert!(what.starts_with(expected), "{what}");
    }
}

#[test]
fn errors_name_file_byte_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lfw.bin");
    std::fs::write(&path, around(b"cos\nsystem\n")).unwrap();
    let error = read_bin(&path).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("lfw.bin: byte 7: GLOBAL: the name `os.system`"), "{error}");
    for (path, expected) in [(folder.path(), "is not a file"), (&folder.path().join("x"), "read")] {
        let error = read_bin(path).unwrap_err();
        assert!(error.to_string().contains(expected) && error.exit_code() == 2, "{error}");
    }
}

#[test]
fn real_sets_hold_jpegs() {
    let data = std::env::var_os("ARCRUN_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        std::path::PathBuf::from,
    );
    for (name, pairs, same) in [("lfw_400pairs.bin", 400, 200), ("small_lfw.bin", 10, 10)] {
        let path = data.join("lfw").join(name);
        if !path.exists() {
            eprintln!("skipped: {} is not there (set ARCRUN_TEST_DATA)", path.display());
            continue;
        }
        let set = read_bin(&path).unwrap();
        assert_eq!((set.images.len(), set.same.len()), (2 * pairs, pairs), "{name}");
        assert_eq!(set.same.iter().filter(|same| **same).count(), same, "{name}");
        assert!(set.images.iter().all(|image| image.starts_with(b"\xff\xd8\xff")), "{name}");
    }
}
