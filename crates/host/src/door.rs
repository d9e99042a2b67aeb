//! The doors (R24): the only way to the clock, to randomness, to threads and to the process.
//!
//! Lints ban the functions behind them everywhere else, so that the simulator can run the same code
//! with a clock of its own, and a reader knows where time and chance come from.
#![expect(clippy::disallowed_methods, reason = "this is the door that the lint points to")]

use crate::{cpu_random, turns};
use ringfort_base::Untrusted;
use ringfort_base::world::{Clock, Entropy};
#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;
use rustix::process::{Resource, Rlimit};
use rustix::time::ClockId;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct OsClock {
    origin: Instant,
}

impl OsClock {
    /// Its monotonic clock starts now.
    #[must_use]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for OsClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for OsClock {
    fn wall(&self) -> Untrusted<Duration> {
        // A host that lives before 1970 lives in 1970.
        Untrusted::new(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// The operating system's random bytes, mixed with the processor's where it has any.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, buf: &mut [u8]) -> io::Result<()> {
        getrandom::fill(buf).map_err(io::Error::other)?;
        cpu_random::mix_into(buf);
        Ok(())
    }

    /// The processor's bits alone, where it gives any: a call of the system costs several times what
    /// sealing a small record does, and would add nothing. A nonce must not repeat; it may be known, so
    /// who made the processor does not matter. Within one run of one machine the record's index keeps
    /// nonces apart, whatever is drawn here. What is left is a machine that is resumed twice: there the
    /// system's generator is part of what is resumed, and goes on alike in both until it is seeded
    /// again; the processor's is not, and its instruction is executed anew for each record.
    fn fresh(&self) -> io::Result<[u8; 8]> {
        match cpu_random::fresh_word() {
            Some(word) => Ok(word.to_le_bytes()),
            None => {
                let mut bits = [0; 8];
                self.fill(&mut bits)?;
                Ok(bits)
            }
        }
    }
}

/// Starts a thread with a name that tools show (15 bytes of it on Linux).
pub fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// The calling thread is one that others wait for: it asks the system for short turns on the processor, which come
/// sooner. Its share stays what it is, and where the system cannot do that nothing changes.
pub fn ask_for_short_turns() {
    let _ = turns::ask_for_short();
}

/// Waits.
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}

/// From now on the process's large structures ask for large pages, and give them back.
pub fn advise_on_memory() {
    ringfort_base::memory::advise_by(crate::page_advice::ADVISOR);
}

/// The processor time that this process has used, all threads together, in microseconds.
#[must_use]
pub fn cpu_time_us() -> u64 {
    let used = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (used.tv_sec.unsigned_abs(), used.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}

/// Where the simulated platform keeps its state by default: `ringfort/platform` under the user's
/// state directory (`$XDG_STATE_HOME`, or `~/.local/state`). `None` if the environment names no
/// home.
#[must_use]
pub fn default_platform_state_dir() -> Option<PathBuf> {
    platform_state_dir(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))
}

fn platform_state_dir(state_home: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    // The XDG specification has relative paths ignored.
    let absolute = |path: Option<OsString>| path.map(PathBuf::from).filter(|path| path.is_absolute());
    let state = absolute(state_home).or_else(|| Some(absolute(home)?.join(".local/state")))?;
    Some(state.join("ringfort/platform"))
}

/// Keeps secrets in memory out of core files and away from other processes of the same user: no
/// core dumps, no debugger, for the rest of the process's life. Outside a TEE, root can still look.
pub fn harden_process() -> io::Result<()> {
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Lets the process open as many files and sockets as it may: raises the soft limit to the hard
/// one. Returns how many that are.
pub fn raise_open_files() -> io::Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // `None` is no limit, which some systems do not grant for files.
        rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    Ok(open_files())
}

/// How many files and sockets the process may have open.
#[must_use]
pub fn open_files() -> u64 {
    rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_goes_forward_and_lives_after_2020() {
        let clock = OsClock::new();
        let before = clock.monotonic();
        sleep(Duration::from_millis(2));
        assert!(clock.monotonic() >= before + Duration::from_millis(2));
        assert!(clock.wall().expose_to_verifier() > Duration::from_secs(50 * 365 * 86_400));
    }

    #[test]
    fn entropy_does_not_repeat_and_fills_all() {
        let (mut one, mut two) = ([0u8; 64], [0u8; 64]);
        OsEntropy.fill(&mut one).unwrap();
        OsEntropy.fill(&mut two).unwrap();
        assert_ne!(one, two);
        assert!(one[56..].iter().any(|&b| b != 0));
        OsEntropy.fill(&mut []).unwrap();
    }

    #[test]
    fn fresh_bits_do_not_repeat() {
        let drawn: std::collections::BTreeSet<_> = (0..10_000).map(|_| OsEntropy.fresh().unwrap()).collect();
        assert_eq!(drawn.len(), 10_000);
    }

    #[test]
    fn a_thread_has_its_name() {
        let thread = spawn("flush-0", || std::thread::current().name().map(str::to_owned)).unwrap();
        assert_eq!(thread.join().unwrap().as_deref(), Some("flush-0"));
    }

    #[test]
    fn work_costs_processor_time() {
        let before = cpu_time_us();
        let clock = OsClock::new();
        while clock.monotonic() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        assert!(cpu_time_us() > before);
    }

    #[test]
    fn the_state_directory_follows_the_xdg_rules() {
        let dir = |state: Option<&str>, home: Option<&str>| {
            platform_state_dir(state.map(OsString::from), home.map(OsString::from))
        };
        assert_eq!(dir(Some("/s"), Some("/h")), Some("/s/ringfort/platform".into()));
        let in_home = Some(PathBuf::from("/h/.local/state/ringfort/platform"));
        assert_eq!(dir(None, Some("/h")), in_home);
        assert_eq!(dir(Some("relative"), Some("/h")), in_home);
        assert_eq!(dir(Some(""), None), None);
    }

    #[test]
    fn as_many_files_as_are_allowed() {
        let most = rustix::process::getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert_eq!(raise_open_files().unwrap(), most);
        assert_eq!((raise_open_files().unwrap(), open_files()), (most, most));
    }

    #[test]
    fn a_hardened_process_leaves_no_core_file() {
        harden_process().unwrap();
        harden_process().unwrap();
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
    }
}
