//! JSON that every common reader takes, and JSON as it is shown.

use serde_json::value::RawValue;

/// The most levels of nesting: common readers refuse deeper values, and one that refuses a line loses its place among
/// the others. By default .NET takes 64 levels, protobuf's JSON 100, serde_json 128, jq 256 before 1.7, and Python
/// about 1,000. The least counts, and an event is shown some levels down.
const LEVELS_MAX: usize = 60;

/// The reason why bytes cannot be shown as JSON.
#[derive(Debug, thiserror::Error)]
pub enum NoJson {
    /// The bytes are no JSON.
    #[error("is no JSON: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A text holds `\ud800` or the like without its other half: many readers refuse it or change it.
    #[error("is JSON that common readers refuse: a text holds half of a surrogate pair")]
    HalfPair,
    /// The JSON is nested too deeply.
    #[error("is JSON that common readers refuse: it is nested more than {LEVELS_MAX} levels deep")]
    Deep,
}

/// Checks that bytes are JSON that every common reader takes. Numbers may have any size, and names may repeat.
///
/// # Errors
/// The reason why they are not.
pub fn check(bytes: &[u8]) -> Result<&RawValue, NoJson> {
    let json: &RawValue = serde_json::from_slice(bytes)?;
    if has_half_pair(json.get().as_bytes()) {
        return Err(NoJson::HalfPair);
    }
    if levels(json.get()) > LEVELS_MAX {
        return Err(NoJson::Deep);
    }
    Ok(json)
}

/// Returns JSON without its insignificant white space, all else verbatim; none if the bytes are no JSON that
/// every common reader takes.
pub fn compact(bytes: &[u8]) -> Option<Box<RawValue>> {
    let json = check(bytes).ok()?;
    let mut text = Text::default();
    let keep =
        |character: &char| text.take(*character) || !matches!(character, ' ' | '\t' | '\n' | '\r');
    RawValue::from_string(json.get().chars().filter(keep).collect()).ok()
}

/// Follows well-formed JSON into its texts and out of them.
#[derive(Default)]
struct Text {
    is_open: bool,
    is_escaped: bool,
}

impl Text {
    /// Takes the next character; returns true if it stands in a text, the quote that begins the text left out.
    fn take(&mut self, character: char) -> bool {
        if !self.is_open {
            self.is_open = character == '"';
            return false;
        }
        self.is_open = self.is_escaped || character != '"';
        self.is_escaped = !self.is_escaped && character == '\\';
        true
    }
}

/// Returns the number of levels to which well-formed JSON is nested.
fn levels(json: &str) -> usize {
    let (mut level, mut deepest) = (0_usize, 0);
    let mut text = Text::default();
    for character in json.chars() {
        if text.take(character) {
            continue;
        }
        match character {
            '[' | '{' => level += 1,
            ']' | '}' => level = level.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(level);
    }
    deepest
}

/// Returns true if an escape in well-formed JSON is half of a surrogate pair. Only texts have backslashes.
fn has_half_pair(json: &[u8]) -> bool {
    let (mut rest, mut is_half) = (json, false);
    loop {
        let (after, unit) = match rest {
            [] => return is_half,
            [b'\\', b'u', digits @ ..] => {
                let (digits, after) = digits.split_at(digits.len().min(4));
                let digits = std::str::from_utf8(digits).unwrap_or_default();
                (after, u16::from_str_radix(digits, 16).ok())
            }
            [b'\\', _, after @ ..] | [_, after @ ..] => (after, None),
        };
        rest = after;
        is_half = match (is_half, unit) {
            (false, Some(0xd800..=0xdbff)) => true,
            (true, Some(0xdc00..=0xdfff)) => false,
            (true, _) | (false, Some(0xdc00..=0xdfff)) => return true,
            (false, _) => false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_verbatim_but_for_insignificant_white_space() {
        for (given, expected) in [
            ("{\"a\" : 1.50e+1 ,\r\n\t\"a\":[ ] }", "{\"a\":1.50e+1,\"a\":[]}"),
            (r#" "a \" b \\" "#, r#""a \" b \\""#),
            (r#"{"\\":"x  y"}"#, r#"{"\\":"x  y"}"#),
            ("\"ä \\u00e4 \u{a0}\"", "\"ä \\u00e4 \u{a0}\""),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (r#"["\u0000",1e999,-5,1.0]"#, r#"["\u0000",1e999,-5,1.0]"#),
            (r#""\ud83d\ude00 \\ud800""#, r#""\ud83d\ude00 \\ud800""#),
            (" null ", "null"),
        ] {
            assert_eq!(compact(given.as_bytes()).expect(given).get(), expected);
        }
        for no_json in [&b""[..], b" ", b"{", b"nul", b"1 2", b"\"\n\"", b"\"\xff\"", b"NaN"] {
            assert!(compact(no_json).is_none(), "{no_json:?}");
        }
    }

    #[test]
    fn json_that_common_readers_refuse_is_recognized() {
        for half in [
            r#""\ud800""#,
            r#"{"\uDFFF":1}"#,
            r#"["\ud800","\udc00"]"#,
            r#""\ud800x\udc00""#,
            r#""\ud800\ud800\udc00""#,
            r#""\\\ud800""#,
        ] {
            assert!(matches!(check(half.as_bytes()), Err(NoJson::HalfPair)), "{half}");
            assert!(serde_json::from_str::<serde_json::Value>(half).is_err(), "{half}");
        }
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let (wide, text) = (format!("[{}[]]", "[],".repeat(100)), format!("\"{}\"", nested(100)));
        for flat in [nested(LEVELS_MAX), wide, text] {
            assert!(check(flat.as_bytes()).is_ok(), "{flat}");
        }
        for levels in [LEVELS_MAX + 1, 20_000] {
            assert!(matches!(check(nested(levels).as_bytes()), Err(NoJson::Deep)));
        }
    }
}
