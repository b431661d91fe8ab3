//! Callers at the enter door that no `cellblock enter` is.

use std::process::Command;

use cellblock::wire::enter::{Answer, Call, NoEntry};
use serde_json::Value;

use super::Host;

/// A caller of our own making: connects, then does what is told. `say` sends, `hear` prints what comes as
/// hexadecimal digits, or `end`.
pub const CALLER: &str = r#"
import array, os, socket, sys, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect('/run/cellblock/enter.sock')
def say(text, fds=()):
    data = bytes.fromhex(text) if isinstance(text, str) else text
    try: s.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))] if fds else [])
    except OSError as why: print(why.strerror, flush=True)
def take():
    for _ in range(2):
        # What was not read of ours is told first (unix(7)).
        try: return s.recv(1 << 18)
        except ConnectionResetError: pass
    return b''
def hear():
    print(take().hex() or 'end', flush=True)
"#;

pub fn caller(host: &Host, account: &str, script: &str) -> Command {
    host.on_host(account, &["/usr/bin/python3", "-c", &format!("{CALLER}{script}")])
}

pub fn hex(message: &impl serde::Serialize) -> String {
    postcard::to_stdvec(message).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn call(tenant: Option<&str>) -> String {
    hex(&Call { tenant: tenant.map(str::to_owned), came_by: None })
}

pub fn refusal(why: NoEntry) -> String {
    hex(&Answer::Refused(why))
}

pub fn events(host: &Host, name: &str) -> Vec<Value> {
    host.door.events(name)
}
