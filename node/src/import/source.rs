//! The lines of a file, plain or compressed, each with its place in its stream.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressBarIter};
use quorate_client::Event;
use quorate_proto::limits::APPEND_BYTES_MAX;
use quorate_proto::{Event as ProtoEvent, EventId, Invalid, StreamName};
use uuid::Uuid;

use crate::ndjson::EventLine;

/// Longest line: base64 and escapes make it longer than the append that comes of it.
const LINE_BYTES_MAX: u64 = 4 * APPEND_BYTES_MAX as u64;
const BUFFER_BYTES: usize = 256 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What ids made from lines are made in; never to be changed, or repeated imports would duplicate.
const NAMESPACE: Uuid = Uuid::from_u128(0x8d1f_3f0e_5b7a_4c52_9f0e_6a2f_71c3_94d5);

/// An event of the file.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// 1, 2, 3 … in the file, empty lines counted: what people are told.
    pub(crate) number: u64,
    /// 1, 2, 3 … among the events of the file.
    pub(crate) index: u64,
    pub(crate) stream: StreamName,
    /// 1, 2, 3 … in its stream: the version that it will have.
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
    input: Box<dyn BufRead>,
    buffer: Vec<u8>,
    number: u64,
    index: u64,
    /// How many events each stream had so far.
    ordinals: HashMap<StreamName, u64>,
}

impl Lines {
    /// Opens a file: gzip or zstd by its first bytes, otherwise plain. `bar` shows how much was read.
    pub(crate) fn open(path: &Path, bar: &ProgressBar) -> io::Result<Lines> {
        let file = File::open(path)?;
        bar.set_length(file.metadata()?.len());
        Lines::read(bar.wrap_read(file))
    }

    fn read(mut file: ProgressBarIter<File>) -> io::Result<Lines> {
        let mut magic = Vec::new();
        file.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut magic)?;
        let gzip = magic.starts_with(&GZIP_MAGIC);
        let zstd = magic.starts_with(&ZSTD_MAGIC);
        let whole: Chain<Cursor<Vec<u8>>, _> = Cursor::new(magic).chain(file);
        let whole = BufReader::with_capacity(BUFFER_BYTES, whole);
        let input: Box<dyn BufRead> = if gzip {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(whole)))
        } else if zstd {
            let decoder = zstd::stream::read::Decoder::with_buffer(whole)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, decoder))
        } else {
            Box::new(whole)
        };
        Ok(Lines { input, buffer: Vec::new(), number: 0, index: 0, ordinals: HashMap::new() })
    }

    /// How many streams there were so far.
    pub(crate) fn streams(&self) -> u64 {
        self.ordinals.len() as u64
    }

    /// The next event; empty lines are passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Line>, BadLine> {
        loop {
            self.number += 1;
            let number = self.number;
            let bad = |why: String| BadLine { number, why };
            self.buffer.clear();
            let mut input = self.input.by_ref().take(LINE_BYTES_MAX + 1);
            let length = input
                .read_until(b'\n', &mut self.buffer)
                .map_err(|error| bad(format!("the file cannot be read on: {error}")))?;
            if length == 0 {
                return Ok(None);
            }
            if length as u64 > LINE_BYTES_MAX {
                return Err(bad(format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            let line = self.buffer.trim_ascii();
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
    let mut event = ProtoEvent::from(event);
    if !has_id {
        event.id = id_of(&stream, ordinal, line);
    }
    event.check().map_err(|invalid: Invalid| invalid.to_string())?;
    ordinals.insert(stream.clone(), ordinal);
    Ok((stream, ordinal, event.id, event.into()))
}

/// The id of an event that has none: the same for the same line at the same place of its stream.
fn id_of(stream: &StreamName, ordinal: u64, line: &[u8]) -> EventId {
    let mut name = Vec::with_capacity(stream.as_str().len() + 9 + line.len());
    name.extend_from_slice(stream.as_str().as_bytes());
    // Control characters are in no stream's name, so nothing else makes the same bytes.
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
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("a file");
        Lines::open(file.path(), &ProgressBar::hidden()).expect("a file")
    }

    fn all(mut lines: Lines) -> Vec<(u64, String, u64, EventId)> {
        let mut all = Vec::new();
        while let Some(line) = lines.next().expect("a line") {
            all.push((line.number, line.stream.to_string(), line.ordinal, line.id));
        }
        all
    }

    #[test]
    fn plain_gzip_and_zstd_give_the_same_lines() {
        let plain = all(lines(TEXT.as_bytes()));
        let shape: Vec<_> = plain
            .iter()
            .map(|(number, stream, ordinal, _)| (*number, stream.as_str(), *ordinal))
            .collect();
        assert_eq!(shape, [(1, "a-1", 1), (3, "b-1", 1), (4, "a-1", 2)]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(TEXT.as_bytes()).expect("memory");
        assert_eq!(all(lines(&gzip.finish().expect("memory"))), plain);
        let zstd = zstd::encode_all(TEXT.as_bytes(), 1).expect("memory");
        assert_eq!(all(lines(&zstd)), plain);
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
    fn a_bad_line_tells_its_number_and_what_is_wrong() {
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
    fn a_file_cut_off_in_its_compression_is_an_error_and_not_an_end() {
        let zstd = zstd::encode_all(TEXT.as_bytes(), 1).expect("memory");
        let mut lines = lines(&zstd[..zstd.len() - 3]);
        let ended = std::iter::from_fn(|| lines.next().transpose()).find_map(Result::err);
        assert!(ended.expect("an error").why.contains("cannot be read on"));
    }
}
