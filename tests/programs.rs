//! "Nothing real breaks in a cell" (issue 3, item 1): programs that people work with, in a Debian
//! root, under the list of system calls that every tenant has.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support code"
)]

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use support::{Door, Scratch, root, workshop_root};

/// Name and script. Each runs under `set -euo pipefail` in an empty directory of the tenant's.
const PROGRAMS: [(&str, &str); 14] = [
    (
        "bash",
        r#"
        test "$(for n in {1..30}; do echo $n | cat; done | sort -rn | head -1)" = 30
        diff <(echo a) <(echo a)
        coproc CAT { cat; }; echo hi >&${CAT[1]}; read -r word <&${CAT[0]}; test "$word" = hi
        kill $CAT_PID; wait $CAT_PID || test $? = 143
        (trap 'echo caught; exit 3' USR1; kill -USR1 $BASHPID) >out || test $? = 3
        test "$(cat out)" = caught; ulimit -n 100; ulimit -a >/dev/null; times >/dev/null
    "#,
    ),
    (
        "coreutils",
        r#"
        test "$(seq 20000 | shuf | sort -n --parallel=2 | tail -1)" = 20000
        cp -a /etc/passwd p; ln p q; ln -s p r; touch -d yesterday p; test "$(stat -c %h p)" = 2; mv p s
        dd if=/dev/zero of=z bs=4k count=10 conv=fsync 2>/dev/null; truncate -s 1M z; sync z; fallocate -l 2M y
        mkfifo f; (echo through >f &); test "$(cat f)" = through
        timeout 5 nice -n 5 stdbuf -oL true; chmod 600 s; install -d d; seq 9999 >v; split -n 3 v part; cat part* >w
        cmp v w; shred -n1 -u z; df . >/dev/null; id >/dev/null; nproc >/dev/null; date >/dev/null
        find / -xdev -maxdepth 2 >/dev/null 2>&1 || true; tar c v w d | tar t >/dev/null; ps aux >/dev/null
    "#,
    ),
    (
        "git",
        r#"
        git init -q -b main r; cd r; git config user.email a@b; git config user.name a
        for n in 1 2 3; do seq $n 500 >f$n; git add .; git commit -qm $n; done
        git gc -q --aggressive --prune=now; git fsck --full 2>/dev/null; git checkout -qb side HEAD~1; git stash list
        git clone -q . ../c; test "$(git -C ../c log --oneline --all | wc -l)" = 3
        (git daemon --base-path=.. --export-all --listen=127.0.0.1 --port=9418 --reuseaddr --pid-file=../pid --detach)
        for n in $(seq 50); do git clone -q git://127.0.0.1/r ../d 2>/dev/null && break; sleep 0.1; done
        test "$(git -C ../d log --oneline | wc -l)" = 2; kill "$(cat ../pid)"
    "#,
    ),
    (
        "python",
        r#"cat >t.py <<'P'
import asyncio, mmap, multiprocessing, os, resource, select, signal, socket, sqlite3, subprocess, tempfile, threading
def double(n): return 2 * n
async def echo(reader, writer):
    writer.write(await reader.readline()); await writer.drain(); writer.close()
async def talk():
    server = await asyncio.start_server(echo, '127.0.0.1', 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b'hello\n'); assert await reader.readline() == b'hello\n'
    child = await asyncio.create_subprocess_exec('echo', 'hi', stdout=subprocess.PIPE)
    assert (await child.communicate())[0] == b'hi\n'
if __name__ == '__main__':
    assert subprocess.run(['sh', '-c', 'cat; exit 3'], input=b'x', capture_output=True).returncode == 3
    for method in ('fork', 'spawn', 'forkserver'):
        with multiprocessing.get_context(method).Pool(3) as pool: assert pool.map(double, range(9))[8] == 16
    asyncio.run(talk())
    threads = [threading.Thread(target=double, args=(1,)) for _ in range(20)]
    [t.start() for t in threads]; [t.join() for t in threads]
    a, b = socket.socketpair(); a.send(b'x'); poll = select.epoll(); poll.register(b); assert poll.poll(1)
    with tempfile.TemporaryFile() as f:
        f.truncate(8192); m = mmap.mmap(f.fileno(), 8192); m[0] = 1
    os.posix_spawn('/bin/true', ['true'], {}); os.wait(); os.sched_setaffinity(0, os.sched_getaffinity(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
    socket.getaddrinfo('localhost', 80); os.memfd_create('x'); os.getrandom(8); signal.setitimer(signal.ITIMER_REAL, 9)
    os.copy_file_range(os.open('t.py', 0), os.open('copy', os.O_RDWR | os.O_CREAT), 10)
    sqlite3.connect('db').execute('create table t(x)')
P
        python3 t.py
    "#,
    ),
    (
        "node",
        r#"cat >t.js <<'J'
const http = require('http'), fs = require('fs'), cp = require('child_process'), { Worker } = require('worker_threads')
const server = http.createServer((q, a) => a.end('served')).listen(0, '127.0.0.1', () =>
  http.get({ host: '127.0.0.1', port: server.address().port }, answer => answer.on('data', async data => {
    if (String(data) != 'served') process.exit(2)
    await fs.promises.writeFile('f', 'x'); await fs.promises.readFile('f'); fs.watch('f').close()
    if (cp.execFileSync('echo', ['hi']) != 'hi\n') process.exit(3)
    require('crypto').pbkdf2('a', 'b', 1000, 32, 'sha256', () =>
      new Worker('require("worker_threads").parentPort.postMessage(7)', { eval: true }).on('message', n => process.exit(n == 7 ? 0 : 4)))
  })))
J
        timeout 30 node t.js
    "#,
    ),
    (
        "gcc and make",
        r#"printf '#include <pthread.h>\n#include <stdio.h>\nvoid *f(void *p) { return p; }\nint main(void) { pthread_t t; pthread_create(&t, 0, f, "made"); void *r; pthread_join(t, &r); puts(r); }\n' >a.c
        printf 'all: a b\na b: a.c\n\tgcc -O1 -pthread -o $@ a.c\n' >Makefile
        make -sj2; test "$(./a)" = made; gcc -static -o c a.c; ./c >/dev/null
    "#,
    ),
    (
        "tmux",
        r#"export TERM=xterm; trap 'tmux -L t kill-server 2>/dev/null || true' EXIT
        tmux -L t -f /dev/null new-session -d -x 80 -y 24 'sh'; tmux -L t send-keys 'echo $((6*7))' Enter
        for n in $(seq 100); do tmux -L t capture-pane -p | grep -q '42$' && break; sleep 0.1; done
        tmux -L t capture-pane -p | grep -q '42$'; tmux -L t split-window; tmux -L t kill-server
    "#,
    ),
    (
        "vim",
        r#"echo good morning >f; vim.tiny -u NONE -es -c '%s/morning/night/' -c wq f; grep -qx 'good night' f
        script -qec "vim.tiny -u NONE -c 'normal Ax' -c wq f" /dev/null >/dev/null; grep -qx 'good nightx' f
    "#,
    ),
    (
        "curl",
        r#"mkdir w; seq 100000 >w/big; python3 -m http.server -b 127.0.0.1 -d w 8001 >/dev/null 2>&1 & server=$!
        curl -s --retry 20 --retry-connrefused --retry-delay 1 http://127.0.0.1:8001/big | cmp - w/big
        curl -s -o /dev/null -Z http://localhost:8001/big http://127.0.0.1:8001/big -o x; kill $server
    "#,
    ),
    (
        "sqlite",
        r#"sqlite3 db 'pragma journal_mode=wal; create table t(x); insert into t values(1),(2); pragma mmap_size=1048576;' >/dev/null
        (sqlite3 db 'insert into t values(3)'); test "$(sqlite3 db 'select sum(x) from t')" = 6; sqlite3 db vacuum
    "#,
    ),
    (
        "rsync",
        r#"mkdir -p a/b; seq 5000 >a/b/c; ln -s c a/b/l; rsync -aHAX a/ z/; diff -r a z; seq 6000 >a/b/c
        printf '[m]\npath=%s\nuse chroot=no\n' "$PWD/a" >conf; rsync --daemon --no-detach --address=127.0.0.1 --port=8730 --config=conf & server=$!
        for n in $(seq 50); do rsync -a rsync://127.0.0.1:8730/m/ y/ 2>/dev/null && break; sleep 0.1; done; diff -r a y; kill $server
    "#,
    ),
    ("a threaded Rust program", r#"test "$(/usr/local/bin/threads)" = "320000 496 child""#),
    (
        "nginx",
        r#"mkdir www; seq 50000 >www/big; cat >conf <<C
worker_processes 2; pid $PWD/pid; error_log $PWD/error; events { worker_connections 64; use epoll; }
http { access_log off; sendfile on; aio threads; server { listen 127.0.0.1:8080; listen unix:$PWD/sock; root $PWD/www; }
client_body_temp_path $PWD/1; proxy_temp_path $PWD/2; fastcgi_temp_path $PWD/3; uwsgi_temp_path $PWD/4; scgi_temp_path $PWD/5; }
C
        /usr/sbin/nginx -e "$PWD/error" -c "$PWD/conf"; curl -s http://127.0.0.1:8080/big | cmp - www/big
        kill -HUP "$(cat pid)"; curl -s --unix-socket sock http://x/big | cmp - www/big; kill -QUIT "$(cat pid)"
    "#,
    ),
    (
        "redis",
        r#"redis-server --port 7777 --bind 127.0.0.1 --daemonize yes --dir "$PWD" --appendonly yes --io-threads 2 --pidfile "$PWD/pid" --logfile "$PWD/log" >/dev/null
        for n in $(seq 100); do redis-cli -p 7777 ping 2>/dev/null | grep -q PONG && break; sleep 0.1; done
        redis-cli -p 7777 set k v | grep -qx OK; redis-cli -p 7777 bgsave >/dev/null; redis-benchmark -p 7777 -q -n 2000 -t set,get >/dev/null
        for n in $(seq 100); do test -e dump.rdb && break; sleep 0.1; done; test -e dump.rdb
        test "$(redis-cli -p 7777 get k)" = v; redis-cli -p 7777 shutdown
    "#,
    ),
];

/// A package of its own and a repository with it, then what an admin of a machine does.
const PACKAGES: &str = r#"
    mkdir -p /tmp/p/DEBIAN /tmp/p/usr/share/cbt /srv/repo; echo data >/tmp/p/usr/share/cbt/data
    printf 'Package: cbt\nVersion: 1\nArchitecture: all\nMaintainer: t <t@example.org>\nDescription: t\n' >/tmp/p/DEBIAN/control
    printf '#!/bin/sh\nset -e\nid -u cbt >/dev/null 2>&1 || useradd --system --create-home cbt\nchown cbt: /usr/share/cbt/data\n' >/tmp/p/DEBIAN/postinst
    chmod 755 /tmp/p/DEBIAN/postinst; dpkg-deb -b /tmp/p /srv/repo/cbt.deb >/dev/null
    cd /srv/repo; (cat /tmp/p/DEBIAN/control; echo "Filename: ./cbt.deb"; stat -c 'Size: %s' cbt.deb; echo "SHA256: $(sha256sum cbt.deb | cut -d' ' -f1)") >Packages
    rm -rf /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list
    apt-get update -q; apt-get install -qy cbt; dpkg -s cbt | grep -qx 'Status: install ok installed'
    test "$(stat -c %U /usr/share/cbt/data)" = cbt; apt-get install -qy --reinstall cbt; apt-get purge -qy cbt; dpkg --audit
    dpkg -i cbt.deb; dpkg --purge cbt; su nobody -s /bin/sh -c id; userdel -r cbt 2>/dev/null; ldconfig; update-alternatives --get-selections
"#;

fn script(name: &str, body: &str) -> String {
    let directory = name.replace(' ', "-");
    format!("set -euo pipefail\nrm -rf ~/{directory}; mkdir ~/{directory}; cd ~/{directory}\n{body}\n")
}

/// A root with all programs and a home for carol.
fn workshop(scratch: &Scratch) -> PathBuf {
    let tree = workshop_root(scratch);
    fs::write(tree.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n").unwrap();
    fs::create_dir(tree.join("home/carol")).unwrap();
    chown(tree.join("home/carol"), Some(1000), Some(1000)).unwrap();
    compile_threads(&tree);
    tree
}

fn compile_threads(tree: &Path) {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/threads.rs");
    let program = tree.join("usr/local/bin/threads");
    let built = Command::new(rustc)
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"])
        .arg(program)
        .arg(source)
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
}

#[test]
fn what_people_work_with_works_and_is_refused_nothing_that_it_needs() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = workshop(&scratch);
    let mut broken = Vec::new();

    let door = Door::with("").tenant("bob", &format!("root = \"{}\"\nuser = \"root\"", tree.display())).start();
    let ran = door.run_with("bob", "DEBIAN_FRONTEND=noninteractive bash -s", script("apt", PACKAGES).as_bytes());
    if ran.status != 0 {
        broken.push(format!("apt and dpkg: {}\n{}\n{}", ran.status, ran.text(), ran.err));
    }
    drop(door);

    let door = Door::with("").tenant("carol", &format!("root = \"{}\"", tree.display())).start();
    for (name, body) in PROGRAMS {
        let ran = door.run_with("carol", "bash -s", script(name, body).as_bytes());
        if ran.status != 0 {
            broken.push(format!("{name}: {}\n{}\n{}", ran.status, ran.text(), ran.err));
        }
    }
    drop(door);
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}

/// Calls that fail with one of the filter's errors: `clone3`, for which libc falls back to clone,
/// and two that the kernel itself refuses (an owner that cp -a may not set, a leader that tmux's
/// shell makes leader again).
const MISSED: [&str; 3] = ["clone3", "fchown", "setpgid"];

/// The call of a line of strace(1): `PID NAME(…` or `PID <... NAME resumed>…`.
fn call(line: &str) -> &str {
    let rest = line.split_once(' ').unwrap().1.trim_start();
    rest.strip_prefix("<... ").unwrap_or(rest).split(['(', ' ']).next().unwrap()
}

/// A program that goes on without what it was refused would show nothing: so what is refused is
/// looked at too.
#[test]
fn nothing_is_refused_silently_but_what_is_known() {
    if !root() {
        return;
    }
    let scratch = Scratch::new();
    let tree = workshop(&scratch);
    let door =
        Door::with("").tenant("carol", &format!("root = \"{}\"\nsyscalls = [\"debug\"]", tree.display())).start();
    let mut seen = BTreeSet::new();
    for (name, body) in PROGRAMS {
        let trace = "strace -f -qq -o /tmp/trace -e trace='!ptrace' -e signal=none bash -s || true";
        let line = format!("{trace}; grep -e '= -1 ENOSYS' -e '= -1 EPERM' -e '= -1 EAFNOSUPPORT' /tmp/trace || true");
        let ran = door.run_with("carol", &line, script(name, body).as_bytes());
        assert_eq!(ran.status, 0, "{name}: {}", ran.err);
        let text = ran.text();
        let refused = text.lines().filter(|line| line.contains("= -1 E")).map(|line| call(line).to_owned());
        seen.extend(refused.map(|call| (call, name)));
    }
    assert!(seen.iter().any(|(call, _)| call == "clone3"), "the trace shows nothing: {seen:?}");
    let strange: Vec<_> = seen.iter().filter(|(call, _)| !MISSED.contains(&call.as_str())).collect();
    assert!(strange.is_empty(), "{strange:?}");
}
