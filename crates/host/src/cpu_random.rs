//! Random bits from the processor, to be mixed with the operating system's.
//!
//! In a TEE the operating system belongs to the attacker and the instruction does not; outside,
//! nobody has to trust the processor's maker. Mixed by XOR, either alone suffices.

use std::sync::atomic::{AtomicU64, Ordering};

/// Mixes bits of the processor into `buf`; does nothing where there is no such instruction or it
/// does not answer. Returns whether all of `buf` was covered.
pub fn mix_into(buf: &mut [u8]) -> bool {
    for chunk in buf.chunks_mut(8) {
        let Some(word) = random_word() else { return false };
        for (byte, random) in chunk.iter_mut().zip(word.to_le_bytes()) {
            *byte ^= random;
        }
    }
    true
}

/// A word that the processor draws now. `None` where there is no such instruction, and where it gives
/// what broken ones were seen to give: one bit pattern over and over, all ones above all.
pub fn fresh_word() -> Option<u64> {
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    let word = random_word()?;
    (BEFORE.swap(word, Ordering::Relaxed) != word && word != u64::MAX).then_some(word)
}

/// How often the instruction may be out of bits in a row (Intel's advice is ten).
#[cfg(target_arch = "x86_64")]
const ATTEMPTS_MAX: usize = 10;

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "no safe wrapper of the instruction in the standard library")]
fn random_word() -> Option<u64> {
    if !std::arch::is_x86_feature_detected!("rdrand") {
        return None;
    }
    let mut word = 0;
    for _ in 0..ATTEMPTS_MAX {
        // SAFETY: the instruction is there, as just checked; it writes to `word` only.
        if unsafe { core::arch::x86_64::_rdrand64_step(&mut word) } == 1 {
            return Some(word);
        }
    }
    None
}

#[cfg(not(target_arch = "x86_64"))]
fn random_word() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::{fresh_word, mix_into};

    #[test]
    fn covers_all_or_says_so() {
        let mut buf = [0u8; 67];
        if mix_into(&mut buf) {
            assert!(buf[..8].iter().any(|&b| b != 0));
            let again = &mut [0u8; 67];
            mix_into(again);
            assert_ne!(&buf, again);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_processor_that_has_the_instruction_is_asked() {
        assert_eq!(mix_into(&mut [0; 8]), std::arch::is_x86_feature_detected!("rdrand"));
        assert_eq!(fresh_word().is_some(), std::arch::is_x86_feature_detected!("rdrand"));
    }
}
