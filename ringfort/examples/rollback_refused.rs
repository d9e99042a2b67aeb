//! A host that puts an older copy of the directory in place of the store, and how that ends.
//!
//!     cargo run --example rollback_refused

use ringfort::{Db, ErrorKind, Level, Options};
use std::error::Error;
use std::fs;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let root = std::env::temp_dir().join(format!("ringfort-example-{}", std::process::id()));
    let result = run(&root);
    fs::remove_dir_all(&root)?;
    result
}

fn run(root: &Path) -> Result<(), Box<dyn Error>> {
    // The platform's state stands for hardware that the host cannot roll back.
    let options = Options::new(root.join("data")).platform_state(root.join("platform")).level(Level::Fresh);

    let db = Db::open(options.clone())?;
    db.put("balance", "100")?;
    db.close()?;
    drop(db);
    copy(&root.join("data"), &root.join("yesterday"))?;

    let db = Db::open(options.clone())?;
    db.put("balance", "0")?;
    db.close()?;
    drop(db);

    // The host wants its money back.
    fs::remove_dir_all(root.join("data"))?;
    fs::rename(root.join("yesterday"), root.join("data"))?;

    match Db::open(options) {
        Err(error) if error.kind() == ErrorKind::Rollback => {
            println!("refused: {error}");
            if let Some(proof) = error.proof() {
                println!("evidence: {} in {} at {}", proof.kind.name(), proof.file, proof.position);
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err("the old state was served".into()),
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
