//! What sshd forwards starts and ends on the host, outside of every cell.

use super::instead;
use crate::sshd::answer::Answer;
use crate::sshd::leak::{Found, WHO};

/// Since sshd before 10.0 does not keep `DisableForwarding` for these two (CVE-2025-32728).
const ALSO: &str = "DisableForwarding closes it from OpenSSH 10.0 on only, so both are needed";

pub(super) fn judge(answer: &Answer) -> Vec<Found> {
    let mut all = Vec::new();
    let mut open = |keyword: &str, line: &str, what: String| {
        let place = answer.place(keyword, |_any| true);
        all.push(Found::new(place, what, instead(line, place)));
    };
    let disabled = answer.value("disableforwarding") == "yes";
    let lets = |keyword: &str, way: &str| {
        let value = answer.value(keyword);
        !disabled && (value == "yes" || value == "all" || value == way)
    };

    let local = lets("allowtcpforwarding", "local") && answer.value("permitopen") != "none";
    let remote = lets("allowtcpforwarding", "remote") && answer.value("permitlisten") != "none";
    let ways = match (local, remote) {
        (true, true) => "connects to this host's network, and listens there,",
        (true, false) => "connects to this host's network",
        (false, true) => "listens in this host's network",
        (false, false) => "",
    };
    if !ways.is_empty() {
        open("allowtcpforwarding", "AllowTcpForwarding no", format!("sshd {ways} for {WHO}"));
    }
    if remote && !["no", ""].contains(&answer.value("gatewayports")) {
        let what = format!("what listens in this host's network for {WHO} is open to other hosts");
        open("gatewayports", "GatewayPorts no", what);
    }
    if lets("allowstreamlocalforwarding", "local") || lets("allowstreamlocalforwarding", "remote") {
        let what = format!("sshd connects {WHO} to unix sockets of this host, or makes some");
        open("allowstreamlocalforwarding", "AllowStreamLocalForwarding no", what);
    }
    if !["no", ""].contains(&answer.value("permittunnel")) {
        open("permittunnel", "PermitTunnel no", format!("sshd gives {WHO} a network device of this host"));
    }
    for (keyword, line, what) in [
        ("allowagentforwarding", "AllowAgentForwarding no", "leads a socket of this host to the ssh agent of"),
        ("x11forwarding", "X11Forwarding no", "opens a port of this host, and runs xauth there, for"),
    ] {
        if answer.value(keyword) == "yes" {
            let place = answer.place(keyword, |_any| true);
            let hint = instead(line, place);
            let hint = if disabled { format!("{hint}: {ALSO}") } else { hint };
            all.push(Found::new(place, format!("sshd {what} {WHO}"), hint));
        }
    }
    all
}
