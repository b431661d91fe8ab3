//! `docs/clients.md`: which clients were tried, with what, and where that is tested.

use std::{env, fmt::Write as _, fs, path::Path, process::Command};

use super::cases::CASES;

const HEAD: &str = "# Clients

<!-- Made by `BLESS=1 tests/all clients` (tests/clients/page.rs): do not edit. -->

What people connect with, and what each of them did in the tests: with Debian's own package, against a door with \
nothing set but what the row says. A row whose test fails fails `tests/all`.

| client | Debian's package | what it did | to know | test |
|---|---|---|---|---|
";

/// Clients with tests elsewhere: client, package, what it did, what to know, the tests.
const ELSEWHERE: &[[&str; 5]] = &[
    [
        "ssh",
        "openssh-client",
        "commands, terminals, statuses, signals, variables, many sessions on one connection",
        "",
        "`sessions.rs` `every_exit_status_arrives`, `a_terminal_has_the_size_the_modes_and_the_type_of_the_clients`, \
         `many_channels_share_one_connection`",
    ],
    [
        "ssh -L, -D, -R, -A, -Y",
        "openssh-client",
        "ports and unix sockets both ways, the agent, a display",
        "all ends lie in the cell's network; `-Y` needs `x11` in `allow`",
        "`forwards.rs` `curl_through_a_socks_forward_reaches_the_cells_loopback_and_not_the_hosts`, \
         `unix_sockets_lead_both_ways_with_the_tenants_rights`, `the_agent_is_there_for_its_tenant_and_gone_at_the_end`",
    ],
    [
        "scp -s, scp -O",
        "openssh-client",
        "copied a tree there and back, by sftp and by the old protocol, with times and modes",
        "`-O` needs an scp in the tenant's root",
        "`sftp.rs` `scp_works_in_both_of_its_protocols`",
    ],
    [
        "sftp",
        "openssh-client",
        "put and got a tree, listed, renamed, linked and removed files, asked for the space left",
        "",
        "`sftp.rs` `files_go_both_ways_by_sftp_in_a_root_that_holds_nothing`",
    ],
    [
        "ssh-copy-id",
        "openssh-client",
        "added a key, by which the next login came",
        "needs `own_keys = true`",
        "`keys.rs` `ssh_copy_id_gives_a_tenant_another_key_where_that_is_allowed`",
    ],
    [
        "rsync, git",
        "rsync, git",
        "synced a tree there and back; cloned, pushed, cloned again",
        "both need themselves in the tenant's root",
        "`sftp.rs` `rsync_and_git_work_over_ssh`",
    ],
    [
        "sshfs",
        "sshfs",
        "mounted a home, copied a tree into it, built a program there, unmounted",
        "",
        "`sftp.rs` `sshfs_mounts_copies_builds_and_unmounts`",
    ],
    [
        "ssh on a terminal",
        "openssh-client, tmux, vim-tiny, less, procps",
        "left tmux with vim in it behind a dropped line and found both again; vim, less and top followed the window",
        "",
        "`clients/terminal.rs`",
    ],
];

/// What follows is another on each machine, so it is written and not compared.
const VERSIONS: &str = "\n## Versions of the run that made this page\n";

fn table() -> String {
    let mut page = HEAD.to_owned();
    let mut row = |[client, package, does, note, test]: [&str; 5]| {
        writeln!(page, "| {client} | {package} | {does} | {note} | {test} |").unwrap();
    };
    ELSEWHERE.iter().for_each(|fields| row(*fields));
    for (test, case) in CASES {
        row([case.client, case.package, case.does, case.note, &format!("`clients/cases.rs` `{test}`")]);
    }
    page
}

fn versions() -> String {
    let mut packages: Vec<&str> =
        ELSEWHERE.iter().map(|row| row[1]).chain(CASES.iter().map(|(_, c)| c.package)).collect();
    packages = packages.iter().flat_map(|names| names.split(", ")).collect();
    packages.sort_unstable();
    packages.dedup();
    let query = Command::new("dpkg-query").args(["-W", "-f", "| ${Package} | ${Version} |\n"]).args(packages).output();
    format!("{VERSIONS}\n| package | version |\n|---|---|\n{}", String::from_utf8(query.unwrap().stdout).unwrap())
}

#[test]
fn the_page_about_clients_is_the_table_of_clients() {
    let (file, table) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md"), table());
    if env::var_os("BLESS").is_some() {
        fs::write(&file, table.clone() + &versions()).unwrap();
    }
    let page = fs::read_to_string(&file).unwrap_or_default();
    let shown = page.split(VERSIONS).next().unwrap();
    assert!(
        shown == table,
        "docs/clients.md differs; BLESS=1 writes it anew\n--- expected\n{shown}\n--- found\n{table}"
    );
}
