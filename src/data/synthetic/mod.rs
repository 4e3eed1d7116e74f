//! Synthetic faces: a procedurally drawn data set of people who do not exist.
//!
//! An [`Identity`] fixes geometry, skin, eyes, brows, nose, mouth and hair; a [`Scene`] draws
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
pub use scene::Scene;
pub use writer::{Recipe, generate, is_complete};

use image::RgbImage;

use dice::Dice;
use draw::Canvas;
use head::Posed;

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
