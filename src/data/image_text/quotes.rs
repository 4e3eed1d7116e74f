//! Quotes of a CSV file that are not closed. A reader of CSV takes everything up to the next quote, or
//! the end of the file, as one field: lines vanish without a word.

use crate::Error;
use std::path::Path;

/// A quote at the beginning of a field that its line does not close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclosed {
    /// The line of the quote, counted from 1.
    opened: u64,
    /// The line of the quote that ends the field with text behind it; None: the file ends first.
    closed: Option<u64>,
}

impl Unclosed {
    pub fn error(self, file: &Path) -> Error {
        let Unclosed { opened, closed } = self;
        let how = match closed {
            None => "a quote is opened and never closed".to_string(),
            Some(line) => format!(
                "a quote is opened, and closed in line {line} where a text goes on behind it"
            ),
        };
        Error::input(format!("{}, line {opened}: {how}", file.display())).help(
            "a caption that begins with a quote ends with one, and quotes inside of it are doubled: \
             \"\"\"so\"\", he said\"",
        )
    }
}

enum State {
    /// Before the first character of a field.
    Begin,
    Plain,
    /// Since this line.
    Quoted(u64),
    /// Behind a quote in a quoted field: it ends the field, or the next quote doubles it.
    Behind(u64),
}

/// # Errors
/// The first quote that is never closed, or in another line than it was opened in with text behind it:
/// then it was the opening one of that line.
pub fn check(text: &str) -> Result<(), Unclosed> {
    let (mut state, mut line) = (State::Begin, 1);
    for byte in text.bytes() {
        state = match (state, byte) {
            (State::Quoted(opened), b'"') => State::Behind(opened),
            (State::Quoted(opened), _) => State::Quoted(opened),
            (State::Behind(opened), b'"') => State::Quoted(opened),
            (_, b',' | b'\n' | b'\r') => State::Begin,
            (State::Begin, b'"') => State::Quoted(line),
            (State::Behind(opened), byte) if line > opened && !byte.is_ascii_whitespace() => {
                return Err(Unclosed { opened, closed: Some(line) });
            }
            (State::Behind(opened), b' ' | b'\t') => State::Behind(opened),
            _ => State::Plain,
        };
        line += u64::from(byte == b'\n');
    }
    match state {
        State::Quoted(opened) => Err(Unclosed { opened, closed: None }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_whole_passes() {
        for text in [
            "a,b\nc,\"d\"\n",
            "a,\"b, \"\"c\"\"\"\r\n\"d\",e",
            "a,\"two\nlines\"\nb,c\n",
            "a,12\" wide\nb,c\n",
            "a,\"red\" apple\nb,c\n",
            "\"\",\"\"\n",
            "",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn an_open_quote_is_found_in_its_line() {
        assert_eq!(check("a,b\nc,\"d\ne,f\n"), Err(Unclosed { opened: 2, closed: None }));
        assert_eq!(check("a,\"b\"\"\n"), Err(Unclosed { opened: 1, closed: None }));
        let text = "a,b\nc,\"d\ne,f\ng,\"h\"\ni,j\n";
        assert_eq!(check(text), Err(Unclosed { opened: 2, closed: Some(4) }));
    }
}
