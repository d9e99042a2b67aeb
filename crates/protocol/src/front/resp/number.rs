//! Numbers as Redis reads and writes them.
//!
//! Integers have one spelling each: no `+`, no leading zero, no space, no `-0`. A value that is
//! stored as text and parsed back is therefore the same text, which is what makes `INCR` and
//! `GET` agree.
//!
//! `INCRBYFLOAT` adds **decimally** where it can: numbers with up to 17 decimals are added as
//! scaled integers, so that 0.1 + 0.2 is 0.3 (Redis reaches the same by 80-bit floats, up to a
//! size). Only what does not fit is added as `f64`.

use super::error::{self, ReplyError};

/// Parses an integer in its only spelling.
#[must_use]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        // 19 digits cannot overflow 64 unsigned bits.
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    if negative { 0_i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// Parses an unsigned integer of digits only (cursors; leading zeros are fine there).
#[must_use]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// An integer argument or value, or Redis's refusal.
pub fn integer(text: &[u8]) -> Result<i64, ReplyError> {
    parse_i64(text).ok_or(error::NOT_AN_INTEGER)
}

/// `value + step` of `INCRBY` and its kin.
pub fn add_integers(value: i64, step: i64) -> Result<i64, ReplyError> {
    value.checked_add(step).ok_or(error::OVERFLOW)
}

/// The step of `DECRBY`: its own negative, which the smallest integer has not.
pub fn negate(step: i64) -> Result<i64, ReplyError> {
    step.checked_neg().ok_or(error::DECREMENT_OVERFLOW)
}

/// Appends an integer's text.
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_u64(out, value.unsigned_abs());
}

/// Appends an unsigned integer's text.
pub fn write_u64(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// Parses a float: decimal, with or without exponent, or an infinity; never NaN.
#[must_use]
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if text.len() > FLOAT_TEXT_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    // What overflows to an infinity without being called one is out of range.
    let named_infinite = text.bytes().any(|byte| matches!(byte, b'i' | b'I'));
    let fine = !value.is_nan() && (value.is_finite() || named_infinite);
    fine.then_some(value)
}

/// A float argument or value, or Redis's refusal.
pub fn float(text: &[u8]) -> Result<f64, ReplyError> {
    parse_f64(text).ok_or(error::NOT_A_FLOAT)
}

/// `value + step` of `INCRBYFLOAT` and `HINCRBYFLOAT`, as the text to store and to reply. The
/// refusal for a value that is none is `not_a_float` (hashes word it differently).
pub fn add_floats(value: &[u8], step: &[u8], not_a_float: ReplyError) -> Result<Vec<u8>, ReplyError> {
    let value_f64 = parse_f64(value).ok_or(not_a_float)?;
    let step_f64 = float(step)?;
    if let (Some(left), Some(right)) = (parse_scaled(value), parse_scaled(step))
        && let Some(sum) = left.checked_add(right)
    {
        return Ok(format_scaled(sum));
    }
    let sum = value_f64 + step_f64;
    if sum.is_finite() { Ok(format_float(sum)) } else { Err(error::NAN_OR_INFINITY) }
}

/// A float for people: shortest text that reads back the same, no exponent, no `.0`, no `-0`.
#[must_use]
pub fn format_float(value: f64) -> Vec<u8> {
    if value == 0.0 {
        return b"0".to_vec();
    }
    // `Display` of f64 is the shortest round trip and never uses an exponent.
    value.to_string().into_bytes()
}

/// A decimal, also one with an exponent, as an integer of units of 10^-17; `None` if it has another form or size.
fn parse_scaled(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (digits, exponent) = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        None => (digits, 0),
        Some(at) => (digits.get(..at)?, parse_exponent(digits.get(at + 1..)?)?),
    };
    let mut value: i128 = 0;
    let mut decimals: Option<i32> = None;
    for byte in digits {
        match (byte, &mut decimals) {
            (b'.', None) => decimals = Some(0),
            (b'0'..=b'9', decimals) => {
                value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
                if let Some(count) = decimals {
                    *count += 1;
                }
            }
            _ => return None,
        }
    }
    let missing = (SCALE_DECIMALS as i32).checked_sub(decimals.unwrap_or(0))?.checked_add(exponent)?;
    let value = value.checked_mul(10_i128.checked_pow(u32::try_from(missing).ok()?)?)?;
    Some(if negative { -value } else { value })
}

/// The power of ten after an `e`; `None` if it is none or larger than what could be scaled.
fn parse_exponent(text: &[u8]) -> Option<i32> {
    let value = parse_i64(text.strip_prefix(b"+").unwrap_or(text))?;
    i32::try_from(value).ok().filter(|value| value.unsigned_abs() < 100)
}

fn format_scaled(value: i128) -> Vec<u8> {
    let scale = 10_u128.pow(SCALE_DECIMALS);
    let magnitude = value.unsigned_abs();
    let mut text = String::new();
    if value < 0 {
        text.push('-');
    }
    text.push_str(&(magnitude / scale).to_string());
    let fraction = magnitude % scale;
    if fraction > 0 {
        let digits = format!("{fraction:017}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text.into_bytes()
}

/// Redis prints 17 decimals.
const SCALE_DECIMALS: u32 = 17;
/// Longest text that is tried as a float (Redis: 5 KiB).
const FLOAT_TEXT_BYTES_MAX: usize = 5 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        for value in [0, 1, -1, 9, 10, 42, -100, i64::MAX, i64::MIN, i64::MAX - 1] {
            let mut text = Vec::new();
            write_i64(&mut text, value);
            assert_eq!(text, value.to_string().as_bytes());
            assert_eq!(parse_i64(&text), Some(value));
        }
        let bad = [
            "",
            "-",
            "+1",
            "01",
            "-0",
            "-01",
            " 1",
            "1 ",
            "1.0",
            "0x1",
            "a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "--1",
            "1-",
            "1\0",
        ];
        for text in bad {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn cursors_are_unsigned() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"007"), Some(7));
        for text in [&b""[..], b"-1", b"+1", b"18446744073709551616", b"1x"] {
            assert_eq!(parse_u64(text), None);
        }
    }

    #[test]
    fn overflow_is_refused() {
        assert_eq!(add_integers(i64::MAX, 1), Err(error::OVERFLOW));
        assert_eq!(add_integers(i64::MIN, -1), Err(error::OVERFLOW));
        assert_eq!(add_integers(40, 2), Ok(42));
        assert_eq!(negate(i64::MIN), Err(error::DECREMENT_OVERFLOW));
        assert_eq!(negate(5), Ok(-5));
    }

    fn sum(value: &str, step: &str) -> Result<String, ReplyError> {
        add_floats(value.as_bytes(), step.as_bytes(), error::NOT_A_FLOAT)
            .map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn floats_add_like_people_expect() {
        let table = [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("17179869184", "1.5", "17179869185.5"),
            ("3", "-3", "0"),
            ("-0", "0", "0"),
            ("1.5", "-3", "-1.5"),
            ("0", "0.00000000000000001", "0.00000000000000001"),
            ("1e20", "0", "100000000000000000000"),
            (".5", "1.", "1.5"),
            ("+1", "1", "2"),
            ("-0.25", "0", "-0.25"),
            ("9007199254740993", "1e2", "9007199254741093"),
            ("-9223372036854775808", "1E+2", "-9223372036854775708"),
            ("1", "1e17", "100000000000000001"),
            ("1", "25e-1", "3.5"),
            ("1", "1e-17", "1.00000000000000001"),
            ("1", "1e-18", "1"),
            ("1e30", "1", "1000000000000000000000000000000"),
        ];
        for (value, step, expected) in table {
            assert_eq!(sum(value, step).as_deref(), Ok(expected), "{value} + {step}");
        }
    }

    #[test]
    fn what_is_no_float_is_refused() {
        for text in ["", "abc", "1,5", " 1", "1 ", "nan", "NaN", "1e400", "0x10", ".", "-", "1.2.3"] {
            assert_eq!(sum("1", text), Err(error::NOT_A_FLOAT), "{text:?}");
            assert_eq!(sum(text, "1"), Err(error::NOT_A_FLOAT), "{text:?}");
        }
        assert_eq!(sum("1", "inf"), Err(error::NAN_OR_INFINITY));
        assert_eq!(sum("1e308", "1e308"), Err(error::NAN_OR_INFINITY));
        assert_eq!(sum("inf", "-inf"), Err(error::NAN_OR_INFINITY));
    }

    #[test]
    fn formatted_floats_read_back() {
        for value in [0.1, 1.0, -2.5, 1e-300, 1e300, f64::MIN_POSITIVE, 123_456.789] {
            let text = format_float(value);
            assert_eq!(parse_f64(&text), Some(value));
            assert!(!text.contains(&b'e'));
        }
    }
}
