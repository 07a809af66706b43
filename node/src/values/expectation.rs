//! The expectation of a stream's version: `any`, `none`, `exists`, or the version.

use quorate_client::Expect;

/// Reads an expectation.
pub(crate) fn parse(text: &str) -> Result<Expect, String> {
    match text {
        "any" => Ok(Expect::Any),
        "none" => Ok(Expect::None),
        "exists" => Ok(Expect::Exists),
        _ => text
            .parse::<u64>()
            .map(Expect::version)
            .map_err(|_| "is not `any`, `none`, `exists` or a version".to_owned()),
    }
}

/// Describes the expectation that was met, for a person.
pub(crate) fn met(expect: Expect, has_conditions: bool) -> String {
    match (expect, has_conditions) {
        (Expect::Any, false) => "expected: any, so nothing was checked".to_owned(),
        (expect, false) => format!("expected: {expect}"),
        (expect, true) => format!("expected: {expect}, and nothing that --unless asks for"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expectation_is_a_word_or_a_version() {
        for (text, expect) in [
            ("any", Expect::Any),
            ("none", Expect::None),
            ("exists", Expect::Exists),
            ("0", Expect::version(0)),
            ("17", Expect::version(17)),
        ] {
            assert_eq!(parse(text), Ok(expect));
        }
        for wrong in ["", "-1", "Any", "1.0"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
