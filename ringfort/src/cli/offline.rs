//! Commands on a store that no server serves: destroy, keyspace list, counter status, scrub.

use super::report::Failure;
use super::settings::Config;
use crate::serve::say;
use ringfort::{Db, Error};
use ringfort_base::world::{Clock, Disk};
use ringfort_host::disk::OsDisk;
use ringfort_host::door::{self, OsClock};
use ringfort_trust::counter::slot::VolumeCounter;
use ringfort_trust::counter::{Counter, Reading};
use ringfort_trust::keyfile::KeyFile;
use ringfort_trust::platform::Known;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `ringfort destroy`.
pub(crate) fn destroy(config: &Config, said: &str) -> Result<(), Failure> {
    let wanted = ringfort::destroy::phrase(&config.store);
    if said != wanted {
        return Err(Failure::Usage(format!(
            "this removes store '{}' in {} for good. If you mean it, add: --confirm \"{wanted}\"",
            config.store,
            config.data.display()
        )));
    }
    let id = Db::destroy(&config.options(), said)?;
    say(&format!(
        "store '{}' ({id}) is destroyed: its files are removed and the platform forgot it.\n\
         Copies of the files that somebody kept stay sealed; on the simulated platform the data is logically deleted.",
        config.store
    ));
    Ok(())
}

/// `ringfort keyspace list`. Opening is a life of its own: the counter counts it.
pub(crate) fn keyspaces(config: &Config) -> Result<(), Failure> {
    let store = config.options().create_if_missing(false).open_store()?.store;
    let mut rows = Vec::new();
    for (name, id) in store.keyspaces() {
        let levels = store.levels(id)?;
        let tables: usize = levels.iter().map(|level| level.0).sum();
        rows.push((name, id, tables, store.approximate_size(id, None, None)?));
    }
    store.close()?;
    rows.sort();
    say(&format!("{:<24} {:>6} {:>8} {:>14}", "keyspace", "id", "tables", "bytes (about)"));
    for (name, id, tables, bytes) in rows {
        say(&format!("{name:<24} {id:>6} {tables:>8} {bytes:>14}"));
    }
    Ok(())
}

/// `ringfort counter status`. Reads, and changes nothing.
pub(crate) fn counter(config: &Config) -> Result<(), Failure> {
    let options = config.options();
    let nothing = || {
        let message = format!("the platform knows no store named '{}'", config.store);
        Error::new(ringfort::ErrorKind::NotFound, message)
    };
    let platform = options.platform_if_known()?.ok_or_else(nothing)?;
    say(&platform.describe());
    let id = match platform.known(&config.store)? {
        Known::No => return Err(nothing().into()),
        Known::Creating(id) => {
            say(&format!("store '{}' ({id}): its creation began and did not end", config.store));
            return Ok(());
        }
        Known::Live(id) => id,
    };
    say(&format!("store        '{}' ({id})", config.store));
    let open =
        |path: &Path| OsDisk::open(path).map_err(|e| Error::io("open", &path.display().to_string(), &e));
    let settings = open(&config.data)
        .and_then(|disk| KeyFile::open_unanchored(&disk, &*platform))
        .map(|file| file.settings.clone());
    let counter: Arc<dyn Counter> = match (&settings, &config.trusted) {
        (Ok(settings), Some(trusted)) if settings.counter == "volume" => {
            let disk: Arc<dyn Disk> = Arc::new(open(trusted)?);
            Arc::new(VolumeCounter::new(disk, id))
        }
        (Ok(settings), None) if settings.counter == "volume" => {
            return Err(Failure::Usage(
                "the store is anchored by its trusted volume; name it with --trusted DIR".to_owned(),
            ));
        }
        _ => platform.counter(&config.store, id)?,
    };
    match settings {
        Ok(settings) => say(&format!("mode         {}", settings.mode)),
        Err(error) => say(&format!("mode         unknown: {error}")),
    }
    say(&format!("kind         {}", counter.kind()));
    match counter.read()? {
        None => say("anchor       none"),
        Some(reading) => show_anchor(&reading),
    }
    Ok(())
}

fn show_anchor(reading: &Reading) {
    let anchor = &reading.anchor;
    let tag = |bytes: &[u8]| bytes.iter().take(6).map(|byte| format!("{byte:02x}")).collect::<String>();
    say(&format!("advances     {}", reading.value));
    say(&format!("incarnation  {}", anchor.incarnation));
    say(&format!("lineage      {}", anchor.lineage));
    say(&format!("key epoch    {} (key file version {})", anchor.epoch, anchor.key_file_version));
    say(&format!("log          position {}, tag {}…", anchor.wal.position, tag(&anchor.wal.tag.0)));
    say(&format!("manifest     edit {}, tag {}…", anchor.manifest.position, tag(&anchor.manifest.tag.0)));
}

/// `ringfort scrub`. Opening verifies key file, log and MANIFEST; then every block of every table
/// is read.
pub(crate) fn scrub(config: &Config) -> Result<(), Failure> {
    let clock = OsClock::new();
    let store = config.options().create_if_missing(false).open_store()?.store;
    let mut bytes = 0;
    for (_, id) in store.keyspaces() {
        bytes += store.levels(id)?.iter().map(|level| level.1).sum::<u64>();
    }
    say(&format!(
        "store '{}' ({}): log and MANIFEST verified; tables: {bytes} bytes",
        config.store,
        store.id()
    ));
    let reader = store.clone();
    let work = door::spawn("ringfort-scrub", move || reader.verify_checksums())
        .map_err(|e| Error::io("start", "a thread", &e))?;
    if std::io::stderr().is_terminal() {
        while !work.is_finished() {
            eprint!("\rscrubbing … {:.0} s", clock.monotonic().as_secs_f64());
            door::sleep(Duration::from_millis(100));
        }
        eprint!("\r\x1b[K");
    }
    let verified = work
        .join()
        .map_err(|_| Failure::Other("the scrubbing thread ended early; report this".to_owned()))??;
    store.close()?;
    say(&format!(
        "verified {verified} bytes of tables in {:.1} s: all as written",
        clock.monotonic().as_secs_f64()
    ));
    Ok(())
}
