//! Content codings, at levels that pay for bodies that are compressed once and served often.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

const BROTLI_QUALITY: u32 = 5;
const BROTLI_WINDOW_BITS: u32 = 20;
const BROTLI_BUFFER_BYTES: usize = 16 * 1024;

/// By gzip; `None` where that makes it no smaller.
pub(crate) fn gzip(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::new(6));
    encoder.write_all(body).ok()?;
    encoder.finish().ok().filter(|packed| packed.len() < body.len())
}

/// By Brotli; `None` where that makes it no smaller.
pub(crate) fn brotli(body: &[u8]) -> Option<Vec<u8>> {
    let mut packed = Vec::with_capacity(body.len() / 3);
    {
        let mut encoder =
            brotli::CompressorWriter::new(&mut packed, BROTLI_BUFFER_BYTES, BROTLI_QUALITY, BROTLI_WINDOW_BITS);
        encoder.write_all(body).ok()?;
        encoder.flush().ok()?;
    }
    Some(packed).filter(|packed| packed.len() < body.len())
}
