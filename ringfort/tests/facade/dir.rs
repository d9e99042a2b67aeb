//! The stores of these tests in their directories.

#[path = "../support/dir.rs"]
mod shared;

use ringfort::{Mode, Options};
pub use shared::{Dir, contents};

impl Dir {
    /// A small store in `mode`, on this directory's platform.
    pub fn options(&self, mode: Mode) -> Options {
        let options = Options::new(self.path("data")).platform_state(self.path("platform")).mode(mode);
        let options = options.memory_budget(16 << 20);
        if mode == Mode::Software { options } else { options.trusted(self.path("trusted")) }
    }

    pub fn software(&self) -> Options {
        self.options(Mode::Software)
    }
}
