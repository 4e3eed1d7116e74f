//! HTML's character references (`&eacute;`, `&#233;`, `&eacute`) in captions from web pages.
//!
//! References: Python's `html.unescape`, which is the algorithm of the HTML standard (13.2.5.72 to
//! 80) without a reader's exceptions for attributes, and the stricter one of ftfy, which takes
//! closed references only, and capitals such as `&EACUTE;` for an upper-cased page.

use html_escape::NAMED_ENTITIES;

/// Names that need no semicolon, which old pages lack.
const UNCLOSED: [&str; 106] = [
    "AElig", "AMP", "Aacute", "Acirc", "Agrave", "Aring", "Atilde", "Auml", "COPY", "Ccedil",
    "ETH", "Eacute", "Ecirc", "Egrave", "Euml", "GT", "Iacute", "Icirc", "Igrave", "Iuml", "LT",
    "Ntilde", "Oacute", "Ocirc", "Ograve", "Oslash", "Otilde", "Ouml", "QUOT", "REG", "THORN",
    "Uacute", "Ucirc", "Ugrave", "Uuml", "Yacute", "aacute", "acirc", "acute", "aelig", "agrave",
    "amp", "aring", "atilde", "auml", "brvbar", "ccedil", "cedil", "cent", "copy", "curren", "deg",
    "divide", "eacute", "ecirc", "egrave", "eth", "euml", "frac12", "frac14", "frac34", "gt",
    "iacute", "icirc", "iexcl", "igrave", "iquest", "iuml", "laquo", "lt", "macr", "micro",
    "middot", "nbsp", "not", "ntilde", "oacute", "ocirc", "ograve", "ordf", "ordm", "oslash",
    "otilde", "ouml", "para", "plusmn", "pound", "quot", "raquo", "reg", "sect", "shy", "sup1",
    "sup2", "sup3", "szlig", "thorn", "times", "uacute", "ucirc", "ugrave", "uml", "uuml",
    "yacute", "yen", "yuml",
];

/// Characters of a reference's name at most.
const LONGEST: usize = 32;
/// The same where it must be closed.
const LONGEST_CLOSED: usize = 24;

/// What Windows-1252 has at 0x80 to 0x9f, where Unicode has controls; what it has not stays.
const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// A control character of 0x80 to 0x9f as what was meant by it.
pub fn windows_1252(control: char) -> char {
    let index = (control as usize).checked_sub(0x80);
    index.and_then(|index| WINDOWS_1252.get(index)).copied().unwrap_or(control)
}

/// Decodes every reference, closed or not.
pub fn unescape(text: &str) -> String {
    replaced(text, |rest| match rest.strip_prefix('#') {
        Some(number) => {
            let (value, length) = number_reference(number)?;
            Some((value.map(String::from).unwrap_or_default(), 1 + length))
        }
        None => named_reference(rest).map(|(value, length)| (value.to_owned(), length)),
    })
}

/// Decodes what is a reference beyond doubt: closed, or in capitals throughout.
pub fn unescape_closed(text: &str) -> String {
    replaced(text, |rest| {
        let body = rest.strip_prefix('#').unwrap_or(rest);
        let length = body.bytes().take_while(u8::is_ascii_alphanumeric).count();
        let closed = (1..=LONGEST_CLOSED).contains(&length) && body[length..].starts_with(';');
        if !closed {
            return None;
        }
        let whole = rest.len() - body.len() + length + 1;
        let name = &body[..length];
        let value = if body.len() < rest.len() {
            let value = unescape(&format!("&#{name};"));
            // What was decoded in part only is none.
            (!value.contains(';')).then_some(value)
        } else {
            named(name).map(str::to_owned).or_else(|| capitals(name))
        };
        value.map(|value| (value, whole))
    })
}

/// `text` with what `reference` makes of the text after each `&`: the characters and how many bytes
/// after it they stand for. None leaves the `&`.
fn replaced(text: &str, reference: impl Fn(&str) -> Option<(String, usize)>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        rest = match reference(after) {
            Some((value, length)) => {
                out.push_str(&value);
                &after[length..]
            }
            None => {
                out.push('&');
                after
            }
        };
    }
    out + rest
}

/// The name is without `&` and semicolon.
fn named(name: &str) -> Option<&'static str> {
    let found = NAMED_ENTITIES.binary_search_by(|(entry, _)| (*entry).cmp(name.as_bytes()));
    found.ok().map(|index| NAMED_ENTITIES[index].1)
}

/// `EACUTE` is a capital of `eacute`, unless it begins with a name that needs no semicolon.
fn capitals(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    let capital = name == name.to_ascii_uppercase() && unclosed(name).is_none();
    if capital { named(&lower).map(str::to_uppercase) } else { None }
}

/// The longest name without semicolon that `text` begins with.
fn unclosed(text: &str) -> Option<&'static str> {
    let known = UNCLOSED.into_iter().filter(|name| text.starts_with(name));
    known.max_by_key(|name| name.len())
}

/// (characters, bytes after `&`)
fn named_reference(rest: &str) -> Option<(&'static str, usize)> {
    let part = |c: char| !matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let name: &str = {
        let length: usize =
            rest.chars().take(LONGEST).take_while(|&c| part(c)).map(char::len_utf8).sum();
        &rest[..length]
    };
    if rest[name.len()..].starts_with(';')
        && let Some(value) = named(name)
    {
        return Some((value, name.len() + 1));
    }
    let prefix = unclosed(name)?;
    Some((named(prefix)?, prefix.len()))
}

/// (character, bytes after `#`); no character for numbers of none.
fn number_reference(rest: &str) -> Option<(Option<char>, usize)> {
    let (radix, digits) = match rest.strip_prefix(['x', 'X']) {
        Some(digits) => (16, digits),
        None => (10, rest),
    };
    let length = digits.chars().take_while(|c| c.is_digit(radix)).count();
    if length == 0 {
        return None;
    }
    // Leading zeros do not overflow, and what does is beyond Unicode.
    let number = u32::from_str_radix(&digits[..length], radix).unwrap_or(u32::MAX);
    let closed = usize::from(digits[length..].starts_with(';'));
    let length = rest.len() - digits.len() + length + closed;
    let value = match number {
        0 => Some(char::REPLACEMENT_CHARACTER),
        0x80..=0x9f => char::from_u32(number).map(windows_1252),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => None,
        _ => match char::from_u32(number) {
            Some(_) if number & 0xfffe == 0xfffe => None,
            Some(value) => Some(value),
            None => Some(char::REPLACEMENT_CHARACTER),
        },
    };
    Some((value, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Python 3.11's `html.unescape`.
    #[test]
    fn references_are_decoded_as_the_standard_says() {
        for (text, expected) in [
            ("", ""),
            ("a & b && c", "a & b && c"),
            ("&lt;b&gt; &amp;amp; &eacute;", "<b> &amp; é"),
            ("&copy 2020 &notit; &notin; &ampx", "© 2020 ¬it; ∉ &x"),
            ("&NotEqualTilde; &fjlig; &unknown; &;", "≂̸ fj &unknown; &;"),
            ("&#65 &#x41;&#X41 &#; &#x; &#xg", "A AA &#; &#x; &#xg"),
            ("&#0;&#x80;&#x81;&#13;", "\u{fffd}€\u{81}\r"),
            ("&#xd800;&#x110000;&#99999999999999999999;", "\u{fffd}\u{fffd}\u{fffd}"),
            ("[&#1;&#xb;&#x7f;&#xfdd0;&#xfffe;&#x1ffff;]", "[]"),
            ("&CounterClockwiseContourIntegral;", "∳"),
            ("&größe; &amp#39;", "&größe; &#39;"),
        ] {
            assert_eq!(unescape(text), expected, "{text}");
        }
    }

    /// Values of ftfy 6.3.1's `unescape_html`.
    #[test]
    fn only_closed_references_are_beyond_doubt() {
        for (text, expected) in [
            ("this&not that &amp &#65", "this&not that &amp &#65"),
            ("&eacute;&EACUTE;&SZLIG;&nTILDE;", "éÉSS&nTILDE;"),
            ("&COPYSR; &ETH; &DD;", "&COPYSR; Ð ⅅ"),
            ("&#x1F600;&#59;&#12x;", "😀&#59;&#12x;"),
            ("&CounterClockwiseContourIntegral;", "&CounterClockwiseContourIntegral;"),
        ] {
            assert_eq!(unescape_closed(text), expected, "{text}");
        }
    }

    #[test]
    fn names_without_semicolon_have_a_value() {
        assert!(UNCLOSED.iter().all(|name| named(name).is_some()));
    }
}
