//! Verification sets beyond a folder with folds: `.bin` files and View 1, through the program.

mod support;

use std::path::Path;
use support::Tiny;

/// A face of a kind: a PNG whose colours depend on the person and the picture.
fn picture(person: u32, number: u32) -> Vec<u8> {
    let mut image = image::RgbImage::new(32, 32);
    for (x, y, pixel) in image.enumerate_pixels_mut() {
        let wave = (x * (3 + person) + y * (1 + person % 3) + 5 * number) % 256;
        *pixel = image::Rgb([(40 * person % 256) as u8, wave as u8, (x * y % 251) as u8]);
    }
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

/// A pickle of protocol 3 of (images, same).
fn bin(images: &[Vec<u8>], same: &[bool]) -> Vec<u8> {
    let mut pickle = b"\x80\x03](".to_vec();
    for image in images {
        pickle.push(b'B');
        pickle.extend((image.len() as u32).to_le_bytes());
        pickle.extend(image);
    }
    pickle.extend(b"e](");
    pickle.extend(same.iter().map(|same| if *same { 0x88 } else { 0x89 }));
    pickle.extend(b"e\x86.");
    pickle
}

/// Twelve pairs of four persons, every second one of one person.
fn faces() -> (Vec<Vec<u8>>, Vec<bool>) {
    let pair = |n: u32| [picture(n % 4, n), picture((n + n % 2) % 4, n + 1)];
    ((0..12).flat_map(pair).collect(), (0..12).map(|n| n % 2 == 0).collect())
}

/// The experiment with `x`, a set of the keys `set`, as its only one.
fn experiment(tiny: &Tiny, set: &str) {
    let text = std::fs::read_to_string(tiny.path("tiny.toml")).unwrap();
    let (before, _) = text.split_once("[evaluate.sets.unseen]").unwrap();
    tiny.write("tiny.toml", &format!("{before}[evaluate.sets.x]\n{set}\n"));
}

/// The rows of a CSV file without its header, by cells.
fn rows(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    reader.records().map(|row| row.unwrap().iter().map(String::from).collect()).collect()
}

#[test]
fn a_bin_set_is_scored_and_drawn() {
    let tiny = Tiny::new();
    let (images, same) = faces();
    std::fs::write(tiny.path("faces.bin"), bin(&images, &same)).unwrap();
    experiment(&tiny, "kind = \"bin\"\npath = \"faces.bin\"\nfolds = 5");
    tiny.succeed(&["check", "tiny.toml"]);
    let run = tiny.train("run", &[]);
    let eval = rows(&run.join("eval.csv"));
    for (checkpoint, metric) in [("untrained", "auc"), ("latest", "accuracy"), ("min-loss", "eer")]
    {
        assert!(eval.iter().any(|row| row[1..4] == [checkpoint, "x", metric]), "{eval:?}");
    }
    assert!(eval.iter().any(|row| row[3] == "tar@far=1e-4"), "marked, and kept in the file");
    assert!(!eval.iter().any(|row| row[3] == "tar@far=1e-5"), "left out");

    let said = tiny.run(&["eval", "run", "--scores"]).exits(0);
    assert!(said.stderr.contains("tar@far=1e-5 and tar@far=1e-6 are left out"), "{}", said.stderr);
    assert!(said.stdout.contains("\n  * finer than the impostor pairs resolve"), "{}", said.stdout);
    let tar = said.stdout.lines().find(|line| line.contains("tar@far=1e-3")).unwrap();
    assert!(tar.ends_with('*'), "{tar}");
    let scores = rows(&run.join("scores/x/min-loss.csv"));
    let folds: Vec<&str> = scores.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(folds.concat(), "111222334455", "the first folds are longer");
    assert!(scores[8][2].ends_with("faces.bin#17"), "{:?}", scores[8]);

    let drawn = tiny.succeed(&["plot", "roc", "run"]);
    for file in ["roc-x.png", "roc-x.csv", "scores-x.svg", "scores-x.csv"] {
        assert!(drawn.contains(&format!("plots/{file}\n")), "{drawn}");
    }
    let roc = rows(&run.join("plots/roc-x.csv"));
    let last = roc.iter().rfind(|row| row[0].starts_with("min-loss")).unwrap();
    assert_eq!(last[1..], ["inf", "1", "1"]);
    let bars = rows(&run.join("plots/scores-x.csv"));
    let sum = |column: usize| -> usize {
        bars.iter().map(|row| row[column].parse::<usize>().unwrap()).sum()
    };
    assert_eq!((sum(3), sum(4)), (6, 6));
    tiny.succeed(&["report", "run"]);
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(
        page.contains("faces.bin#17") && page.contains("data:image/jpeg;base64,/9j/"),
        "pictures of pairs"
    );
}

#[test]
fn a_bad_bin_set_is_refused_before_anything_starts() {
    let tiny = Tiny::new();
    experiment(&tiny, "kind = \"bin\"\npath = \"faces.bin\"\nfolds = 2");
    let (mut images, same) = faces();
    let key = "evaluate.sets.x: ";
    for (content, expected) in [
        (bin(&images, &[true; 12]), "faces.bin: all 12 pairs show one person"),
        (bin(&images, &same[1..]), "24 images and 11 booleans"),
        (b"\x80\x03cos\nsystem\nX\x02\0\0\0ls\x85R.".to_vec(), "the name `os.system` is refused"),
        (bin(&images, &same)[..5000].to_vec(), "bytes should follow"),
    ] {
        std::fs::write(tiny.path("faces.bin"), content).unwrap();
        tiny.run(&["check", "tiny.toml"]).exits(2).says(&[key, expected, "help"]);
    }
    // A broken image is known when it is decoded.
    images[7].truncate(60);
    std::fs::write(tiny.path("faces.bin"), bin(&images, &same)).unwrap();
    tiny.run(&["check", "tiny.toml"]).exits(2).says(&[key, "faces.bin#7: "]);
    tiny.run(&["tiny.toml", "--run-dir", "run"]).exits(1).says(&["faces.bin#7: "]);
}

#[test]
fn view_1_tunes_on_one_file_and_scores_the_other() {
    let tiny = Tiny::new();
    for person in 0..6 {
        let name = format!("P{person}");
        std::fs::create_dir_all(tiny.path("lfw").join(&name)).unwrap();
        for number in 1..4 {
            let file = tiny.path("lfw").join(&name).join(format!("{name}_{number:04}.png"));
            std::fs::write(file, picture(person, number)).unwrap();
        }
    }
    let train = "4\nP0 1 2\nP0 1 3\nP1 1 2\nP2 2 3\nP0 1 P1 1\nP1 2 P2 1\nP0 3 P2 3\nP0 2 P1 3\n";
    let test = "3\nP3 1 2\nP4 1 3\nP5 2 3\nP3 1 P4 1\nP4 2 P5 1\nP3 3 P5 3\n";
    tiny.write("lfw/pairsDevTrain.txt", train);
    tiny.write("lfw/pairsDevTest.txt", test);
    experiment(
        &tiny,
        "kind = \"lfw\"\nroot = \"lfw\"\npairs = \"lfw/pairsDevTest.txt\"\n\
         tune = \"lfw/pairsDevTrain.txt\"",
    );
    let checked = tiny.succeed(&["check", "tiny.toml"]);
    assert!(checked.contains("x: 6 pairs, 8 that tune the threshold"), "{checked}");
    let run = tiny.train("run", &[]);
    tiny.succeed(&["eval", "run", "--scores", "--checkpoint", "latest"]);
    let eval = rows(&run.join("eval.csv"));
    let of = |metric: &str| {
        let found = eval.iter().rfind(|row| row[1..4] == ["latest", "x", metric]);
        found.map(|row| (row[4].parse::<f64>().unwrap(), row[5].clone()))
    };
    // The distances of both files, tuned anew.
    let scores = rows(&run.join("scores/x/latest.csv"));
    let decided = |row: &Vec<String>, threshold: f64| {
        (row[4].parse::<f64>().unwrap() < threshold) == (row[3] == "1")
    };
    let right = |fold: &str, threshold: f64| {
        scores.iter().filter(|row| row[0] == fold && decided(row, threshold)).count()
    };
    let mut best = (0.0, right("0", 0.0));
    for step in 1..400 {
        let threshold = f64::from(step) * 0.01;
        if right("0", threshold) > best.1 {
            best = (threshold, right("0", threshold));
        }
    }
    assert_eq!(scores.len(), 14);
    assert_eq!(of("threshold").unwrap().0, best.0);
    assert_eq!(of("accuracy").unwrap(), (right("1", best.0) as f64 / 6.0, String::new()));
    assert!(of("auc").is_some() && of("accuracy_standard_error").is_none());
    tiny.succeed(&["plot", "roc", "run"]);
    tiny.succeed(&["report", "run"]);
}
