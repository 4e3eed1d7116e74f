//! The layer between the defaults and the files: preprocessing that the backbone and its weights bring
//! along.

use super::layers::parse;
use super::provenance::Layer;
use crate::weights::registry;
use figment::value::Value;
use std::path::Path;

/// Keys that say which part of an image reaches the network, at which size. They belong together: the
/// middle of a photograph that is 224 pixels wide is not the middle of an aligned face of 112.
const GEOMETRY: [&str; 4] = ["height", "width", "resize", "shorter_side"];

/// Default of `image_size` of every `vit` kind.
const TOWER: i128 = 224;

/// What `merged` (all that is stated, over the defaults) makes of the keys of `[preprocess]` that nobody
/// states: the preprocessing of the published weights that `backbone.pretrained` names, and the input
/// size of a `vit` kind. Also the activations of CLIP's towers. `stated` are the layers above the defaults.
pub fn preprocessing(merged: &Value, stated: &[Layer]) -> Option<Layer> {
    let text = |key: &str| merged.find_ref(key).and_then(Value::as_str);
    let states = |key: &str| stated.iter().any(|layer| layer.entries.contains_key(key));
    let kind = text("backbone.kind").unwrap_or_default();
    let stated_side = || merged.find_ref("backbone.image_size").and_then(Value::to_i128);
    let is_tower = kind == "vit" || kind.starts_with("vit_");
    let side = is_tower.then(|| stated_side().unwrap_or(TOWER));
    let entry = text("backbone.pretrained").and_then(registry::published);
    let text_entry = text("text.pretrained").and_then(registry::published);
    if side.is_none() && entry.is_none() && text_entry.is_none() {
        return None;
    }
    let mut lines = vec!["[preprocess]".to_string()];
    let size = side.or(entry.map(|entry| entry.preprocessing.size as i128));
    let own_geometry = GEOMETRY.iter().any(|key| states(&format!("preprocess.{key}")));
    if let Some(size) = size.filter(|_| !own_geometry) {
        lines.push(format!("height = {size}\nwidth = {size}"));
        let shorter = entry.and_then(|entry| entry.preprocessing.shorter_side);
        if let Some(shorter) = shorter {
            lines.push("resize = \"crop\"".into());
            // At another size than the weights', the same share of the image is kept.
            let published = entry.map_or(shorter, |entry| entry.preprocessing.size);
            if shorter != published {
                lines
                    .push(format!("shorter_side = {}", shorter as i128 * size / published as i128));
            }
        }
    }
    if let Some(entry) = entry {
        let theirs = &entry.preprocessing;
        lines.push(format!("interpolation = \"{}\"", theirs.interpolation.as_str()));
        lines.push("channels = \"rgb\"".into());
        lines.push(format!("mean = {:?}\nstd = {:?}", theirs.mean, theirs.std));
    }
    // Names of tensors don't tell the activation, and the outputs are wrong with another one. The kind is
    // stated too, since another kind in a higher layer would replace the table.
    let towers = [("backbone", entry.filter(|_| is_tower)), ("text", text_entry)];
    for (table, entry) in towers {
        let kind = text(&format!("{table}.kind")).unwrap_or_default();
        if let Some(activation) = entry.and_then(|entry| entry.activation()) {
            lines.push(format!("[{table}]\nkind = {kind:?}\nactivation = {activation:?}"));
        }
    }
    let name = match entry.or(text_entry) {
        Some(entry) => format!("the weights {}", entry.name),
        None => format!("the backbone {kind}"),
    };
    parse(&name, &lines.join("\n"), Path::new(""), &name).ok()
}

#[cfg(test)]
mod tests {
    use crate::config::{Experiment, Loaded, Request, load, load_str};
    use crate::data::{Interpolation, PreprocessConfig, Resize};

    #[test]
    fn published_weights_bring_their_preprocessing() {
        let of = |text: &str, sets: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("x.toml");
            std::fs::write(&file, text).unwrap();
            let sets = sets.iter().map(|set| set.to_string()).collect();
            let request = Request { file, sets, environment: Vec::new() };
            load::<Experiment>(&request).unwrap().experiment
        };
        let text = "[data]\nroot = \"x\"\n[backbone]\nkind = \"resnet50\"\npretrained = \"torchvision/resnet50-v2\"\n";
        let p = of(text, &[]).preprocess;
        assert_eq!((p.height, p.width, p.resize, p.shorter_side), (224, 224, Resize::Crop, 232));
        assert_eq!((p.interpolation, p.mean[2]), (Interpolation::Bilinear, 0.406));
        // Part of an image and its size are stated together, colours apart from them.
        let p = of(text, &["preprocess.height=112", "preprocess.width=112"]).preprocess;
        assert_eq!((p.height, p.resize, p.shorter_side), (112, Resize::Stretch, 0));
        assert_eq!(p.std[0], 0.229);
        let p = of(
            text,
            &["preprocess.mean=[0.5,0.5,0.5]", "backbone.pretrained=a/resnet50-11ad3fa6.pth"],
        );
        assert_eq!(
            (p.preprocess.mean[0], p.preprocess.std[0]),
            (0.5, 0.229),
            "known by its file's name"
        );
        let p = of(text, &["backbone.pretrained=none"]).preprocess;
        assert_eq!(p, PreprocessConfig::default());

        let clip = text
            .replace("resnet50\"\n", "vit_b_32\"\n")
            .replace("torchvision/resnet50-v2", "openai/clip-vit-b-32");
        let p = of(&clip, &["backbone.image_size=96"]).preprocess;
        assert_eq!((p.height, p.width, p.resize, p.shorter_side), (96, 96, Resize::Crop, 0));
        assert_eq!(p.interpolation, Interpolation::Bicubic);
        let p = of(&clip, &["backbone.pretrained=none"]).preprocess;
        assert_eq!(
            (p.height, p.resize, p.interpolation),
            (224, Resize::Stretch, Interpolation::Bilinear)
        );

        // Plain names of the tensors, another function.
        let activation = |sets: &[&str]| {
            let both = format!(
                "{clip}[text]\nkind = \"clip_text\"\npretrained = \"openai/clip-vit-b-32\"\n[loss]\nkind = \"clip\"\n"
            );
            let all = of(&both, sets).to_toml();
            let lines = all.lines().filter(|line| line.starts_with("activation"));
            lines.map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(activation(&[]), "activation = \"quick_gelu\" activation = \"quick_gelu\"");
        let gelu = ["backbone.pretrained=open_clip/vit-b-32-laion2b-e16"];
        assert_eq!(activation(&gelu), "activation = \"gelu\" activation = \"quick_gelu\"");
        let of_text = ["text.pretrained=x/vit_b_32-laion2b_e16-af8dbd0c.pth"];
        assert_eq!(activation(&of_text), "activation = \"quick_gelu\" activation = \"gelu\"");
        let stated = [gelu[0], "backbone.activation=quick_gelu"];
        assert_eq!(activation(&stated), "activation = \"quick_gelu\" activation = \"quick_gelu\"");

        // A run's own configuration is as it was.
        let own: Loaded = load_str("run/config.toml", text, &[]).unwrap();
        assert_eq!(own.experiment.preprocess, PreprocessConfig::default());
    }
}
