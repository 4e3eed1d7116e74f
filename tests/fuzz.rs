//! Files with random damage: images of every kind through the whole path of a sample, and `.bin` sets.
//! Nothing panics, hangs or takes memory beyond what the largest allowed image needs.
//!
//! `PROPTEST_CASES=100000 cargo test --test fuzz` looks longer.

use arcrun::data::{Draw, Fault, Image, InMemory, Preprocess, PreprocessConfig, Renderer};
use arcrun::evaluate::pickle::read_bin;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A place in a file of any size.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Of the first bytes, which are headers.
    Head(usize),
    /// In units of 2^-16 of the size.
    Share(usize),
}

impl Place {
    /// `size` is not 0.
    fn index(self, size: usize) -> usize {
        match self {
            Place::Head(at) => at % size,
            Place::Share(share) => (share * size) >> 16,
        }
    }

    fn piece(self, length: usize, size: usize) -> Range<usize> {
        let at = self.index(size);
        at..size.min(at + length)
    }
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Set(Place, u8),
    Flip(Place, u8),
    /// Numbers in headers: a length, a size.
    Word(Place, [u8; 4]),
    Cut(Place),
    Remove(Place, usize),
    Repeat(Place, usize, usize),
    Move(Place, Place, usize),
}

impl Damage {
    fn apply(self, bytes: &mut Vec<u8>) {
        let size = bytes.len();
        if size == 0 {
            return;
        }
        let put = |bytes: &mut Vec<u8>, at: Place, new: &[u8]| {
            let place = at.piece(new.len(), size);
            let length = place.len();
            bytes[place].copy_from_slice(&new[..length]);
        };
        match self {
            Damage::Set(at, value) => put(bytes, at, &[value]),
            Damage::Flip(at, bit) => bytes[at.index(size)] ^= 1 << bit,
            Damage::Word(at, word) => put(bytes, at, &word),
            Damage::Cut(at) => bytes.truncate(at.index(size)),
            Damage::Remove(at, length) => drop(bytes.drain(at.piece(length, size))),
            Damage::Repeat(at, length, times) => {
                let place = at.piece(length, size);
                let repeated = bytes[place.clone()].repeat(times);
                bytes.splice(place.end..place.end, repeated);
            }
            Damage::Move(from, to, length) => {
                let moved = bytes[from.piece(length, size)].to_vec();
                put(bytes, to, &moved);
            }
        }
    }
}

fn place() -> impl Strategy<Value = Place> {
    prop_oneof![(0..64usize).prop_map(Place::Head), (0..1usize << 16).prop_map(Place::Share)]
}

fn damage() -> impl Strategy<Value = Vec<Damage>> {
    const EXTREMES: [[u8; 4]; 9] = [
        [0, 0, 0, 0],
        [0xff; 4],
        [0x7f, 0xff, 0xff, 0xff],
        [0xff, 0xff, 0xff, 0x7f],
        [0, 0, 0xff, 0xff],
        [0xff, 0xff, 0, 0],
        // 10,000, either way round.
        [0, 0, 0x27, 0x10],
        [0x10, 0x27, 0, 0],
        [0, 1, 0, 0],
    ];
    let word = prop::sample::select(EXTREMES.to_vec());
    let one = prop_oneof![
        (place(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        (place(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (place(), word).prop_map(|(at, word)| Damage::Word(at, word)),
        place().prop_map(Damage::Cut),
        (place(), 1..40usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (place(), 1..40usize, 1..200usize)
            .prop_map(|(at, length, times)| Damage::Repeat(at, length, times)),
        (place(), place(), 1..40usize)
            .prop_map(|(from, to, length)| Damage::Move(from, to, length)),
    ];
    prop::collection::vec(one, 1..6)
}

/// Makes the checksums of a PNG's chunks right again, else damage gets no further than them.
fn mend_checksums(png: &mut [u8]) {
    let mut at = 8;
    while let Some(head) = png.get(at..at + 8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some(chunk) = png.get(at + 4..(at + 8).saturating_add(length)) else { return };
        let (end, sum) = (at + 8 + length, crc32fast::hash(chunk));
        let Some(stored) = png.get_mut(end..end + 4) else { return };
        stored.copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
}

/// JPEG (baseline, progressive, grey, CMYK, turned by EXIF), PNG (palette, alpha, 16 bits), WebP of both
/// kinds, BMP and PNM.
static IMAGES: LazyLock<Vec<(&str, Vec<u8>)>> = LazyLock::new(|| {
    let names = [
        "plain.jpg",
        "progressive.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "turned.jpg",
        "palette.png",
        "alpha.png",
        "colour16.png",
        "plain.webp",
        "lossy.webp",
        "plain.bmp",
        "plain.ppm",
        "grey.pgm",
    ];
    let read = |name| std::fs::read(fixtures().join("data").join(name)).unwrap();
    names.map(|name| (name, read(name))).into()
});

fn preprocess() -> Preprocess {
    PreprocessConfig { height: 24, width: 20, ..PreprocessConfig::default() }.build()
}

/// The image, or why there is none.
fn render(file: &[u8]) -> Result<Vec<u8>, String> {
    let container = InMemory { file: "damaged".into(), images: vec![file.into()] };
    let image = Image::Member { container: Arc::new(container), number: 0 };
    let mut pixels = vec![0; 3 * 24 * 20];
    match Renderer::default().render(&image, &preprocess(), &Draw::NONE, &mut pixels) {
        Ok(()) => Ok(pixels),
        Err(Fault::Broken(reason)) => Err(reason),
        Err(Fault::System(error)) => panic!("no file was read: {error}"),
    }
}

/// Seconds that this thread has computed, whatever else the machine does; none where the system does not say.
fn computed() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// What `work` gives, after less than `limit` seconds of computing.
fn within<T>(limit: f64, work: impl FnOnce() -> T) -> T {
    let before = computed();
    let result = work();
    if let (Some(before), Some(after)) = (before, computed()) {
        assert!(after - before < limit, "{} s", after - before);
    }
    result
}

/// The most memory that the process has had, MiB: the largest allowed image (100 million pixels of 16-bit RGBA)
/// is decoded (800 MB), brought to 8 bits (400 MB) and to RGB (300 MB), of which two are there at a time. Tests
/// of this file run one after the other for it.
fn assert_memory_is_bounded() {
    const MOST: u64 = 1700;
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return };
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak >> 10 < MOST, "{} MiB", peak >> 10);
}

/// One at a time, so that the memory is one image's.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_image_is_read_or_refused(
        image in 0..13usize,
        damage in damage(),
        mend in any::<bool>(),
    ) {
        let _turn = turn();
        let (name, file) = &IMAGES[image];
        let mut file = file.clone();
        damage.iter().for_each(|damage| damage.apply(&mut file));
        if mend && name.ends_with("png") {
            mend_checksums(&mut file);
        }
        if let Err(reason) = within(20.0, || render(&file)) {
            prop_assert!(!reason.is_empty(), "{name}");
        }
        assert_memory_is_bounded();
    }

    #[test]
    fn a_damaged_bin_set_is_read_or_refused(set in any::<prop::sample::Index>(), damage in damage()) {
        let _turn = turn();
        let mut bytes = SETS[set.index(SETS.len())].clone();
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        match within(5.0, || read_bin(file.path())) {
            Ok(read) => {
                prop_assert_eq!(read.images.len(), 2 * read.same.len());
                let mut seen = HashSet::new();
                let new = read.images.iter().filter(|image| seen.insert(image.as_ptr()));
                let held: usize = new.map(|image| image.len()).sum();
                prop_assert!(held <= bytes.len());
            }
            Err(error) => prop_assert_eq!(error.exit_code(), 2, "{}", error),
        }
        assert_memory_is_bounded();
    }
}

/// `.bin` sets in every form that Python writes.
static SETS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    #[derive(serde::Deserialize)]
    struct Text {
        sets: Vec<(String, String)>,
    }
    let text = std::fs::read(fixtures().join("evaluate/bin_sets.json")).unwrap();
    let text: Text = serde_json::from_slice(&text).unwrap();
    text.sets.iter().map(|(_, set)| STANDARD.decode(set).unwrap()).collect()
});

/// The damage reaches the decoders: without it every file is an image, and after one small change many are.
#[test]
fn undamaged_files_are_images_and_sets() {
    let _turn = turn();
    for (name, file) in IMAGES.iter() {
        let mut mended = file.clone();
        if name.ends_with("png") {
            mend_checksums(&mut mended);
        }
        assert!(mended == *file, "{name}: its checksums are right");
        assert!(render(file).unwrap().iter().any(|value| *value > 0), "{name}");
    }
    assert!(SETS.len() > 150);
}

/// A file of `name` with bytes replaced at `at`.
fn patched(name: &str, at: usize, new: &[u8]) -> Vec<u8> {
    let mut file = IMAGES.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    file[at..at + new.len()].copy_from_slice(new);
    mend_checksums(&mut file);
    file
}

/// Where a JPEG's frame header has its height and width.
fn frame(jpeg: &[u8]) -> usize {
    let start = |pair: &[u8]| pair == [0xff, 0xc0] || pair == [0xff, 0xc2];
    jpeg.windows(2).position(start).unwrap() + 5
}

/// Claims of 65,535 x 65,535 and of ten thousand squared, which is just allowed, by a few hundred bytes.
#[test]
fn bombs_are_refused_or_end_soon() {
    let _turn = turn();
    let (jpeg, progressive) = (frame(&IMAGES[0].1), frame(&IMAGES[1].1));
    let png = |side: u32| [side.to_be_bytes(), side.to_be_bytes()].concat();
    let both = |side: u16| [side.to_be_bytes(), side.to_be_bytes()].concat();
    let bmp = |side: u32| [side.to_le_bytes(), side.to_le_bytes()].concat();
    for bomb in [
        patched("palette.png", 16, &png(65_535)),
        patched("alpha.png", 16, &png(0x7fff_ffff)),
        patched("plain.jpg", jpeg, &both(65_500)),
        patched("progressive.jpg", progressive, &both(65_500)),
        patched("plain.bmp", 18, &bmp(65_535)),
        b"P6\n65535 65535\n255\n".to_vec(),
        b"P5\n4294967295 4294967295\n255\n".to_vec(),
    ] {
        let reason = within(1.0, || render(&bomb)).unwrap_err();
        assert!(!reason.is_empty());
    }
    for bomb in [
        patched("palette.png", 16, &png(10_000)),
        patched("colour16.png", 16, &png(10_000)),
        patched("alpha.png", 16, &png(10_000)),
        patched("plain.jpg", jpeg, &both(10_000)),
        patched("progressive.jpg", progressive, &both(10_000)),
        patched("plain.bmp", 18, &bmp(10_000)),
        b"P6\n10000 10000\n65535\n".to_vec(),
    ] {
        // Whether it gives pixels is the decoder's business.
        let _ = within(60.0, || render(&bomb));
    }
    assert_memory_is_bounded();
}

/// A scan of a few bytes goes over the whole image, so a file of megabytes could take hours.
#[test]
fn a_jpeg_of_a_thousand_scans_is_refused() {
    let _turn = turn();
    let mut file = patched("progressive.jpg", frame(&IMAGES[1].1), &9000u16.to_be_bytes());
    let frame = frame(&file);
    file[frame + 2..frame + 4].copy_from_slice(&9000u16.to_be_bytes());
    let last = file.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let end = file.len() - 2;
    let scan = file[last..end].to_vec();
    file.splice(end..end, scan.repeat(1000));
    let reason = within(1.0, || render(&file)).unwrap_err();
    assert!(reason.contains("passes over 9000x9000 pixels"), "{reason}");
}
