//! The scripts.

use super::Case;

pub(super) const CASES: &[Case] = &[
    Case {
        client: "ssh",
        package: "openssh-client",
        does: "ran a command with input and got its exit status",
        script: r#"
        status=0; test "$(ssh -F "$F" -l alice door cat <<<hello)" = hello
        test "$(ssh -F "$F" -l alice door 'id -un')" = alice
        ssh -F "$F" -l alice door 'exit 7' || status=$?; test $status = 7
        "#,
    },
    Case {
        client: "ssh-keyscan",
        package: "openssh-client",
        does: "read the host key",
        script: r#"
        key=$(ssh-keyscan -t ed25519 -p "$PORT" 127.0.0.1 2>/dev/null | cut -d' ' -f2,3)
        test "$key" = "$(cut -d' ' -f1,2 "$DOOR/host_ed25519.pub")"
        "#,
    },
    Case {
        client: "scp",
        package: "openssh-client",
        does: "copied a tree there and back, by sftp and by the old protocol",
        script: r#"
        mkdir -p tree/deep; seq 20000 >tree/numbers; head -c 3M /dev/urandom >tree/deep/bytes; : >'tree/a b'
        for protocol in -s -O; do
            scp -q $protocol -rp -F "$F" tree alice@door:copy
            scp -q $protocol -rp -F "$F" alice@door:copy back
            diff -r tree back; rm -r back; ssh -F "$F" -l alice door 'rm -r copy'
        done
        "#,
    },
    Case {
        client: "sftp",
        package: "openssh-client",
        does: "put, renamed, linked, listed, got and removed files",
        script: r#"
        seq 100000 >numbers
        printf '%s\n' 'mkdir box' 'cd box' 'put -p numbers' 'rename numbers n' 'symlink n l' 'ln n h' 'chmod 600 n' \
            'ls -l' 'df' 'get l back' 'cp n m' 'rm n' 'rm l' 'rm h' 'rm m' 'cd ..' 'rmdir box' |
            sftp -q -b - -F "$F" alice@door >out
        cmp numbers back; grep -q '^-rw-------.* n$' out; grep -q '^lrwx' out
        "#,
    },
    Case {
        client: "rsync",
        package: "rsync",
        does: "copied a tree there, then what changed, then back",
        script: r#"
        mkdir -p tree/deep; seq 20000 >tree/numbers; head -c 2M /dev/urandom >tree/deep/bytes; ln -s numbers tree/link
        rsync -a -e "ssh -F $F" tree/ alice@door:synced/
        echo more >>tree/numbers; rm tree/deep/bytes
        rsync -ac --delete --stats -e "ssh -F $F" tree/ alice@door:synced/ | grep 'files transferred: 1$'
        rsync -a -e "ssh -F $F" alice@door:synced/ back/
        diff -r tree back; ssh -F "$F" -l alice door 'rm -r synced'
        "#,
    },
    Case {
        client: "git",
        package: "git",
        does: "pushed to a bare repository in the cell and cloned it",
        script: r#"
        export GIT_SSH_COMMAND="ssh -F $F"
        ssh -F "$F" -l alice door 'git init -q --bare -b main shop.git'
        git init -q -b main shop; cd shop; git config user.email a@b; git config user.name a
        seq 5000 >file; git add .; git commit -qm one; git push -q alice@door:shop.git main
        git clone -q alice@door:shop.git ../clone; cmp file ../clone/file
        ssh -F "$F" -l alice door 'rm -rf shop.git'
        "#,
    },
    Case {
        client: "sshfs",
        package: "sshfs",
        does: "mounted the home, copied a source tree into it, built there, unmounted",
        script: r#"
        mkdir source home
        printf 'int twice(int n) { return 2 * n; }\n' >source/twice.c
        printf 'int twice(int); int main(void) { return twice(21); }\n' >source/main.c
        printf 'all: main.o twice.o\n\tcc -o all main.o twice.o\n' >source/Makefile
        sshfs -F "$F" alice@door: home
        trap 'fusermount3 -u home' EXIT
        cp -a source home/; make -s -C home/source; test -s home/source/all
        status=0; ssh -F "$F" -l alice door source/all || status=$?; test $status = 42
        rm -r home/source
        "#,
    },
    Case {
        client: "dbclient",
        package: "dropbear-bin",
        does: "ran a command with input and got its exit status; asked for a terminal",
        script: r#"
        as_dropbear
        dbclient() { command dbclient -y -y -i id.dropbear -p "$PORT" "$@" 2>err; }
        status=0; test "$(dbclient alice@127.0.0.1 cat <<<hello)" = hello
        dbclient alice@127.0.0.1 'exit 9' || status=$?; test $status = 9
        dbclient -t alice@127.0.0.1 tty </dev/null | grep /dev/pts/
        "#,
    },
    Case {
        client: "plink",
        package: "putty-tools",
        does: "ran a command with input and got its exit status",
        script: r#"
        as_putty
        plink() { command plink -batch -hostkey "$fingerprint" -i id.ppk -P "$PORT" "$@"; }
        status=0; test "$(plink alice@127.0.0.1 cat <<<hello)" = hello
        plink alice@127.0.0.1 'exit 9' </dev/null || status=$?; test $status = 9
        "#,
    },
    Case {
        client: "psftp",
        package: "putty-tools",
        does: "put and got a file",
        script: r#"
        as_putty; seq 200000 >numbers
        printf '%s\n' 'put numbers' 'get numbers back' 'rm numbers' >batch
        psftp -batch -b batch -hostkey "$fingerprint" -i id.ppk -P "$PORT" alice@127.0.0.1 >/dev/null; cmp numbers back
        "#,
    },
    Case {
        client: "paramiko",
        package: "python3-paramiko",
        does: "ran a command, then wrote and read a file by sftp",
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
with sftp.open('bytes', 'wb') as file: file.write(data)
with sftp.open('bytes', 'rb') as file: file.prefetch(); assert file.read() == data
assert 'bytes' in sftp.listdir(); sftp.remove('bytes'); client.close()
P
        /usr/bin/python3 client.py
        "#,
    },
    Case {
        client: "asyncssh",
        package: "python3-asyncssh",
        does: "ran twenty commands at a time on one connection, then wrote and read a file by sftp",
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
    },
    Case {
        client: "curl",
        package: "curl",
        does: "put and got a file by sftp:// (libssh2)",
        script: r#"
        seq 100000 >numbers; at=sftp://alice@127.0.0.1:$PORT/~/numbers
        curl() { command curl -sS --pubkey "$KEY.pub" --key "$KEY" --insecure "$@"; }
        curl -T numbers "$at"; curl "$at" -o back; cmp numbers back; ssh -F "$F" -l alice door 'rm numbers'
        "#,
    },
    Case {
        client: "lftp",
        package: "lftp",
        does: "mirrored a tree there and back",
        script: r#"
        mkdir -p tree/deep; seq 5000 >tree/numbers; head -c 1M /dev/urandom >tree/deep/bytes
        lftp -c "set sftp:connect-program 'ssh -a -x -F $F'; set net:max-retries 1; open -u alice, sftp://door
            mirror -R tree mirrored; mirror mirrored back; rm -r mirrored"
        diff -r tree back
        "#,
    },
    Case {
        client: "ansible",
        package: "ansible-core",
        does: "ran modules with pipelining, and copied a file",
        script: r#"
        echo "door ansible_user=alice ansible_python_interpreter=/usr/bin/python3" >hosts
        export ANSIBLE_PIPELINING=1 ANSIBLE_SSH_ARGS="-F $F -o ControlMaster=auto -o ControlPersist=5s" ANSIBLE_HOST_KEY_CHECKING=0
        export ANSIBLE_LOCAL_TEMP=$PWD/tmp ANSIBLE_SSH_CONTROL_PATH_DIR=$PWD/cp LC_ALL=C.UTF-8
        seq 1000 >numbers
        ansible -i hosts all -m ping | grep -q pong
        ansible -i hosts all -m copy -a "src=$PWD/numbers dest=copied mode=0600" >/dev/null
        ansible -i hosts all -m command -a "sha256sum copied" | grep -q "$(sha256sum <numbers | cut -d' ' -f1)"
        ansible -i hosts all -m file -a "path=copied state=absent" >/dev/null
        "#,
    },
    Case {
        client: "VS Code Remote's pattern",
        package: "openssh-client, curl",
        does: "left a server running by one of many commands, reached it through -D, and met it again at the next login",
        script: r#"
        master() { ssh -F "$F" -o ControlPath=$PWD/control -l alice door "$@"; }
        ssh -F "$F" -fNM -o ControlPath=$PWD/control -D 127.0.0.1:0 -E log -v -l alice door
        port=$(sed -n 's/.*Local connections to 127.0.0.1:0 forwarded.*//p; s/.*Local forwarding listening on 127.0.0.1 port \([0-9]*\).*/\1/p' log | tail -1)
        for n in {1..20}; do test "$(master "echo $n")" = $n; done
        master 'mkdir -p served; echo found >served/page; cd served
            setsid nohup python3 -u -m http.server --bind 127.0.0.1 0 >log 2>&1 </dev/null &
            echo $! >pid; until grep -q port log; do :; done; sed -n "s/.* port \([0-9]*\) .*/\1/p" log' >served
        test "$(curl -sS --socks5-hostname 127.0.0.1:"$port" "http://localhost:$(cat served)/page")" = found
        master -O exit 2>/dev/null
        ssh -F "$F" -l alice door 'kill $(cat served/pid) && rm -r served'
        "#,
    },
];
