//! The smallest use: open, write, read, scan, close.
//!
//!     cargo run --example quickstart

use ringfort::{Db, Result};

fn main() -> Result<()> {
    // A store in a directory of its own that goes away with it; `Db::open(Options::new(path))`
    // opens one that stays.
    let db = Db::open_temporary()?;
    println!("{}", db.platform());

    db.put("city/bern", "Aare")?;
    db.put("city/basel", "Rhine")?;
    db.put("lake/thun", "48 km2")?;

    if let Some(river) = db.get("city/basel")? {
        println!("Basel lies on the {}", String::from_utf8_lossy(&river));
    }
    for entry in db.prefix("city/")? {
        let (key, value) = entry?;
        println!("{} = {}", String::from_utf8_lossy(&key), String::from_utf8_lossy(&value));
    }
    db.delete("lake/thun")?;
    assert_eq!(db.get("lake/thun")?, None);

    // Anchors what was written and says so; dropping the last handle does the same, silently.
    db.close()
}
