//! PAM services of tests: files in `/etc/pam.d` that go away with their values.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{Scratch, in_tree};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// What `DIR/note` writes for each call, to `DIR/lines`.
const NOTE: &str = "#!/bin/sh\necho \"$PAM_TYPE $PAM_USER $PAM_RHOST $PAM_TTY\" >> DIR/lines\n";
/// Whether the password is `sesame-` and the name; if it is, `DIR/lines` says so.
const CHECK: &str =
    "#!/bin/sh\n[ \"$(tr -d '\\0')\" = \"sesame-$PAM_USER\" ] && echo \"right $PAM_USER\" >> DIR/lines\n";

/// One service.
pub struct Service {
    /// Its name.
    pub name: String,
    /// `DIR` in its lines.
    pub dir: Scratch,
}

impl Service {
    /// With these lines, in which `DIR` is a directory with the programs `note` and `check`, and `SCRIPT` the
    /// module of `probe/pam_script.c`. A phase without a line permits.
    pub fn new(lines: &str) -> Self {
        let dir = Scratch::new();
        for (name, text) in [("note", NOTE), ("check", CHECK)] {
            let path = dir.write(name, &text.replace("DIR", &dir.path().display().to_string()));
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        dir.write("lines", "");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("cellblock-test-{}-{number}", std::process::id());
        let mut text = lines.replace("DIR", &dir.path().display().to_string());
        if text.contains("SCRIPT") {
            let module = dir.join("pam_script.so");
            compile(&module);
            text = text.replace("SCRIPT", &module.display().to_string());
        }
        for phase in ["auth", "account", "password", "session"] {
            if !lines.lines().any(|line| line.trim_start().starts_with(phase)) {
                text.push_str(&format!("\n{phase} required pam_permit.so\n"));
            }
        }
        fs::write(Path::new("/etc/pam.d").join(&name), text).unwrap();
        Self { name, dir }
    }

    /// What `DIR/note` wrote.
    pub fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.dir.join("lines")).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        fs::remove_file(Path::new("/etc/pam.d").join(&self.name)).ok();
    }
}

/// Compiles the module.
fn compile(module: &Path) {
    let source = in_tree("tests/probe/pam_script.c");
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(module).arg(source).arg("-lpam").status();
    assert!(status.unwrap().success(), "tests/all installs libpam0g-dev");
}
