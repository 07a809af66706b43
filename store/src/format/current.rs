//! `CURRENT`: one line that names the catalog in use.
//!
//! ```text
//! catalog-000001 1f2e3d4c      the name, and the CRC32C of it in hexadecimal digits
//! ```

use super::Malformed;

/// Returns the line for the catalog with this number.
pub(crate) fn encode(number: u64) -> Vec<u8> {
    let name = catalog_name(number);
    format!("{name} {:08x}\n", crc32c::crc32c(name.as_bytes())).into_bytes()
}

/// Returns the number of the catalog that the line names.
pub(crate) fn decode(bytes: &[u8]) -> Result<u64, Malformed> {
    let text = std::str::from_utf8(bytes).ok();
    let digits = text.and_then(|line| line.strip_prefix("catalog-")?.split(' ').next());
    let number = digits.and_then(|digits| digits.parse().ok());
    match number {
        Some(number) if encode(number) == bytes => Ok(number),
        _ => Err(Malformed::new("names no catalog, or fails its checksum")),
    }
}

/// Returns the name of the catalog's file.
pub(crate) fn catalog_name(number: u64) -> String {
    format!("catalog-{number:06}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_line_is_accepted() {
        for number in [1, 999_999, 1_000_000] {
            let line = encode(number);
            assert_eq!(decode(&line), Ok(number));
            for at in 0..line.len() {
                let mut changed = line.clone();
                changed[at] ^= 1;
                assert!(decode(&changed).is_err(), "byte {at}");
                assert!(decode(&line[..at]).is_err(), "cut at {at}");
            }
        }
    }
}
