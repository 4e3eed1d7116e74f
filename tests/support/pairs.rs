//! Images with captions, and a tiny experiment on them.

use super::Tiny;

const COLOURS: [(&str, [u8; 3]); 6] = [
    ("red", [220, 30, 30]),
    ("green", [30, 180, 50]),
    ("blue", [30, 60, 220]),
    ("yellow", [230, 220, 40]),
    ("white", [250, 250, 250]),
    ("black", [10, 10, 10]),
];
const PLACES: [(&str, u32, u32); 4] =
    [("top left", 0, 0), ("top right", 16, 0), ("bottom left", 0, 16), ("bottom right", 16, 16)];

/// An experiment on [`pairs`].
pub const PAIRS: &str = r#"
[data]
kind = "image_text"
file = "pairs/captions.csv"
fractions = { train = 0.7, validation = 0.15, test = 0.15 }

[preprocess]
height = 32
width = 32

[augmentation]
horizontal_flip = 0.0
rotation_share = 0.0

[backbone]
kind = "vit"
image_size = 32
patch_size = 8
width = 32
layers = 2
heads = 2
embed_dim = 32

[text]
kind = "clip_text"
width = 32
layers = 2
heads = 2
embed_dim = 24
context_length = 16

[head]
embedding_dim = 16
projection = "mlp"
dropout = 0.1

[loss]
kind = "clip"

[optimizer]
kind = "adamw"
lr = 3e-3

[groups.text]
lr_scale = 0.5

[train]
epochs = 4
batch_size = 16
device = "cpu"
threads = 1

[loader]
workers = 1

[record]
every_steps = 1
plots = false

[evaluate.sets.held]
kind = "image_text"
split = "test"
"#;

/// A square of one of six colours in one of four corners on one of three grounds, with two captions
/// each: 72 images.
pub fn pairs() -> Tiny {
    let tiny = Tiny::new();
    let mut lines = String::from("path,caption\n");
    std::fs::create_dir_all(tiny.path("pairs/images")).unwrap();
    for (colour, rgb) in COLOURS {
        for (place, x, y) in PLACES {
            for (ground, grey) in [("grey", 128u8), ("pale", 190), ("dim", 70)] {
                let mut image = image::RgbImage::from_pixel(32, 32, image::Rgb([grey; 3]));
                for (dx, dy) in (0..16).flat_map(|dx| (0..16).map(move |dy| (dx, dy))) {
                    image.put_pixel(x + dx, y + dy, image::Rgb(rgb));
                }
                let name = format!("images/{colour}-{place}-{ground}.png");
                image.save(tiny.path("pairs").join(&name)).unwrap();
                lines.push_str(&format!(
                    "{name},\"a {colour} square, {place} of a {ground} field\"\n"
                ));
                lines.push_str(&format!("{name},{ground} with {colour} in the {place}\n"));
            }
        }
    }
    tiny.write("pairs/captions.csv", &lines);
    tiny.write("pairs.toml", PAIRS);
    tiny
}
