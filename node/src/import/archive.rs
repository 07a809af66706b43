//! The text of a file, plain or compressed; a format that is not supported is named in the error.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::GzDecoder;

/// The number of bytes that are read at once.
const BUFFER_BYTES: usize = 256 * 1024;
/// The length of the head by which the formats are recognized. No line of JSON is shorter, so a pipe does not block.
const HEAD_BYTES: u64 = 6;
/// The offset of a tar archive's magic, and the length of the head that contains the magic.
const TAR_MAGIC_AT: usize = 257;
const TAR_HEAD_BYTES: u64 = 262;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The magic of frames that zstd skips: one of sixteen first bytes, then these. `pzstd` writes one first.
const ZSTD_SKIPPABLE_MAGIC: [u8; 3] = [0x2a, 0x4d, 0x18];

/// The format of a file, recognized by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text, or something unknown, for which the first line will give an error.
    Text,
    Gzip,
    Zstd,
    /// A format that is not supported, with a command that converts the file.
    Other(&'static str),
}

impl Format {
    /// Returns the format of a file that begins with these bytes.
    pub(crate) fn of(head: &[u8]) -> Format {
        if head.starts_with(&GZIP_MAGIC) {
            return Format::Gzip;
        }
        let skippable =
            matches!(head, [0x50..=0x5f, rest @ ..] if rest.starts_with(&ZSTD_SKIPPABLE_MAGIC));
        if skippable || head.starts_with(&ZSTD_MAGIC) {
            return Format::Zstd;
        }
        let is_tar = head.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar"));
        match head {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..] => Format::Other(
                "this is UTF-16, not UTF-8; `iconv -f UTF-16 -t UTF-8 FILE | quorate import -` reads it",
            ),
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Format::Other(
                "this is a zip archive; `unzip -p FILE | quorate import -` reads what is in it",
            ),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
                Format::Other("this is an xz archive; `xz -dc FILE | quorate import -` reads it")
            }
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Format::Other(
                "this is a bzip2 archive; `bzip2 -dc FILE | quorate import -` reads it",
            ),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => Format::Other(
                "this is a 7z archive; `7z x -so FILE | quorate import -` reads what is in it",
            ),
            [0x04, 0x22, 0x4d, 0x18, ..] => {
                Format::Other("this is an lz4 archive; `lz4 -dc FILE | quorate import -` reads it")
            }
            [b'L', b'Z', b'I', b'P', ..] => Format::Other(
                "this is an lzip archive; `lzip -dc FILE | quorate import -` reads it",
            ),
            [0x1f, 0x9d, ..] => Format::Other(
                "this is a compress archive; `gzip -dc FILE | quorate import -` reads it",
            ),
            _ if is_tar => Format::Other(
                "this is a tar archive; `tar -xOf FILE | quorate import -` reads what is in it",
            ),
            _ => Format::Text,
        }
    }
}

/// Returns the text of a file: unpacked if its first bytes are those of a gzip or zstd archive. An unsupported format
/// is an error that names the format.
pub(crate) fn text_of(file: impl Read + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let (format, file) = detect_format(file)?;
    let unpacked: Box<dyn Read + Send> = match format {
        Format::Text => return Ok(file),
        Format::Gzip => {
            Box::new(Described { archive: Members::new(file), describe: describe_gzip })
        }
        Format::Zstd => {
            // libzstd accepts windows of up to 128 MiB, as the command does: memory stays bounded.
            let archive = zstd::stream::read::Decoder::with_buffer(file)?;
            Box::new(Described { archive, describe: describe_zstd })
        }
        Format::Other(message) => return Err(io::Error::new(io::ErrorKind::InvalidData, message)),
    };
    match detect_format(unpacked)? {
        (Format::Text, text) => Ok(text),
        (Format::Other(message), _) => Err(io::Error::new(io::ErrorKind::InvalidData, message)),
        (Format::Gzip | Format::Zstd, _) => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "this is an archive in an archive; unpack it once and import that",
        )),
    }
}

/// Returns the format of a file, and the file from its beginning.
fn detect_format(
    mut file: impl Read + Send + 'static,
) -> io::Result<(Format, Box<dyn BufRead + Send>)> {
    let mut head = Vec::new();
    file.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    // A line of JSON may be no longer than the head, and the writer of a pipe may pause after it.
    let may_be_lines = head.iter().any(|byte| matches!(byte, b'{' | b'\n' | b'\r' | b' ' | b'\t'));
    if !may_be_lines && Format::of(&head) == Format::Text {
        file.by_ref().take(TAR_HEAD_BYTES - HEAD_BYTES).read_to_end(&mut head)?;
    }
    let format = Format::of(&head);
    let whole = Cursor::new(head).chain(file);
    Ok((format, Box::new(BufReader::with_capacity(BUFFER_BYTES, whole))))
}

/// An archive whose errors name its format.
struct Described<R> {
    archive: R,
    describe: fn(&io::Error) -> String,
}

impl<R: Read> Read for Described<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.archive.read(buffer).map_err(|error| match error.raw_os_error() {
            // This error comes from the file and not from its contents.
            Some(_) => error,
            None => io::Error::new(error.kind(), (self.describe)(&error)),
        })
    }
}

fn describe_gzip(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the gzip archive is cut off".to_owned(),
        _ => format!("the gzip archive is damaged: {error}"),
    }
}

fn describe_zstd(error: &io::Error) -> String {
    let message = error.to_string();
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the zstd archive is cut off".to_owned(),
        _ if message.contains("too much memory") => {
            "the zstd archive needs a window of more than 128 MiB; \
             `zstd -dc --long=31 FILE | quorate import -` reads it"
                .to_owned()
        }
        _ => format!("the zstd archive is damaged: {message}"),
    }
}

/// The members of a gzip archive, one after the other. Zeros after a member are padding.
enum Members<R> {
    Member(Box<GzDecoder<R>>),
    Ended,
}

impl<R: BufRead> Members<R> {
    fn new(file: R) -> Members<R> {
        Members::Member(Box::new(GzDecoder::new(file)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Members::Member(member) = self else { return Ok(0) };
            let length = member.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            let Members::Member(member) = std::mem::replace(self, Members::Ended) else {
                return Ok(0);
            };
            let mut file = member.into_inner();
            match after_zeros(&mut file)? {
                None => return Ok(0),
                Some(first) if first == GZIP_MAGIC[0] => *self = Members::new(file),
                Some(_) => return Err(io::Error::other("bytes follow that are no gzip archive")),
            }
        }
    }
}

/// Skips zeros; returns the first byte after them without consuming it.
fn after_zeros(file: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let bytes = file.fill_buf()?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let first = bytes.get(zeros).copied();
        file.consume(zeros);
        if first.is_some() {
            return Ok(first);
        }
    }
}
