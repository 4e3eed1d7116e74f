//! Weighted sums of neighbouring pixels along the rows of an image, which resizing is made of: four rows
//! at a time with AVX2.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// The most bits after the point of a weight: a sum of bytes then fits an i32, also where a filter
/// overshoots.
const MOST_BITS: i32 = 21;
/// Pixels that one load serves, which take 12 of its 16 bytes.
const GROUP: usize = 4;
/// What the last load of a row reads beyond it.
const BEYOND: usize = 4;
const ROWS: usize = 4;

/// Which pixels of a row make each pixel of the result, and with which weights.
#[derive(Debug)]
pub struct Weights {
    /// Bits after the point.
    shift: i32,
    /// Loads for each pixel of the result.
    groups: usize,
    /// Byte of a row where each begins.
    starts: Vec<usize>,
    /// Two weights in a word, the first in its lower half; `2 x groups` for each pixel of the result.
    pairs: Vec<i32>,
    /// Of a row, pixels.
    width: usize,
}

impl Weights {
    /// `windows`: for each pixel of the result the first pixel of a row of `width` and the weights from
    /// there on, none beyond the row. None where a row is shorter than the loads for one pixel.
    pub fn new(width: usize, windows: &[(usize, Vec<f64>)]) -> Option<Weights> {
        let longest = windows.iter().map(|(_, weights)| weights.len()).max()?;
        let largest = windows.iter().flat_map(|(_, weights)| weights).copied().fold(0.0, f64::max);
        let bits = |shift: i32| (largest * f64::from(1 << shift)).round() < f64::from(1 << 15);
        let shift = (1..=MOST_BITS).take_while(|shift| bits(*shift)).last().unwrap_or(0);
        let groups = longest.div_ceil(GROUP);
        let last = width.checked_sub(GROUP * groups)?;
        let (mut starts, mut pairs) = (Vec::new(), Vec::new());
        for (first, weights) in windows {
            // No load begins so late that it leaves the row; what is added has no weight.
            let start = last.min(*first);
            starts.push(3 * start);
            let mut whole = vec![0_i16; GROUP * groups];
            for (to, weight) in whole[first - start..].iter_mut().zip(weights) {
                *to = (weight * f64::from(1 << shift)).round() as i16;
            }
            let pair = |of: &[i16]| i32::from(of[0] as u16) | i32::from(of[1]) << 16;
            pairs.extend(whole.chunks_exact(2).map(pair));
        }
        (shift > 0).then_some(Weights { shift, groups, starts, pairs, width })
    }
}

/// Whether [`weigh`] works here.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Writes to `out` (`rows x windows x 3`) the weighted sums of `rows` rows of RGB, the first at the
/// beginning of `pixels`, each `stride` bytes after the one before; rounded, and cut to bytes.
///
/// # Panics
/// Without AVX2 ([`available`]), or with too few pixels.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
pub fn weigh(pixels: &[u8], stride: usize, rows: usize, weights: &Weights, out: &mut Vec<u8>) {
    assert!(available(), "needs AVX2");
    let to = 3 * weights.starts.len();
    out.resize(rows * to, 0);
    let length = 3 * weights.width;
    // The last rows, and repetitions of them, where there is something behind.
    let mut copies = Vec::new();
    for (number, out) in out.chunks_mut(ROWS * to).enumerate() {
        let first = number * ROWS;
        let starts = [0, 1, 2, 3].map(|row| stride * (first + row).min(rows - 1));
        let inside = starts[ROWS - 1] + length + BEYOND <= pixels.len();
        let mut sums = vec![0; if out.len() < ROWS * to { ROWS * to } else { 0 }];
        let whole = if sums.is_empty() { &mut *out } else { &mut sums[..] };
        let from = match inside {
            true => starts.map(|start| &pixels[start..start + length + BEYOND]),
            false => {
                copies.clear();
                starts.iter().for_each(|start| copies.extend(&pixels[*start..start + length]));
                copies.resize(copies.len() + BEYOND, 0);
                [0, 1, 2, 3].map(|row| &copies[row * length..(row + 1) * length + BEYOND])
            }
        };
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has AVX2, as was found above.
        unsafe {
            four_rows(from, weights, whole);
        }
        if !sums.is_empty() {
            out.copy_from_slice(&sums[..out.len()]);
        }
    }
}

/// `out` has four rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn four_rows(rows: [&[u8]; ROWS], weights: &Weights, out: &mut [u8]) {
    // From the bytes R G B R G B ... of each half to pairs of words of one colour: the first two pixels, the
    // next two.
    #[rustfmt::skip]
    let [first, second] = [
        _mm256_set_epi8(
            -1, -1, -1, -1, -1, 5, -1, 2, -1, 4, -1, 1, -1, 3, -1, 0,
            -1, -1, -1, -1, -1, 5, -1, 2, -1, 4, -1, 1, -1, 3, -1, 0,
        ),
        _mm256_set_epi8(
            -1, -1, -1, -1, -1, 11, -1, 8, -1, 10, -1, 7, -1, 9, -1, 6,
            -1, -1, -1, -1, -1, 11, -1, 8, -1, 10, -1, 7, -1, 9, -1, 6,
        ),
    ];
    let Weights { shift, groups, starts, pairs, width: _ } = weights;
    let half = _mm256_set1_epi32(1 << (shift - 1));
    let shift = _mm_cvtsi32_si128(*shift);
    let [row0, row1, row2, row3] = rows;
    let (upper, lower) = out.split_at_mut(6 * starts.len());
    let (out0, out1) = upper.split_at_mut(3 * starts.len());
    let (out2, out3) = lower.split_at_mut(3 * starts.len());
    for (x, (start, pairs)) in starts.iter().zip(pairs.chunks_exact(2 * groups)).enumerate() {
        let (mut sum01, mut sum23) = (half, half);
        let mut at = *start;
        for pair in pairs.chunks_exact(2) {
            let (left, right) = (_mm256_set1_epi32(pair[0]), _mm256_set1_epi32(pair[1]));
            let both = _mm256_set_m128i(load(row1, at), load(row0, at));
            let ahead = _mm256_madd_epi16(_mm256_shuffle_epi8(both, first), left);
            let behind = _mm256_madd_epi16(_mm256_shuffle_epi8(both, second), right);
            sum01 = _mm256_add_epi32(sum01, _mm256_add_epi32(ahead, behind));
            let both = _mm256_set_m128i(load(row3, at), load(row2, at));
            let ahead = _mm256_madd_epi16(_mm256_shuffle_epi8(both, first), left);
            let behind = _mm256_madd_epi16(_mm256_shuffle_epi8(both, second), right);
            sum23 = _mm256_add_epi32(sum23, _mm256_add_epi32(ahead, behind));
            at += 3 * GROUP;
        }
        let (sum01, sum23) = (_mm256_sra_epi32(sum01, shift), _mm256_sra_epi32(sum23, shift));
        let words = _mm256_packs_epi32(sum01, sum23);
        let bytes = _mm256_packus_epi16(words, _mm256_setzero_si256());
        let even = _mm_cvtsi128_si64(_mm256_castsi256_si128(bytes)) as u64;
        let odd = _mm_cvtsi128_si64(_mm256_extracti128_si256::<1>(bytes)) as u64;
        store(out0, x, even as u32);
        store(out1, x, odd as u32);
        store(out2, x, (even >> 32) as u32);
        store(out3, x, (odd >> 32) as u32);
    }
}

/// Sixteen bytes.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
fn load(row: &[u8], at: usize) -> __m128i {
    let bytes = &row[at..at + 16];
    let [low, high] = [&bytes[..8], &bytes[8..]];
    let word = |bytes: &[u8]| i64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    _mm_set_epi64x(word(high), word(low))
}

/// A pixel; the next one writes over what is behind it.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn store(row: &mut [u8], x: usize, pixel: u32) {
    let pixel = pixel.to_le_bytes();
    match 3 * x + 4 <= row.len() {
        true => row[3 * x..3 * x + 4].copy_from_slice(&pixel),
        false => row[3 * x..3 * x + 3].copy_from_slice(&pixel[..3]),
    }
}
