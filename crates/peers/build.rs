//! Says plainly what is missing, and builds the CRC-32C shim (`shim/crc32c.c`).
//!
//! Cargo runs this before the bindings to RocksDB are compiled, so a missing package is reported
//! with the command that installs it and not by whatever fails first without it.

use std::env;
use std::path::{Path, PathBuf};

const INSTALL: &str = "crates/peers/setup.sh (Debian: apt-get install librocksdb-dev libclang-dev)";

fn main() {
    for name in ["ROCKSDB_LIB_DIR", "ROCKSDB_INCLUDE_DIR", "LIBCLANG_PATH"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    println!("cargo:rerun-if-changed=shim/crc32c.c");
    let missing = missing();
    if !missing.is_empty() {
        eprintln!("\nringfort-peers: missing: {}\ninstall with: {INSTALL}\n", missing.join("; "));
        std::process::exit(1);
    }
    if env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
        // The object itself, not an archive that nothing on our side refers to.
        for object in cc::Build::new().file("shim/crc32c.c").opt_level(2).compile_intermediates() {
            println!("cargo:rustc-link-arg-bins={}", object.display());
        }
    }
}

fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    let (Some(lib), Some(include)) = (dir("ROCKSDB_LIB_DIR"), dir("ROCKSDB_INCLUDE_DIR")) else {
        return vec![
            "ROCKSDB_LIB_DIR and ROCKSDB_INCLUDE_DIR: run cargo inside the repository, \
                     whose .cargo/config.toml sets them, or set them"
                .to_owned(),
        ];
    };
    for file in [lib.join("librocksdb.so"), include.join("rocksdb/c.h")] {
        println!("cargo:rerun-if-changed={}", file.display());
        if !file.is_file() {
            missing.push(format!("{} (package librocksdb-dev)", file.display()));
        }
    }
    if !has_libclang(&lib) {
        missing.push("libclang.so (package libclang-dev)".to_owned());
    }
    missing
}

fn dir(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from)
}

/// Where bindgen looks: `LIBCLANG_PATH`, the system's libraries, LLVM's own directories.
fn has_libclang(lib: &Path) -> bool {
    let llvm = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let llvm = llvm.filter(|path| name_of(path).starts_with("llvm-")).map(|path| path.join("lib"));
    let places = dir("LIBCLANG_PATH").into_iter().chain([lib.to_owned()]).chain(llvm);
    places.into_iter().any(|place| {
        let files = std::fs::read_dir(place).into_iter().flatten().flatten();
        files.map(|file| file.path()).any(|path| {
            let name = name_of(&path);
            name.starts_with("libclang.so") || name.starts_with("libclang-") && name.contains(".so")
        })
    })
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
