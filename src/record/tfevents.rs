//! Event files of TensorBoard: TFRecord framing around protobuf messages, of which these are the parts
//! that a training writes.
//!
//! Reference: tensorboard 2.20.0, `compat/proto/{event,summary,tensor}.proto` (field numbers) and
//! `compat/tensorflow_stub/pywrap_tensorflow.py` (framing, masked checksums).

use prost::Message;
use std::io::{self, Write};

/// One entry of an event file.
#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    pub wall_time: f64,
    /// Optimizer steps done.
    #[prost(int64, tag = "2")]
    pub step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    pub what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum What {
    /// The first entry of a file: [`FILE_VERSION`].
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

pub const FILE_VERSION: &str = "brain.Event:2";

#[derive(Clone, PartialEq, Message)]
pub struct Summary {
    #[prost(message, repeated, tag = "1")]
    pub value: Vec<Value>,
}

/// A named value: a number, or a tensor with a word about what it means.
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(string, tag = "1")]
    pub tag: String,
    #[prost(float, optional, tag = "2")]
    pub simple_value: Option<f32>,
    #[prost(message, optional, tag = "8")]
    pub tensor: Option<Tensor>,
    #[prost(message, optional, tag = "9")]
    pub metadata: Option<Metadata>,
}

/// Of strings only.
#[derive(Clone, PartialEq, Message)]
pub struct Tensor {
    /// [`STRING`].
    #[prost(int32, tag = "1")]
    pub dtype: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<Shape>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    pub string_val: Vec<Vec<u8>>,
}

/// `DT_STRING`.
pub const STRING: i32 = 7;

#[derive(Clone, PartialEq, Message)]
pub struct Shape {
    #[prost(message, repeated, tag = "2")]
    pub dim: Vec<Dim>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Dim {
    #[prost(int64, tag = "1")]
    pub size: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metadata {
    #[prost(message, optional, tag = "1")]
    pub plugin_data: Option<PluginData>,
}

#[derive(Clone, PartialEq, Message)]
pub struct PluginData {
    #[prost(string, tag = "1")]
    pub plugin_name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct SessionLog {
    /// [`START`].
    #[prost(int32, tag = "1")]
    pub status: i32,
}

/// `SessionLog.START`: what earlier files say of this step and later ones counts no more.
pub const START: i32 = 1;

impl Value {
    pub fn scalar(tag: impl Into<String>, value: f64) -> Value {
        Value { tag: tag.into(), simple_value: Some(value as f32), ..Value::default() }
    }

    /// Markdown for the page of texts.
    pub fn text(tag: impl Into<String>, markdown: String) -> Value {
        let plugin = PluginData { plugin_name: "text".into() };
        Value {
            tag: tag.into(),
            tensor: Some(Tensor {
                dtype: STRING,
                shape: Some(Shape { dim: vec![Dim { size: 1 }] }),
                string_val: vec![markdown.into_bytes()],
            }),
            metadata: Some(Metadata { plugin_data: Some(plugin) }),
            ..Value::default()
        }
    }
}

/// CRC-32C, rotated and shifted so that a checksum over data with checksums inside is none of them.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Appends one record: length, its checksum, the payload, its checksum; all little-endian.
pub fn append(out: &mut impl Write, payload: &[u8]) -> io::Result<()> {
    let length = (payload.len() as u64).to_le_bytes();
    out.write_all(&length)?;
    out.write_all(&masked(&length).to_le_bytes())?;
    out.write_all(payload)?;
    out.write_all(&masked(payload).to_le_bytes())
}

/// The events of a file, up to a record that a kill cut short.
///
/// # Errors
/// A checksum that is wrong, or a message that is none.
pub fn read(mut bytes: &[u8]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(12) {
        let word = |bytes: &[u8]| bytes.try_into().map_or(0, u32::from_le_bytes);
        if masked(&head[..8]) != word(&head[8..]) {
            return Err(format!("the length of record {} is damaged", events.len() + 1));
        }
        let length = head[..8].try_into().map_or(0, u64::from_le_bytes) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        let Some((sum, rest)) = rest.split_at_checked(4) else { break };
        if masked(payload) != word(sum) {
            return Err(format!("record {} is damaged", events.len() + 1));
        }
        let event = Event::decode(payload);
        events.push(event.map_err(|e| format!("record {}: {e}", events.len() + 1))?);
        bytes = rest;
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, and the check value of the Castagnoli polynomial.
    #[test]
    fn checksums_are_castagnolis() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        for (bytes, sum) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (&descending, 0x113f_db5c),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(crc32c::crc32c(bytes), sum);
            let unmasked = masked(bytes).wrapping_sub(0xa282_ead8);
            assert_eq!(unmasked.rotate_left(15), sum);
        }
    }

    /// What tensorboard 2.20.0 serialises and frames for the same events.
    #[test]
    fn bytes_are_tensorboards() {
        let version =
            Event { wall_time: 1.5, step: 0, what: Some(What::FileVersion(FILE_VERSION.into())) };
        let summary = Summary { value: vec![Value::scalar("train/loss", 0.25)] };
        let scalar = Event { wall_time: 2.0, step: 7, what: Some(What::Summary(summary)) };
        let start = SessionLog { status: START };
        let start = Event { wall_time: 3.0, step: 8, what: Some(What::SessionLog(start)) };
        let text = Summary { value: vec![Value::text("config/text_summary", "a".into())] };
        let text = Event { wall_time: 4.0, step: 8, what: Some(What::Summary(text)) };
        let mut bytes = Vec::new();
        for event in [&version, &scalar, &start, &text] {
            append(&mut bytes, &event.encode_to_vec()).unwrap();
        }
        let expected =
            include_bytes!("../../tests/fixtures/record/events.out.tfevents.bin").as_slice();
        assert_eq!(bytes, expected);
        assert_eq!(read(expected).unwrap(), [version, scalar, start, text]);
    }

    #[test]
    fn damage_is_found_and_a_cut_is_an_end() {
        let mut bytes = Vec::new();
        let event = Event { wall_time: 1.0, step: 3, what: None };
        append(&mut bytes, &event.encode_to_vec()).unwrap();
        append(&mut bytes, &event.encode_to_vec()).unwrap();
        for cut in 1..bytes.len() / 2 {
            assert_eq!(read(&bytes[..bytes.len() - cut]).unwrap().len(), 1, "{cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            assert!(read(&damaged).is_err(), "byte {at}");
        }
    }
}
