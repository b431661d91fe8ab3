//! `docs/clients.md`: which clients were tried, with what, and where that is tested.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::Path, process::Command};

use super::cases::CASES;

const HEAD: &str = "# Clients

<!-- Made by `BLESS=1 tests/all clients forwards keys sessions sftp` (tests/clients/page.rs), if all rows pass: do not edit. -->

What people connect with, and what each of them did in the tests: with Debian's own package, against a door with \
nothing set but what the row says. A row whose tests did not all pass in the same run fails `tests/all`.

| client | Debian's package | what it did | to know | test |
|---|---|---|---|---|
";

/// A client, and the tests in which it does what the row says.
struct Row {
    client: &'static str,
    package: &'static str,
    does: &'static str,
    note: &'static str,
    file: &'static str,
    tests: &'static [&'static str],
}

/// Clients with tests elsewhere.
const ELSEWHERE: &[Row] = &[
    Row {
        client: "ssh",
        package: "openssh-client",
        does: "commands, terminals, statuses, signals, variables, many sessions on one connection",
        note: "",
        file: "sessions.rs",
        tests: &[
            "every_exit_status_arrives",
            "a_terminal_has_the_size_the_modes_and_the_type_of_the_clients",
            "many_channels_share_one_connection",
        ],
    },
    Row {
        client: "ssh -L, -D, -R, -A, -Y",
        package: "openssh-client, xauth",
        does: "ports and unix sockets both ways, the agent, a display",
        note: "all ends lie in the cell's network; a connection opens 10,000 channels in its life, and refuses more; `-Y` needs `x11` in `allow`",
        file: "forwards.rs",
        tests: &[
            "curl_through_a_socks_forward_reaches_the_cells_loopback_and_not_the_hosts",
            "unix_sockets_lead_both_ways_with_the_tenants_rights",
            "the_agent_is_there_for_its_tenant_and_gone_at_the_end",
            "a_display_leads_to_the_client_with_its_cookie_and_is_off_unless_allowed",
        ],
    },
    Row {
        client: "scp -s, scp -O",
        package: "openssh-client",
        does: "copied a tree there and back, by sftp and by the old protocol, with times and modes",
        note: "`-O` needs an scp in the tenant's root",
        file: "sftp.rs",
        tests: &["scp_works_in_both_of_its_protocols"],
    },
    Row {
        client: "sftp",
        package: "openssh-client",
        does: "put and got a tree, listed, renamed, linked and removed files, asked for the space left",
        note: "",
        file: "sftp.rs",
        tests: &["files_go_both_ways_by_sftp_in_a_root_that_holds_nothing"],
    },
    Row {
        client: "ssh-copy-id",
        package: "openssh-client",
        does: "added a key, by which the next login came",
        note: "needs `own_keys = true`",
        file: "keys.rs",
        tests: &["ssh_copy_id_gives_a_tenant_another_key_where_that_is_allowed"],
    },
    Row {
        client: "rsync, git",
        package: "rsync, git",
        does: "synced a tree there and back; cloned, pushed, cloned again",
        note: "both need themselves in the tenant's root",
        file: "sftp.rs",
        tests: &["rsync_and_git_work_over_ssh"],
    },
    Row {
        client: "sshfs",
        package: "sshfs",
        does: "mounted a home, copied a tree into it, built a program there, unmounted",
        note: "",
        file: "sftp.rs",
        tests: &["sshfs_mounts_copies_builds_and_unmounts"],
    },
    Row {
        client: "ssh on a terminal",
        package: "openssh-client, tmux, vim-tiny, less, procps",
        does: "left tmux with vim in it behind a dropped line and found both again; vim, less and top followed the window",
        note: "",
        file: "clients/terminal.rs",
        tests: &[
            "tmux_and_vim_in_it_outlive_a_dropped_line",
            "full_screen_programs_follow_the_window_and_give_the_terminal_back",
        ],
    },
];

/// What follows is another on each machine: packages are compared, their versions are those of the run that wrote them.
const VERSIONS: &str = "\n## Versions of the run that made this page\n";

fn rows() -> Vec<Row> {
    let case = |(test, case): &'static (&'static str, super::Case)| Row {
        client: case.client,
        package: case.package,
        does: case.does,
        note: case.note,
        file: "clients/cases.rs",
        tests: std::slice::from_ref(test),
    };
    let elsewhere = ELSEWHERE.iter().map(|row| Row { ..*row });
    elsewhere.chain(CASES.iter().map(case)).collect()
}

fn table(rows: &[Row]) -> String {
    let mut page = HEAD.to_owned();
    for Row { client, package, does, note, file, tests } in rows {
        writeln!(page, "| {client} | {package} | {does} | {note} | `{file}` `{}` |", tests.join("`, `")).unwrap();
    }
    page
}

fn packages(rows: &[Row]) -> BTreeSet<&'static str> {
    rows.iter().flat_map(|row| row.package.split(", ")).collect()
}

fn versions(packages: &BTreeSet<&str>) -> String {
    let query = Command::new("dpkg-query").args(["-W", "-f", "| ${Package} | ${Version} |\n"]).args(packages).output();
    format!("{VERSIONS}\n| package | version |\n|---|---|\n{}", String::from_utf8(query.unwrap().stdout).unwrap())
}

/// Whether a test passed, by what its program printed: one test after the other, each with its result at the end, which
/// stands behind what programs printed meanwhile.
fn passed(log: &str, test: &str) -> bool {
    let is_it = |name: &str| name.rsplit("::").next() == Some(test);
    let results = log.split("\nfailures:\n").next().unwrap();
    let mut told = results.split("\ntest ").filter_map(|one| one.split_once(" ... "));
    told.any(|(name, rest)| is_it(name) && rest.trim_end().ends_with("ok"))
}

/// What did not pass in the run whose logs these are.
fn missing(rows: &[Row], logs: &Path) -> Vec<String> {
    let mut missing = Vec::new();
    for row in rows {
        let program = row.file.split(['.', '/']).next().unwrap();
        let log = fs::read_to_string(logs.join(program)).unwrap_or_default();
        let tests = row.tests.iter().filter(|test| !passed(&log, test));
        missing.extend(tests.map(|test| format!("{}: {test} of {}", row.client, row.file)));
    }
    missing
}

/// With `TEST_LOGS`, which `tests/all` sets when all else has run, also that each row passed in that run: then alone can
/// the page be written
#[test]
fn the_page_about_clients_is_the_table_of_clients() {
    let (file, rows) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md"), rows());
    let table = table(&rows);
    if let Some(logs) = env::var_os("TEST_LOGS") {
        let missing = missing(&rows, Path::new(&logs));
        assert!(missing.is_empty(), "rows of docs/clients.md that did not pass in this run:\n{}", missing.join("\n"));
        if env::var_os("BLESS").is_some() {
            fs::write(&file, table.clone() + &versions(&packages(&rows))).unwrap();
        }
    } else if env::var_os("BLESS").is_some() {
        // It is written when all rows have run.
        return;
    }
    let page = fs::read_to_string(&file).unwrap_or_default();
    let (shown, listed) = page.split_once(VERSIONS).unwrap_or((&page, ""));
    assert!(
        shown == table,
        "docs/clients.md differs; its first lines say how it is made\n--- expected\n{shown}\n--- found\n{table}"
    );
    let listed: Vec<&str> = listed.lines().skip(3).map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert!(listed.iter().eq(&packages(&rows)), "docs/clients.md has other packages' versions: {listed:?}");
}

#[test]
fn a_row_is_missing_that_failed_was_skipped_or_did_not_run() {
    let log = "\nrunning 5 tests\ntest first ... ok\ntest cases::second ... Warning: said by a client\nok\n\
               test third ... FAILED\ntest fourth ... ignored\ntest last ... ok\n\n\
               failures:\n\ntest third failed, though its end is ok\n\ntest result: FAILED. 3 passed\n";
    let seen = ["first", "second", "third", "fourth", "last", "fifth", "result"].map(|test| passed(log, test));
    assert_eq!(seen, [true, true, false, false, true, false, false]);
    assert!(missing(&rows(), Path::new("/nonexistent")).len() >= CASES.len() + ELSEWHERE.len());
}
