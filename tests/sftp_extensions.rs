//! OpenSSH's extensions of SFTP, each by what it answers: "posix-rename, statvfs, fstatvfs, hardlink, fsync,
//! lsetstat, limits, expand-path, copy-data, home-directory, users-groups-by-id" (issue 4, item 3).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test support code"
)]

use support::{
    Door, root,
    sftp::{BAD, DENIED, FAILURE, NO_SUCH_FILE, OK, Sftp, string, two},
    soon,
};

const READ: u32 = 1;
const WRITE: u32 = 2;
const CREATE: u32 = 8;

const POSIX_RENAME: &str = "posix-rename@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";
const FSTATVFS: &str = "fstatvfs@openssh.com";
const HARDLINK: &str = "hardlink@openssh.com";
const FSYNC: &str = "fsync@openssh.com";
const LSETSTAT: &str = "lsetstat@openssh.com";
const LIMITS: &str = "limits@openssh.com";
const EXPAND_PATH: &str = "expand-path@openssh.com";
const COPY_DATA: &str = "copy-data";
const HOME_DIRECTORY: &str = "home-directory";
const NAMES: &str = "users-groups-by-id@openssh.com";

/// Of the issue, with the versions of OpenSSH's PROTOCOL.
const ALL: [(&str, &str); 11] = [
    (POSIX_RENAME, "1"),
    (STATVFS, "2"),
    (FSTATVFS, "2"),
    (HARDLINK, "1"),
    (FSYNC, "1"),
    (LSETSTAT, "1"),
    (LIMITS, "1"),
    (EXPAND_PATH, "1"),
    (COPY_DATA, "1"),
    (HOME_DIRECTORY, "1"),
    (NAMES, "1"),
];

/// The numbers of a reply.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    bytes.as_chunks().0.iter().map(|number| u64::from_be_bytes(*number)).collect()
}

/// The strings of a reply.
fn strings(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk() {
        let (text, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        found.push(String::from_utf8(text.to_vec()).unwrap());
        bytes = rest;
    }
    found
}

/// An extension that is answered by a status: its code.
fn status(sftp: &mut Sftp, name: &str, rest: &[u8]) -> u32 {
    let (kind, reply) = sftp.extended(name, rest);
    assert_eq!(kind, 101, "{name}");
    u32::from_be_bytes(reply[..4].try_into().unwrap())
}

/// One that is answered by a path.
fn path(sftp: &mut Sftp, name: &str, of: &str) -> Result<String, u32> {
    sftp.name(200, &two(name.as_bytes(), of.as_bytes()))
}

/// One that is answered by anything else.
fn reply(sftp: &mut Sftp, name: &str, rest: &[u8]) -> Vec<u8> {
    let (kind, reply) = sftp.extended(name, rest);
    assert_eq!(kind, 201, "{name}: {reply:?}");
    reply
}

fn copy(from: &[u8], read_at: u64, length: u64, to: &[u8], write_at: u64) -> Vec<u8> {
    [from, &read_at.to_be_bytes(), &length.to_be_bytes(), to, &write_at.to_be_bytes()].concat()
}

/// As SETSTAT has them: the times of last access and change.
fn times(both: u32) -> Vec<u8> {
    [8_u32, both, both].map(u32::to_be_bytes).concat()
}

fn mode(mode: u32) -> Vec<u8> {
    [4_u32, mode].map(u32::to_be_bytes).concat()
}

#[test]
fn the_version_lists_what_there_is_and_a_class_only_what_it_may_use() {
    if !root() {
        return;
    }
    let class = |access: &str| format!("sftp = {{ access = \"{access}\" }}");
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", "")
        .tenant("bob", &class("read-only"))
        .tenant("carol", &class("drop-box"))
        .start();
    let listed = |tenant: &str| {
        let (sftp, extensions) = Sftp::begin(&door, tenant);
        assert_eq!(sftp.end(), 0);
        let words = strings(extensions.as_bytes());
        words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect::<Vec<_>>()
    };
    let but = |hidden: &[&str]| -> Vec<(String, String)> {
        let shown = ALL.into_iter().filter(|(name, _)| !hidden.contains(name));
        shown.map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    };
    assert_eq!(listed("alice"), but(&[]));
    assert_eq!(listed("bob"), but(&[POSIX_RENAME, HARDLINK, FSYNC, LSETSTAT, COPY_DATA]));
    assert_eq!(listed("carol"), but(&[POSIX_RENAME, HARDLINK, COPY_DATA]));
}

/// What statvfs(3) says in the cell, in the order of the reply.
fn told(door: &Door, of: &str) -> Vec<u64> {
    let script = "import os, sys; s = os.statvfs(sys.argv[1]); print(s.f_bsize, s.f_frsize, s.f_blocks, s.f_bfree, \
                  s.f_bavail, s.f_files, s.f_ffree, s.f_favail, s.f_fsid, s.f_flag & 3, s.f_namemax)";
    let line = door.ok("alice", &format!("python3 -c '{script}' {of}"));
    line.split(' ').map(|number| number.parse().unwrap()).collect()
}

#[test]
fn the_space_left_is_what_the_cell_is_told_by_path_and_by_handle() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut sftp = Sftp::new(&door, "alice");
    door.ok("alice", "head -c 1M /dev/zero >/dev/shm/file; echo >~/file");
    // The cell's own, in which nobody else writes; one that many write to; one that is not written to.
    for (at, quiet) in [("/dev/shm/file", true), ("/home/alice/file", false), ("/usr/bin/env", false)] {
        let by_path = numbers(&reply(&mut sftp, STATVFS, &string(at.as_bytes())));
        let handle = sftp.open(at.as_bytes(), READ).unwrap();
        let by_handle = numbers(&reply(&mut sftp, FSTATVFS, &handle));
        let truth = told(&door, at);
        for answer in [by_path, by_handle] {
            // Blocks and files that are free change meanwhile.
            let kept = |number: &usize| quiet || ![3, 4, 6, 7].contains(number);
            let same: Vec<usize> = (0..11).filter(kept).collect();
            let pick = |all: &[u64]| same.iter().map(|number| all[*number]).collect::<Vec<u64>>();
            assert_eq!((answer.len(), pick(&answer)), (11, pick(&truth)), "{at}");
            let shown = door.ok("alice", &format!("stat -f -c '%s %S %b %c %l' {at}"));
            let of_stat = [answer[0], answer[1], answer[2], answer[5], answer[10]].map(|number| number.to_string());
            assert_eq!(shown, of_stat.join(" "), "{at}");
        }
    }
    assert_eq!((told(&door, "/dev/shm")[9], told(&door, "/usr")[9]), (2, 3), "both flags are seen");
    assert_eq!(status(&mut sftp, STATVFS, &string(b"no-such")), NO_SUCH_FILE);
    let directory = sftp.handle(11, &string(b"/")).unwrap();
    for wrong in [&directory[..], &string(b""), &string(&[7; 8])] {
        assert_eq!(status(&mut sftp, FSTATVFS, wrong), FAILURE);
    }
    assert_eq!(sftp.end(), 0);
}

#[test]
fn homes_and_names_are_those_of_the_cells_own_accounts() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut sftp = Sftp::new(&door, "alice");
    let lines = |file: &str| -> Vec<Vec<String>> {
        let text = door.ok("alice", &format!("cat {file}"));
        text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
    };
    let (users, groups) = (lines("/etc/passwd"), lines("/etc/group"));
    assert!(users.len() >= 3 && users.iter().any(|user| user[0] == "alice"));
    for user in &users {
        assert_eq!(path(&mut sftp, HOME_DIRECTORY, &user[0]).as_ref(), Ok(&user[5]));
        let expanded = path(&mut sftp, EXPAND_PATH, &format!("~{}", user[0]));
        assert_eq!(expanded.as_ref(), Ok(&user[5]), "{}", user[0]);
    }
    assert_eq!(path(&mut sftp, HOME_DIRECTORY, "").unwrap(), "/home/alice");
    for (said, meant) in [
        ("~", "/home/alice"),
        ("~/new", "/home/alice/new"),
        ("~alice/../alice/./new", "/home/alice/new"),
        ("new", "/home/alice/new"),
        ("./~", "/home/alice/~"),
        ("", "/home/alice"),
        ("/bin", "/usr/bin"),
    ] {
        assert_eq!(path(&mut sftp, EXPAND_PATH, said).as_deref(), Ok(meant), "{said}");
    }
    // Nobody of the host is known: bob is a tenant beside.
    for nobody in ["bob", "no-such", "daemon", "../alice"] {
        assert_eq!(path(&mut sftp, HOME_DIRECTORY, nobody), Err(NO_SUCH_FILE), "{nobody}");
        assert_eq!(path(&mut sftp, EXPAND_PATH, &format!("~{nobody}/x")), Err(NO_SUCH_FILE), "{nobody}");
    }
    assert_eq!(path(&mut sftp, EXPAND_PATH, "~/no/new"), Err(NO_SUCH_FILE));
    assert_eq!(path(&mut sftp, EXPAND_PATH, "~\0"), Err(BAD));

    // In the order in which it was asked, and nothing for who is not there.
    let ids = |accounts: &[Vec<String>]| -> Vec<u8> {
        let known = accounts.iter().map(|account| account[2].parse().unwrap());
        known.chain([4_000_000_000, 0]).flat_map(u32::to_be_bytes).collect()
    };
    let names = |accounts: &[Vec<String>]| -> Vec<String> {
        accounts.iter().map(|account| account[0].clone()).chain([String::new(), "root".into()]).collect()
    };
    let (asked_users, asked_groups) = (ids(&users), ids(&groups));
    let answer = reply(&mut sftp, NAMES, &two(&asked_users, &asked_groups));
    let lists = answer.split_at(4 + u32::from_be_bytes(answer[..4].try_into().unwrap()) as usize);
    assert_eq!(strings(&lists.0[4..]), names(&users));
    assert_eq!(strings(&lists.1[4..]), names(&groups));
    assert_eq!(reply(&mut sftp, NAMES, &two(b"", b"")), [0; 8]);
    assert_eq!(status(&mut sftp, NAMES, &two(&[0; 4 * 1025], b"")), BAD);
    assert_eq!(sftp.end(), 0);
}

#[test]
fn data_is_copied_between_open_files_and_stands_in_the_audit_file() {
    if !root() {
        return;
    }
    let door = Door::standard();
    // First: /tmp is there as long as a session is.
    let mut sftp = Sftp::new(&door, "alice");
    door.ok("alice", "printf 0123456789 >a; printf 'as it was' >c; head -c 3M /dev/urandom >/tmp/large");
    let from = sftp.open(b"a", READ).unwrap();
    let to = sftp.open(b"b", READ | WRITE | CREATE).unwrap();
    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&from, 2, 3, &to, 0)), OK);
    // All that there is from there on; and no more than there is.
    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&from, 7, 0, &to, 3)), OK);
    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&from, 9, 1000, &to, 6)), OK);
    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&from, 1000, 0, &to, 0)), OK);
    assert_eq!(door.ok("alice", "cat b"), "2347899");
    // From another file system, in several pieces.
    let (large, copied) = (sftp.open(b"/tmp/large", READ).unwrap(), sftp.open(b"large", WRITE | CREATE).unwrap());
    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&large, 0, 0, &copied, 0)), OK);
    door.ok("alice", "cmp /tmp/large large");

    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&to, 0, 4, &to, 2)), BAD, "over itself");
    let closed = sftp.open(b"c", READ).unwrap();
    for (wrong, target) in [(&from, &closed), (&copied, &to)] {
        // OpenSSH's word for what is not open for this.
        assert_eq!(status(&mut sftp, COPY_DATA, &copy(wrong, 0, 0, target, 0)), NO_SUCH_FILE);
    }
    let directory = sftp.handle(11, &string(b"/")).unwrap();
    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&directory, 0, 0, &to, 0)), FAILURE);
    assert_eq!(status(&mut sftp, COPY_DATA, &copy(&from, 0, 0, &string(b""), 0)), FAILURE);
    assert_eq!(door.ok("alice", "cat a b c"), "01234567892347899as it was");
    for handle in [&from, &to] {
        assert_eq!(sftp.status(4, handle), OK);
    }
    let bytes = |name: &str| {
        let of = |event: &&serde_json::Value| event["operation"] == "close" && event["path"] == name;
        door.audit().iter().find(of).map(|event| (event["read"].as_u64(), event["written"].as_u64()))
    };
    soon("both are written down", || bytes("b").is_some());
    assert_eq!((bytes("a"), bytes("b")), (Some((Some(7), Some(0))), Some((Some(0), Some(7)))));
    assert_eq!(sftp.end(), 0);
}

#[test]
fn names_are_replaced_and_shared_files_synced_and_links_described_themselves() {
    if !root() {
        return;
    }
    let door = Door::standard();
    door.ok("alice", "echo new >from; echo old >to; echo text >file; ln -s file link; ln -s nowhere dangling; mkdir d");
    let mut sftp = Sftp::new(&door, "alice");
    assert_eq!(status(&mut sftp, POSIX_RENAME, &two(b"from", b"to")), OK);
    assert_eq!(door.ok("alice", "cat to; ls"), "new\nd\ndangling\nfile\nlink\nto");
    assert_eq!(status(&mut sftp, POSIX_RENAME, &two(b"from", b"to")), NO_SUCH_FILE);
    assert_eq!(status(&mut sftp, POSIX_RENAME, &two(b"to", b"d")), FAILURE, "a file in place of a directory");

    assert_eq!(status(&mut sftp, HARDLINK, &two(b"file", b"hard")), OK);
    assert_eq!(door.ok("alice", "test file -ef hard; stat -c %h hard"), "2");
    assert_eq!(status(&mut sftp, HARDLINK, &two(b"file", b"hard")), FAILURE, "it is there");
    assert_eq!(status(&mut sftp, HARDLINK, &two(b"no-such", b"x")), NO_SUCH_FILE);
    assert_eq!(status(&mut sftp, HARDLINK, &two(b"file", b"/tmp/x")), FAILURE, "on another file system");

    let file = sftp.open(b"synced", WRITE | CREATE).unwrap();
    assert_eq!(sftp.status(6, &[&file[..], &[0; 8], &string(b"text")].concat()), OK);
    assert_eq!(status(&mut sftp, FSYNC, &file), OK);
    // fsync(2) is told to the kernel: it has nothing of the kind for a device.
    let null = sftp.open(b"/dev/null", WRITE).unwrap();
    assert_eq!(status(&mut sftp, FSYNC, &null), BAD);
    assert_eq!(sftp.status(4, &file), OK);
    let directory = sftp.handle(11, &string(b"/")).unwrap();
    for wrong in [&file, &directory] {
        assert_eq!(status(&mut sftp, FSYNC, wrong), FAILURE);
    }

    let with = |path: &[u8], attributes: Vec<u8>| [string(path), attributes].concat();
    let own = [2_u32, 1000, 1000].map(u32::to_be_bytes).concat();
    for name in [&b"link"[..], b"dangling"] {
        assert_eq!(status(&mut sftp, LSETSTAT, &with(name, times(7))), OK);
        assert_eq!(status(&mut sftp, LSETSTAT, &with(name, own.clone())), OK);
    }
    assert_eq!(door.ok("alice", "stat -c %Y link dangling"), "7\n7");
    assert_ne!(door.ok("alice", "stat -c %Y file"), "7");
    assert_eq!(status(&mut sftp, LSETSTAT, &with(b"file", mode(0o600))), OK);
    assert_eq!(door.ok("alice", "stat -c %a file"), "600");
    assert_eq!(status(&mut sftp, LSETSTAT, &with(b"no-such", times(7))), NO_SUCH_FILE);
    assert_eq!(status(&mut sftp, LSETSTAT, &with(b"/usr/bin/env", times(7))), FAILURE, "read-only");
    assert_eq!(sftp.end(), 0);
}

#[test]
fn the_limits_that_are_told_are_those_that_hold() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut sftp = Sftp::new(&door, "alice");
    let limits = numbers(&reply(&mut sftp, LIMITS, b""));
    let [packet, read, write, handles] = limits[..] else { panic!("{limits:?}") };
    assert_eq!((packet, handles), (256 << 10, 1024));
    let file = sftp.open(b"file", READ | WRITE | CREATE).unwrap();
    let written = [&file[..], &[0; 8], &string(&vec![7; write as usize])].concat();
    assert_eq!(sftp.status(6, &written), OK);
    let all = [&file[..], &[0; 8], &u32::MAX.to_be_bytes()].concat();
    let (kind, data) = sftp.ask(5, &all);
    assert_eq!((kind, data.len() as u64, read), (103, 4 + read, write));
    // A packet as long as may be, its type and id counted; and one byte more.
    let filled = |length: u64| [string(b"."), vec![0; length as usize - 5 - 5]].concat();
    assert_eq!(sftp.name(16, &filled(packet)).unwrap(), "/home/alice");
    sftp.send(16, &filled(packet + 1));
    assert_eq!(sftp.wait(), 1);
}

#[test]
fn a_class_that_may_not_change_files_has_no_extension_that_does() {
    if !root() {
        return;
    }
    let class = |access: &str| format!("sftp = {{ access = \"{access}\" }}");
    let door = Door::with("[defaults]\nroot = \"host\"\n")
        .tenant("alice", &class("read-only"))
        .tenant("bob", &class("drop-box"))
        .start();
    for tenant in ["alice", "bob"] {
        door.ok(tenant, "echo text >file; mkdir d; chmod 755 d");
        let mut sftp = Sftp::new(&door, tenant);
        // What may be open: to read; or what was brought just now.
        let handle = match tenant {
            "alice" => sftp.open(b"file", READ),
            _ => sftp.open(b"own", WRITE | CREATE),
        };
        let handle = handle.unwrap();
        let change = if tenant == "alice" { DENIED } else { OK };
        let described = |path: &[u8]| [string(path), times(7)].concat();
        let table = [
            (POSIX_RENAME, two(b"file", b"other"), DENIED),
            (HARDLINK, two(b"file", b"other"), DENIED),
            (COPY_DATA, copy(&handle, 0, 0, &handle, 9), DENIED),
            (LSETSTAT, described(b"file"), DENIED),
            (LSETSTAT, described(b"d"), change),
            (FSYNC, handle.clone(), change),
        ];
        for (name, rest, expected) in table {
            assert_eq!(status(&mut sftp, name, &rest), expected, "{tenant}: {name}");
        }
        for (name, rest) in
            [(STATVFS, string(b".")), (FSTATVFS, handle), (LIMITS, Vec::new()), (NAMES, two(&[0; 4], &[0; 4]))]
        {
            assert!(reply(&mut sftp, name, &rest).len() > 4, "{tenant}: {name}");
        }
        let home = format!("/home/{tenant}");
        assert_eq!(path(&mut sftp, HOME_DIRECTORY, ""), Ok(home.clone()));
        assert_eq!(path(&mut sftp, EXPAND_PATH, "~/file"), Ok(format!("{home}/file")));
        assert_eq!(sftp.end(), 0);
        assert_eq!(door.ok(tenant, "cat file; test ! -e other; stat -c %h file"), "text\n1");
    }
}
