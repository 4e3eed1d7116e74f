//! Synthetic faces: a procedurally drawn data set of people who do not exist.
//!
//! An [`Identity`] fixes geometry, skin, eyes, brows, nose, mouth and hair; a scene draws
//! pose, expression, light, background, clothes, glasses, hat and noise anew for every image.
//! [`render`] paints one image, [`generate`] writes a data set of real JPEG files in the layout
//! of VGGFace2 with an LFW-form `pairs.txt` over identities that training never sees.

mod dice;
mod draw;
mod features;
mod hair;
mod head;
mod identity;
mod pairs;
mod photo;
mod scene;
mod writer;

pub use identity::Identity;
pub use writer::{Recipe, generate, generate_once, is_complete};

use image::RgbImage;

use dice::Dice;
use draw::Canvas;
use head::Posed;
use scene::Scene;

/// Image `image` (counted from 0) of an identity, `size` x `size` pixels. The same arguments
/// give the same pixels.
pub fn render(identity: &Identity, image: u64, size: u32, seed: u64) -> RgbImage {
    let scene = Scene::new(&mut Dice::new(seed, identity.number, image + 1), identity.glasses);
    paint(identity, &scene, size)
}

/// Back to front: background, hair behind, body, ears, face, hair in front, things worn, light.
fn paint(identity: &Identity, scene: &Scene, size: u32) -> RgbImage {
    let mut canvas = Canvas::new(size as usize);
    let posed = Posed::new(&identity.head, &scene.pose, size as f32);
    photo::draw_background(&mut canvas, &scene.background);
    hair::draw_back_hair(&mut canvas, &posed, &identity.hair);
    head::draw_body(&mut canvas, &posed, identity, scene);
    head::draw_ears(&mut canvas, &posed, identity);
    head::draw_skin(&mut canvas, &posed, identity, identity.number as u32);
    features::draw_nose(&mut canvas, &posed, identity, scene);
    features::draw_beard(&mut canvas, &posed, identity);
    features::draw_mouth(&mut canvas, &posed, identity, scene);
    features::draw_eyes(&mut canvas, &posed, identity, scene);
    features::draw_brows(&mut canvas, &posed, identity, scene);
    hair::draw_front_hair(&mut canvas, &posed, &identity.hair);
    if let Some(glasses) = &scene.glasses {
        hair::draw_glasses(&mut canvas, &posed, identity, glasses);
    }
    if let Some(hat) = &scene.hat {
        hair::draw_hat(&mut canvas, &posed, &identity.hair, hat);
    }
    photo::illuminate(&mut canvas, &posed.frame, identity.head.half_width, &scene.light);
    photo::expose(&canvas, scene)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendering_depends_on_every_argument_and_on_nothing_else() {
        let (one, two) = (Identity::new(3, 0), Identity::new(3, 1));
        let picture = render(&one, 0, 48, 3);
        assert_eq!(picture.dimensions(), (48, 48));
        assert_eq!(picture, render(&Identity::new(3, 0), 0, 48, 3));
        assert_ne!(picture, render(&one, 1, 48, 3));
        assert_ne!(picture, render(&two, 0, 48, 3));
        assert_ne!(picture, render(&Identity::new(4, 0), 0, 48, 4));
    }

    #[test]
    fn a_scene_changes_while_the_identity_stays() {
        let identity = Identity::new(1, 7);
        let scene = |image| Scene::new(&mut Dice::new(1, identity.number, image), 0.5);
        let poses: Vec<f32> = (1..50).map(|image| scene(image).pose.yaw).collect();
        assert!(poses.iter().any(|yaw| *yaw > 0.2) && poses.iter().any(|yaw| *yaw < -0.2));
        let with_glasses = (1..200).filter(|image| scene(*image).glasses.is_some()).count();
        assert!((60..140).contains(&with_glasses), "{with_glasses} of 199");
    }

    /// The same scene at twice the size, averaged 2 x 2, is nearly the same picture.
    #[test]
    fn drawing_does_not_depend_on_the_resolution() {
        let identity = Identity::new(5, 2);
        let mut scene = Scene::new(&mut Dice::new(5, 2, 1), 1.0);
        (scene.noise, scene.blur) = (0.0, 0.0);
        let small = paint(&identity, &scene, 64);
        let large = image::imageops::thumbnail(&paint(&identity, &scene, 128), 64, 64);
        let pairs = small.as_raw().iter().zip(large.as_raw());
        let total: f64 = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        let mean = total / small.as_raw().len() as f64;
        assert!(mean < 3.0, "mean difference {mean}");
    }

    #[test]
    fn every_size_and_identity_is_painted_without_invalid_numbers() {
        for number in 0..60 {
            let identity = Identity::new(11, number);
            for (image, size) in [(0, 16), (1, 33), (2, 64)] {
                let picture = render(&identity, image, size, 11);
                let extremes =
                    picture.pixels().map(|p| p.0).collect::<std::collections::HashSet<_>>();
                assert!(extremes.len() > 50, "identity {number} at {size} is nearly uniform");
            }
        }
    }
}
