//! CLIP's tokenizer (Radford et al. 2021, arXiv:2103.00020, section 2.4): byte pair encoding
//! (Sennrich et al. 2015, arXiv:1508.07909) of lower-cased text with a vocabulary of 49,408.
//!
//! Reference: open_clip's `SimpleTokenizer`, which is OpenAI's. The pairs and their application are
//! the crate's; what the reference does to a text before, it does not do and `clean` does.
//!
//! Differs from the reference in: text that was decoded with the wrong code page stays as it is (see
//! `clean`); a stretch without a space longer than any caption's is cut.

use super::clean::clean;
use instant_clip_tokenizer::{Token, Tokenizer};
use std::sync::LazyLock;
use tch::Tensor;

/// Number of tokens.
pub const VOCABULARY: i64 = 49408;
/// The mark before a text.
pub const START: i64 = 49406;
/// The mark after a text, the highest token.
pub const END: i64 = 49407;

/// Bytes of a stretch without a space for each token that is wanted: more than the longest token
/// has, so that what is cut off would not have been seen.
const BYTES_PER_TOKEN: usize = 64;

/// Sorting the pairs takes a moment, so it is done once.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::new);

/// The first `limit` tokens of a text, without marks.
pub fn encode(text: &str, limit: usize) -> Vec<i64> {
    let mut tokens: Vec<Token> = Vec::new();
    // No token spans a space, so the end of a long text need not be looked at. Pairs are joined in
    // quadratic time.
    for stretch in clean(text).split(' ') {
        if tokens.len() >= limit {
            break;
        }
        let mut end = stretch.len().min(limit.saturating_mul(BYTES_PER_TOKEN));
        while !stretch.is_char_boundary(end) {
            end -= 1;
        }
        TOKENIZER.encode(&stretch[..end], &mut tokens);
    }
    tokens.into_iter().take(limit).map(|token| token.to_u16().into()).collect()
}

/// Texts as a text tower takes them: each between its marks, cut to fit, padded with zeros.
///
/// `context_length` is 2 or more.
///
/// # Shapes
/// int64 [texts, `context_length`]
pub fn tokenize<T: AsRef<str>>(texts: &[T], context_length: usize) -> Tensor {
    assert!(context_length >= 2, "a text has two marks");
    let mut ids = Vec::with_capacity(texts.len() * context_length);
    for text in texts {
        let row = ids.len();
        ids.push(START);
        ids.extend(encode(text.as_ref(), context_length - 2));
        ids.push(END);
        ids.resize(row + context_length, 0);
    }
    Tensor::from_slice(&ids).view([texts.len() as i64, context_length as i64])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_around_a_text_and_zeros_follow() {
        let tokens = tokenize(&["a photo of a cat", "", "one two three four five six"], 7);
        let expected = [
            [START, 320, 1125, 539, 320, 2368, END],
            [START, END, 0, 0, 0, 0, 0],
            [START, 637, 1237, 2097, 2721, 3127, END],
        ];
        assert_eq!(tokens, Tensor::from_slice(expected.as_flattened()).view([3, 7]));
        let none = tokenize::<&str>(&[], 7);
        assert_eq!(none.size(), [0, 7]);
        assert_eq!(tokenize(&["cat"], 2), Tensor::from_slice(&[START, END]).view([1, 2]));
    }

    /// Each in much less than a second, though the crate joins pairs in quadratic time.
    #[test]
    fn endless_texts_are_only_begun() {
        let begun = |text: &str| encode(text, 75);
        let started = std::time::Instant::now();
        assert_eq!(begun(&"a dog ".repeat(200_000)).len(), 75);
        assert_eq!(begun(&"x".repeat(1_000_000)).len(), 75);
        assert_eq!(begun(&"犬".repeat(1_000_000)).len(), 75);
        assert!(begun(&" ".repeat(1_000_000)).is_empty());
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }
}
