//! Transforms and pixels against scikit-image and OpenCV (tools/parity/align.py), and what is refused.

use super::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/align")
}

fn load(name: &str) -> Rgb {
    let mut image = Rgb::default();
    decode::decode(&fs::read(fixtures().join(name)).unwrap(), &mut image).unwrap();
    image
}

#[derive(serde::Deserialize)]
struct Case {
    /// Of the picture; none: only the matrix.
    name: Option<String>,
    size: usize,
    points: [[f64; 2]; 5],
    matrix: [[f64; 3]; 2],
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&fs::read(fixtures().join("cases.json")).unwrap()).unwrap()
}

#[test]
fn the_transform_is_scikit_images() {
    let cases = cases();
    assert_eq!(cases.len(), 25);
    for Case { name, size, points, matrix: expected } in cases {
        let Similarity { a, b, left, top } = estimate(&points, size).unwrap().transform;
        for (actual, expected) in [[a, -b, left], [b, a, top]].iter().zip(expected) {
            for (actual, expected) in actual.iter().zip(expected) {
                let allowed = 1e-6 * expected.abs().max(1.0);
                assert!((actual - expected).abs() <= allowed, "{name:?}: {actual} {expected}");
            }
        }
    }
}

/// OpenCV 5 computes in float32 too, so a value at a rounding differs by 1. OpenCV 4 has positions and weights in
/// fixed point (1/32 pixel): there the largest difference of these pictures is 4, the mean 0.15.
#[test]
fn pixels_are_opencvs_bilinear() {
    let source = load("source.jpg");
    let mut pictures = 0;
    for Case { name, size, points, .. } in cases() {
        let Some(name) = name else { continue };
        let mut aligned = Rgb::default();
        estimate(&points, size).unwrap().transform.warp(source.view(), size, &mut aligned);
        let expected = load(&format!("{name}.png"));
        assert_eq!((aligned.width, aligned.height), (expected.width, expected.height));
        let each = || aligned.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
        let (largest, sum) = (each().max().unwrap(), each().map(f64::from).sum::<f64>());
        let mean = sum / expected.pixels.len() as f64;
        eprintln!("{name}: largest {largest}, mean {mean:.4}");
        assert!(largest <= 1 && mean < 0.01, "{name}");
        pictures += 1;
    }
    assert_eq!(pictures, 5);
}

#[test]
fn mirrored_and_degenerate_points_are_told_apart() {
    let scaled = |x: f64, y: f64| TEMPLATE.map(|p| [x * p[0] + 200.0, y * p[1] + 10.0]);
    assert!(!estimate(&scaled(2.0, 2.0), 112).unwrap().mirrored);
    assert!(!estimate(&scaled(-2.0, -2.0), 112).unwrap().mirrored, "half a turn");
    assert!(estimate(&scaled(-2.0, 2.0), 112).unwrap().mirrored);
    assert_eq!(estimate(&scaled(0.0, 0.0), 112), None);
    assert_eq!(estimate(&scaled(0.01, 0.01), 112), None, "0 to 1");
    assert_eq!(estimate(&scaled(1e200, 1e200), 112), None, "overflows");
}

/// A folder of two images and a file of landmarks.
struct Small {
    dir: tempfile::TempDir,
}

/// A line for `path` whose landmarks are the template.
fn line(path: &str) -> String {
    let points = TEMPLATE.map(|[x, y]| format!("{x},{y}")).join(",");
    format!("{path},{points}\n")
}

const HEADER: &str = "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5\n";

impl Small {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("ann")).unwrap();
        let pixel = |x, y| image::Rgb([x as u8, y as u8, 9]);
        let image = image::RgbImage::from_fn(112, 112, pixel);
        image.save(dir.path().join("ann/one.png")).unwrap();
        image.save(dir.path().join("two.png")).unwrap();
        Small { dir }
    }

    fn align(&self, landmarks: &str, jpeg: Option<u8>) -> Result<Outcome> {
        let root = self.dir.path();
        let file = root.join("landmarks.csv");
        fs::write(&file, landmarks).unwrap();
        let alignment =
            Alignment { landmarks: file.clone(), images: root.to_owned(), size: 112, jpeg };
        align(&read(&file)?, &alignment, &root.join("out/faces"), &|_, _| true)
    }

    /// The error of a file of landmarks, which leaves nothing behind.
    fn refuse(&self, landmarks: &str) -> String {
        let error = self.align(landmarks, None).unwrap_err();
        let out = self.dir.path().join("out");
        assert!(!out.exists() || fs::read_dir(out).unwrap().next().is_none());
        let message = error.to_string();
        assert!(message.contains("landmarks.csv"), "{message}");
        message
    }

    fn written(&self, name: &str) -> Rgb {
        let mut image = Rgb::default();
        let bytes = fs::read(self.dir.path().join("out/faces").join(name)).unwrap();
        decode::decode(&bytes, &mut image).unwrap();
        image
    }
}

#[test]
fn aligned_faces_keep_their_paths_and_pixels() {
    let small = Small::new();
    // Columns in another order, one more of them, a byte-order mark, spaces.
    let columns = "\u{feff}score, y1,X1,x2,y2,x3,y3,x4,y4,x5,y5 ,path\n";
    let points =
        "0.9, 51.6963,38.2946,73.5318,51.5014,56.0252,71.7366,41.5493,92.3655,70.7299,92.2041";
    let text = format!("{columns}{points},ann/one.png\n{points},./two.png\n");
    let outcome = small.align(&text, None).unwrap();
    assert_eq!(outcome, Outcome { written: 2, ..Outcome::default() });
    for name in ["ann/one.png", "two.png"] {
        let image = small.written(name);
        assert_eq!((image.width, image.height), (112, 112));
        assert_eq!(image.pixels[3 * (40 * 112 + 70)..][..3], [70, 40, 9], "the identity");
    }
    let again = small.align(&text, None).unwrap_err().to_string();
    assert!(again.contains("exists already"), "{again}");
}

#[test]
fn jpeg_is_written_where_it_is_asked_for() {
    let small = Small::new();
    small.align(&format!("{HEADER}{}", line("ann/one.png")), Some(95)).unwrap();
    let image = small.written("ann/one.jpg");
    let pixel = &image.pixels[3 * (40 * 112 + 70)..][..3];
    assert!(pixel.iter().zip([70, 40, 9]).all(|(a, b)| a.abs_diff(b) < 6), "{pixel:?}");
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let small = Small::new();
    let good = line("ann/one.png");
    let refused = |text: &str| small.refuse(&format!("{HEADER}{good}{text}"));
    assert!(refused(&line("three.png")).contains("line 3: no image"));
    assert!(refused(&line("../ann/one.png")).contains("line 3: the path is \"../ann/one.png\""));
    assert!(refused(&line("/ann/one.png")).contains("line 3: the path is"));
    assert!(refused(&line("")).contains("line 3: the path is \"\""));
    assert!(refused(&line("./ann/one.jpg")).contains("line 3: ann/one.png would be written twice"));
    assert!(refused("two.png,1,2,3,4,5,6,7,8,9,x\n").contains("line 3: y5 is \"x\", not a number"));
    assert!(refused("two.png,1,2,3,4,5,6,7,8,9,nan\n").contains("line 3: y5 is \"nan\""));
    assert!(refused("two.png,1,2,3,4,5,6,7,8,9,\n").contains("line 3: y5 is \"\""));
    assert!(refused("two.png,1,2\n").contains("line: 3"));
    let same = "two.png,5,5,5,5,5,5,5,5,5,5\n";
    assert!(refused(same).contains("line 3: the landmarks of two.png lie in one place"));
    assert!(small.refuse(HEADER).contains("no line of landmarks"));
    assert!(small.refuse("path,x1\n").contains("no column y1"));
    assert!(small.refuse(&HEADER.replace("y5", "x5")).contains("two columns x5"));
    let mirrored = "two.png,73,51,38,51,56,71,70,92,41,92\n";
    let both = format!("{HEADER}{mirrored}");
    assert!(small.refuse(&both).contains("line 2: the landmarks of 1 of 1 faces are mirrored"));
    let outcome = small.align(&format!("{HEADER}{good}{mirrored}"), None).unwrap();
    assert!(outcome.notes[0].contains("1 of 2 faces look mirrored, first in line 3"));
}

#[test]
fn broken_images_are_listed_up_to_one_in_a_hundred() {
    let small = Small::new();
    let root = small.dir.path();
    fs::write(root.join("two.png"), b"not an image").unwrap();
    let mut text = format!("{HEADER}{}", line("two.png"));
    for number in 0..99 {
        let name = format!("ann/{number}.png");
        fs::copy(root.join("ann/one.png"), root.join(&name)).unwrap();
        text += &line(&name);
    }
    let whole = text.clone();
    let fewer = text.trim_end().rsplit_once('\n').unwrap().0;
    let message = small.refuse(fewer);
    assert!(message.contains("line 2: cannot decode") && message.contains("1 of 99"), "{message}");
    let outcome = small.align(&whole, None).unwrap();
    assert_eq!((outcome.written, outcome.skipped.len()), (99, 1));
    let list = fs::read_to_string(root.join("out/faces/skipped.csv")).unwrap();
    assert!(list.starts_with("path,reason\ntwo.png,"), "{list}");
}

#[test]
fn a_stop_leaves_nothing_behind() {
    let small = Small::new();
    let root = small.dir.path();
    let file = root.join("landmarks.csv");
    fs::write(&file, format!("{HEADER}{}{}", line("ann/one.png"), line("two.png"))).unwrap();
    let alignment =
        Alignment { landmarks: file.clone(), images: root.to_owned(), size: 112, jpeg: None };
    let error = align(&read(&file).unwrap(), &alignment, &root.join("out/faces"), &|_, _| false);
    assert_eq!(error.unwrap_err().exit_code(), 75);
    assert_eq!(fs::read_dir(root.join("out")).unwrap().count(), 0);
}
