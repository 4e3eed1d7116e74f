//! An image on its way into a batch: one plane for each colour.

/// `3 x height x width`, RGB.
pub struct Planes<'a> {
    pub pixels: &'a mut [u8],
    pub height: usize,
    pub width: usize,
}

impl Planes<'_> {
    /// Fills the planes from an image of `height x width x 3`.
    #[inline(always)]
    pub fn separate(&mut self, image: &[u8]) {
        let [red, green, blue] = self.each();
        for (((pixel, r), g), b) in image.chunks_exact(3).zip(red).zip(green).zip(blue) {
            (*r, *g, *b) = (pixel[0], pixel[1], pixel[2]);
        }
    }

    /// Writes `height x width x 3` to `image`.
    pub fn interleave(&mut self, image: &mut Vec<u8>) {
        image.resize(self.pixels.len(), 0);
        let [red, green, blue] = self.each();
        for (((pixel, r), g), b) in image.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
            pixel.copy_from_slice(&[*r, *g, *b]);
        }
    }

    /// Red, green and blue.
    #[inline(always)]
    pub fn each(&mut self) -> [&mut [u8]; 3] {
        let size = self.height * self.width;
        let (red, rest) = self.pixels.split_at_mut(size);
        let (green, blue) = rest.split_at_mut(size);
        [red, green, blue]
    }

    /// Every pixel, replaced by what `change` makes of it.
    pub fn map(&mut self, mut change: impl FnMut([u8; 3]) -> [u8; 3]) {
        let [red, green, blue] = self.each();
        for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
            [*r, *g, *b] = change([*r, *g, *b]);
        }
    }
}
