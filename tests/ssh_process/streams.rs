//! Much data, stuck ends, many channels.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use crate::{
    Test,
    client::{Door, field, stop, text, wait_for},
};

pub const TESTS: &[Test] = &[
    ("half_a_gigabyte_through_cat_is_whole", through_cat),
    ("a_program_that_writes_before_it_reads_does_not_deadlock", writes_first),
    ("a_hundred_megabytes_go_both_ways_unchanged", both_ways),
    ("standard_error_is_a_stream_of_its_own", two_streams),
    ("a_stuck_program_stops_its_client_and_nobody_else", stuck_program),
    ("a_stuck_client_stops_its_program_and_nobody_else", stuck_client),
    ("uploads_go_on_beside_a_stuck_program", upload_beside_stuck),
    ("a_program_that_closes_its_input_lets_the_client_go_on", closed_input),
    ("the_clients_end_of_file_reaches_the_program", half_closed),
    ("keys_are_renewed_in_mid_stream", rekey),
    ("channels_beyond_the_limit_are_refused", many_channels),
    ("three_hundred_sessions_on_one_connection_leave_nothing", many_sessions),
];

/// An `ssh` that others go through.
struct Shared {
    ssh: Option<Child>,
    option: String,
}

impl Shared {
    fn open(door: &Door, name: &str) -> Self {
        let socket = door.dir().join(name);
        let option = format!("ControlPath={}", socket.display());
        let ssh = door.ssh(&["-MN", "-o", &option]).spawn().unwrap();
        wait_for(|| socket.exists().then_some(()));
        Self { ssh: Some(ssh), option }
    }

    fn options(&self) -> [&str; 2] {
        ["-o", &self.option]
    }

    fn answers_quickly(&self, door: &Door) {
        let start = Instant::now();
        let output = door.ssh(&self.options()).arg("echo alive").output().unwrap();
        assert_eq!(text(&output), "alive\n", "{output:?}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(ssh) = self.ssh.take() {
            stop(ssh);
        }
    }
}

fn file(dir: &Path, megabytes: usize) -> PathBuf {
    let path = dir.join(format!("random{megabytes}"));
    if !path.exists() {
        let line = format!("head -c {megabytes}M /dev/urandom > {}", path.display());
        assert!(std::process::Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }
    path
}

fn through_cat(door: &Door) {
    let output = door.shell("head -c 500M /dev/zero | $SSH cat | wc -c");
    assert_eq!(text(&output).trim(), "524288000");
}

fn writes_first(door: &Door) {
    let output = door.shell("head -c 300M /dev/zero | $SSH 'head -c 200M /dev/zero; cat' | wc -c");
    assert_eq!(text(&output).trim(), "524288000");
}

fn both_ways(door: &Door) {
    let file = file(door.dir(), 100);
    let output = door.shell(&format!("$SSH cat < {0} | md5sum; md5sum < {0}; $SSH md5sum < {0}", file.display()));
    let output = text(&output);
    let sums: Vec<&str> = output.lines().collect();
    assert_eq!((sums[0], sums[2]), (sums[1], sums[1]));
}

fn two_streams(door: &Door) {
    let line = "head -c 20M /dev/zero >&2 & head -c 30M /dev/zero; wait";
    let output = door.run(line);
    assert_eq!(output.stdout.len(), 30 << 20);
    assert_eq!(output.stderr.iter().filter(|byte| **byte == 0).count(), 20 << 20);
}

/// Resident memory of the ssh processes, in KiB.
fn memory(door: &Door) -> u64 {
    let each = door.ssh_processes().into_iter().filter_map(|pid| field(pid, "VmRSS:"));
    each.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).max().unwrap()
}

fn stuck_program(door: &Door) {
    let shared = Shared::open(door, "stuck_program");
    let mut upload = door.ssh(&shared.options()).arg("sleep 6").stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = upload.stdin.take().unwrap();
    nix::fcntl::fcntl(&stdin, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).unwrap();
    let mut taken = 0;
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        match stdin.write(&[0; 65_536]) {
            Ok(length) => taken += length,
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    assert!(taken < 40 << 20, "{taken} bytes were taken though nobody reads");
    assert!(memory(door) < 40 << 10, "{} KiB", memory(door));
    shared.answers_quickly(door);
    stop(upload);
}

fn stuck_client(door: &Door) {
    let shared = Shared::open(door, "stuck_client");
    let marker = door.dir().join("written");
    let line = format!("head -c 200M /dev/zero; touch {}", marker.display());
    let mut download = door.ssh(&shared.options()).arg(line).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(!marker.exists(), "the program was not stopped");
    assert!(memory(door) < 40 << 10, "{} KiB", memory(door));
    shared.answers_quickly(door);
    let length = std::io::copy(&mut download.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    assert_eq!(length, 200 << 20);
    let status = download.wait().unwrap();
    assert!(status.success(), "{status} {:?}", door.log().lines().last());
}

fn upload_beside_stuck(door: &Door) {
    let shared = Shared::open(door, "beside");
    let zero = || File::open("/dev/zero").unwrap();
    let stuck = door.ssh(&shared.options()).arg("sleep 60").stdin(zero()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let line = format!("head -c 200M /dev/zero | $SSH {} wc -c", shared.options().join(" "));
    assert_eq!(text(&door.shell(&line)).trim(), "209715200");
    // It goes on; how fast is the benchmarks' matter.
    assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
    assert!(memory(door) < 60 << 10, "{} KiB", memory(door));
    shared.answers_quickly(door);
    stop(stuck);
}

fn closed_input(door: &Door) {
    let start = Instant::now();
    let output = door.shell("head -c 100M /dev/zero | $SSH 'exec <&-; sleep 0.5; echo done'");
    assert_eq!(text(&output), "done\n");
    assert!(start.elapsed() < Duration::from_secs(5));
}

fn half_closed(door: &Door) {
    let output = door.shell("echo some words | $SSH 'cat; echo; sleep 0.3; echo after the end'");
    assert_eq!(text(&output), "some words\n\nafter the end\n");
    // Closed output, open input.
    let output = door.shell(
        "(sleep 0.5; echo input) | $SSH \"exec >&- 2>&-; cat > $HOME_FILE\"; cat $HOME_FILE"
            .replace("$HOME_FILE", door.dir().join("half").to_str().unwrap())
            .as_str(),
    );
    assert_eq!(text(&output), "input\n");
}

fn rekey(door: &Door) {
    let file = file(door.dir(), 100);
    let line = format!("$SSH -o RekeyLimit=10M cat < {0} | md5sum; md5sum < {0}", file.display());
    let output = text(&door.shell(&line));
    let sums: Vec<&str> = output.lines().collect();
    assert_eq!(sums[0], sums[1]);
}

fn many_channels(door: &Door) {
    let shared = Shared::open(door, "many");
    let open = || door.ssh(&shared.options()).arg("sleep 3").stderr(Stdio::null()).spawn().unwrap();
    let mut sessions: Vec<Child> = (0..10).map(|_| open()).collect();
    // Once all ten run there is no eleventh, and the client makes a connection of its own.
    let connections = || door.log().matches("Confined").count();
    let before = connections();
    wait_for(|| {
        door.ssh(&shared.options()).arg("true").stderr(Stdio::null()).status().unwrap();
        (connections() > before).then_some(())
    });
    for session in &mut sessions {
        assert!(session.wait().unwrap().success());
    }
    shared.answers_quickly(door);
}

fn many_sessions(door: &Door) {
    let shared = Shared::open(door, "sessions");
    let pid = door.ssh_processes()[0];
    let fds = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let before = fds();
    let options = shared.options().join(" ");
    let line = format!("for i in $(seq 300); do echo $i | $SSH {options} cat; done");
    // Each is a client of its own: 30 ms, and more where others want the processors too.
    let output = door.shell_within("90", &line);
    assert!(output.status.success() && text(&output).lines().count() == 300, "{output:?}");
    wait_for(|| (fds() == before).then_some(()));
}
