use super::*;

/// A folder with the named images (their contents are never read) and a pairs file.
fn lfw(images: &[&str], pairs: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for image in images {
        let path = folder.path().join(image);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    std::fs::write(folder.path().join("pairs.txt"), pairs).unwrap();
    folder
}

fn read(folder: &tempfile::TempDir, missing: Missing) -> Result<PairSet> {
    from_lfw(folder.path(), &folder.path().join("pairs.txt"), None, missing)
}

const IMAGES: [&str; 5] =
    ["A/A_0001.jpg", "A/A_0002.PNG", "A/A_0003.txt", "B/B_0001.webp", "C_D/C_D_0012.pgm"];

#[test]
fn folds_alternate_one_person_and_two() {
    let folder = lfw(&IMAGES, "2\t1\r\nA\t1\t2\r\nA\t1\tB\t1\r\nA 2 1\nB 1 C_D 12\n\n");
    let set = read(&folder, Missing::Error).unwrap();
    let names = ["A/A_0001.jpg", "A/A_0002.PNG", "B/B_0001.webp", "C_D/C_D_0012.pgm"];
    assert_eq!(set.images, names.map(|name| crate::data::Image::from(folder.path().join(name))));
    let pair = |first, second, same, fold| crate::evaluate::Pair { first, second, same, fold };
    let pairs =
        [pair(0, 1, true, 0), pair(0, 2, false, 0), pair(1, 0, true, 1), pair(2, 3, false, 1)];
    assert_eq!(set.pairs, pairs);
    assert_eq!((set.folds, set.notes.len()), (2, 0));
}

#[test]
fn a_single_count_has_no_folds() {
    let set = read(&lfw(&IMAGES, "1\nA 1 2\nA 1 B 1\n"), Missing::Error).unwrap();
    assert_eq!((set.folds, set.pairs.len()), (1, 2));
}

#[test]
fn missing_images_are_all_listed_or_skipped_within_their_fold() {
    let folder = lfw(&IMAGES, "2 1\nA 1 3\nA 1 E 1\nA 1 2\nA 1 B 1\n");
    let error = read(&folder, Missing::Error).unwrap_err().to_string();
    assert!(error.starts_with("2 images of "), "{error}");
    assert!(error.contains("A/A_0003.jpg") && error.contains("E/E_0001.jpg"), "{error}");
    let set = read(&folder, Missing::Skip).unwrap();
    assert_eq!(set.pairs.iter().map(|pair| pair.fold).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(set.folds, 2);
    assert_eq!(set.notes, ["2 of 4 pairs skipped for 2 missing images (per fold: [2, 0])"]);
}

#[test]
fn a_second_file_tunes_the_threshold() {
    let folder = lfw(&IMAGES, "1\nA 1 2\nA 1 B 1\n");
    let tune = folder.path().join("tune.txt");
    let pairs = folder.path().join("pairs.txt");
    let build = |missing| from_lfw(folder.path(), &pairs, Some(&tune), missing);
    std::fs::write(&tune, "2\nA 1 1\nA 2 3\nC_D 12 B 1\nA 2 C_D 12\n").unwrap();
    let error = build(Missing::Error).unwrap_err().to_string();
    assert!(error.starts_with("1 image of ") && error.contains("tune.txt not found"), "{error}");
    let set = build(Missing::Skip).unwrap();
    let pair = |first, second, same| crate::evaluate::Pair { first, second, same, fold: 0 };
    assert_eq!(set.pairs, [pair(0, 1, true), pair(0, 2, false)]);
    assert_eq!(set.tuning, [pair(0, 0, true), pair(3, 2, false), pair(1, 3, false)]);
    assert_eq!(set.notes, ["1 of 4 pairs skipped for 1 missing images (per fold: [1])"]);
    // Missing images of both files are listed at once.
    std::fs::write(&pairs, "1\nA 1 7\nA 1 B 1\n").unwrap();
    let error = build(Missing::Error).unwrap_err().to_string();
    assert!(error.contains("A_0007.jpg") && error.contains("A_0003.jpg"), "{error}");
    std::fs::write(&tune, "1\nA 1 2\nA B\n").unwrap();
    assert!(build(Missing::Skip).unwrap_err().to_string().contains("tune.txt:3: expected"));
}

#[test]
fn one_image_in_two_formats_is_said() {
    let folder = lfw(&["A/A_0001.jpg", "A/A_0001.png", "B/B_0001.jpg"], "1\nA 1 1\nA 1 B 1\n");
    let set = read(&folder, Missing::Error).unwrap();
    assert!(set.images[0].name().ends_with("A_0001.jpg"));
    assert!(set.notes[0].contains("A_0001.png is passed over for"), "{:?}", set.notes);
}

#[test]
fn malformed_files_name_line_and_expectation() {
    for (pairs, expected) in [
        ("", "pairs.txt:1: expected `folds pairs-per-class`"),
        ("ten 300\n", "pairs.txt:1: expected `folds pairs-per-class`"),
        ("0 300\n", "pairs.txt:1: expected `folds pairs-per-class`"),
        ("1 2\nA 1 2\n", "promises 1 x (one person 2 + two persons 2) pairs, the file has 1"),
        ("1\nA 1 B 1\nA 1 B 1\n", "pairs.txt:2: expected `name i j`, found `A 1 B 1`"),
        ("1\n\nA 1 2\nA 1 B x\n", "pairs.txt:4: expected `name1 i name2 j`"),
        ("1\nA 1 2\nA 1 A 2\n", "pairs.txt:3: expected `name1 i name2 j`"),
    ] {
        let error = read(&lfw(&IMAGES, pairs), Missing::Error).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let many = format!("12\n{}", "x\n".repeat(24));
    let error = read(&lfw(&IMAGES, &many), Missing::Error).unwrap_err().to_string();
    assert!(error.contains("pairs.txt:11:") && !error.contains("pairs.txt:12:"), "{error}");
    assert!(error.ends_with("and 14 more"), "{error}");
}

#[test]
fn absent_files_and_folders_are_input_errors() {
    let folder = lfw(&IMAGES, "1\nA 1 2\nA 1 B 1\n");
    let pairs = folder.path().join("pairs.txt");
    for (root, pairs) in [("none", pairs.clone()), ("A", folder.path().join("none.txt"))] {
        let error = from_lfw(&folder.path().join(root), &pairs, None, Missing::Error).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn the_official_files_parse() {
    let data = std::env::var_os("ARCRUN_TEST_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    for (name, folds, pairs) in
        [("pairs.txt", 10, 6000), ("pairsDevTrain.txt", 1, 2200), ("pairsDevTest.txt", 1, 1000)]
    {
        let file = data.join("lfw").join(name);
        let Ok(text) = std::fs::read_to_string(&file) else {
            eprintln!("skipped: {} is not there", file.display());
            return;
        };
        let (parsed, in_folds) = parse(&text, &file).unwrap();
        assert_eq!((parsed.len(), in_folds), (pairs, folds), "{name}");
    }
}
