//! What looks like a running cell and is none: whoever comes to join it is refused, and gives it nothing
//! (CVE-2022-31214). Only root can put it there; `listener.rs` holds that.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    reason = "test support code"
)]

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{Arc, Mutex},
    thread,
    time::Instant,
};

use cellblock::{
    sys::{namespace, poll, seqpacket},
    wire::init::WELCOME,
};
use serde_json::{Value, json};
use support::{Door, patience, root, soon};

/// Listens where init would, and welcomes everybody.
struct Imposter {
    came: Arc<Mutex<usize>>,
    /// Bytes and descriptors that it was given.
    given: Arc<Mutex<Vec<(usize, usize)>>>,
}

impl Imposter {
    fn at(path: &Path) -> Self {
        let socket = seqpacket::bind_path(path).unwrap();
        seqpacket::start_listening(socket.as_fd(), 8).unwrap();
        let imposter = Self { came: Arc::default(), given: Arc::default() };
        let (came, given) = (imposter.came.clone(), imposter.given.clone());
        thread::spawn(move || {
            let soon = || Some(Instant::now() + patience(15));
            loop {
                poll::wait_readable(&[socket.as_fd()], None).unwrap();
                let Ok(caller) = seqpacket::accept_one(socket.as_fd()) else { continue };
                // It may have gone again already.
                seqpacket::send(caller.as_fd(), WELCOME, &[]).ok();
                poll::wait_readable(&[caller.as_fd()], soon()).unwrap();
                match seqpacket::receive(caller.as_fd(), &mut [0; 65_536]) {
                    Ok((0, _)) | Err(_) => {}
                    Ok((length, fds)) => given.lock().unwrap().push((length, fds.len())),
                }
                *came.lock().unwrap() += 1;
            }
        });
        imposter
    }

    /// So many came by now, and gave nothing.
    fn was_given_nothing(&self, callers: usize) {
        soon("whoever came has gone", || *self.came.lock().unwrap() >= callers);
        assert_eq!(*self.came.lock().unwrap(), callers);
        assert_eq!(*self.given.lock().unwrap(), [], "bytes and descriptors");
    }
}

fn place(door: &Door) -> (PathBuf, PathBuf) {
    let place = door.run_dir().join("cells/alice");
    (place.join("init.sock"), place.join("cell.json"))
}

fn read(record: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(record).unwrap()).unwrap()
}

/// Nobody of the tenant's gets in, and the admin reads why; others do.
fn all_are_refused(door: &Door, why: &str) {
    let ran = door.run("alice", "echo in");
    assert!(ran.status == 255 && ran.text().is_empty(), "{ran:?}\n{}", door.log());
    assert!(door.log().contains(why), "{why}: {}", door.log());
    let ran = door.verb(&["list"]);
    assert!(ran.status == 0 && ran.text().contains(&format!("? ({why})")), "{ran:?}");
    door.ok("bob", "true");
}

#[test]
fn a_process_that_answers_in_place_of_init_is_given_nothing() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let mut live = door.spawn("alice", "echo up; read line; echo $line");
    assert_eq!(live.line(), "up");
    let (socket, record) = place(&door);
    let aside = socket.with_file_name("aside");
    fs::rename(&socket, &aside).unwrap();
    let imposter = Imposter::at(&socket);
    let init = read(&record)["pid"].clone();
    all_are_refused(&door, &format!("process {} answers, not {init}", process::id()));
    imposter.was_given_nothing(2);
    fs::rename(&aside, &socket).unwrap();
    assert_eq!(door.ok("alice", "echo in"), "in");
    live.write("noticed nothing\n");
    assert_eq!(live.line(), "noticed nothing");
}

#[test]
fn a_record_of_another_process_leads_nobody_to_it() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let live = door.spawn("alice", "echo up; exec sleep 1000");
    assert_eq!(live.line(), "up");
    let (_, record) = place(&door);
    let true_record = fs::read_to_string(&record).unwrap();
    let init = read(&record)["pid"].clone();
    let mut other = Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = i32::try_from(other.id()).unwrap();
    let mut false_record = read(&record);
    false_record["pid"] = json!(pid);
    false_record["started"] = json!(namespace::start_time(pid).unwrap());
    fs::write(&record, false_record.to_string()).unwrap();
    all_are_refused(&door, &format!("process {init} answers, not {pid}"));
    assert!(other.try_wait().unwrap().is_none(), "it was not ended in the cell's place");
    fs::write(&record, &true_record).unwrap();
    assert_eq!(door.ok("alice", "echo in"), "in");
    other.kill().unwrap();
    other.wait().unwrap();
}

/// A pid that somebody else has by now: then none runs, and one is started
#[test]
fn a_record_of_another_start_is_nobodys() {
    if !root() {
        return;
    }
    let door = Door::standard();
    let (socket, record) = place(&door);
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    let imposter = Imposter::at(&socket);
    fs::write(&record, json!({ "pid": process::id(), "started": 1, "owner": 0 }).to_string()).unwrap();
    assert_eq!(door.ok("alice", "echo in"), "in");
    imposter.was_given_nothing(0);
}
