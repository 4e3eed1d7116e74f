//! The bytes of a pickle, counted, with every length held against what is left of the file.

use std::io::Read;
use std::sync::Arc;

/// Module and class names are shorter.
const LONGEST_NAME: usize = 256;

/// What is wrong with a pickle, and where.
#[derive(Debug)]
pub struct Wrong {
    /// Offset in the file of the opcode.
    pub at: u64,
    pub what: String,
    pub help: Option<&'static str>,
}

impl Wrong {
    pub fn new(at: u64, what: impl Into<String>) -> Self {
        Wrong { at, what: what.into(), help: None }
    }

    pub fn help(self, help: &'static str) -> Self {
        Wrong { help: Some(help), ..self }
    }
}

/// A file of known size.
pub struct Source<R> {
    from: R,
    /// Offset of the next byte.
    at: u64,
    size: u64,
}

impl<R: Read> Source<R> {
    pub fn new(from: R, size: u64) -> Self {
        Source { from, at: 0, size }
    }

    pub fn at(&self) -> u64 {
        self.at
    }

    pub fn left(&self) -> u64 {
        self.size - self.at
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Wrong> {
        let mut bytes = [0; N];
        self.expect(N as u64)?;
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn byte(&mut self) -> Result<u8, Wrong> {
        self.array().map(|[byte]| byte)
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: u64) -> Result<Arc<[u8]>, Wrong> {
        self.expect(length)?;
        let length = usize::try_from(length).map_err(|_| Wrong::new(self.at, "too long"))?;
        // Zeros first, so that the bytes are never in memory twice.
        let mut bytes: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
        self.fill(Arc::get_mut(&mut bytes).expect("just made"))?;
        Ok(bytes)
    }

    /// Passes over `length` bytes.
    pub fn skip(&mut self, length: u64) -> Result<(), Wrong> {
        self.expect(length)?;
        let skipped = std::io::copy(&mut self.from.by_ref().take(length), &mut std::io::sink());
        let skipped = skipped.map_err(|e| Wrong::new(self.at, format!("cannot read: {e}")))?;
        if skipped < length {
            return Err(Wrong::new(self.at, "the file ended while it was read"));
        }
        self.at += length;
        Ok(())
    }

    /// The bytes up to a line break, which is dropped.
    pub fn line(&mut self) -> Result<Vec<u8>, Wrong> {
        let start = self.at;
        let mut line = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return Ok(line),
                byte => line.push(byte),
            }
            if line.len() > LONGEST_NAME {
                let what = format!("a name of more than {LONGEST_NAME} bytes");
                return Err(Wrong::new(start, what));
            }
        }
    }

    /// That `length` bytes are left.
    pub fn expect(&self, length: u64) -> Result<(), Wrong> {
        let left = self.left();
        if length <= left {
            return Ok(());
        }
        let what = format!("{length} bytes should follow, the file has {left}");
        Err(Wrong::new(self.at, what).help("the file was cut short or is damaged: copy it again"))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Wrong> {
        self.from
            .read_exact(bytes)
            .map_err(|e| Wrong::new(self.at, format!("cannot read: {e}")))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}
