//! A drop box: what is brought stays as it came, and nobody who brings something sees what others brought
//! (issue 4, item 3; docs/config.md, `sftp.access`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::Command,
};

use support::{
    Door, root, run_bounded,
    sftp::{DENIED, FAILURE, NO_SUCH_FILE, OK, Sftp, batch, string, two},
};

const READ: u32 = 1;
const WRITE: u32 = 2;
const APPEND: u32 = 4;
const CREATE: u32 = 8;
const TRUNCATE: u32 = 16;

/// A drop box, and its directory on the host.
fn door() -> (Door, PathBuf) {
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "allow = [\"sftp\"]\nsftp = { access = \"drop-box\" }")
        .start();
    let home = door.dir.join("state/tenants/alice/home");
    (door, home)
}

#[test]
fn what_one_client_brought_no_other_replaces_cuts_or_takes_away() {
    if !root() {
        return;
    }
    let (door, home) = door();
    let first = door.dir.write("first", "the first");
    let other = door.dir.write("other", "another");
    let (first, other) = (first.display(), other.display());
    let ran = batch(&door, "alice", &format!("put {first} report\nmkdir d\nput {first} d/report\n"));
    assert_eq!(ran.status, 0, "{}", ran.err);
    let before = fs::metadata(home.join("report")).unwrap();

    // By a client that people have.
    for line in ["put {} report", "put -a {} report", "reput {} report", "put -p {} d/report", "rm report", "rmdir d"] {
        let ran = batch(&door, "alice", &line.replace("{}", &other.to_string()));
        assert_ne!(ran.status, 0, "{line}: {}", ran.text());
    }
    let ran = batch(&door, "alice", &format!("put {other} new\nrename new report\n"));
    assert_ne!(ran.status, 0, "a rename replaces nothing: {}", ran.text());
    assert_eq!(fs::read_to_string(home.join("new")).unwrap(), "another");

    // And by what one can ask.
    let mut raw = Sftp::new(&door, "alice");
    for flags in [WRITE, WRITE | APPEND, WRITE | TRUNCATE, TRUNCATE, APPEND, 0] {
        assert_eq!(raw.open(b"report", flags), Err(DENIED), "{flags}");
    }
    for flags in [CREATE, WRITE | CREATE, WRITE | CREATE | TRUNCATE, WRITE | CREATE | APPEND] {
        assert_eq!(raw.open(b"report", flags), Err(FAILURE), "{flags}");
    }
    assert_eq!(raw.extended("posix-rename@openssh.com", &two(b"new", b"report")).1[..4], DENIED.to_be_bytes());
    assert_eq!(raw.status(18, &two(b"new", b"report")), FAILURE);
    assert_eq!(raw.status(18, &two(b"new", b"d/report")), FAILURE);
    let size = [1_u32.to_be_bytes(), [0; 4], [0; 4]].concat();
    let mode = [4_u32, 0].map(u32::to_be_bytes).concat();
    let times = [8_u32, 7, 7].map(u32::to_be_bytes).concat();
    for attributes in [size, mode, times] {
        let attributes = [string(b"report"), attributes].concat();
        assert_eq!(raw.status(9, &attributes), DENIED);
        assert_eq!(raw.extended("lsetstat@openssh.com", &attributes).1[..4], DENIED.to_be_bytes());
    }
    assert_eq!(raw.end(), 0);
    let after = fs::metadata(home.join("report")).unwrap();
    let kept = |meta: &fs::Metadata| (meta.ino(), meta.mode(), meta.mtime(), meta.ctime_nsec(), meta.nlink());
    assert_eq!(kept(&before), kept(&after));
    for name in ["report", "d/report"] {
        assert_eq!(fs::read_to_string(home.join(name)).unwrap(), "the first", "{name}");
    }
}

/// What is answered to requests that bring nothing, of a name with `end`; names of one length are left out.
fn answers(raw: &mut Sftp, name: &str, end: &str) -> Vec<(String, u8, String)> {
    let at = string(format!("{name}{end}").as_bytes());
    let mode = [4_u32, 0o600].map(u32::to_be_bytes).concat();
    let with = |rest: &[u8]| [&at, rest].concat();
    let mut asked: Vec<(u8, Vec<u8>)> = [7, 11, 13, 15, 16, 17, 19].map(|kind| (kind, at.clone())).to_vec();
    asked.push((9, with(&mode)));
    asked.extend([READ, WRITE].map(|flags| (3, with(&[flags.to_be_bytes(), [0; 4]].concat()))));
    let extensions = [
        ("statvfs@openssh.com", at.clone()),
        ("expand-path@openssh.com", at.clone()),
        ("lsetstat@openssh.com", with(&mode)),
        ("hardlink@openssh.com", with(&string(b"hard"))),
    ];
    asked.extend(extensions.map(|(extension, rest)| (200, [string(extension.as_bytes()), rest].concat())));
    let mut answers = Vec::new();
    for (kind, rest) in asked {
        let (answer, reply) = raw.ask(kind, &rest);
        // Of a path that is told the path alone: there is no more to it.
        let told = match answer {
            104 => &reply[8..8 + u32::from_be_bytes(reply[4..8].try_into().unwrap()) as usize],
            _ => &reply[..],
        };
        let plain = |bytes: &[u8]| bytes.escape_ascii().to_string().replace(name, "NAME");
        answers.push((format!("{kind} {}", plain(&rest[4..])), answer, plain(told)));
    }
    answers
}

#[test]
fn what_does_not_bring_anything_reads_alike_whether_a_name_is_taken_or_not() {
    if !root() {
        return;
    }
    let (door, home) = door();
    let mut raw = Sftp::new(&door, "alice");
    let handle = raw.open(b"used", WRITE | CREATE).unwrap();
    assert_eq!(raw.status(6, &[&handle[..], &[0; 8], &string(b"text")].concat()), OK);
    // The admin's, of which the tenant is told as little.
    std::os::unix::fs::symlink("used", home.join("lead")).unwrap();
    // The name as it is, as a directory, and as one with something in it.
    for end in ["", "/", "/.", "/..", "/x"] {
        let [free, used, lead] = ["free", "used", "lead"].map(|name| answers(&mut raw, name, end));
        assert_eq!(free, used, "{end:?}");
        assert_eq!(free, lead, "{end:?}");
    }
    assert_eq!(raw.name(16, &string(b"used")).unwrap(), "/home/alice/used");
    assert_eq!(raw.status(16, &string(b"used/x")), NO_SUCH_FILE);
    assert_eq!(raw.end(), 0);
}

#[test]
fn what_a_client_brings_is_its_own_until_it_closes_it_and_can_be_put_in_its_place() {
    if !root() {
        return;
    }
    let (door, home) = door();
    let tree = door.dir.join("tree");
    fs::create_dir_all(tree.join("deep")).unwrap();
    let file = tree.join("deep/file");
    fs::write(&file, "text").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(&file).unwrap().set_modified(long_ago).unwrap();
    let (tree, at) = (tree.display(), file.display());
    let lines = format!(
        "put -p {at} part\nrename part whole\nput -pR {tree} sent\nmkdir d\ncd d\nput {at} x.part\nrename x.part x\n\
         chmod 700 ../d\ndf .\n"
    );
    let ran = batch(&door, "alice", &lines);
    assert_eq!(ran.status, 0, "{}", ran.err);
    let mut scp = Command::new("scp");
    scp.arg("-F").arg(door.dir.join("ssh_config")).args(["-q", "-rp"]).arg(tree.to_string()).arg("alice@door:by-scp");
    let ran = run_bounded(scp, b"");
    assert_eq!(ran.status, 0, "{}", ran.err);
    for name in ["whole", "sent/deep/file", "d/x", "by-scp/deep/file"] {
        assert_eq!(fs::read_to_string(home.join(name)).unwrap(), "text", "{name}");
    }
    for name in ["whole", "sent/deep/file", "by-scp/deep/file"] {
        let meta = fs::metadata(home.join(name)).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.mtime()), (0o640, 1_000_000_000), "{name}");
    }

    let mut raw = Sftp::new(&door, "alice");
    let handle = raw.open(b"own", WRITE | CREATE | TRUNCATE).unwrap();
    assert_eq!(raw.status(6, &[&handle[..], &[0; 8], &string(b"too long")].concat()), OK);
    let size = [1_u32.to_be_bytes(), [0; 4], [0, 0, 0, 3]].concat();
    assert_eq!(raw.status(10, &[&handle[..], &size].concat()), OK);
    let (kind, attributes) = raw.ask(8, &handle);
    assert_eq!((kind, &attributes[4..12]), (105, &[0, 0, 0, 0, 0, 0, 0, 3][..]));
    assert_eq!(raw.extended("fsync@openssh.com", &handle).1[..4], OK.to_be_bytes());
    assert_eq!(raw.end(), 0);
    assert_eq!(fs::read_to_string(home.join("own")).unwrap(), "too");
}
