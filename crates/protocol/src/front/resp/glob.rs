//! Redis's glob patterns, matched in time `O(pattern × text)` at worst and linear in practice.
//!
//! | pattern | matches |
//! |---|---|
//! | `*` | any bytes, also none |
//! | `?` | one byte |
//! | `[abc]` `[a-z]` `[^a]` | one byte of a class, of a range, not of a class |
//! | `\x` | the byte `x`, whatever it means otherwise |
//!
//! Every element but `*` takes exactly one byte, so it is enough to remember the last `*`: if what
//! follows it fails, that `*` takes one byte more. Earlier ones need no second thought.
//!
//! Corner cases are Redis's: a class that does not end reaches to the end of the pattern; a range
//! may be written backwards; `[a-]` begins a range to `]`; `[^]` is any byte and `[]` is none.

use std::borrow::Cow;

/// Whether `pattern` matches the whole of `text`.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, false)
}

/// The same without regard to the case of ASCII letters (names of settings).
#[must_use]
pub fn matches_ignoring_case(pattern: &[u8], text: &[u8]) -> bool {
    run(pattern, text, true)
}

/// What every match of a pattern begins with: where an ordered scan starts and ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiteralPrefix<'a> {
    /// The bytes, with escapes taken away.
    pub bytes: Cow<'a, [u8]>,
    /// The pattern is nothing but these bytes: a lookup serves it.
    pub is_whole: bool,
}

/// The literal bytes at the front of `pattern`.
#[must_use]
pub fn literal_prefix(pattern: &[u8]) -> LiteralPrefix<'_> {
    let plain = pattern.iter().position(|byte| is_special(*byte));
    let Some(plain) = plain else {
        return LiteralPrefix { bytes: Cow::Borrowed(pattern), is_whole: true };
    };
    let (head, mut rest) = pattern.split_at(plain);
    if rest.first() != Some(&b'\\') {
        return LiteralPrefix { bytes: Cow::Borrowed(head), is_whole: false };
    }
    let mut bytes = head.to_vec();
    loop {
        rest = match rest {
            [] => return LiteralPrefix { bytes: Cow::Owned(bytes), is_whole: true },
            [b'\\', escaped, tail @ ..] => {
                bytes.push(*escaped);
                tail
            }
            [b'*' | b'?' | b'[', ..] => {
                return LiteralPrefix { bytes: Cow::Owned(bytes), is_whole: false };
            }
            [byte, tail @ ..] => {
                bytes.push(*byte);
                tail
            }
        };
    }
}

fn run(pattern: &[u8], text: &[u8], fold: bool) -> bool {
    let (mut rest, mut at) = (pattern, 0);
    // What follows the last `*`, and the first byte that it did not take.
    let mut star: Option<(&[u8], usize)> = None;
    loop {
        if let [b'*', tail @ ..] = rest {
            if tail.is_empty() {
                return true;
            }
            star = Some((tail, at));
            rest = tail;
            continue;
        }
        let step = match text.get(at) {
            Some(byte) => match_one(rest, *byte, fold),
            None if rest.is_empty() => return true,
            // The text is used up: a longer `*` leaves even less of it.
            None => return false,
        };
        match (step, star) {
            (Some(tail), _) => {
                rest = tail;
                at += 1;
            }
            (None, Some((tail, taken))) => {
                rest = tail;
                at = taken + 1;
                star = Some((tail, taken + 1));
            }
            (None, None) => return false,
        }
    }
}

/// Matches one byte with the first element of `pattern`; the rest of the pattern on success.
fn match_one(pattern: &[u8], byte: u8, fold: bool) -> Option<&[u8]> {
    let (fits, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', class @ ..] => match_class(class, byte, fold),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (same(*literal, byte, fold), rest),
    };
    fits.then_some(rest)
}

/// `class` begins behind the bracket. Returns whether the byte is in it, and what follows it.
fn match_class(class: &[u8], byte: u8, fold: bool) -> (bool, &[u8]) {
    let (negated, mut rest) = match class {
        [b'^', rest @ ..] => (true, rest),
        _ => (false, class),
    };
    let mut fits = false;
    loop {
        rest = match rest {
            [] => return (fits != negated, rest),
            [b'\\', literal, tail @ ..] => {
                fits |= *literal == byte;
                tail
            }
            [b']', tail @ ..] => return (fits != negated, tail),
            [first, b'-', last, tail @ ..] => {
                fits |= in_range(*first, *last, byte, fold);
                tail
            }
            [literal, tail @ ..] => {
                fits |= same(*literal, byte, fold);
                tail
            }
        };
    }
}

fn in_range(first: u8, last: u8, byte: u8, fold: bool) -> bool {
    let (low, high) = (first.min(last), first.max(last));
    if fold {
        (low.to_ascii_lowercase()..=high.to_ascii_lowercase()).contains(&byte.to_ascii_lowercase())
    } else {
        (low..=high).contains(&byte)
    }
}

fn same(left: u8, right: u8, fold: bool) -> bool {
    left == right || (fold && left.eq_ignore_ascii_case(&right))
}

const fn is_special(byte: u8) -> bool {
    matches!(byte, b'*' | b'?' | b'[' | b'\\')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn matches_like_redis() {
        let table: &[(&str, &str, bool)] = &[
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "", true),
            ("*", "abc", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*f", "abcde", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("?", "", false),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("[\\]]", "]", true),
            ("[a\\-c]", "-", true),
            ("[a\\-c]", "b", false),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[abc", "b", true),
            ("[abc", "d", false),
            ("[a-", "a", true),
            ("[a-]", "_", true),
            ("[^", "x", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("foo\\", "foo", false),
            ("a*b", "aXbXb", true),
            ("a*?b", "ab", false),
            ("*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaa", false),
        ];
        for (pattern, text, expected) in table {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), *expected, "{pattern} on {text}");
        }
        assert!(matches_ignoring_case(b"SAVE*", b"savepoint"));
        assert!(matches_ignoring_case(b"[A-C]x", b"bX"));
        assert!(!matches(b"SAVE", b"save"));
    }

    #[test]
    fn abusive_patterns_are_cheap() {
        let pattern = b"*a".repeat(2000);
        let text = b"a".repeat(1999);
        assert!(!matches(&[&pattern[..], b"b"].concat(), &text));
        assert!(!matches(&pattern, &text));
        assert!(matches(&pattern, &b"a".repeat(2000)));
    }

    #[test]
    fn literal_prefixes() {
        let table: &[(&str, &str, bool)] = &[
            ("user:*", "user:", false),
            ("user", "user", true),
            ("*", "", false),
            ("a\\*b*", "a*b", false),
            ("a\\*b", "a*b", true),
            ("a\\", "a\\", true),
            ("a[b]", "a", false),
            ("\\a?", "a", false),
            ("", "", true),
        ];
        for (pattern, bytes, is_whole) in table {
            let prefix = literal_prefix(pattern.as_bytes());
            assert_eq!((&*prefix.bytes, prefix.is_whole), (bytes.as_bytes(), *is_whole), "{pattern}");
        }
    }

    /// The obvious matcher, exponential and all.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', tail @ ..] => (0..=text.len()).any(|taken| slow(tail, &text[taken..])),
            _ => match text {
                [] => false,
                [byte, rest @ ..] => match_one(pattern, *byte, false).is_some_and(|tail| slow(tail, rest)),
            },
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_obvious_matcher(pattern in "[ab*?\\[\\]^\\\\-]{0,10}", text in "[ab\\]-]{0,10}") {
            prop_assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                slow(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn every_match_has_the_literal_prefix(pattern in "[ab*?\\[\\]\\\\]{0,8}", text in "[ab*?\\\\]{0,8}") {
            let prefix = literal_prefix(pattern.as_bytes());
            if matches(pattern.as_bytes(), text.as_bytes()) {
                prop_assert!(text.as_bytes().starts_with(&prefix.bytes));
            }
            if prefix.is_whole {
                prop_assert!(matches(pattern.as_bytes(), &prefix.bytes));
            }
        }
    }
}
