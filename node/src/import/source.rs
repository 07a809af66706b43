//! The lines of a file, plain or compressed, each with its place in its stream.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read};

use quorate_client::Event;
use quorate_proto::limits::APPEND_BYTES_MAX;
use quorate_proto::{Event as ProtoEvent, EventId, Invalid, StreamName};
use uuid::Uuid;

use super::archive::text_of;
use crate::import::{EventLine, trim};

/// The longest line: base64 and escapes make a line longer than its append.
const LINE_BYTES_MAX: u64 = 4 * APPEND_BYTES_MAX as u64;
/// The namespace of ids made from lines. It must never change, or repeated imports would duplicate events.
const NAMESPACE: Uuid = Uuid::from_u128(0x8d1f_3f0e_5b7a_4c52_9f0e_6a2f_71c3_94d5);

/// An event of the file.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The number of the line in the file, from 1, with empty lines counted; error messages name it.
    pub(crate) number: u64,
    /// The number of the event among the events of the file, from 1.
    pub(crate) index: u64,
    pub(crate) stream: StreamName,
    /// The number of the event in its stream, from 1: the version that it will have.
    pub(crate) ordinal: u64,
    pub(crate) id: EventId,
    pub(crate) event: Event,
}

/// A line that cannot be imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) number: u64,
    pub(crate) why: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.number, self.why)
    }
}

/// The lines of a file, from its beginning.
pub(crate) struct Lines {
    input: Input,
    buffer: Vec<u8>,
    number: u64,
    index: u64,
    /// The number of events of each stream so far.
    ordinals: HashMap<StreamName, u64>,
}

/// The source of the lines.
enum Input {
    /// A file that was not read yet: the reader waits for a pipe, not the one who opens it.
    File(Box<dyn Read + Send>),
    Text(Box<dyn BufRead + Send>),
    /// An error or the end: nothing more is read.
    Ended,
}

impl Lines {
    /// Returns the lines of a file; a gzip or zstd archive is recognized by its first bytes.
    pub(crate) fn of(file: impl Read + Send + 'static) -> Lines {
        let input = Input::File(Box::new(file));
        Lines { input, buffer: Vec::new(), number: 0, index: 0, ordinals: HashMap::new() }
    }

    /// Reads the next line into the buffer; returns its length in bytes, 0 at the end.
    fn read_line(&mut self) -> io::Result<u64> {
        self.buffer.clear();
        self.input = match std::mem::replace(&mut self.input, Input::Ended) {
            Input::File(file) => Input::Text(text_of(file)?),
            input => input,
        };
        let Input::Text(text) = &mut self.input else { return Ok(0) };
        let length = text.take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut self.buffer)?;
        Ok(length as u64)
    }

    /// Returns the next event; empty lines are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, BadLine> {
        loop {
            self.number += 1;
            let number = self.number;
            let bad = |why: String| BadLine { number, why };
            let length = self.read_line().map_err(|error| match number {
                1 => bad(error.to_string()),
                _ => bad(format!("the file cannot be read on: {error}")),
            })?;
            if length == 0 {
                return Ok(None);
            }
            if length > LINE_BYTES_MAX {
                return Err(bad(format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            let line = trim(&self.buffer);
            if !line.is_empty() {
                self.index += 1;
                let index = self.index;
                let parsed = parse(line, &mut self.ordinals).map_err(bad)?;
                let (stream, ordinal, id, event) = parsed;
                return Ok(Some(Line { number, index, stream, ordinal, id, event }));
            }
        }
    }
}

fn parse(
    line: &[u8],
    ordinals: &mut HashMap<StreamName, u64>,
) -> Result<(StreamName, u64, EventId, Event), String> {
    let EventLine { stream, event, has_id } = EventLine::parse(line)?;
    let stream = stream.ok_or("`stream` is missing")?;
    if stream.is_system() {
        return Err(format!("`{stream}` begins with `$`, which is kept for the system"));
    }
    let ordinal = ordinals.get(&stream).copied().unwrap_or_default() + 1;
    let mut event = ProtoEvent::try_from(event).map_err(|invalid| invalid.to_string())?;
    if !has_id {
        event.id = id_of(&stream, ordinal, line);
    }
    event.check().map_err(|invalid: Invalid| invalid.to_string())?;
    ordinals.insert(stream.clone(), ordinal);
    Ok((stream, ordinal, event.id, event.into()))
}

/// Returns the id for an event without one: the same for the same line at the same place of its stream.
fn id_of(stream: &StreamName, ordinal: u64, line: &[u8]) -> EventId {
    let mut name = Vec::with_capacity(stream.as_str().len() + 9 + line.len());
    name.extend_from_slice(stream.as_str().as_bytes());
    // A stream's name contains no control characters, so no other event gives the same bytes.
    name.push(0);
    name.extend_from_slice(&ordinal.to_be_bytes());
    name.extend_from_slice(line);
    EventId::new(Uuid::new_v5(&NAMESPACE, &name)).expect("a version 5 UUID is never nil")
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const TEXT: &str = "{\"stream\":\"a-1\",\"type\":\"T\"}\n\r\n{\"stream\":\"b-1\",\"type\":\"T\"}\r\n\
                        {\"stream\":\"a-1\",\"type\":\"T\"}";

    fn lines(bytes: &[u8]) -> Lines {
        Lines::of(io::Cursor::new(bytes.to_vec()))
    }

    fn all(mut lines: Lines) -> Vec<(u64, String, u64, EventId)> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().expect("a line") {
            all.push((line.number, line.stream.to_string(), line.ordinal, line.id));
        }
        all
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).expect("memory");
        gzip.finish().expect("memory")
    }

    fn zstd(text: &str) -> Vec<u8> {
        zstd::encode_all(text.as_bytes(), 1).expect("memory")
    }

    /// Returns a frame that zstd skips, as `pzstd` writes one before each of its frames.
    fn skippable() -> Vec<u8> {
        vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 9, 9, 9, 9]
    }

    #[test]
    fn plain_gzip_and_zstd_give_the_same_lines() {
        let plain = all(lines(TEXT.as_bytes()));
        let shape: Vec<_> = plain
            .iter()
            .map(|(number, stream, ordinal, _)| (*number, stream.as_str(), *ordinal))
            .collect();
        assert_eq!(shape, [(1, "a-1", 1), (3, "b-1", 1), (4, "a-1", 2)]);
        assert_eq!(all(lines(&gzip(TEXT))), plain);
        assert_eq!(all(lines(&zstd(TEXT))), plain);
    }

    #[test]
    fn archives_in_a_row_padding_and_skippable_frames_are_read_as_gzip_and_zstd_read_them() {
        let plain = all(lines(TEXT.as_bytes()));
        let (first, second) = TEXT.split_at(40);
        let zeros = vec![0; 300_000];
        for archive in [
            [gzip(first), gzip(second)].concat(),
            [gzip(TEXT), zeros.clone()].concat(),
            [gzip(first), gzip(""), zeros, gzip(second)].concat(),
            [zstd(first), zstd(second)].concat(),
            [skippable(), zstd(first), skippable(), zstd(second), skippable()].concat(),
        ] {
            assert_eq!(all(lines(&archive)), plain);
        }
        let followed = [gzip(TEXT), b"{}".to_vec()].concat();
        assert_eq!(
            first_bad(&followed).why,
            "the file cannot be read on: the gzip archive is \
             damaged: bytes follow that are no gzip archive"
        );
    }

    #[test]
    fn windows_line_ends_and_a_byte_order_mark_change_no_id() {
        let unix = "{\"stream\":\"a-1\",\"type\":\"T\"}\n{\"stream\":\"a-1\",\"type\":\"T\"}\n";
        let plain = all(lines(unix.as_bytes()));
        assert_eq!(all(lines(unix.replace('\n', "\r\n").as_bytes())), plain);
        assert_eq!(all(lines(format!("\u{feff}{unix}").as_bytes())), plain);
        assert_eq!(all(lines(&gzip(&format!("\u{feff}{unix}")))), plain);
        let concatenated = unix.replace("{\"stream", "\u{feff}{\"stream");
        assert_eq!(all(lines(concatenated.as_bytes())), plain);
    }

    #[test]
    fn another_format_is_named() {
        let utf16: Vec<u8> = TEXT.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let tar = [&b"events.ndjson"[..], &[0; 244], b"ustar\0", &[0; 250]].concat();
        for (bytes, name) in [
            ([&[0xff, 0xfe][..], &utf16].concat(), "UTF-16"),
            (utf16, "UTF-16"),
            (b"PK\x03\x04rest".to_vec(), "zip"),
            (b"\xfd7zXZ\0rest".to_vec(), "xz"),
            (b"BZh91AY&SY".to_vec(), "bzip2"),
            (b"7z\xbc\xaf\x27\x1crest".to_vec(), "7z"),
            (b"\x04\x22\x4d\x18rest".to_vec(), "lz4"),
            (b"\x1f\x9drest".to_vec(), "compress"),
            (tar, "tar"),
            (b"Obj, what is this?".to_vec(), "no JSON object"),
            (gzip("PK\x03\x04rest"), "zip"),
            (zstd::encode_all(&gzip(TEXT)[..], 1).expect("memory"), "an archive in an archive"),
        ] {
            let bad = first_bad(&bytes);
            assert_eq!(bad.number, 1, "{bad}");
            assert!(bad.why.contains(name), "{bad}");
        }
    }

    #[test]
    fn a_window_beyond_128_mebibytes_is_reported_with_what_reads_it() {
        let encode = |window: u32| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("memory");
            encoder.window_log(window).expect("a window");
            encoder.write_all(TEXT.as_bytes()).expect("memory");
            encoder.finish().expect("memory")
        };
        assert_eq!(all(lines(&encode(27))), all(lines(TEXT.as_bytes())));
        // An encoder with a window of 2^(10 + 21) bytes would take gigabytes: the test edits the header.
        let mut archive = encode(27);
        archive[5] = 21 << 3;
        let bad = first_bad(&archive);
        assert!(bad.why.contains("zstd -dc --long=31"), "{bad}");
    }

    fn first_bad(bytes: &[u8]) -> BadLine {
        let mut lines = lines(bytes);
        std::iter::from_fn(|| lines.next().transpose()).find_map(Result::err).expect("an error")
    }

    #[test]
    fn an_id_depends_on_stream_ordinal_and_line_and_on_nothing_else() {
        let stream = |name: &str| StreamName::new(name).expect("a name");
        let id = id_of(&stream("a-1"), 1, b"{}");
        assert_eq!(id.to_string(), "396c38e2-7417-5289-8841-d36c80d56668");
        for other in [
            id_of(&stream("a-2"), 1, b"{}"),
            id_of(&stream("a-1"), 2, b"{}"),
            id_of(&stream("a-1"), 1, b"[]"),
        ] {
            assert_ne!(other, id);
        }
        assert_eq!(all(lines(TEXT.as_bytes())), all(lines(TEXT.as_bytes())));
    }

    #[test]
    fn a_bad_line_is_reported_with_its_number_and_what_is_wrong() {
        let huge =
            format!("{{\"stream\":\"a\",\"type\":\"T\",\"data\":\"{}\"}}", "x".repeat(1 << 20));
        for (second, why) in [
            ("{", "EOF"),
            ("{\"type\":\"T\"}", "`stream` is missing"),
            ("{\"stream\":\"$a\",\"type\":\"T\"}", "begins with `$`"),
            ("{\"stream\":\"a\",\"type\":\"$T\"}", "begins with `$`"),
            (huge.as_str(), "at most 1048576 are allowed"),
        ] {
            let mut lines =
                lines(format!("{{\"stream\":\"a\",\"type\":\"T\"}}\n{second}\n").as_bytes());
            assert!(lines.next().expect("the first").is_some());
            let bad = lines.next().expect_err(why);
            assert_eq!(bad.number, 2);
            assert!(bad.why.contains(why), "{bad}");
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_is_an_error_and_not_an_end() {
        for (archive, name) in [(gzip(TEXT), "gzip"), (zstd(TEXT), "zstd")] {
            for length in 6..archive.len() {
                let bad = first_bad(&archive[..length]);
                assert!(bad.why.ends_with(&format!("the {name} archive is cut off")), "{bad}");
            }
        }
    }
}
