//! Damaged files for tests: bytes and words changed, pieces cut out, the end cut off.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::Config;

/// One change to a file.
#[derive(Clone, Debug)]
pub enum Change {
    Byte(Index, u8),
    /// Four bytes, little-endian: lengths, counts, offsets.
    Word(Index, u32),
    Remove(Index, Index),
    Repeat(Index, Index),
    Cut(Index),
}

pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let word = prop_oneof![
        Just(0),
        Just(u32::MAX),
        Just(u32::MAX >> 3),
        Just(1 << 29),
        Just(3 << 29),
        Just(0xced7_230a),
        any::<u32>(),
        0_u32..64,
    ];
    let change = prop_oneof![
        6 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        6 => (any::<Index>(), word).prop_map(|(at, word)| Change::Word(at, word)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Change::Remove(from, to)),
        1 => any::<(Index, Index)>().prop_map(|(from, to)| Change::Repeat(from, to)),
        1 => any::<Index>().prop_map(Change::Cut),
    ];
    prop::collection::vec(change, 1..5)
}

pub fn apply(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let range = |one: &Index, two: &Index| {
            let (one, two) = (one.index(bytes.len()), two.index(bytes.len()));
            one.min(two)..one.max(two).min(one.min(two) + 2000)
        };
        match change {
            Change::Byte(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Change::Word(at, word) => {
                let at = at.index(bytes.len()) & !3;
                bytes.iter_mut().skip(at).zip(word.to_le_bytes()).for_each(|(old, new)| *old = new);
            }
            Change::Remove(one, two) => {
                let range = range(one, two);
                bytes.drain(range);
            }
            Change::Repeat(one, two) => {
                let range = range(one, two);
                let (at, piece) = (range.start, bytes[range].to_vec());
                bytes.splice(at..at, piece);
            }
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

/// `cases` damaged files, and no files left behind by failures.
pub fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}
