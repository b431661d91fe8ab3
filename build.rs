//! Links `cellblock-init` and `cellblock` statically, whatever the other binaries do.
//!
//! The former is exec'd as pid 1 of a cell after the cell's root has replaced ours: nothing of the host,
//! not even a dynamic loader, is there for it to load, and nothing of the tenant's may be. The latter is started
//! for each session that comes by the enter door, and half of its start was the loader's.
//! `-C target-feature=+crt-static` cannot be set for some binaries of a package, so the linker is
//! told what that flag would have told it.

use std::{env, error::Error, fs, path::PathBuf, process::Command};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    let archives = PathBuf::from(env::var("OUT_DIR")?).join("static");
    fs::create_dir_all(&archives)?;

    let cc = env::var("CC").unwrap_or_else(|_| "cc".into());
    let found = Command::new(cc).arg("-print-file-name=libc.a").output()?;
    let libc = String::from_utf8(found.stdout)?;
    let libc = libc.trim();
    if !libc.starts_with('/') {
        return Err("no static C library: install libc6-dev (Debian, Ubuntu) or glibc-static (Fedora)".into());
    }

    // rustc asks for `-Bdynamic -lgcc_s … -lc`. ld takes the first directory that has either form
    // of a library, so a directory of archives named on the command line comes before the system's.
    fs::write(archives.join("libgcc_s.a"), "GROUP ( -lgcc_eh -lgcc -lc )\n")?;
    fs::write(archives.join("libc.a"), format!("GROUP ( {libc} )\n"))?;
    let search = format!("-L{}", archives.display());

    // GNU ld: rust-lld leaves a jump to the weak, undefined __gmon_start__ in a static PIE.
    for arg in ["-static-pie", "-fuse-ld=bfd", &search] {
        for binary in ["cellblock", "cellblock-init"] {
            println!("cargo::rustc-link-arg-bin={binary}={arg}");
        }
    }
    Ok(())
}
