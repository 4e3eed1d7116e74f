//! What is drawn, and that one change leaves the others alone.

use super::*;

/// Everything, always, over a wide range.
fn everything() -> Augmentation {
    Augmentation {
        rotation_share: 1.0,
        resized_crop: ResizedCrop { share: 1.0, ..ResizedCrop::default() },
        color_jitter: ColorJitter { share: 1.0, ..ColorJitter::default() },
        greyscale: Greyscale { share: 1.0 },
        blur: Blur { share: 1.0, ..Blur::default() },
        low_resolution: LowResolution { share: 1.0, ..LowResolution::default() },
        jpeg: Jpeg { share: 1.0, ..Jpeg::default() },
        cutout: Cutout { share: 1.0, ..Cutout::default() },
        ..Augmentation::default()
    }
}

#[test]
fn shares_and_range_are_as_configured() {
    let augmentation = Augmentation::default();
    let draws: Vec<_> = (0..20_000).map(|i| augmentation.draw(1, 0, i)).collect();
    let share = |f: fn(&Draw) -> bool| draws.iter().filter(|d| f(d)).count() as f64 / 20_000.0;
    assert!((share(|d| d.flip) - 0.5).abs() < 0.02);
    assert!((share(|d| d.angle != 0.0) - 0.75).abs() < 0.02);
    assert!((share(|d| d.angle > 5.0) - 0.1875).abs() < 0.02);
    assert!(draws.iter().all(|d| d.angle.abs() <= 10.0));
}

/// The draws of flip and rotation as they were before there were other changes: experiments keep
/// their pixels.
#[test]
fn the_first_three_numbers_are_those_of_flip_and_rotation() {
    use rand_chacha::rand_core::Rng;
    for sample in 0..50 {
        let mut rng = crate::random::rng(3, crate::random::Stream::Augment, 4, sample);
        let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let (flip, rotate, angle) = (uniform(), uniform(), uniform());
        let drawn = Augmentation::default().draw(3, 4, sample);
        assert_eq!(drawn.flip, flip < 0.5);
        assert_eq!(drawn.angle, if rotate < 0.75 { (2.0 * angle - 1.0) * 10.0 } else { 0.0 });
        let nothing_else = Draw { angle: drawn.angle, flip: drawn.flip, ..Draw::NONE };
        assert_eq!(drawn, nothing_else);
    }
}

#[test]
fn the_other_changes_happen_to_their_share_within_their_ranges() {
    let augmentation = Augmentation {
        resized_crop: ResizedCrop { share: 0.1, ..ResizedCrop::default() },
        color_jitter: ColorJitter { share: 0.2, brightness: 2.0, ..ColorJitter::default() },
        greyscale: Greyscale { share: 0.3 },
        blur: Blur { share: 0.4, sigma: vec![0.5, 1.5] },
        low_resolution: LowResolution { share: 0.5, side: vec![20, 22] },
        jpeg: Jpeg { share: 0.6, quality: vec![50, 52] },
        cutout: Cutout { share: 0.7, ..Cutout::default() },
        ..Augmentation::default()
    };
    let draws: Vec<_> = (0..20_000).map(|i| augmentation.draw(1, 0, i)).collect();
    let share = |f: fn(&Draw) -> bool| draws.iter().filter(|d| f(d)).count() as f64 / 20_000.0;
    assert!((share(|d| d.crop.is_some()) - 0.1).abs() < 0.02);
    assert!((share(|d| d.jitter.is_some()) - 0.2).abs() < 0.02);
    assert!((share(|d| d.grey) - 0.3).abs() < 0.02);
    assert!((share(|d| d.blur.is_some()) - 0.4).abs() < 0.02);
    assert!((share(|d| d.low_resolution.is_some()) - 0.5).abs() < 0.02);
    assert!((share(|d| d.jpeg.is_some()) - 0.6).abs() < 0.02);
    assert!((share(|d| d.hole.is_some()) - 0.7).abs() < 0.02);
    // Each is independent of the next.
    assert!((share(|d| d.low_resolution.is_some() && d.jpeg.is_some()) - 0.3).abs() < 0.02);
    // Each of three whole numbers for a third of them.
    assert!((share(|d| d.low_resolution == Some(22)) - 0.5 / 3.0).abs() < 0.02);
    assert!((share(|d| d.jpeg == Some(50)) - 0.2).abs() < 0.02);
    assert!((share(|d| d.blur > Some(1.0)) - 0.2).abs() < 0.02);
    let jitters: Vec<Jitter> = draws.iter().filter_map(|d| d.jitter).collect();
    let mean = |f: fn(&Jitter) -> f64| jitters.iter().map(f).sum::<f64>() / jitters.len() as f64;
    assert!((mean(|j| j.brightness) - 1.5).abs() < 0.05, "0 to 3");
    assert!((mean(|j| j.contrast) - 1.0).abs() < 0.02);
    assert!((mean(|j| j.saturation) - 1.0).abs() < 0.02);
    assert!(mean(|j| j.hue).abs() < 0.01);
    assert!(jitters.iter().all(|j| (0.0..=3.0).contains(&j.brightness)
        && (0.6..=1.4).contains(&j.contrast)
        && (0.6..=1.4).contains(&j.saturation)
        && j.hue.abs() <= 0.1));
}

#[test]
fn a_choice_depends_on_seed_epoch_and_sample_only() {
    let augmentation = everything();
    let draw = augmentation.draw(1, 2, 3);
    assert_eq!(augmentation.draw(1, 2, 3), draw);
    for other in
        [augmentation.draw(2, 2, 3), augmentation.draw(1, 3, 3), augmentation.draw(1, 2, 4)]
    {
        assert!(other.angle != draw.angle && other.crop != draw.crop && other.hole != draw.hole);
        assert!(other.jitter != draw.jitter && other.blur != draw.blur);
    }
}

#[test]
fn switching_one_change_off_leaves_the_others() {
    let all = everything();
    let draw = all.draw(1, 2, 3);
    type Off = (fn(&mut Augmentation), fn(&mut Draw));
    let changes: [Off; 8] = [
        (|a| a.rotation_share = 0.0, |d| d.angle = 0.0),
        (|a| a.resized_crop.share = 0.0, |d| d.crop = None),
        (|a| a.color_jitter.share = 0.0, |d| d.jitter = None),
        (|a| a.greyscale.share = 0.0, |d| d.grey = false),
        (|a| a.blur.share = 0.0, |d| d.blur = None),
        (|a| a.low_resolution.share = 0.0, |d| d.low_resolution = None),
        (|a| a.jpeg.share = 0.0, |d| d.jpeg = None),
        (|a| a.cutout.share = 0.0, |d| d.hole = None),
    ];
    for (switch_off, leave_out) in changes {
        let (mut fewer, mut expected) = (all.clone(), draw);
        switch_off(&mut fewer);
        leave_out(&mut expected);
        assert_ne!(expected, draw);
        assert_eq!(fewer.draw(1, 2, 3), expected);
    }
}

#[test]
fn a_flip_mirrors_each_row() {
    let image: Vec<u8> = (0..2 * 3 * 3).collect();
    let mut out = vec![0; image.len()];
    let draw = Draw { flip: true, ..Draw::NONE };
    draw.apply(&image, 2, 3, &mut Scratch::default(), &mut out);
    assert_eq!(out, [6, 3, 0, 15, 12, 9, 7, 4, 1, 16, 13, 10, 8, 5, 2, 17, 14, 11]);
}

/// The order is part of what a seed means: here each step is done by itself, on the result of the
/// one before.
#[test]
fn the_order_is_the_documented_one() {
    let (height, width) = (40, 36);
    let image: Vec<u8> = (0..height * width * 3).map(|i| (i * 7 % 251) as u8).collect();
    let draw = Draw { flip: true, low_resolution: Some(14), ..everything().draw(1, 2, 5) };
    let apply = |draw: &Draw, image: &[u8]| {
        let mut out = vec![0; image.len()];
        draw.apply(image, height, width, &mut Scratch::default(), &mut out);
        out
    };
    let whole = apply(&draw, &image);
    let steps = [
        Draw { angle: draw.angle, ..Draw::NONE },
        Draw { flip: true, ..Draw::NONE },
        Draw { jitter: draw.jitter, ..Draw::NONE },
        Draw { grey: true, ..Draw::NONE },
        Draw { blur: draw.blur, ..Draw::NONE },
        Draw { low_resolution: draw.low_resolution, ..Draw::NONE },
        Draw { jpeg: draw.jpeg, ..Draw::NONE },
        Draw { hole: draw.hole, ..Draw::NONE },
    ];
    let mut stepwise = image;
    for step in &steps {
        let mut planes = apply(step, &stepwise);
        assert!(planes != apply(&Draw::NONE, &stepwise), "{step:?} changes nothing");
        Planes { pixels: &mut planes, height, width }.interleave(&mut stepwise);
    }
    assert!(apply(&Draw::NONE, &stepwise) == whole);
}

#[test]
fn ranges_that_are_none_are_refused() {
    let mistakes = |set: &str| {
        let text = format!("data.kind = 'synthetic_faces'\n[augmentation]\n{set}\n");
        match crate::config::load_str::<crate::config::Experiment>("x.toml", &text, &[]) {
            Err(error) => error.to_string(),
            Ok(_) => String::new(),
        }
    };
    assert_eq!(mistakes("blur.sigma = [0.5, 0.5]"), "");
    for wrong in [
        "blur.sigma = [2.0, 0.5]",
        "blur.sigma = [1.0]",
        "blur.sigma = [0.0, 1.0]",
        "jpeg.quality = [0, 90]",
        "jpeg.quality = [50, 101]",
        "low_resolution.side = [0, 20]",
        "cutout.area = [0.1, 0.2, 0.3]",
        "resized_crop.ratio = [0.0, 1.0]",
        "cutout.share = 1.5",
    ] {
        let message = mistakes(wrong);
        let key = wrong.split(' ').next().unwrap();
        assert!(message.contains(key) && message.contains("must be"), "{wrong}: {message}");
    }
}
