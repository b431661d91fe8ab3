//! The scripts, each a test.

use super::Case;

/// Each case as a test, and all of them as the page has them.
macro_rules! cases {
    ($(fn $test:ident() = $case:expr;)*) => {
        pub(super) const CASES: &[(&str, Case)] = &[$((stringify!($test), $case)),*];

        $(#[test]
        fn $test() {
            $case.run();
        })*
    };
}

/// What most of them have.
const PLAIN: Case = Case { client: "", package: "", does: "", note: "", server: "", script: "" };

cases! {
    fn ssh_keyscan_reads_the_host_key() = Case {
        client: "ssh-keyscan",
        package: "openssh-client",
        does: "read the host key",
        script: r#"
            key=$(ssh-keyscan -t ed25519 -p "$PORT" 127.0.0.1 2>/dev/null | cut -d' ' -f2,3)
            test "$key" = "$(cut -d' ' -f1,2 "$DOOR/host_ed25519.pub")"
        "#,
        ..PLAIN
    };

    fn dbclient_runs_commands_and_gets_a_terminal() = Case {
        client: "dbclient (Dropbear)",
        package: "dropbear-bin",
        does: "ran a command with input and got its status, then one on a terminal",
        script: r#"
            as_dropbear; db="dbclient -y -y -i id.dropbear -p $PORT"
            status=0; test "$($db alice@127.0.0.1 cat <<<hello)" = hello
            $db alice@127.0.0.1 'exit 9' </dev/null || status=$?; test $status = 9
            script -qec "$db -t alice@127.0.0.1 tty" log </dev/null >/dev/null; grep /dev/pts/ log
        "#,
        ..PLAIN
    };

    fn plink_runs_commands_and_forwards_a_port() = Case {
        client: "plink (PuTTY)",
        package: "putty-tools",
        does: "ran a command with input and got its status, then connected to a port of the cell",
        script: r#"
            as_putty; plink="plink -batch -hostkey $fingerprint -i id.ppk -P $PORT"
            status=0; test "$($plink alice@127.0.0.1 cat <<<hello)" = hello
            $plink alice@127.0.0.1 'exit 9' </dev/null || status=$?; test $status = 9
            port=$($plink alice@127.0.0.1 /usr/bin/python3 - <<'P'
import os, socket
listener = socket.create_server(('127.0.0.1', 0)); print(listener.getsockname()[1], flush=True)
if os.fork(): os._exit(0)
for fd in range(3): os.dup2(os.open('/dev/null', os.O_RDWR), fd)
listener.accept()[0].sendall(b'from the cell\n')
P
)
            test "$($plink -nc "127.0.0.1:$port" alice@127.0.0.1 </dev/null)" = 'from the cell'
        "#,
        ..PLAIN
    };

    fn psftp_puts_and_gets_a_file() = Case {
        client: "psftp (PuTTY)",
        package: "putty-tools",
        does: "put a file, got it and removed it",
        script: r#"
            as_putty; seq 200000 >numbers
            printf '%s\n' 'put numbers' 'get numbers back' 'rm numbers' >batch
            psftp -batch -b batch -hostkey "$fingerprint" -i id.ppk -P "$PORT" alice@127.0.0.1; cmp numbers back
        "#,
        ..PLAIN
    };

    fn paramiko_runs_a_command_and_moves_files() = Case {
        client: "paramiko",
        package: "python3-paramiko",
        does: "ran a command with input and got its status, then wrote and read a file by sftp",
        note: "before 3.5 by `aes128-ctr` with `hmac-sha2-256-etm@openssh.com`",
        script: r#"
            cat >client.py <<'P'
import os, warnings
warnings.simplefilter('ignore')
import paramiko
client = paramiko.SSHClient(); client.load_host_keys('known_hosts')
client.connect('127.0.0.1', int(os.environ['PORT']), 'alice', key_filename=os.environ['KEY'], look_for_keys=False, allow_agent=False)
stdin, stdout, _ = client.exec_command('cat; exit 5')
stdin.write('hello\n'); stdin.channel.shutdown_write()
assert (stdout.read(), stdout.channel.recv_exit_status()) == (b'hello\n', 5)
sftp = client.open_sftp(); data = os.urandom(1 << 20)
with sftp.open('bytes', 'wb') as file: file.set_pipelined(True); file.write(data)
with sftp.open('bytes', 'rb') as file: file.prefetch(); assert file.read() == data
assert 'bytes' in sftp.listdir(); sftp.remove('bytes'); client.close()
P
            /usr/bin/python3 client.py
        "#,
        ..PLAIN
    };

    fn asyncssh_runs_many_commands_at_a_time_and_moves_files() = Case {
        client: "asyncssh",
        package: "python3-asyncssh",
        does: "ran seven commands at a time on one connection, three times, then wrote and read a file by sftp",
        script: r#"
            cat >client.py <<'P'
import asyncio, os, warnings
warnings.simplefilter('ignore')
import asyncssh
async def main():
    async with asyncssh.connect('127.0.0.1', int(os.environ['PORT']), username='alice', client_keys=[os.environ['KEY']],
                                known_hosts='known_hosts') as client:
        for _ in range(3):
            done = await asyncio.gather(*(client.run(f'cat; exit {n}', input=f'{n}\n') for n in range(7)))
            assert [(r.stdout, r.exit_status) for r in done] == [(f'{n}\n', n) for n in range(7)]
        data = os.urandom(1 << 20)
        async with client.start_sftp_client() as sftp:
            async with sftp.open('bytes', 'wb') as file: await file.write(data)
            async with sftp.open('bytes', 'rb') as file: assert await file.read() == data
            await sftp.remove('bytes')
asyncio.run(main())
P
            /usr/bin/python3 client.py
        "#,
        ..PLAIN
    };

    fn curl_puts_and_gets_a_file_by_libssh2() = Case {
        client: "curl sftp:// (libssh2)",
        package: "curl",
        does: "put a file and got it, with the host key checked",
        note: "libssh2 before 1.11 needs `encrypt_and_mac = true` in `[server]`",
        server: "encrypt_and_mac = true",
        script: r#"
            seq 100000 >numbers; at=sftp://alice@127.0.0.1:$PORT/~/numbers
            curl="curl -sS --pubkey $KEY.pub --key $KEY --hostpubsha256 ${fingerprint#SHA256:}"
            $curl -T numbers "$at"; $curl "$at" -o back; cmp numbers back
        "#,
    };

    fn lftp_mirrors_a_tree_there_and_back() = Case {
        client: "lftp",
        package: "lftp",
        does: "mirrored a tree there and back and removed it",
        script: r#"
            mkdir -p tree/deep; seq 5000 >tree/numbers; head -c 1M /dev/urandom >tree/deep/bytes
            lftp -c "set sftp:connect-program 'ssh -a -x -F $F'; set net:max-retries 1; set cmd:fail-exit yes
                open -u alice, sftp://door; mirror -R tree mirrored; mirror mirrored back; rm -r mirrored"
            diff -r tree back
        "#,
        ..PLAIN
    };

    fn ansible_runs_modules_with_pipelining() = Case {
        client: "Ansible",
        package: "ansible-core",
        does: "ran modules with pipelining over one shared connection, copied a file, removed it",
        note: "needs Python in the tenant's root",
        script: r#"
            echo 'door ansible_user=alice ansible_python_interpreter=/usr/bin/python3' >hosts
            export ANSIBLE_PIPELINING=1 ANSIBLE_SSH_ARGS="-F $F -o ControlMaster=auto -o ControlPersist=30s" LC_ALL=C.UTF-8
            export ANSIBLE_LOCAL_TEMP=$PWD/tmp ANSIBLE_SSH_CONTROL_PATH_DIR=$PWD/cp
            seq 1000 >numbers; sum=$(sha256sum <numbers | cut -d' ' -f1)
            ansible -i hosts all -m ping >out; grep pong out
            ansible -i hosts all -m copy -a "src=$PWD/numbers dest=copied mode=0600"
            ansible -i hosts all -m command -a 'sha256sum copied' >out; grep "$sum" out
            ansible -i hosts all -m file -a 'path=copied state=absent'
        "#,
        ..PLAIN
    };

    fn a_server_left_running_is_met_again_by_the_next_connection() = Case {
        client: "VS Code Remote's pattern",
        package: "openssh-client, curl",
        does: "sent an installer to bash, left a server running, ran twenty commands beside a forward to it by `-D`; \
               was cut off, came back, and met the same server",
        script: r#"
            connect() { ssh -F "$F" -fNM -o ControlPath=control -o ExitOnForwardFailure=yes -D "$FREE_PORT" -l alice door; }
            run() { ssh -F "$F" -o ControlPath=control -l alice door "$@"; }
            ask() { curl -sS --max-time 20 --socks5-hostname "127.0.0.1:$FREE_PORT" "http://localhost:$port/"; }
            connect
            port=$(run bash <<'INSTALL'
mkdir -p .server; cat >.server/serve.py <<'P'
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_GET(self):
        Handler.asked += 1; text = f'{os.getpid()} {Handler.asked}'.encode()
        self.send_response(200); self.send_header('Content-Length', len(text)); self.end_headers(); self.wfile.write(text)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
print(server.server_port, flush=True)
if os.fork(): os._exit(0)
os.setsid()
for fd in range(3): os.dup2(os.open('/dev/null', os.O_RDWR), fd)
open('.server/pid', 'w').write(str(os.getpid())); server.serve_forever()
P
/usr/bin/python3 .server/serve.py
INSTALL
)
            first=$(ask); test "${first#* }" = 1
            for n in {1..20}; do test "$(run "echo $n")" = "$n"; done
            kill -9 "$(ssh -F "$F" -o ControlPath=control -O check door 2>&1 | tr -dc 0-9)"; rm -f control
            connect; test "$(ask)" = "${first% *} 2"
            run 'kill $(cat .server/pid)'; ssh -F "$F" -o ControlPath=control -O exit door 2>&1
        "#,
        ..PLAIN
    };
}
