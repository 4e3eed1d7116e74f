//! What CLIP's tokenizer does to a text before it splits it: entities of HTML, quotes, ligatures and
//! wide letters as their plain forms, no control characters, one space between words, lower case.
//!
//! Reference: `basic_clean` and `whitespace_clean` of OpenAI's CLIP and open_clip, which call ftfy's
//! `fix_text` and Python's `html.unescape`.
//!
//! Differs from the reference in: ftfy also guesses which text was decoded with the wrong code page
//! ("cafÃ©") and decodes it again; here such text stays as it is.

use super::entities::{unescape, unescape_closed, windows_1252};
use icu_normalizer::ComposingNormalizerBorrowed;

/// A text as it is split into words: spaces are single and between words only.
pub fn clean(text: &str) -> String {
    let mut fixed = String::with_capacity(text.len());
    // A text that has a tag shows its entities on purpose.
    let mut entities = true;
    for line in text.split_inclusive('\n') {
        entities &= !line.contains('<');
        fixed.push_str(&fix(line, entities));
    }
    // Twice, for what was escaped twice.
    let plain = unescape(&unescape(&fixed));
    let space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let words: Vec<&str> = plain.split(space).filter(|word| !word.is_empty()).collect();
    words.join(" ").to_lowercase()
}

/// ftfy's fixes of a line, until they change nothing more.
fn fix(line: &str, entities: bool) -> String {
    let mut line = line.to_owned();
    loop {
        let unescaped = if entities { unescape_closed(&line) } else { line.clone() };
        let mut plain = String::with_capacity(unescaped.len());
        for c in unescaped.chars() {
            push_plain(&mut plain, c);
        }
        let mut plain = without_terminal_escapes(&plain);
        plain.retain(|c| !is_removed(c));
        let composed = ComposingNormalizerBorrowed::new_nfc().normalize(&plain);
        if composed == line {
            return line;
        }
        line = composed.into_owned();
    }
}

/// A character in its plain form.
fn push_plain(text: &mut String, c: char) {
    let letters = match c {
        // Straight quotes.
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => "'",
        '\u{201c}'..='\u{201f}' => "\"",
        '\r' | '\u{2028}' | '\u{2029}' => "\n",
        // Latin ligatures and digraphs.
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "'n",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        '\u{3000}' => " ",
        // Halfwidth and fullwidth forms.
        '\u{ff01}'..='\u{ffef}' => {
            let compatible = ComposingNormalizerBorrowed::new_nfkc();
            return text.push_str(&compatible.normalize(c.encode_utf8(&mut [0; 4])));
        }
        '\u{80}'..='\u{9f}' => return text.push(windows_1252(c)),
        _ => return text.push(c),
    };
    text.push_str(letters);
}

/// Control characters without effect; those that end lines or join emoji stay.
fn is_removed(c: char) -> bool {
    matches!(c,
        '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffc}')
}

/// Without colours and movements of a terminal, such as `ESC [ 1 ; 31 m`.
fn without_terminal_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        let end = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = match end.strip_prefix(|c: char| c.is_ascii_alphabetic()) {
            Some(end) => end,
            None => {
                out.push_str("\u{1b}[");
                after
            }
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of open_clip 3.3.0's `_clean_lower`, with ftfy 6.3.1.
    #[test]
    fn text_becomes_plain() {
        for (text, expected) in [
            ("", ""),
            (" \t\r\n ", ""),
            ("  Two\u{a0}words\u{3000}and\n\nlines ", "two words and lines"),
            ("It’s “quoted” ﬁne", "it's \"quoted\" fine"),
            ("ＬＯＵＤ ﾊﾟﾀﾞ １２", "loud パダ 12"),
            ("caf\u{65}\u{301} ΟΔΥΣΣΕΥΣ İ", "café οδυσσευς i\u{307}"),
            ("a\u{1c}b\u{feff} \u{1b}[1;31mred\u{1b}[0m \u{1b}[", "ab red ["),
            ("\u{93}C1\u{94} \u{85}", "\"c1\" …"),
            ("P&EACUTE;REZ &amp;lt; &copy", "pérez < ©"),
            ("&amp;amp;amp;amp; x", "& x"),
            ("<b>&rsquo;&EACUTE;&amp;amp;</b>", "<b>’&eacute;&</b>"),
            ("&rsquo;\n<b>\n&rsquo;", "' <b> ’"),
            ("👨\u{200d}👩 ŉ ﷺ", "👨\u{200d}👩 'n ﷺ"),
        ] {
            assert_eq!(clean(text), expected, "{text:?}");
        }
    }
}
