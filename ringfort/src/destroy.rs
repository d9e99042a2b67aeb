//! Giving a store up, which is the one way to have its name again once its data is gone (R18).
//!
//! ```text
//! phrase right? ─► platform knows the name? ─► nobody uses the directory? ─► it holds this store?
//!      ─► the platform forgets name and counter ─► the files go
//! ```
//!
//! What this is worth (R15): on the simulated platform the data is *logically deleted*. Copies of
//! the files that somebody kept stay sealed, and can be opened by whoever also kept a copy of the
//! platform's state.

use crate::{Error, ErrorKind, Options, Result, StoreId};
use ringfort_store::Store;
use ringfort_trust::platform::Known;

/// What has to be said to destroy the store `name`.
///
/// ```
/// assert_eq!(ringfort::destroy::phrase("accounts"), "destroy accounts");
/// ```
#[must_use]
pub fn phrase(name: &str) -> String {
    format!("destroy {name}")
}

/// Has the platform forget the store and removes its files. `said` must be [`phrase`] of the
/// store's name (R17: on the simulated platform a phrase suffices). Returns which store it was.
///
/// ```
/// use ringfort::{Db, Options, destroy};
///
/// # fn main() -> ringfort::Result<()> {
/// # let dir = std::env::temp_dir().join(format!("ringfort-doc-{}", std::process::id()));
/// let options = Options::new(dir.join("data")).platform_state(dir.join("platform")).store_name("old");
/// Db::open(options.clone())?.close()?;
///
/// assert!(Db::destroy(&options, "yes").is_err());
/// Db::destroy(&options, &destroy::phrase("old"))?;
/// # std::fs::remove_dir_all(dir).unwrap();
/// # Ok(())
/// # }
/// ```
pub fn destroy(options: &Options, said: &str) -> Result<StoreId> {
    let name = &options.store.name;
    if said != phrase(name) {
        let message = format!(
            "destroying store '{name}' cannot be undone; to confirm it, say exactly: {}",
            phrase(name)
        );
        return Err(Error::new(ErrorKind::Refused, message));
    }
    let nothing = || {
        let message = format!(
            "the platform knows no store named '{name}': nothing was touched. Check --store and --platform-state"
        );
        Error::new(ErrorKind::NotFound, message)
    };
    let platform = options.platform_if_known()?.ok_or_else(nothing)?;
    let id = match platform.known(name)? {
        Known::Live(id) | Known::Creating(id) => id,
        Known::No => return Err(nothing()),
    };
    // A store whose data is gone can be destroyed as well; its directory then only stands in for it.
    let stand_in = !options.path.exists();
    let world = options.world_of(platform, false)?;
    let destroyed = Store::destroy(&world, name);
    if stand_in {
        // It is empty, or not ours.
        let _ = std::fs::remove_dir(&options.path);
    }
    destroyed.map(|()| id)
}
